package registry

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestBlobSize asks with HEAD, and with GET where that tells nothing.
func TestBlobSize(t *testing.T) {
	head := registrytest.Matching(http.MethodHead, registrytest.KindBlob)
	for name, c := range map[string]struct {
		refusal   int // of HEAD, 0 for none
		size      int64
		head, get int
	}{
		"answered":        {0, 1000, 1, 0},
		"no such method":  {http.StatusMethodNotAllowed, -1, 1, 1},
		"signed for GETs": {http.StatusForbidden, -1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var o registrytest.Options
			if c.refusal != 0 {
				o.Script = registrytest.Only(head, registrytest.EveryNth(1, registrytest.Answer{Status: c.refusal}))
			}
			r := registrytest.Start(t, o)
			im := newImage(t, 1, 1000, r, "app")
			s := openSource(t, r.Host()+"/app:tag", insecure(t), quick())
			size, err := s.BlobSize(t.Context(), im.blobs[0])
			require.NoError(t, err)
			assert.Equal(t, c.size, size)
			assert.Equal(t, c.head, r.Count(registrytest.Is(http.MethodHead, registrytest.KindBlob)))
			assert.Equal(t, c.get, r.Count(registrytest.Is(http.MethodGet, registrytest.KindBlob)))

			_, err = s.BlobSize(t.Context(), endpoint.Blob{Digest: digest.FromString("none"), Size: -1})
			assert.ErrorIs(t, err, endpoint.ErrNotFound)
			_, err = s.BlobSize(t.Context(), endpoint.Blob{Digest: "sha256:../x"})
			assert.ErrorContains(t, err, "../x")
		})
	}
}
