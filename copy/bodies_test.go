package copy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestBodiesBySHA512 has a list, named by its SHA-512, whose entries name their images by SHA-512,
// say of one that it is a list and of a list that it is an image, and lack what they should have.
func TestBodiesBySHA512(t *testing.T) {
	e := copytest.NewEnv(t)
	src, dst := registrytest.Start(t, copytest.DeclaredAs(imgspecv1.MediaTypeImageIndex, manifest.MediaTypeDockerList)), registrytest.Start(t, registrytest.Options{})
	config := src.PutBlob("app", []byte("{}"))
	put := func(mediaType, body string) string {
		d := digest.SHA512.FromString(body)
		src.PutManifest("app", d.String(), mediaType, []byte(body))
		return d.String()
	}
	entry := func(mediaType, d string, size int, more string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d%s}`, mediaType, d, size, more)
	}
	image := func(name string) string {
		return fmt.Sprintf(`{"mediaType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},"annotations":{"name":%q,"a":null,"twice":"1","twice":"2"}}`,
			imgspecv1.MediaTypeImageManifest, config, name)
	}
	list := func(entries ...string) string { return `{"manifests":[` + strings.Join(entries, ",") + `]}` }
	amd64, arm64 := image("amd64"), image("arm64")
	inner := list(entry(imgspecv1.MediaTypeImageManifest, put(imgspecv1.MediaTypeImageManifest, arm64), len(arm64), `,"platform":{"os":"linux","architecture":"arm64","variant":null}`))
	top := list(
		entry(imgspecv1.MediaTypeImageIndex, put(imgspecv1.MediaTypeImageManifest, amd64), len(amd64), `,"platform":{"os":"linux","architecture":"amd64"}`),
		entry(imgspecv1.MediaTypeImageManifest, put(imgspecv1.MediaTypeImageIndex, inner), len(inner), ""),
	)
	ref := func(r *registrytest.Registry, d string) reference.Canonical {
		named, err := reference.ParseNormalizedNamed(r.Host() + "/app@" + d)
		require.NoError(t, err)
		return named.(reference.Canonical)
	}
	from, err := docker.NewReference(ref(src, put(imgspecv1.MediaTypeImageIndex, top)))
	require.NoError(t, err)
	for _, action := range []copy.SparseManifestListAction{copy.KeepSparseManifestList, copy.StripSparseManifestList} {
		r, err := e.Image(t.Context(), copytest.RegistryRef(t, dst, "app", "v1"), from, copy.Options{ImageListSelection: copy.CopyAllImages, SparseManifestListAction: action})
		require.NoError(t, err)
		assert.Equal(t, digest.SHA512.FromString(top), r.DestinationDigest)
	}
	for _, body := range []string{amd64, arm64, inner} {
		got, mediaType, ok := dst.Manifest("app", digest.SHA512.FromString(body).String())
		require.True(t, ok)
		assert.Equal(t, body, string(got))
		assert.Equal(t, manifest.TypeOf(got, ""), mediaType)
	}
	got, _, _ := dst.Manifest("app", "v1")
	assert.Equal(t, top, string(got))

	// Stripped at both levels, by what the documents are.
	r, err := e.Image(t.Context(), copytest.RegistryRef(t, dst, "app", "v2"), from, copy.Options{
		ImageListSelection: copy.CopySpecificImages, Instances: []digest.Digest{digest.SHA512.FromString(inner)}, SparseManifestListAction: copy.StripSparseManifestList,
	})
	require.NoError(t, err)
	assert.Equal(t, digest.SHA512, r.DestinationDigest.Algorithm())
	got, _, _ = dst.Manifest("app", "v2")
	assert.Equal(t, list(entry(imgspecv1.MediaTypeImageManifest, digest.SHA512.FromString(inner).String(), len(inner), "")), string(got))
}

// TestBodiesInLayouts has an index.json that states wrong types. Where it states what is no
// manifest's, upstream opens no layout, and nor does this package.
func TestBodiesInLayouts(t *testing.T) {
	f := imagetest.Nested()
	for _, wrong := range []string{manifest.MediaTypeDockerList, imgspecv1.MediaTypeImageManifest} {
		e := copytest.NewEnv(t)
		src, dst := copytest.Places["layout"](t).(copytest.LayoutPlace), copytest.Places["registry"](t)
		src.Push(f, "v1", imagetest.Top)
		file := filepath.Join(src.Dir, "index.json")
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		var index map[string]any
		require.NoError(t, json.Unmarshal(content, &index))
		index["manifests"].([]any)[0].(map[string]any)["mediaType"] = wrong
		content, err = json.Marshal(index)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, content, 0o600))

		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err, wrong)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
		copytest.CheckDeclared(t, dst.(copytest.RegistryPlace))
		assert.Equal(t, []string{fmt.Sprintf("declared as %s, and copied as what it is, %s: %s", wrong, imgspecv1.MediaTypeImageIndex, f.Digest(imagetest.Top))}, r.Warnings)
	}
}

// TestBodiesInDirectories carries documents through a directory, which does not say what they are.
func TestBodiesInDirectories(t *testing.T) {
	for name, f := range map[string]*imagetest.Fixture{
		"OCI": copytest.EveryDocument(imagetest.NoMediaType(), copytest.Without(`"schemaVersion":2,`)), "Docker": copytest.EveryDocument(imagetest.Docker(), copytest.Without(`"schemaVersion":2,`)),
		"no layers": copytest.EveryDocument(copytest.Without(`,"layers":[]`)),
	} {
		e := copytest.NewEnv(t)
		src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t)
		src.Push(f, "v1", imagetest.Top)
		dir, err := directory.NewReference(filepath.Join(t.TempDir(), "dir"))
		require.NoError(t, err)
		_, err = e.Image(t.Context(), dir, src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err, name)
		_, err = e.Image(t.Context(), dst.Ref("v1"), dir, copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err, name)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true, Irregular: true})
		copytest.CheckDeclared(t, dst.(copytest.RegistryPlace))
	}
}

// TestBodiesOfReferrers has what is attached declared as something else, and irregular.
func TestBodiesOfReferrers(t *testing.T) {
	f := copytest.AttachedFixture()
	for _, api := range []bool{true, false} {
		o := copytest.DeclaredAs(imgspecv1.MediaTypeImageIndex, manifest.MediaTypeDockerList, imgspecv1.MediaTypeImageManifest, manifest.MediaTypeDockerManifest)
		o.NoReferrers = !api
		e := copytest.NewEnv(t)
		src, dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app"), copytest.Places["registry"](t).(copytest.RegistryPlace)
		copytest.PushAttached(t, f, src, api)
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
		require.NoError(t, err)
		for _, name := range []string{"sbom-amd64", "sig-sbom-amd64", "sig-top"} {
			assert.NotNil(t, copytest.ManifestAt(dst, f.Digest(name)), name)
		}
		copytest.CheckDeclared(t, dst)
		assert.Contains(t, strings.Join(r.Warnings, "\n"), "declared as "+manifest.MediaTypeDockerManifest)
	}
}
