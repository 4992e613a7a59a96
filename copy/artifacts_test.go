package copy_test

import (
	"fmt"
	"net/http"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// artifacts makes what is no image, and what looks like it and is one. names says which is which.
func artifacts() (f *imagetest.Fixture, names map[string]bool) {
	f = imagetest.New()
	config := func(mediaType string) imagetest.Option {
		return imagetest.Config(mediaType, fmt.Appendf(nil, `{"this":%q}`, mediaType))
	}
	f.Artifact("chart")
	f.Artifact("chart of Helm 4", imagetest.NoMediaType())
	f.Artifact("policy", config("application/vnd.cncf.openpolicyagent.config.v1+json"))
	f.Artifact("flux", config("application/vnd.cncf.flux.config.v1+json"))
	f.Artifact("model", config("application/vnd.cncf.model.config.v1+json"), imagetest.ArtifactType("application/vnd.cncf.model.manifest.v1+json"))
	f.Artifact("empty", config(imgspecv1.MediaTypeEmptyJSON), imagetest.ArtifactType("application/vnd.example.flag"))
	f.Image("plugin", imagetest.Docker(), config("application/vnd.docker.plugin.v1+json"))

	f.Image("image", imagetest.Platform("linux/s390x"))
	f.Image("image of ko", imagetest.Platform("linux/s390x"), imagetest.ArtifactType(imgspecv1.MediaTypeImageConfig))
	f.Image("image with a type", imagetest.Platform("linux/s390x"), imagetest.ArtifactType("application/vnd.example.flag"))
	f.Image("image without a platform", imagetest.NoPlatform())
	f.Image("old image", imagetest.Docker(), config("application/octet-stream"))
	return f, map[string]bool{
		"chart": true, "chart of Helm 4": true, "policy": true, "flux": true, "model": true, "empty": true, "plugin": true,
		"image": false, "image of ko": false, "image with a type": false, "image without a platform": false, "old image": false,
	}
}

// TestArtifactsUnderPlatforms copies artifacts whatever platforms are asked for, and images only if
// they match, or if that is not to be checked.
func TestArtifactsUnderPlatforms(t *testing.T) {
	e := copytest.NewEnv(t)
	f, names := artifacts()
	platforms := copytest.Platforms("linux/amd64")
	for name, artifact := range names {
		t.Run(name, func(t *testing.T) {
			src, dst := copytest.Places["registry"](t).(copytest.RegistryPlace), copytest.Places["registry"](t).(copytest.RegistryPlace)
			src.Push(f, "v1", name)
			o := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: platforms}
			if artifact {
				o.RequiredPlatforms = platforms
			}
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			if !artifact {
				var none *copy.NoMatchError
				require.ErrorAs(t, err, &none)
				assert.True(t, none.Single)
				assert.Empty(t, dst.Snapshot(dst.Repo))
				o.SingleImage = copy.CopySingleImage
				r, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			} else if err == nil {
				blobs := registrytest.Is(http.MethodGet, registrytest.KindBlob)
				assert.Equal(t, len(f.Blobs(name)), src.Count(blobs), "the config is not read for a platform")
			}
			require.NoError(t, err)
			assert.Equal(t, artifact, r.Plan.Image.Kind == copy.KindArtifact)
			assert.Equal(t, r.Plan.Image.Kind, r.Instances[0].Kind)
			assert.Empty(t, r.Warnings)
			dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(name), Fixture: f})

			v, err := copy.Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(o)})
			require.NoError(t, err)
			assert.Empty(t, v.Violations)
			found, err := copy.Inspect(t.Context(), dst.Ref("v1"), &copy.ReadOptions{SystemContext: e.Sys})
			require.NoError(t, err)
			assert.Equal(t, r.Plan.Image.Kind, found.Kind)
			if artifact {
				assert.NotEmpty(t, found.ArtifactType)
				assert.Empty(t, found.Image.Platform)
			}
		})
	}
}

// TestPlatformlessEntries are left behind where platforms select, or kept, with what describes
// them; either is counted, and is what Verify looks for.
func TestPlatformlessEntries(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.New()
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	f.Image("s390x", imagetest.Platform("linux/s390x"))
	f.Image("plain", imagetest.NoPlatform())
	f.Attestation("provenance", "plain")
	f.Artifact("chart")
	f.List("inner", imagetest.Entries("chart", "s390x"))
	f.List(imagetest.Top, imagetest.Entries("amd64", "plain", "provenance", "inner"))
	without := []string{"plain", "provenance", "chart"}
	for action, counts := range map[copy.PlatformlessAction][]int{copy.StripPlatformlessEntries: {0, 2}, copy.KeepPlatformlessEntries: {2, 0}} {
		src := copytest.Places["registry"](t)
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
		src.Push(f, "v1", imagetest.Top)
		o := copy.Options{
			ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"),
			PlatformlessEntries: action, SparseManifestListAction: copy.StripSparseManifestList,
		}
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, counts, []int{r.PlatformlessKept, r.PlatformlessLeft})
		want := imagetest.Want{Tag: "v1", Fixture: f, Present: []string{"amd64"}, Absent: append([]string{"s390x"}, without...)}
		if action == copy.KeepPlatformlessEntries {
			want.Present, want.Absent = append(want.Present, without...), []string{"s390x"}
			assert.Empty(t, r.Warnings)
		} else {
			assert.Equal(t, []string{"entries without a platform are left behind (2)"}, r.Warnings)
		}
		dst.Check(want)
		for _, i := range r.Instances {
			assert.Equal(t, i.Digest == f.Digest("chart") && action == copy.KeepPlatformlessEntries, i.Kind == copy.KindArtifact, i.Platform)
		}
		v, err := copy.Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(o)})
		require.NoError(t, err)
		assert.Empty(t, v.Violations)
	}
}
