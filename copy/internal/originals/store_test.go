package originals

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// forgetful lists what it has stored, but for what arrived while it was storing something else, as
// olareg 0.2.2 does with referrers of one subject.
type forgetful struct {
	endpoint.Destination
	endpoint.ReferrerDestination

	busy   bool
	listed []digest.Digest
}

func (f *forgetful) PutManifest(_ context.Context, doc endpoint.Document) error {
	if f.busy {
		return nil
	}
	f.busy = true
	time.Sleep(time.Second) // in a bubble: whoever else can store begins to
	f.busy = false
	f.listed = append(f.listed, doc.Digest)
	return nil
}

func (f *forgetful) PutReferrers(context.Context, digest.Digest, []imgspecv1.Descriptor) error {
	return nil
}

// TestStoreOneByOne: artifacts that are stored ahead of their list, and those that are stored after
// it, are all listed by a registry that loses what it gets at the same time.
func TestStoreOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stripped := imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageIndex, Digest: digest.FromString("list"), Size: 4}
		var artifacts []original.Artifact
		var digests []digest.Digest
		for i := range 6 {
			a, err := original.OfSignature(stripped, original.Signature{
				Of: digest.FromString("original"), Kind: original.Lookaside, Blob: fmt.Append(nil, "signature ", i),
			})
			require.NoError(t, err)
			artifacts, digests = append(artifacts, a), append(digests, a.Document.Digest)
		}
		to := &forgetful{}
		s := NewStore(Place{
			Destination: to, Referrers: to, Budget: semaphore.NewWeighted(32),
			Send: func(context.Context, endpoint.Blob, []byte) error { return nil },
		}, nil)
		require.NoError(t, s.Ahead(t.Context(), artifacts[:3]))
		require.NoError(t, s.Finish(t.Context(), artifacts))
		assert.Equal(t, digests, to.listed)
	})
}
