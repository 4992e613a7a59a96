package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func TestMain(m *testing.M) {
	os.Exit(hermetictest.Main(m.Run))
}

// testRelease is a release of this checkout that is made in a directory of its own.
func testRelease(t *testing.T) release {
	return release{
		version: "v1.2.3", revision: strings.Repeat("a1", 20), time: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC),
		checkout: filepath.Join("..", ".."), dir: t.TempDir(), out: io.Discard, level: gzip.BestCompression,
	}
}

// standIn is a program that nobody can run. It consists of what a real one does.
func standIn(name string) program {
	return program{name, []byte("the program " + name), &debug.BuildInfo{
		GoVersion: "go1.26.8", Path: examples + "/" + name, Main: debug.Module{Path: examples, Version: "(devel)"},
		Deps: []*debug.Module{
			{Path: "github.com/BurntSushi/toml", Version: "v1.6.0", Sum: "h1:abc="},
			{Path: "github.com/docker/cli", Version: "v29.9.0+incompatible", Sum: "h1:def="},
			{Path: "example.com/replaced", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/other", Version: "v2.0.0", Sum: "h1:ghi="}},
			{Path: library, Version: "(devel)"},
		},
	}}
}

func TestArchives(t *testing.T) {
	r := testRelease(t)
	others, err := r.contents(t.Context())
	require.NoError(t, err)
	built := []program{standIn("mirror"), standIn("sparse-registry")}
	for p, extension := range map[platform]string{{"linux", "arm64"}: "", {"windows", "amd64"}: ".exe"} {
		archive := r.archive(p, built, others)
		assert.Equal(t, archive, r.archive(p, built, others))
		top := "sparsecopy_v1.2.3_" + p.os + "_" + p.arch + "/"
		var names []string
		each(t, r.archiveName(p), archive, func(f archived) {
			assert.True(t, r.time.Equal(f.time), "%s is of %s", f.name, f.time)
			name, inside := strings.CutPrefix(f.name, top)
			assert.True(t, inside, f.name)
			names = append(names, name)
			executable := name == "mirror"+extension || name == "sparse-registry"+extension
			assert.Equal(t, map[bool]fs.FileMode{true: 0o755, false: 0o644}[executable], f.mode, name)
			if executable {
				assert.Equal(t, "the program "+strings.TrimSuffix(name, extension), f.content)
			}
			assert.NotEmpty(t, f.content, name)
			assert.Zero(t, f.owner, name)
		})
		assert.Subset(t, names, []string{
			"mirror" + extension, "sparse-registry" + extension, "LICENSE", "README.md", "man/man1/mirror-copy.1",
			"completions/mirror.bash", "completions/_mirror", "completions/mirror.fish", "completions/mirror.ps1",
			"man/man1/sparse-registry.1", "man/man1/sparse-registry-gc.1",
			"completions/sparse-registry.bash", "completions/_sparse-registry", "completions/sparse-registry.fish", "completions/sparse-registry.ps1",
		})
	}
}

// An archived file is one of a tar or a zip.
type archived struct {
	name    string
	mode    fs.FileMode
	time    time.Time
	content string
	owner   int // user and group
}

// each calls visit for each file of an archive.
func each(t *testing.T, name string, archive []byte, visit func(archived)) {
	t.Helper()
	read := func(r io.Reader) string {
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		return string(content)
	}
	if strings.HasSuffix(name, ".zip") {
		z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
		require.NoError(t, err)
		for _, f := range z.File {
			content, err := f.Open()
			require.NoError(t, err)
			visit(archived{f.Name, f.Mode(), f.Modified, read(content), 0})
		}
		return
	}
	z, err := gzip.NewReader(bytes.NewReader(archive))
	require.NoError(t, err)
	for r := tar.NewReader(z); ; {
		header, err := r.Next()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
		assert.Equal(t, header.Uid, header.Gid)
		assert.Empty(t, header.Uname+header.Gname)
		visit(archived{header.Name, header.FileInfo().Mode(), header.ModTime, read(r), header.Uid})
	}
}

func TestZipOfATimeBefore1980(t *testing.T) {
	each(t, "a.zip", zipped([]file{{name: "a", mode: 0o644, content: []byte("a")}}, time.Unix(0, 0)), func(f archived) {
		assert.Equal(t, 1980, f.time.UTC().Year())
	})
}

func TestSBOM(t *testing.T) {
	doc := testRelease(t).sbom("sparsecopy_v1.2.3_linux_arm64", []program{standIn("mirror"), standIn("sparse-registry")})
	assert.Equal(t, "2026-11-30T12:00:00Z", doc.CreationInfo.Created)
	purls, sums := map[string]string{}, map[string]string{} // by SPDXID
	for _, p := range doc.Packages {
		assert.NotContains(t, purls, p.SPDXID)
		assert.Regexp(t, `^SPDXRef-[A-Za-z0-9.-]+$`, p.SPDXID)
		require.Len(t, p.ExternalRefs, 1)
		purls[p.SPDXID], sums[p.SPDXID] = p.ExternalRefs[0].Locator, p.SourceInfo
	}
	assert.Equal(t, map[string]string{
		"SPDXRef-Program-mirror":                                          "pkg:golang/github.com/sparsecopy/sparsecopy/examples@v1.2.3#mirror",
		"SPDXRef-Program-sparse-registry":                                 "pkg:golang/github.com/sparsecopy/sparsecopy/examples@v1.2.3#sparse-registry",
		"SPDXRef-Module-github.com-sparsecopy-sparsecopy-examples-v1.2.3": "pkg:golang/github.com/sparsecopy/sparsecopy/examples@v1.2.3",
		"SPDXRef-Module-github.com-sparsecopy-sparsecopy-v1.2.3":          "pkg:golang/github.com/sparsecopy/sparsecopy@v1.2.3",
		"SPDXRef-Module-stdlib-1.26.8":                                    "pkg:golang/stdlib@1.26.8",
		"SPDXRef-Module-github.com-BurntSushi-toml-v1.6.0":                "pkg:golang/github.com/burntsushi/toml@v1.6.0",
		"SPDXRef-Module-github.com-docker-cli-v29.9.0-incompatible":       "pkg:golang/github.com/docker/cli@v29.9.0%2Bincompatible",
		"SPDXRef-Module-example.com-other-v2.0.0":                         "pkg:golang/example.com/other@v2.0.0",
	}, purls)
	assert.Equal(t, "go.sum: h1:ghi=", sums["SPDXRef-Module-example.com-other-v2.0.0"])
	assert.Equal(t, digest.FromString("the program mirror").Encoded(), doc.Packages[0].Checksums[0].Value)

	count := map[string]int{}
	for _, r := range doc.Relationships {
		count[r.From+" "+r.Type]++
		assert.Contains(t, purls, r.To)
	}
	assert.Equal(t, map[string]int{
		"SPDXRef-DOCUMENT DESCRIBES": 2, "SPDXRef-Program-mirror DEPENDS_ON": 6, "SPDXRef-Program-sparse-registry DEPENDS_ON": 6,
	}, count)
}

// TestImageIsPushedInPart pushes two of three platforms to a registry that wants all that a list
// names.
func TestImageIsPushedInPart(t *testing.T) {
	r := testRelease(t)
	var images []platformImage
	for _, arch := range []string{"amd64", "s390x", "arm64"} {
		images = append(images, platformImage{platform{"linux", arch}, standIn("mirror")})
	}
	require.NoError(t, r.writeLayout("mirror", images))
	first := tree(t, r.layout("mirror"))
	require.NoError(t, r.writeLayout("mirror", images))
	assert.Equal(t, first, tree(t, r.layout("mirror")))

	registry := registrytest.Start(t, registrytest.Options{Strict: true})
	name := registry.Host() + "/tools/mirror:v1.2.3"
	require.NoError(t, r.push(t.Context(), "mirror", name, []platform{{"linux", "amd64"}, {"linux", "arm64"}}, true))

	var list imgspecv1.Index
	fetch(t, registry, "v1.2.3", &list)
	assert.Equal(t, "v1.2.3", list.Annotations[imgspecv1.AnnotationVersion])
	require.Len(t, list.Manifests, 4) // two images, and an attestation of each
	for i, arch := range []string{"amd64", "arm64"} {
		assert.Equal(t, &imgspecv1.Platform{OS: "linux", Architecture: arch}, list.Manifests[i].Platform)
		var manifest imgspecv1.Manifest
		fetch(t, registry, list.Manifests[i].Digest.String(), &manifest)
		var config imgspecv1.Image
		require.NoError(t, json.Unmarshal(blob(t, registry, manifest.Config.Digest), &config))
		assert.Equal(t, []string{"/mirror"}, config.Config.Entrypoint)
		assert.Equal(t, arch, config.Architecture)
		layer := blob(t, registry, manifest.Layers[0].Digest)
		each(t, "layer.tar.gz", layer, func(f archived) {
			assert.Equal(t, archived{"mirror", 0o755, f.time, "the program mirror", 0}, f)
		})
		unzipped, err := gzip.NewReader(bytes.NewReader(layer))
		require.NoError(t, err)
		diffID, err := digest.FromReader(unzipped)
		require.NoError(t, err)
		assert.Equal(t, []digest.Digest{diffID}, config.RootFS.DiffIDs)

		attestation := list.Manifests[2+i]
		assert.Equal(t, list.Manifests[i].Digest.String(), attestation.Annotations["vnd.docker.reference.digest"])
		fetch(t, registry, attestation.Digest.String(), &manifest)
		var statement inTotoStatement
		require.NoError(t, json.Unmarshal(blob(t, registry, manifest.Layers[0].Digest), &statement))
		assert.Equal(t, list.Manifests[i].Digest.Encoded(), statement.Subject[0].Digest["sha256"])
		assert.Equal(t, "SPDX-2.3", statement.Predicate.SPDXVersion)
	}

	require.NoError(t, r.push(t.Context(), "mirror", registry.Host()+"/tools/mirror:all", nil, true))
	fetch(t, registry, "all", &list)
	assert.Len(t, list.Manifests, 6)
}

// TestImageOfTheRegistry: who runs it can write where it stores, also on a new volume, which takes
// over the owner of the directory that it hides.
func TestImageOfTheRegistry(t *testing.T) {
	r := testRelease(t)
	require.NoError(t, r.writeLayout("sparse-registry", []platformImage{{platform{"linux", "amd64"}, standIn("sparse-registry")}}))
	registry := registrytest.Start(t, registrytest.Options{Strict: true})
	require.NoError(t, r.push(t.Context(), "sparse-registry", registry.Host()+"/tools/mirror:1", nil, true))
	var list imgspecv1.Index
	fetch(t, registry, "1", &list)
	assert.Equal(t, "sparse-registry", list.Annotations[imgspecv1.AnnotationTitle])
	var manifest imgspecv1.Manifest
	fetch(t, registry, list.Manifests[0].Digest.String(), &manifest)
	var config imgspecv1.Image
	require.NoError(t, json.Unmarshal(blob(t, registry, manifest.Config.Digest), &config))
	assert.Equal(t, []string{"/sparse-registry"}, config.Config.Entrypoint)
	assert.Equal(t, []string{"--storage=/var/lib/sparse-registry", "--address=:5000"}, config.Config.Cmd)
	assert.Equal(t, map[string]struct{}{"/var/lib/sparse-registry": {}}, config.Config.Volumes)
	assert.Equal(t, map[string]struct{}{"5000/tcp": {}}, config.Config.ExposedPorts)
	assert.Equal(t, "65532:65532", config.Config.User)
	var files []archived
	each(t, "layer.tar.gz", blob(t, registry, manifest.Layers[0].Digest), func(f archived) { files = append(files, f) })
	assert.Equal(t, []archived{
		{"sparse-registry", 0o755, files[0].time, "the program sparse-registry", 0},
		{"var/lib/sparse-registry/", fs.ModeDir | 0o700, files[0].time, "", 65532},
	}, files)
}

func TestFlagsThatMakeNoSense(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"", "usage: dist build | image | push"},
		{"build", `-version "" cannot be part`},
		{"build -version v1/2", `-version "v1/2" cannot be part`},
		{"build -version v1 -platforms linux", `"linux" is not OS/ARCH`},
		{"build -version v1 linux/amd64", "no such command with 1 arguments"},
		{"push -version v1", "no such command with 0 arguments"},
		{"push -version v1 -program mirrors registry.example/a:1", `-program "mirrors" is not mirror or sparse-registry`},
		{"copy -version v1", "no such command"},
	} {
		assert.ErrorContains(t, run(t.Context(), strings.Fields(c.args), io.Discard), c.says, c.args)
	}
	r := testRelease(t)
	assert.ErrorContains(t, r.image([]platform{{"windows", "amd64"}}), "image for windows/amd64: not an image for Linux")
	assert.ErrorIs(t, r.image([]platform{{"linux", "amd64"}}), fs.ErrNotExist)
	assert.ErrorContains(t, r.push(t.Context(), "mirror", "UPPER", nil, false), "push to UPPER: ")
	assert.ErrorContains(t, r.push(t.Context(), "mirror", "registry.example/a:1", nil, false), "push the image that dist image makes: ")
}

// tree returns the files below a directory, by their names.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(content)
		return err
	}))
	return files
}

// fetch reads a manifest or list of the repository that was pushed to.
func fetch(t *testing.T, registry *registrytest.Registry, reference string, document any) {
	t.Helper()
	content, _, ok := registry.Manifest("tools/mirror", reference)
	require.True(t, ok, reference)
	require.NoError(t, json.Unmarshal(content, document))
}

func blob(t *testing.T, registry *registrytest.Registry, d digest.Digest) []byte {
	t.Helper()
	content, ok := registry.Blob("tools/mirror", d)
	require.True(t, ok, d)
	return content
}
