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
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

func TestLayoutsAreOpenedWithWhatIsShared(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		ref, err := layout.NewReference(t.TempDir(), "v1")
		require.NoError(t, err)
		dst, how, err := OpenDestination(t.Context(), ref, nil, &registry.Shared{NoSync: noSync})
		require.NoError(t, err)
		assert.Equal(t, "transport", how.Transport)
		opened, ok := dst.(*transport.Destination)
		require.True(t, ok)
		assert.Equal(t, transport.Options{NoSync: noSync}, opened.Options())
		require.NoError(t, dst.Close())
	}
}
