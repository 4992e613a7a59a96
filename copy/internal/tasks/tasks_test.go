package tasks

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// A copy that may have one blob in flight begins no other when one has failed.
func TestNothingBeginsAfterAFailure(t *testing.T) {
	broken := errors.New("broken")
	var images []work.Image
	for i := range 4 {
		images = append(images, work.Image{
			Doc:   endpoint.Document{Digest: digest.FromString(fmt.Sprint("image ", i))},
			Blobs: []endpoint.Blob{{Digest: digest.FromString(fmt.Sprint("blob ", i))}},
		})
	}
	for range 200 {
		var begun atomic.Int64
		run := Run{
			Clock: clock.System, Budget: semaphore.NewWeighted(1),
			Weigh: func(endpoint.Blob) int64 { return 1 },
			CopyBlob: func(context.Context, endpoint.Blob, digest.Digest) (bool, error) {
				begun.Add(1)
				return false, broken
			},
		}
		require.ErrorIs(t, run.Copy(t.Context(), images, nil), broken)
		require.EqualValues(t, 1, begun.Load())
	}
}
