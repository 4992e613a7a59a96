package copy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// BenchmarkImage copies 8 platforms × 5 layers of 2 MiB between two registries that are 40 ms away,
// with our engine and with upstream's: compare the two lines of one run.
func BenchmarkImage(b *testing.B) {
	f := imagetest.Platforms(8, 5, 2<<20)
	const rtt = 40 * time.Millisecond
	src := copytest.RegistryAt(b, registrytest.Start(b, registrytest.Options{RTT: rtt}), "app")
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(b, registrytest.Start(b, registrytest.Options{RTT: rtt, DiscardBlobs: true}), "mirror")
	e := copytest.NewEnv(b)
	n := 0
	target := func() copytest.RegistryPlace {
		n++
		return copytest.RegistryAt(b, dst.Registry, fmt.Sprintf("mirror/%d", n))
	}
	b.Run("engine=sparsecopy", func(b *testing.B) {
		for b.Loop() {
			_, err := copy.Image(b.Context(), e.Policy, target().Ref("v1"), src.Ref("v1"), e.Options(copy.Options{ImageListSelection: copy.CopyAllImages}))
			require.NoError(b, err)
		}
	})
	b.Run("engine=upstream", func(b *testing.B) {
		for b.Loop() {
			_, err := upstream.Image(b.Context(), e.Policy, target().Ref("v1"), src.Ref("v1"), &upstream.Options{
				SourceCtx: e.Sys, DestinationCtx: e.Sys, ImageListSelection: upstream.CopyAllImages,
			})
			require.NoError(b, err)
		}
	})
}
