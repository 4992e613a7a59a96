package registries

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// originalHabits are habits that concern the original that travels along with a stripped list.
var originalHabits = []habit{
	{"gitlab-original-as-a-plain-image", func(t *testing.T) {
		o := copytest.GitLab()
		o.TypePolicy = registrytest.GitLabTypes(simpleSigning, copytest.BundleType)
		r, at := plainOriginal(t, o)
		assert.Equal(t, []copy.OriginalForm{copy.PlainForm}, formsOf(r))
		assert.Equal(t, []string{strings.Replace(r.DestinationDigest.String(), ":", "-", 1) + ".original"}, at)
	}},
	{"quay-original-as-a-plain-image", func(t *testing.T) {
		r, at := plainOriginal(t, registrytest.Options{TypePolicy: registrytest.QuayTypes(map[string][]string{
			imgspecv1.MediaTypeImageConfig: {simpleSigning}, imgspecv1.MediaTypeEmptyJSON: {copytest.BundleType},
		})})
		assert.Equal(t, []copy.OriginalForm{copy.PlainForm}, formsOf(r))
		assert.Empty(t, at)
	}},
	{"original-by-the-referrers-tag", func(t *testing.T) {
		r, at := plainOriginal(t, registrytest.Options{NoReferrers: true})
		assert.Equal(t, []copy.OriginalForm{copy.ArtifactForm}, formsOf(r))
		assert.Equal(t, []string{strings.Replace(r.DestinationDigest.String(), ":", "-", 1)}, at)
	}},
	{"gitlab-original-after-its-list", originalAfterItsList},
	{"ecr-original-refused", func(t *testing.T) {
		refusedOriginal(t, registrytest.Options{TypePolicy: registrytest.ECRTypes}, "UNSUPPORTED")
	}},
	{"gitlab-original-of-a-docker-list", func(t *testing.T) { refusedOriginal(t, copytest.GitLab(), "MANIFEST_INVALID") }},
	{"original-refused-for-another-reason", originalRefusedOtherwise},
}

const simpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"

// withOriginal are options that strip a list to two platforms, and attach its original.
func withOriginal() copy.Options {
	return copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: copy.StripSparseManifestList, AttachOriginal: true,
	}
}

// signedSource has a list that is signed in both of cosign's formats.
func signedSource(t *testing.T) copytest.RegistryPlace {
	src := registrytest.Start(t, registrytest.Options{})
	imagetest.PushSigned(src, "app", imagetest.SignedTags, imagetest.SignedBundles)
	return copytest.RegistryAt(t, src, "app")
}

func isPut(q registrytest.Request) bool {
	return q.Method == http.MethodPut && q.Kind == registrytest.KindManifest
}

// plainOriginal copies twice with one Copier, and once with another. All is found by those who look
// for it, and the tag comes last. What a registry refused is not tried again, and what is there is
// left alone. It returns the first report, and the tags that list what was attached.
func plainOriginal(t *testing.T, o registrytest.Options) (r *copy.Report, tags []string) {
	e := copytest.NewEnv(t)
	var refused atomic.Int64
	if policy := o.TypePolicy; policy != nil {
		o.TypePolicy = func(types registrytest.Types) registrytest.Answer {
			a := policy(types)
			if a.Status != 0 && types.Artifact == original.ArtifactType {
				refused.Add(1)
			}
			return a
		}
	}
	src, dst := signedSource(t), copytest.RegistryAt(t, registrytest.Start(t, o), "app")
	c := e.Copier(copy.Options{})
	r, err := e.ImageWith(t.Context(), c, dst.Ref("v1"), src.Ref("v1"), withOriginal())
	require.NoError(t, err)
	stored := dst.History("app")
	assert.Equal(t, "v1", stored[len(stored)-1].Tag, "the tag comes last")
	dst.Check(imagetest.Want{
		Tag: "v1", Digest: r.DestinationDigest, Fixture: imagetest.SignedLists(), Original: imagetest.Top, OriginalSignatures: len(r.Original.Signatures),
	})

	found, err := c.AttachedOriginal(t.Context(), dst.Ref("v1"), &copy.ReadOptions{SystemContext: e.Sys, Side: copy.DestinationSide})
	require.NoError(t, err)
	assert.Empty(t, found.Warnings)
	var digests []digest.Digest
	for _, a := range found.Artifacts {
		digests = append(digests, a.Digest)
	}
	want := []digest.Digest{r.Original.Digest}
	for _, s := range r.Original.Signatures {
		want = append(want, s.Digest)
	}
	assert.ElementsMatch(t, want, digests)
	for _, tag := range found.Tags {
		tags = append(tags, tag.Tag)
	}

	before := refused.Load()
	assert.Equal(t, o.TypePolicy != nil, before > 0)
	other := withOriginal()
	other.InstancePlatforms = copytest.Platforms("linux/amd64")
	_, err = e.ImageWith(t.Context(), c, dst.Ref("v2"), src.Ref("v1"), other)
	require.NoError(t, err)
	assert.Equal(t, before, refused.Load(), "what was refused is not tried again")

	for _, again := range []*copy.Copier{c, e.Copier(copy.Options{})} {
		dst.ResetLog()
		second, err := e.ImageWith(t.Context(), again, dst.Ref("v1"), src.Ref("v1"), withOriginal())
		require.NoError(t, err)
		assert.False(t, second.Written)
		assert.Equal(t, copy.Present, second.Original.Outcome)
		assert.Equal(t, r.Original.Digest, second.Original.Digest)
		assert.Zero(t, dst.Count(isPut))
		heads := dst.Count(func(q registrytest.Request) bool {
			return q.Method == http.MethodHead && q.Ref == r.Original.Digest.String()
		})
		assert.Equal(t, 1, heads)
		if again == c {
			assert.Zero(t, dst.Count(func(q registrytest.Request) bool {
				return q.Method == http.MethodHead && q.Kind == registrytest.KindManifest && q.Status == http.StatusNotFound
			}), "the form is known")
		}
	}
	return r, tags
}

// formsOf returns the distinct forms of what was attached.
func formsOf(r *copy.Report) []copy.OriginalForm {
	forms := []copy.OriginalForm{r.Original.Form}
	for _, s := range r.Original.Signatures {
		if s.Form != forms[0] {
			forms = append(forms, s.Form)
		}
	}
	return forms
}

// originalAfterItsList: where the subject has to be there first, the list is stored by its digest,
// and what is attached to it is put again.
func originalAfterItsList(t *testing.T) {
	e := copytest.NewEnv(t)
	src := signedSource(t)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{RequireSubjects: true}), "app")
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
	require.NoError(t, err)
	assert.Equal(t, []copy.OriginalForm{copy.ArtifactForm}, formsOf(r))
	at := map[string]int{}
	for i, event := range dst.History("app") {
		if key := event.Tag + string(event.Digest); at[key] == 0 {
			at[key] = i
		}
	}
	list, tag, a := at[string(r.DestinationDigest)], at["v1"+string(r.DestinationDigest)], at[string(r.Original.Digest)]
	assert.Less(t, list, a)
	assert.Less(t, a, tag)
}

// refusedOriginal: what is taken in no form is an error with both answers, and the tag stays.
func refusedOriginal(t *testing.T, o registrytest.Options, says string) {
	e := copytest.NewEnv(t)
	src := signedSource(t)
	imagetest.DockerList().PushTo(src.Registry, "app", "docker", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
	options := withOriginal()
	tag := "v1"
	if o.NoDockerSubjects {
		tag, options.InstancePlatforms = "docker", copytest.Platforms("linux/arm64")
	}
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref(tag), options)
	var refused *copy.OriginalRefusedError
	require.ErrorAs(t, err, &refused)
	for _, refusal := range []error{refused.Refusal, refused.PlainRefusal} {
		require.ErrorContains(t, refusal, says)
	}
	assert.Equal(t, original.ArtifactType, refused.ArtifactType)
	assert.NotEqual(t, src.Top(tag), refused.List)
	assert.Empty(t, dst.Top("v1"))

	// Without it, an unsigned list is stripped, and a signed one is not.
	options.AttachOriginal, options.ListSignatures = false, copy.GuardListSignatures
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref(tag), options)
	if tag == "docker" {
		require.NoError(t, err)
		return
	}
	var locked *copy.CannotModifyError
	require.ErrorAs(t, err, &locked)
	assert.Empty(t, dst.Top("v1"))
}

// originalRefusedOtherwise: a refusal that is not about what an artifact is ends the copy; nothing
// is tried in another form.
func originalRefusedOtherwise(t *testing.T) {
	e := copytest.NewEnv(t)
	src := signedSource(t)
	for name, answer := range map[string]registrytest.Answer{
		"denied":    registrytest.Fail(http.StatusForbidden, "DENIED", "requested access to the resource is denied"),
		"too large": registrytest.FailHTML(http.StatusRequestEntityTooLarge),
		"broken":    registrytest.Fail(http.StatusInternalServerError, "UNKNOWN", "unknown error"),
	} {
		var plain atomic.Int64
		o := registrytest.Options{TypePolicy: func(types registrytest.Types) registrytest.Answer {
			switch {
			case types.Artifact == original.ArtifactType:
				return answer
			case types.Subject && types.Config == imgspecv1.MediaTypeImageConfig:
				plain.Add(1)
			}
			return registrytest.Answer{}
		}}
		dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), withOriginal())
		require.Error(t, err, name)
		var refused *copy.OriginalRefusedError
		require.NotErrorAs(t, err, &refused, name)
		var failed *copy.Error
		require.ErrorAs(t, err, &failed, name)
		assert.Equal(t, copy.DestinationSide, failed.Side, name)
		assert.Empty(t, dst.Top("v1"), name)
		assert.Zero(t, plain.Load(), name)
	}
}
