package access

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/oci/layout"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/transport"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

func TestLayoutsAreOpenedWithWhatIsShared(t *testing.T) {
	for _, shared := range []*registry.Shared{{}, {NoSync: true}, {HardLinks: true}, {TrustFiles: true}} {
		want := transport.Options{NoSync: shared.NoSync, HardLinks: shared.HardLinks, TrustFiles: shared.TrustFiles}
		dir := t.TempDir()
		require.NoError(t, imagetest.Platforms(1, 1, 10).WriteLayout(dir, "v1", imagetest.Top))
		ref, err := layout.NewReference(dir, "v1")
		require.NoError(t, err)
		dst, how, err := OpenDestination(t.Context(), ref, nil, shared)
		require.NoError(t, err)
		assert.Equal(t, "transport", how.Transport)
		assert.Equal(t, want, dst.(*transport.Destination).Options())
		require.NoError(t, dst.Close())
		src, how, err := OpenSource(t.Context(), ref, nil, shared)
		require.NoError(t, err)
		assert.Equal(t, "transport", how.Transport)
		assert.Equal(t, want, src.(*transport.Source).Options())
		require.NoError(t, src.Close())
	}
}
