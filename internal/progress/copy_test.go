package progress

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"go.podman.io/image/v5/types"
)

// TestLinesAreHeld until somebody decides who does the work.
func TestLinesAreHeld(t *testing.T) {
	d := digest.FromString("a")
	for name, c := range map[string]struct {
		decide func(*Copy, *bytes.Buffer)
		want   string
	}{
		"released": {func(c *Copy, _ *bytes.Buffer) { c.Release(); c.Release() }, "before\nafter 1\nCopying image " + d.String() + " (1/2)\nCopying blob " + d.String() + "\n"},
		"handed over": {func(c *Copy, b *bytes.Buffer) {
			assert.Same(t, b, c.HandOver(false))
		}, "after 1\nCopying image " + d.String() + " (1/2)\nCopying blob " + d.String() + "\n"},
		"undecided": {func(*Copy, *bytes.Buffer) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			p := New(Options{Writer: &b})
			p.Line("before")
			c.decide(p, &b)
			p.Line("after %d", 1)
			p.Tell(ImageBegins{Digest: d, Position: 1, Of: 2})
			blob := p.Blob(t.Context(), testBlob("a", 3))
			blob.Advance(3)
			blob.End(Copied)
			p.End()
			assert.Equal(t, c.want, b.String())
		})
	}
}

// TestChannel follows what upstream's channel gets of a blob that is read twice, one that is there,
// and one that fails.
func TestChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan types.ProgressProperties, 100)
		p := New(Options{Events: events, Interval: time.Second})
		got := func() (all []types.ProgressProperties) {
			for len(events) > 0 {
				all = append(all, <-events)
			}
			return all
		}
		of := func(name string, size int64) types.BlobInfo {
			return types.BlobInfo{Digest: digest.FromString(name), Size: size}
		}
		a := p.Blob(t.Context(), testBlob("a", 100))
		assert.Empty(t, got(), "it may be there")
		a.Advance(30)
		assert.Equal(t, []types.ProgressProperties{{Event: types.ProgressEventNewArtifact, Artifact: of("a", 100)}}, got())
		time.Sleep(time.Second)
		a.Advance(30)
		assert.Equal(t, []types.ProgressProperties{{Event: types.ProgressEventRead, Artifact: of("a", 100), Offset: 60, OffsetUpdate: 60}}, got())
		time.Sleep(time.Second)
		a.Restart()
		a.Advance(50)
		assert.Empty(t, got(), "nothing is taken back")
		a.Advance(60) // is too long
		assert.Equal(t, []types.ProgressProperties{{Event: types.ProgressEventRead, Artifact: of("a", 100), Offset: 100, OffsetUpdate: 40}}, got())
		a.End(Copied)
		a.Advance(1)
		assert.Equal(t, []types.ProgressProperties{{Event: types.ProgressEventDone, Artifact: of("a", 100), Offset: 100}}, got())

		p.Blob(t.Context(), testBlob("b", 5)).End(Reused)
		p.Blob(t.Context(), testBlob("c", 5)).End(Failed)
		p.Blob(t.Context(), testBlob("d", 0)).End(Copied)
		assert.Equal(t, []types.ProgressProperties{
			{Event: types.ProgressEventSkipped, Artifact: of("b", 5)},
			{Event: types.ProgressEventNewArtifact, Artifact: of("d", 0)},
			{Event: types.ProgressEventDone, Artifact: of("d", 0)},
		}, got())
	})
}

// TestChannelWithoutAReader ends with the copy.
func TestChannelWithoutAReader(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := New(Options{Events: make(chan types.ProgressProperties), Interval: 1}).Blob(ctx, testBlob("a", 5))
	b.Advance(5)
	b.End(Copied)

	unwanted := New(Options{Events: make(chan types.ProgressProperties)}).Blob(t.Context(), testBlob("a", 5))
	unwanted.Advance(5)
	unwanted.End(Copied)
}
