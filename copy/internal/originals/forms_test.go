package originals

import (
	"errors"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// TestRefusesForm: a refusal that is not about what an artifact is puts nothing in another form.
func TestRefusesForm(t *testing.T) {
	coded := func(status int, codes ...string) *endpoint.RegistryError {
		e := &endpoint.RegistryError{Method: http.MethodPut, Status: status}
		for _, code := range codes {
			e.Errors = append(e.Errors, endpoint.RegistryErrorDetail{Code: code})
		}
		return e
	}
	of := func(method string, e *endpoint.RegistryError) *endpoint.RegistryError { e.Method = method; return e }
	for name, c := range map[string]struct {
		err  error
		form bool
	}{
		"GitLab, Quay":                 {coded(400, "MANIFEST_INVALID"), true},
		"ECR":                          {coded(405, "UNSUPPORTED"), true},
		"a message without a code":     {coded(400, ""), true},
		"a page":                       {coded(415), true},
		"a page about access":          {coded(403), false},
		"a page about size":            {coded(413), false},
		"a page about haste":           {coded(429), false},
		"an absent blob or subject":    {coded(400, "MANIFEST_BLOB_UNKNOWN"), false},
		"access":                       {coded(401, "UNAUTHORIZED"), false},
		"the server":                   {coded(500, "MANIFEST_INVALID"), false},
		"no answer":                    {errors.New("connection reset"), false},
		"the answer to another method": {of(http.MethodGet, coded(400, "MANIFEST_INVALID")), false},
	} {
		assert.Equal(t, c.form, RefusesForm(c.err), name)
	}
}

// TestForms: what is ours has two forms, anything else one.
func TestForms(t *testing.T) {
	ours, err := original.OfSignature(imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageIndex, Digest: digest.FromString("list"), Size: 4},
		original.Signature{Of: digest.FromString("original"), Kind: original.Lookaside, Blob: []byte("signature")})
	require.NoError(t, err)
	assert.Equal(t, ours.Document, artifact.Of(ours).Document)
	assert.Equal(t, original.Plain(ours).Document, plain.Of(ours).Document)
	bundle := original.Carry("application/vnd.dev.sigstore.bundle.v0.3+json", imgspecv1.Descriptor{Digest: digest.FromString("list")}, ours.Layers, nil)
	assert.Equal(t, bundle.Document, plain.Of(bundle).Document)
	assert.Equal(t, plain, formOf(true))
	assert.Equal(t, artifact, formOf(false))
	assert.Equal(t, [2]Form{artifact, plain}, Forms(nil))
}
