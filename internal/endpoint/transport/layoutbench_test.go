//go:build unix

package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/pkg/blobinfocache/none"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// Of what BenchmarkLayout writes, as four images of four layers do.
const (
	benchBlobs    = 16
	benchBlobSize = 64 << 20
)

// benchContent opens the n-th blob: the bytes of all, but for a number at their start.
func benchContent(n uint64, all []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(binary.BigEndian.AppendUint64(nil, n)), bytes.NewReader(all[8:]))
}

// BenchmarkLayout compares what it takes to store large blobs, all at once: to hash and write a
// file each, which is the least, with and without fsync; through upstream's destination; and here.
func BenchmarkLayout(b *testing.B) {
	all := make([]byte, benchBlobSize)
	for i := range all {
		all[i] = byte(i * i >> 7)
	}
	blobs := make([]endpoint.Blob, benchBlobs)
	for i := range blobs {
		d, err := digest.FromReader(benchContent(uint64(i), all))
		require.NoError(b, err)
		blobs[i] = endpoint.Blob{Digest: d, Size: benchBlobSize}
	}
	opener := func(n int) endpoint.Opener {
		return func(context.Context) (io.ReadCloser, error) {
			return endpoint.Verified(io.NopCloser(benchContent(uint64(n), all)), blobs[n], nil, func(err error) error { return err }), nil
		}
	}
	run := func(name string, open func(dir string) (put func(n int) error, done func() error)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(benchBlobs * benchBlobSize)
			before := cpuTime(b)
			for i := range b.N {
				dir := filepath.Join(b.TempDir(), fmt.Sprint(i))
				require.NoError(b, os.Mkdir(dir, 0o755))
				put, done := open(dir)
				var group sync.WaitGroup
				for n := range blobs {
					group.Go(func() {
						if err := put(n); err != nil {
							b.Error(err)
						}
					})
				}
				group.Wait()
				require.NoError(b, done())
				b.StopTimer()
				require.NoError(b, os.RemoveAll(dir))
				b.StartTimer()
			}
			b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
	for _, synced := range []bool{false, true} {
		run(fmt.Sprint("floor/fsync=", synced), func(dir string) (func(int) error, func() error) {
			return func(n int) error { return floor(filepath.Join(dir, fmt.Sprint(n)), opener(n), synced) }, func() error { return nil }
		})
	}
	run("upstream", func(dir string) (func(int) error, func() error) {
		dest, err := layoutRef(b, dir, "v1").NewImageDestination(b.Context(), nil)
		require.NoError(b, err)
		return func(n int) error {
			r, err := opener(n)(b.Context())
			if err != nil {
				return err
			}
			_, err = dest.PutBlob(b.Context(), r, blobInfo(blobs[n]), none.NoCache, false)
			return err
		}, dest.Close
	})
	for _, synced := range []bool{false, true} {
		run(fmt.Sprint("ours/fsync=", synced), func(dir string) (func(int) error, func() error) {
			dest, err := Options{NoSync: !synced}.OpenDestination(b.Context(), layoutRef(b, dir, "v1"), nil)
			require.NoError(b, err)
			return func(n int) error {
				_, err := dest.PutBlob(b.Context(), blobs[n], opener(n))
				return err
			}, dest.Close
		})
	}
}

// floor writes a file with the least effort, and syncs it if that is wanted.
func floor(path string, open endpoint.Opener, synced bool) error {
	r, err := open(context.Background())
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, r, make([]byte, 256<<10)); err != nil || !synced {
		return err
	}
	return f.Sync()
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
