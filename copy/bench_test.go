package copy

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// BenchmarkImage copies 8 platforms × 5 layers of 2 MiB between two registries that are 40 ms away, with our engine and with
// upstream's: compare the two lines of one run.
func BenchmarkImage(b *testing.B) {
	f := imagetest.Platforms(8, 5, 2<<20)
	const rtt = 40 * time.Millisecond
	src := registryPlace{b, registrytest.Start(b, registrytest.Options{RTT: rtt}), "app"}
	src.push(f, "v1", imagetest.Top)
	dst := registryPlace{b, registrytest.Start(b, registrytest.Options{RTT: rtt, DiscardBlobs: true}), "mirror"}
	e := newEnv(b)
	n := 0
	target := func() registryPlace {
		n++
		return registryPlace{b, dst.Registry, fmt.Sprintf("mirror/%d", n)}
	}
	b.Run("engine=sparsecopy", func(b *testing.B) {
		for b.Loop() {
			_, err := Image(b.Context(), e.policy, target().ref("v1"), src.ref("v1"), e.options(Options{ImageListSelection: CopyAllImages}))
			require.NoError(b, err)
		}
	})
	b.Run("engine=upstream", func(b *testing.B) {
		for b.Loop() {
			_, err := upstream.Image(b.Context(), e.policy, target().ref("v1"), src.ref("v1"), &upstream.Options{
				SourceCtx: e.sys, DestinationCtx: e.sys, ImageListSelection: upstream.CopyAllImages,
			})
			require.NoError(b, err)
		}
	})
}
