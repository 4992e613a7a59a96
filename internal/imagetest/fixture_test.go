package imagetest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/pkg/compression"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// foreign makes a Windows image whose base is not distributed.
func foreign() *Fixture {
	f := New()
	f.Layer("windows", Foreign("https://example.com/windows"))
	f.Layer("app")
	f.Image("A", Platform("windows/amd64"), OSVersion("10.0.17763.1"), OSFeatures("win32k"), Layers("windows", "app"))
	f.List(Top, Entries("A"))
	return f
}

// everyKind makes a list with children of every kind.
func everyKind() *Fixture {
	f := New()
	f.Layer("gzip", File("a", "1"), File("b", "2"))
	f.Layer("plain", Uncompressed())
	f.Layer("zstd", Zstd(), Random(1, 300_000))
	f.Image("oci", Platform("linux/amd64"), Layers("gzip", "plain", "zstd"), Indent("\t"), Unknown("x", `{"b":1.50,"a":[]}`))
	f.Image("docker", Platform("linux/arm/v7"), Layers("gzip", "plain"), Docker(), Indent("   "))
	f.Artifact("chart")
	f.Artifact("empty", ArtifactType("application/x"), Config("application/vnd.oci.empty.v1+json", []byte("{}")), Layers(), Subject("oci"))
	f.Attestation("att", "oci")
	f.List("nested", Entries("oci"), NoMediaType(), Annotation("k", "v"))
	f.List(Top, Entries("oci", "docker", "chart", "empty", "nested", "att"), Entry("oci",
		Platform("linux/arm64/v8"), OSFeatures("a", "b"), Annotation("k", "<v>"), Unknown("x", "null"), ArtifactType("application/y")))
	return f
}

func TestDocuments(t *testing.T) {
	f := everyKind()
	content, mediaType := f.Document(Top)
	assert.Equal(t, ociIndex, mediaType)
	assert.Equal(t, digest.FromBytes(content), f.Digest(Top))
	var index imgspecv1.Index
	require.NoError(t, json.Unmarshal(content, &index))

	entry := func(name string, d imgspecv1.Descriptor) imgspecv1.Descriptor {
		_, d.MediaType = f.Document(name)
		d.Digest, d.Size = f.Digest(name), f.Size(name)
		return d
	}
	assert.Equal(t, []imgspecv1.Descriptor{
		entry("oci", imgspecv1.Descriptor{Platform: &imgspecv1.Platform{OS: "linux", Architecture: "amd64"}}),
		entry("docker", imgspecv1.Descriptor{Platform: &imgspecv1.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}}),
		entry("chart", imgspecv1.Descriptor{}),
		entry("empty", imgspecv1.Descriptor{ArtifactType: "application/x"}),
		entry("nested", imgspecv1.Descriptor{}),
		entry("att", imgspecv1.Descriptor{
			Platform: &imgspecv1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{
				"vnd.docker.reference.type":   "attestation-manifest",
				"vnd.docker.reference.digest": f.Digest("oci").String(),
			},
		}),
		entry("oci", imgspecv1.Descriptor{
			Platform:     &imgspecv1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8", OSFeatures: []string{"a", "b"}},
			Annotations:  map[string]string{"k": "<v>"},
			ArtifactType: "application/y",
		}),
	}, index.Manifests)
	assert.Contains(t, string(content), `"k":"<v>"`)
	assert.Contains(t, string(content), `"x":null`)

	oci, _ := f.Document("oci")
	assert.Contains(t, string(oci), "\n\t\"x\": {\n\t\t\"b\": 1.50,\n\t\t\"a\": []\n\t}\n}")
	nested, _ := f.Document("nested")
	assert.NotContains(t, string(nested), ociIndex)
	assert.Contains(t, string(nested), `"annotations":{"k":"v"}`)
	empty, _ := f.Document("empty")
	var artifact imgspecv1.Manifest
	require.NoError(t, json.Unmarshal(empty, &artifact))
	assert.Equal(t, f.Digest("oci"), artifact.Subject.Digest)
	assert.Empty(t, artifact.Layers)

	docker, _ := f.Document("docker")
	assert.NotContains(t, string(docker), "vnd.oci")
	windows, _ := foreign().Document("A")
	assert.Contains(t, string(windows), `"urls":["https://example.com/windows"]`)
	assert.Contains(t, string(foreign().Content("A.config")), `"os.version":"10.0.17763.1","os.features":["win32k"]`)
}

func TestNamesAndDigests(t *testing.T) {
	f := Nested()
	for _, name := range []string{Top, "inner", "arm/v6", "base", "arm/v6.config"} {
		assert.Equal(t, name, f.Name(f.Digest(name)))
	}
	unknown := digest.FromString("unknown")
	assert.Equal(t, unknown.String(), f.Name(unknown))
	assert.Equal(t, unknown.String(), (*Fixture)(nil).Name(unknown))
	f.Layer("other", File("etc/os-release", "NAME=test\n"))
	assert.Equal(t, "base", f.Name(f.Digest("other")), "the first name")

	assert.Equal(t, f.Digests(Top, "amd64", "inner", "arm64", "innermost", "arm/v7", "arm/v6", "s390x"), f.Manifests(Top))
	assert.Equal(t, f.Digests("arm64.config", "base", "arm64.app", "arm/v7.config", "arm/v7.app", "arm/v6.config", "arm/v6.app"),
		f.Blobs("inner"))
	assert.Equal(t, parts{
		documents: []string{Top, "amd64", "s390x"},
		blobs:     []string{"amd64.config", "amd64.app", "s390x.config", "s390x.app"},
	}, f.tree(Top, []string{"inner", "base"}))
}

// TestLayers reads layers of every encoding with the ecosystem's decompressors, and compares with
// what the config says.
func TestLayers(t *testing.T) {
	for name, c := range map[string]struct {
		encoding   []LayerOption
		compressed string
	}{
		"gzip":  {nil, "gzip"},
		"plain": {[]LayerOption{Uncompressed()}, ""},
		"zstd":  {[]LayerOption{Zstd()}, "zstd"},
	} {
		for content, files := range map[string]map[string]int64{
			"small": {"a/b.txt": 5},
			"large": {"random.bin": 300_001},
			// With header and end of the archive, exactly two zstd blocks.
			"even": {"random.bin": 2*zstdBlock - 512 - 1024},
		} {
			t.Run(name+"/"+content, func(t *testing.T) {
				f := New()
				options := c.encoding
				for path, size := range files {
					if path == "random.bin" {
						options = append(options, Random(7, size))
					} else {
						options = append(options, File(path, "hello"))
					}
				}
				f.Layer("layer", options...)
				f.Image("image", Layers("layer"))
				blob := f.Content("layer")
				assert.Equal(t, f.Digest("layer"), digest.FromBytes(blob))
				assert.Equal(t, f.Size("layer"), int64(len(blob)))

				algorithm, decompress, _, err := compression.DetectCompressionFormat(bytes.NewReader(blob))
				require.NoError(t, err)
				assert.Equal(t, c.compressed, algorithm.Name())
				archive := blob
				if decompress != nil {
					r, err := decompress(bytes.NewReader(blob))
					require.NoError(t, err)
					archive, err = io.ReadAll(r)
					require.NoError(t, err)
				}
				assert.Contains(t, string(f.Content("image.config")), `"diff_ids":["`+digest.FromBytes(archive).String()+`"]`)
				assert.Equal(t, files, filesIn(t, archive))
			})
		}
	}
	f := New()
	f.Layer("one", Random(1, 100_000))
	f.Layer("two", Random(2, 100_000))
	assert.NotEqual(t, f.Digest("one"), f.Digest("two"))
	assert.Less(t, f.Size("one"), int64(103_000), "as documented")
}

func filesIn(t *testing.T, archive []byte) map[string]int64 {
	files := map[string]int64{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, r)
		require.NoError(t, err)
		files[header.Name] = n
	}
}

// TestEntryPlatform says what an entry makes of its child's platform.
func TestEntryPlatform(t *testing.T) {
	f := New()
	f.Image("image", Platform("windows/amd64"), OSVersion("1"), Layers())
	f.Image("none", Layers())
	f.List("list", Entries("image", "none"), Entry("image", OSVersion("2")), Entry("image", Platform("linux/arm/v6")),
		Entry("image", NoPlatform()), Entry("none", Platform("linux/s390x")))
	content, _ := f.Document("list")
	var index imgspecv1.Index
	require.NoError(t, json.Unmarshal(content, &index))
	var platforms []*imgspecv1.Platform
	for _, entry := range index.Manifests {
		platforms = append(platforms, entry.Platform)
	}
	assert.Equal(t, []*imgspecv1.Platform{
		{OS: "windows", Architecture: "amd64", OSVersion: "1"}, nil, {OS: "windows", Architecture: "amd64", OSVersion: "2"},
		{OS: "linux", Architecture: "arm", Variant: "v6"}, nil, {OS: "linux", Architecture: "s390x"},
	}, platforms)
}

func TestDocumentsAsTheCallerWritesThem(t *testing.T) {
	f := New()
	f.Image("image", Reformat(func(b []byte) []byte { return append(b, '\n') }))
	image, _ := f.Document("image")
	assert.True(t, bytes.HasSuffix(image, []byte("}\n")))
	f.Raw("raw", ociIndex, []byte("{ }"), "image", "image.layer")
	raw, mediaType := f.Document("raw")
	assert.Equal(t, "{ }", string(raw))
	assert.Equal(t, ociIndex, mediaType)
	assert.Equal(t, f.Digests("raw", "image"), f.Manifests("raw"))
	assert.Equal(t, f.Digests("image.layer", "image.config"), f.Blobs("raw"))
}

func TestSeededLayers(t *testing.T) {
	f, reg := Platforms(2, 2, 10_000, SeededLayers(), SharedBase()), registrytest.Start(t, registrytest.Options{})
	f.PushTo(reg, "repo", "v1", Top)
	CheckRegistry(t, reg, "repo", Want{Tag: "v1", Fixture: f, Only: true})
	assert.Len(t, f.Blobs(Top), 5)
	assert.EqualValues(t, 10_000, f.Size("arm64.1"))
	assert.Equal(t, f.Digest("arm64.1"), digest.FromBytes(f.Content("arm64.1")))
}

func TestMisusePanics(t *testing.T) {
	f := New()
	f.Layer("layer")
	f.Layer("zstd", Zstd())
	f.Image("image", Layers("layer"))
	for message, misuse := range map[string]func(){
		`the name "image" is taken or empty`:                  func() { f.List("image") },
		`the name "" is taken or empty`:                       func() { f.Layer("") },
		`nothing is called "x"`:                               func() { f.Digest("x") },
		`no blob is called "image"`:                           func() { f.Image("other", Layers("image")) },
		`no image or list is called "layer"`:                  func() { f.List("list", Subject("layer")) },
		`Layers does not apply to a list`:                     func() { f.List("list", Layers("layer")) },
		`Docker does not apply to an entry`:                   func() { Entry("image", Docker()) },
		`"linux" is no platform`:                              func() { Platform("linux") },
		`Docker images have no layers with encoding "zstd"`:   func() { f.Image("docker", Docker(), Layers("zstd")) },
		`there are only 16 platforms`:                         func() { Platforms(17, 1, 1) },
		`"image" is itself omitted`:                           func() { _ = f.WriteLayout(t.TempDir(), "v1", "image", "image") },
		`"image" is itself omitted, and cannot be tagged`:     func() { f.PushTo(nil, "repo", "v1", "image", "image") },
		`not JSON: json: error calling MarshalJSON for type `: func() { f.List("list", Unknown("x", "{")) },
	} {
		func() {
			defer func() { assert.Contains(t, recover(), "imagetest: "+message) }()
			misuse()
		}()
	}
}
