package differential

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	ociarchive "go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestErrorsLikeUpstreams fails in many ways, and asks both errors what programs ask upstream's.
// Where programs look for words, both have them.
func TestErrorsLikeUpstreams(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	always := func(a registrytest.Answer, method string, kind registrytest.Kind) registrytest.Options {
		return registrytest.Options{Script: registrytest.Only(registrytest.Matching(method, kind), func(int, *http.Request) registrytest.Answer { return a })}
	}
	registry := func(t *testing.T, o registrytest.Options) copytest.RegistryPlace {
		place := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
		place.Push(f, "v1", imagetest.Top)
		return place
	}
	from := func(o registrytest.Options, tag string) func(*testing.T) types.ImageReference {
		return func(t *testing.T) types.ImageReference { return registry(t, o).Ref(tag) }
	}
	good := from(registrytest.Options{}, "v1")
	to := func(o registrytest.Options) func(*testing.T) types.ImageReference {
		return func(t *testing.T) types.ImageReference {
			return copytest.RegistryAt(t, registrytest.Start(t, o), "new").Ref("v1")
		}
	}
	inLayout := func(t *testing.T) types.ImageReference { return copytest.Places["layout"](t).Ref("v1") }
	nowhere := func(t *testing.T) types.ImageReference {
		return copytest.DockerRef(t, "127.0.0.1:1/app:v1") // a port that the system gives to nobody
	}
	archive := func(t *testing.T, image string) types.ImageReference {
		c := newFixedCase(t, "", copy.Options{})
		c.from, c.fixture, c.source = "oci-archive", f, imagetest.Top
		ref, err := ociarchive.NewReference(strings.TrimSuffix(c.newSource().StringWithinTransport(), ":v1"), image)
		require.NoError(t, err)
		return ref
	}
	dir := func(t *testing.T, path string) types.ImageReference {
		ref, err := directory.NewReference(path)
		require.NoError(t, err)
		return ref
	}
	fail := registrytest.Fail
	for name, c := range map[string]struct {
		src, dst func(*testing.T) types.ImageReference
		options  copy.Options
		policy   signature.PolicyRequirement
		words    string // a pattern that both errors match
		finds    []string
	}{
		"no tag":        {src: from(registrytest.Options{}, "v2"), words: `initializing source docker://.*:v2:.*manifest unknown`, finds: []string{"manifest unknown"}},
		"no repository": {src: from(always(fail(404, "NAME_UNKNOWN", "repository name not known to registry"), "GET", registrytest.KindManifest), "v1"), words: "initializing source"},
		"no child": {src: func(t *testing.T) types.ImageReference {
			p := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			p.Push(f, "v1", imagetest.Top, "arm64")
			return p.Ref("v1")
		}, options: copy.Options{ImageListSelection: copy.CopyAllImages}, finds: []string{"manifest unknown"}},
		"access denied":  {src: from(always(fail(403, "DENIED", "not you"), "GET", registrytest.KindManifest), "v1"), words: "initializing source .*not you", finds: []string{"denied"}},
		"no credentials": {src: from(registrytest.Options{Auth: &registrytest.Auth{}}, "v1"), words: "initializing source"},
		"no token":       {src: from(registrytest.Options{Auth: &registrytest.Auth{Bearer: true}}, "v1"), words: "initializing source"},
		"broken source":  {src: from(always(fail(500, "UNKNOWN", "broken"), "GET", registrytest.KindManifest), "v1"), words: "initializing source"},
		"a page":         {src: from(always(registrytest.FailHTML(404), "GET", registrytest.KindManifest), "v1"), words: "initializing source .*reading manifest v1 in .*StatusCode: 404"},
		"nobody there":   {src: nowhere, words: "initializing source .*connection refused", finds: []string{"ECONNREFUSED", "*net.OpError", "*url.Error", "retryable"}},
		"not with TLS":   {src: good, options: copy.Options{SourceCtx: &types.SystemContext{}}, words: "server gave HTTP response to HTTPS client"},
		"no tag in layout": {src: func(t *testing.T) types.ImageReference {
			p := copytest.Places["layout"](t)
			p.Push(f, "v2", imagetest.Top)
			return p.Ref("v1")
		}, finds: []string{"layout.ImageNotFoundError"}},
		"no layout":         {src: inLayout, finds: []string{"fs.ErrNotExist"}},
		"no tag in archive": {src: func(t *testing.T) types.ImageReference { return archive(t, "v2") }, finds: []string{"archive.ImageNotFoundError"}},
		"no archive": {src: func(t *testing.T) types.ImageReference {
			ref, err := ociarchive.NewReference(filepath.Join(t.TempDir(), "none"), "v1")
			require.NoError(t, err)
			return ref
		}, finds: []string{"archive.ArchiveFileNotFoundError"}},
		"no directory": {src: func(t *testing.T) types.ImageReference { return dir(t, filepath.Join(t.TempDir(), "none")) }, finds: []string{"fs.ErrNotExist"}},
		"no images": {src: good, dst: func(t *testing.T) types.ImageReference {
			d := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(d, "mine"), nil, 0o600))
			return dir(t, d)
		}, words: "initializing destination", finds: []string{"directory.ErrNotContainerImageDir"}},
		"no layer":            {src: from(always(fail(404, "BLOB_UNKNOWN", "blob unknown to registry"), "GET", registrytest.KindBlob), "v1")},
		"upload denied":       {src: good, dst: to(always(fail(403, "DENIED", "not you"), "", registrytest.KindUpload)), words: "not you", finds: []string{"denied"}},
		"manifest denied":     {src: good, dst: to(always(fail(403, "DENIED", "not you"), "PUT", registrytest.KindManifest)), words: "not you", finds: []string{"denied"}},
		"denied, handed over": {src: good, dst: to(always(fail(403, "DENIED", "not you"), "PUT", registrytest.KindManifest)), options: copy.Options{ForceManifestMIMEType: manifest.MediaTypeDockerManifest}, words: "not you", finds: []string{"denied"}},
		"gone, handed over":   {src: from(always(registrytest.Fail(500, "UNKNOWN", "broken"), "GET", registrytest.KindBlob), "v1"), options: copy.Options{ForceManifestMIMEType: manifest.MediaTypeDockerManifest}, finds: []string{"docker.UnexpectedHTTPStatusError"}},
		"manifest invalid":    {src: good, dst: to(always(fail(400, "MANIFEST_INVALID", "manifest invalid"), "PUT", registrytest.KindManifest)), options: copy.Options{PreserveDigests: true}, words: "manifest invalid", finds: []string{"types.ManifestTypeRejectedError"}},
		"no such platform": {
			src: good, options: copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/mips")}, words: "no instances found for platform linux/mips",
		},
		"digests stay":          {src: good, options: copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"), SparseManifestListAction: copy.StripSparseManifestList, PreserveDigests: true}, words: "Instructed to preserve digests"},
		"no such system":        {src: good, options: copy.Options{SourceCtx: &types.SystemContext{OSChoice: "plan9"}}, words: "no image found in (manifest list|image index) for architecture .*, variant .*, OS .*"},
		"rejected":              {src: good, policy: signature.NewPRReject(), words: "Source image rejected: Running image docker://.*:v1 is rejected by policy", finds: []string{"signature.PolicyRequirementError"}},
		"rejected, handed over": {src: good, options: copy.Options{OciEncryptLayers: &[]int{}}, policy: signature.NewPRReject(), words: "Source image rejected: Running image docker://.*:v1 is rejected by policy"},
		"a signature is wanted": {src: good, policy: copytest.Must(signature.NewPRSignedByKeyData(signature.SBKeyTypeGPGKeys, []byte("key"), signature.NewPRMMatchExact())), words: "Source image rejected: A signature was required, but no signature exists"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newFixedCase(t, "", c.options)
			if c.policy != nil {
				d.e.Policy = d.e.NewPolicy(&signature.Policy{Default: signature.PolicyRequirements{c.policy}})
			}
			dst := c.dst
			if dst == nil {
				dst = inLayout
			}
			u, o := d.upstreamOptions(), d.e.Options(d.options)
			if sys := c.options.SourceCtx; sys != nil {
				own := *d.e.Sys
				own.DockerInsecureSkipTLSVerify = sys.DockerInsecureSkipTLSVerify
				if sys.OSChoice != "" {
					own.OSChoice, own.DockerInsecureSkipTLSVerify = sys.OSChoice, types.OptionalBoolTrue
				}
				u.SourceCtx, o.SourceCtx = &own, &own
			}
			src := c.src(t)
			_, theirs := upstream.Image(t.Context(), d.e.Policy, dst(t), src, u)
			_, ours := copy.Image(t.Context(), d.e.Policy, dst(t), src, o)
			require.Error(t, theirs)
			require.Error(t, ours)
			for name, check := range copytest.ErrorChecks {
				if check(theirs) {
					assert.True(t, check(ours), "%s: upstream %v\nours %v", name, theirs, ours)
				}
			}
			assert.Equal(t, copytest.Retryable(theirs), copytest.Retryable(ours), "retryable: upstream %v\nours %v", theirs, ours)
			for _, found := range c.finds {
				assert.True(t, copytest.ErrorChecks[found](ours), "%s: %v", found, ours)
			}
			assert.Regexp(t, regexp.MustCompile(c.words), theirs.Error(), "upstream")
			assert.Regexp(t, regexp.MustCompile(c.words), ours.Error())
		})
	}
}
