package transport

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// handed is a reference whose ends are open already.
type handed struct {
	types.ImageReference
	src  types.ImageSource
	dest types.ImageDestination
}

func (h handed) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return h.src, nil
}

func (h handed) NewImageDestination(context.Context, *types.SystemContext) (types.ImageDestination, error) {
	return h.dest, nil
}

// TestUpstreamTakesTheEndsOver hands the ends on to upstream's copy, and publishes what it wrote,
// or not.
func TestUpstreamTakesTheEndsOver(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	sys := system(t, "")
	reg := registrytest.Start(t, registrytest.Options{Strict: true})
	f.PushTo(reg, "source", "v1", imagetest.Top)
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, policy.Destroy()) }()

	for _, place := range places(t, reg) {
		t.Run(place.name, func(t *testing.T) {
			for _, publish := range []bool{false, true} {
				src := openSource(t, dockerRef(t, reg, "source:v1"), sys)
				dest := openDestination(t, place.ref, sys)
				_, err := copy.Image(t.Context(), policy,
					handed{ImageReference: place.ref, dest: dest.HandOver()},
					handed{ImageReference: src.Reference(), src: src.HandOver()},
					&copy.Options{ImageListSelection: copy.CopyAllImages, DestinationCtx: sys, SourceCtx: sys})
				require.NoError(t, err)
				if publish {
					require.NoError(t, dest.Publish(t.Context()))
				}
				require.NoError(t, errors.Join(src.Close(), dest.Close()))
				stored, err := OpenSource(t.Context(), place.ref, sys)
				if !publish && place.name != "docker" {
					require.Error(t, err, "not published yet")
					continue
				}
				require.NoError(t, err)
				checkSource(t, f, stored, imagetest.Top)
				require.NoError(t, stored.Close())
			}
		})
	}
}

// TestNothingStaysOpen looks for files of the test that are open, as readers and locks have some.
// Of others, such as connections, tests before it may be closing some.
func TestNothingStaysOpen(t *testing.T) {
	open := func() (names []string) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("only Linux tells which files are open")
		}
		for _, entry := range entries {
			name, err := os.Readlink("/proc/self/fd/" + entry.Name())
			if err == nil && strings.HasPrefix(name, os.TempDir()) { // else it was that of ReadDir
				names = append(names, name)
			}
		}
		return names
	}
	f := imagetest.Platforms(3, 2, 1000)
	source := t.TempDir()
	require.NoError(t, f.WriteLayout(source, "v1", imagetest.Top))
	damaged := packed(t, source)
	require.NoError(t, os.Truncate(damaged, 5000))
	compressedDamaged := compressed(t, packed(t, source))
	require.NoError(t, os.Truncate(compressedDamaged, 1000))
	sys := system(t, "")
	dir := t.TempDir()
	round := func() {
		for _, ref := range []types.ImageReference{
			layoutRef(t, filepath.Join(dir, "layout"), "v1"), dirRef(t, filepath.Join(dir, "dir")), archiveRef(t, filepath.Join(dir, "tar"), "v1"),
		} {
			copyOnce(t, f, layoutRef(t, source, "v1"), ref, nil)
			src, err := OpenSource(t.Context(), ref, nil)
			require.NoError(t, err)
			checkSource(t, f, src, imagetest.Top)
			_, err = src.Blob(t.Context(), endpoint.Blob{Digest: digestA, Size: 1})
			require.Error(t, err)
			require.NoError(t, src.Close())
			require.NoError(t, src.Close())
		}
		for _, broken := range []string{damaged, compressedDamaged} {
			_, err := OpenSource(t.Context(), archiveRef(t, broken, "v1"), sys)
			require.Error(t, err)
		}
		_, err := OpenSource(t.Context(), archiveRef(t, packed(t, source), "v2"), sys)
		require.Error(t, err)
		cancelled, cancel := context.WithCancel(t.Context())
		holder, err := OpenDestination(t.Context(), layoutRef(t, filepath.Join(dir, "layout"), "v1"), nil)
		require.NoError(t, err)
		cancel()
		_, err = OpenDestination(cancelled, layoutRef(t, filepath.Join(dir, "layout"), "v1"), nil)
		require.Error(t, err)
		require.NoError(t, holder.Close())
	}
	round()
	assert.Empty(t, open())
}
