package bundlejudge_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/bundlejudge"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// TestCosign judges what cosign has made.
func TestCosign(t *testing.T) {
	publishers, err := bundlejudge.ByKeys([]string{imagetest.SignedFile("cosign.pub")}, "")
	require.NoError(t, err)
	others, err := bundlejudge.ByKeys([]string{imagetest.SignedFile("other.pub")}, "")
	require.NoError(t, err)

	layout := imagetest.SignedFile(string(imagetest.SignedBundles))
	signatures, attestations := 0, 0
	for _, d := range read[imgspecv1.Index](t, layout, imgspecv1.ImageIndexFile).Manifests {
		m := read[imgspecv1.Manifest](t, layout, blob(d.Digest))
		if m.Subject == nil || len(m.Layers) == 0 || !strings.HasPrefix(m.Layers[0].MediaType, "application/vnd.dev.sigstore.bundle") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(layout, blob(m.Layers[0].Digest)))
		require.NoError(t, err)
		signer, err := publishers.VerifyBundle(t.Context(), content, m.Subject.Digest)
		if m.Annotations["dev.sigstore.bundle.predicateType"] != bundlejudge.SignaturePredicate {
			attestations++
			require.ErrorContains(t, err, "which is no signature")
			continue
		}
		signatures++
		require.NoError(t, err)
		assert.Equal(t, "key "+imagetest.SignedFile("cosign.pub"), signer)
		_, err = others.VerifyBundle(t.Context(), content, m.Subject.Digest)
		require.ErrorContains(t, err, "it is not signed with a key that is trusted")
		_, err = publishers.VerifyBundle(t.Context(), content, other)
		require.ErrorContains(t, err, "it signs")
	}
	assert.Positive(t, signatures)
	assert.Positive(t, attestations)
}

func blob(d digest.Digest) string {
	return filepath.Join(imgspecv1.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// read reads a document of a layout.
func read[T any](t *testing.T, layout, name string) T {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(layout, name))
	require.NoError(t, err)
	var document T
	require.NoError(t, json.Unmarshal(content, &document))
	return document
}
