package copy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestVerifyOriginal looks for what a copy attaches, in the form that the destination takes; and
// the plan says beforehand what the report says afterwards.
func TestVerifyOriginal(t *testing.T) {
	places := map[string]func(testing.TB) copytest.Place{
		"registry that lists what it takes": func(t testing.TB) copytest.Place {
			return copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true, TypePolicy: registrytest.GitLabTypes()}), "app")
		},
	}
	for name, at := range copytest.AttachablePlaces {
		places[name] = at
	}
	for name, at := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := copytest.NewEnv(t)
			src, dst := signedSource(t, imagetest.SignedTags, imagetest.SignedBundles), at(t)
			verify := func() *copy.Verification {
				v, err := copy.Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(withOriginal()), ReadBlobs: true})
				require.NoError(t, err)
				return v
			}
			plain := withOriginal()
			plain.AttachOriginal = false
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), plain)
			require.NoError(t, err)
			assert.Len(t, verify().Violations, 2*5, "neither the list nor its signatures are there, nor listed")

			prepared, err := e.Copier(withOriginal()).Prepare(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), e.Options(withOriginal()))
			require.NoError(t, err)
			planned := prepared.Plan().Original
			r, err := prepared.Execute(t.Context())
			require.NoError(t, err)
			require.NoError(t, prepared.Close())
			assert.Equal(t, planned.List, r.Original.List)
			require.Len(t, r.Original.Signatures, len(planned.Signatures))
			for i, s := range planned.Signatures {
				assert.Equal(t, []any{s.Of, string(s.Kind)}, []any{r.Original.Signatures[i].Of, r.Original.Signatures[i].Kind})
			}
			if r.Original.Form == copy.ArtifactForm {
				assert.LessOrEqual(t, r.BlobsCopied, prepared.Plan().Blobs)
				assert.LessOrEqual(t, r.BytesCopied, prepared.Plan().Bytes)
			}
			v := verify()
			assert.Empty(t, v.Violations)
			assert.Equal(t, 5, v.Attached)

			if place, ok := dst.(copytest.RegistryPlace); ok {
				require.True(t, place.DeleteManifest(place.Repo, r.Original.Digest))
				what := map[string]int{}
				for _, violation := range verify().Violations {
					assert.Equal(t, planned.Digest, violation.Digest)
					what[violation.What]++
				}
				assert.Equal(t, 1, what["manifest"])
			}
		})
	}
}
