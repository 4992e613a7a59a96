package differential

import (
	"net/http"
	"slices"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// sparseStays is a deliberate difference: upstream converts any list that is refused.
const sparseStays = "A sparse list that is refused is not converted"

// refusing is a registry that does not know some media types.
func refusing(code, message string, mediaTypes ...string) registrytest.Options {
	return registrytest.Options{Script: registrytest.Only(
		registrytest.Matching(http.MethodPut, registrytest.KindManifest),
		func(_ int, req *http.Request) registrytest.Answer {
			if slices.Contains(mediaTypes, req.Header.Get("Content-Type")) {
				return registrytest.Fail(http.StatusBadRequest, code, message)
			}
			return registrytest.Answer{}
		},
	)}
}

// TestRejectedTypesLikeUpstream writes to registries that do not know the formats of what they get:
// it is converted, if it may be, as upstream does.
func TestRejectedTypesLikeUpstream(t *testing.T) {
	withoutSchema1 := &types.SystemContext{DockerDisableDestSchema1MIMETypes: true}
	invalid := func(mediaTypes ...string) registrytest.Options {
		return refusing("MANIFEST_INVALID", "manifest invalid", mediaTypes...)
	}
	oci, docker := imagetest.Platforms(3, 1, 100), imagetest.DockerList()
	some := func(a copy.SparseManifestListAction) copy.Options {
		return copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64"), SparseManifestListAction: a}
	}
	selections := map[string]copy.Options{
		"all": {ImageListSelection: copy.CopyAllImages}, "system": {}, "strip": some(copy.StripSparseManifestList), "keep": some(copy.KeepSparseManifestList),
		"digests stay": {ImageListSelection: copy.CopyAllImages, PreserveDigests: true}, "one, digest stays": {PreserveDigests: true},
	}
	for name, c := range map[string]struct {
		fixture  *imagetest.Fixture
		registry registrytest.Options
		converts []string // the selections that succeed
	}{
		"no OCI":            {oci, invalid(imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex), []string{"all", "system", "strip", "keep"}},
		"no OCI, in words":  {oci, refusing("UNSUPPORTED", "Invalid JSON syntax", imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex), []string{"all", "system", "strip", "keep"}},
		"no OCI lists":      {oci, invalid(imgspecv1.MediaTypeImageIndex), []string{"all", "system", "strip", "one, digest stays"}}, // but not "keep": sparseStays
		"no lists":          {oci, invalid(imgspecv1.MediaTypeImageIndex, manifest.MediaTypeDockerList), []string{"system", "one, digest stays"}},
		"no Docker":         {docker, invalid(manifest.MediaTypeDockerManifest, manifest.MediaTypeDockerList), []string{"all", "system", "strip", "keep"}},
		"nothing":           {oci, invalid(imgspecv1.MediaTypeImageIndex, manifest.MediaTypeDockerList, imgspecv1.MediaTypeImageManifest, manifest.MediaTypeDockerManifest), nil},
		"no OCI, denied":    {oci, refusing("DENIED", "denied", imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex), nil},
		"no OCI, but there": {oci, invalid(), []string{"all", "system", "strip", "keep", "digests stay", "one, digest stays"}},
	} {
		for selection, o := range selections {
			t.Run(name+"/"+selection, func(t *testing.T) {
				o.DestinationCtx = withoutSchema1
				d := newFixedCase(t, "docker", o)
				d.registry = c.registry
				src := copytest.Places["layout"](t)
				src.Push(c.fixture, "v1", imagetest.Top)
				theirs, ours := d.upstreams(src.Ref("v1")), d.ours(src.Ref("v1"), d.options)
				if !slices.Contains(c.converts, selection) {
					require.Error(t, ours.err)
					return
				}
				require.NoError(t, ours.err)
				assert.Empty(t, d.compare(theirs, ours))
			})
		}
	}
}
