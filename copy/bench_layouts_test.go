//go:build unix

package copy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// BenchmarkLayoutToLayout copies 4 platforms × 4 layers of 64 MiB from one layout to another, in
// the directory for temporary files, and tells the CPU time, too. docs/performance.md has its
// figures.
func BenchmarkLayoutToLayout(b *testing.B) {
	f := imagetest.Platforms(4, 4, 64<<20)
	src := copytest.LayoutAt(b, b.TempDir())
	src.Push(f, "v1", imagetest.Top)
	files, err := filepath.Glob(filepath.Join(src.Dir, "blobs", "sha256", "*"))
	require.NoError(b, err)
	for _, file := range files {
		require.NoError(b, os.Chmod(file, 0o644))
	}
	e := copytest.NewEnv(b)
	run := func(name string, image func(to types.ImageReference) error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(16 * 64 << 20)
			b.StopTimer()
			var used time.Duration
			for n := range b.N {
				dst := copytest.LayoutAt(b, filepath.Join(b.TempDir(), fmt.Sprint(n)))
				syscall.Sync() // what others wrote is not waited for
				before := processTime(b)
				b.StartTimer()
				require.NoError(b, image(dst.Ref("v1")))
				b.StopTimer()
				used += processTime(b) - before
				dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
				require.NoError(b, os.RemoveAll(dst.Dir))
			}
			b.ReportMetric(float64(used.Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
	run("engine=upstream", func(to types.ImageReference) error {
		_, err := upstream.Image(b.Context(), e.Policy, to, src.Ref("v1"), &upstream.Options{
			SourceCtx: e.Sys, DestinationCtx: e.Sys, ImageListSelection: upstream.CopyAllImages,
		})
		return err
	})
	for _, c := range []struct {
		name    string
		options copy.CopierOptions
	}{
		{"fsync=on", copy.CopierOptions{}},
		{"fsync=off", copy.CopierOptions{NoSync: true}},
		{"fsync=on,trust", copy.CopierOptions{TrustSource: true}},
		{"fsync=off,trust", copy.CopierOptions{NoSync: true, TrustSource: true}},
		{"fsync=on,links", copy.CopierOptions{HardLinks: true}},
		{"fsync=on,links,trust", copy.CopierOptions{HardLinks: true, TrustSource: true}},
	} {
		run("engine=sparsecopy/"+c.name, func(to types.ImageReference) error {
			copier := copy.NewCopier(c.options)
			defer func() { require.NoError(b, copier.Close()) }()
			_, err := copier.Image(b.Context(), e.Policy, to, src.Ref("v1"), e.Options(copy.Options{ImageListSelection: copy.CopyAllImages}))
			return err
		})
	}
}

// processTime is the CPU time of this process.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
