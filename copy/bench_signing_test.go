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

// BenchmarkSigning copies 8 platforms × 5 layers of 256 KiB between two registries and signs them
// with a sigstore key, with our engine and with upstream's; unsigned, too, and once more when
// everything is there.
func BenchmarkSigning(b *testing.B) {
	f := imagetest.Platforms(8, 5, 256<<10)
	passphrase := []byte("passphrase")
	for _, rtt := range []time.Duration{20 * time.Millisecond, 80 * time.Millisecond} {
		e, private, _ := copytest.NewSigningEnv(b)
		src := copytest.RegistryAt(b, registrytest.Start(b, registrytest.Options{RTT: rtt}), "app")
		src.Push(f, "v1", imagetest.Top)
		dst := registrytest.Start(b, registrytest.Options{RTT: rtt})
		n := 0
		target := func() copytest.RegistryPlace {
			n++
			return copytest.RegistryAt(b, dst, fmt.Sprintf("mirror/%d", n))
		}
		all := copy.Options{ImageListSelection: copy.CopyAllImages}
		signed := all
		signed.SignBySigstorePrivateKeyFile, signed.SignSigstorePrivateKeyPassphrase = private, passphrase
		run := func(name string, o copy.Options, target func() copytest.RegistryPlace) {
			b.Run(fmt.Sprintf("rtt=%s/%s", rtt, name), func(b *testing.B) {
				dst.ResetLog()
				for b.Loop() {
					_, err := copy.Image(b.Context(), e.Policy, target().Ref("v1"), src.Ref("v1"), e.Options(o))
					require.NoError(b, err)
				}
				b.ReportMetric(float64(len(dst.Requests()))/float64(b.N), "destination-requests/op")
			})
		}
		run("unsigned", all, target)
		run("signed", signed, target)
		last := target()
		run("again", signed, func() copytest.RegistryPlace { return last })
		b.Run(fmt.Sprintf("rtt=%s/upstream", rtt), func(b *testing.B) {
			for b.Loop() {
				_, err := upstream.Image(b.Context(), e.Policy, target().Ref("v1"), src.Ref("v1"), &upstream.Options{
					SourceCtx: e.Sys, DestinationCtx: e.Sys, ImageListSelection: upstream.CopyAllImages,
					SignBySigstorePrivateKeyFile: private, SignSigstorePrivateKeyPassphrase: passphrase,
				})
				require.NoError(b, err)
			}
		})
	}
}
