package copy_test

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestSignatureThatIsTooLarge does not travel along: it is void, and a guard does not let the list
// change for it.
func TestSignatureThatIsTooLarge(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	reg := registrytest.Start(t, registrytest.Options{})
	f.PushTo(reg, "app", "v1", imagetest.Top)
	src, dst := copytest.RegistryAt(t, reg, "app"), copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	tag := digesttag.Name(f.Digest(imagetest.Top), digesttag.Signatures)
	config := reg.PutBlob("app", []byte("{}"))
	reg.PutManifest("app", tag, imgspecv1.MediaTypeImageManifest, fmt.Appendf(nil,
		`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":4194305}]}`,
		imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageConfig, config, digest.FromString("payload")))

	guarded := withOriginal()
	guarded.ListSignatures = copy.GuardListSignatures
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), guarded)
	var cannot *copy.CannotModifyError
	require.ErrorAs(t, err, &cannot)
	assert.Contains(t, cannot.Reason, "it is signed (tag "+tag+"), and its signatures would become invalid, and were not all read;")
	assert.Empty(t, dst.Manifests(dst.Repo))

	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
	require.NoError(t, err)
	assert.Equal(t, copy.Copied, r.Original.Outcome)
	assert.Empty(t, r.Original.Signatures)
	assert.Equal(t, []string{"signatures of the list " + f.Digest(imagetest.Top).String() + ": tag " + tag}, r.Void)
	require.Len(t, r.Warnings, 2)
	assert.Contains(t, r.Warnings[0]+r.Warnings[1], "is left out: ")
	assert.Contains(t, r.Warnings[0]+r.Warnings[1], "more than 4194304")
}

// TestStripOfWhatWasStripped: who strips a mirror's list again is told that the publisher's
// signatures are left behind, or is refused; who copies it as it is keeps them.
func TestStripOfWhatWasStripped(t *testing.T) {
	for name, options := range map[string]registrytest.Options{
		"API": {Strict: true}, "no API": {Strict: true, NoReferrers: true}, "plain images": {Strict: true, TypePolicy: registrytest.GitLabTypes()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := copytest.NewEnv(t)
			mirror := copytest.RegistryAt(t, registrytest.Start(t, options), "app")
			first, err := e.Image(t.Context(), mirror.Ref("v1"), signedSource(t, imagetest.SignedTags).Ref("v1"), withOriginal())
			require.NoError(t, err)
			left := "original attached by " + first.Original.Digest.String()
			for _, attach := range []bool{true, false} {
				for _, referrers := range []copy.ReferrerAction{copy.NoReferrers, copy.AllReferrers} {
					dst := copytest.RegistryAt(t, registrytest.Start(t, options), "app")
					o := withOriginal()
					o.InstancePlatforms, o.AttachOriginal, o.Referrers = copytest.Platforms("linux/amd64"), attach, referrers
					o.ListSignatures = copy.GuardListSignatures
					_, err := e.Image(t.Context(), dst.Ref("v1"), mirror.Ref("v1"), o)
					assert.ErrorContains(t, copytest.ErrorAs[*copy.CannotModifyError](t, err), left)
					o.ListSignatures = copy.WarnListSignatures
					r, err := e.Image(t.Context(), dst.Ref("v1"), mirror.Ref("v1"), o)
					require.NoError(t, err)
					if assert.Len(t, r.Warnings, 1) {
						assert.Contains(t, r.Warnings[0], left)
						assert.Contains(t, r.Warnings[0], "strip the list that this one was stripped from")
					}
				}
			}
			dst := copytest.RegistryAt(t, registrytest.Start(t, options), "app")
			r, err := e.Image(t.Context(), dst.Ref("v1"), mirror.Ref("v1"), copy.Options{
				ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, ListSignatures: copy.GuardListSignatures,
			})
			require.NoError(t, err)
			assert.Empty(t, r.Warnings)
			dst.Check(wantOriginal(imagetest.SignedLists(), imagetest.Top, 2))
		})
	}
}
