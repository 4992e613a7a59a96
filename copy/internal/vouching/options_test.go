package vouching

import (
	"context"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/copy/plan"
)

// believer is a BundleVerifier that nobody should have.
type believer struct{}

func (believer) VerifyBundle(context.Context, []byte, digest.Digest) (string, error) {
	return "anybody", nil
}

func TestOptions(t *testing.T) {
	const id = "https://mirror.example/"
	for name, c := range map[string]struct {
		o             Options
		attaches, key bool
		refused       []string
	}{
		"nothing":                          {Options{}, false, false, nil},
		"a key alone":                      {Options{}, false, true, nil},
		"originals alone":                  {Options{}, true, false, nil},
		"a verifier of bundles":            {Options{BundleVerifier: believer{}}, true, false, nil},
		"everything":                       {Options{id, new(signature.PolicyContext), "urn:example:policy", of("1"), believer{}}, true, true, nil},
		"nobody vouches":                   {Options{}, true, true, []string{"AttachOriginal", "SignBySigstorePrivateKeyFile"}},
		"a verifier without a key":         {Options{VerifierID: id}, true, false, []string{"VerifierID"}},
		"a verifier without originals":     {Options{VerifierID: id}, false, true, []string{"VerifierID"}},
		"a policy without a key":           {Options{OriginPolicy: new(signature.PolicyContext)}, true, false, []string{"OriginPolicy"}},
		"a policy's URI without a key":     {Options{PolicyURI: id}, true, false, []string{"PolicyURI"}},
		"a policy's digest without a key":  {Options{PolicyDigest: of("1")}, true, false, []string{"PolicyDigest"}},
		"bundles without originals":        {Options{BundleVerifier: believer{}}, false, true, []string{"BundleVerifier"}},
		"a verifier that is no URI":        {Options{VerifierID: "mirror.example"}, true, true, []string{"VerifierID"}},
		"a verifier that is a scheme":      {Options{VerifierID: "https://"}, true, true, []string{"VerifierID"}},
		"a policy's URI that is none":      {Options{VerifierID: id, PolicyURI: "/etc/policy.json"}, true, true, []string{"PolicyURI"}},
		"a policy's digest that is none":   {Options{VerifierID: id, PolicyDigest: "sha256:1"}, true, true, []string{"PolicyDigest"}},
		"a verifier that cannot be parsed": {Options{VerifierID: "https://mirror.example/%"}, true, true, []string{"VerifierID"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.o.Validate(c.attaches, c.key)
			if c.refused == nil {
				assert.NoError(t, err)
				return
			}
			var refused *plan.OptionsError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, c.refused, refused.Options)
		})
	}
}
