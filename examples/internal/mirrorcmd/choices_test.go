package mirrorcmd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// readers are the commands that read an image.
var readers = []string{
	"inspect REFERENCE", "inspect --tree REFERENCE", "digest REFERENCE", "manifest REFERENCE", "diff oci:several:first REFERENCE",
	"copy --insecure-policy --all REFERENCE dir:out", "plan --insecure-policy --all REFERENCE dir:out",
}

// TestChoicesAreListed: whoever does not say which image of a file is meant, or names one that is
// not there, is told what to type, by every command that reads images.
func TestChoicesAreListed(t *testing.T) {
	t.Chdir(t.TempDir())
	src := registrytest.Start(t, registrytest.Options{})
	imagetest.Platforms(3, 1, 1000).PushTo(src, repo, tag, imagetest.Top)
	copied := func(to string) {
		mirror(t, "copy", "--all", refTo(src), to).done(t)
	}
	for _, name := range []string{"first", "second", "third"} {
		copied("oci:several:" + name)
	}
	index, err := os.ReadFile("several/index.json")
	require.NoError(t, err)
	pack(t, "several.tar", "./index.json", index)
	pack(t, "saved.tar", "manifest.json", []byte(`[{"Config":"c","RepoTags":["app:1","b:2"],"Layers":[]},{"Config":"c","Layers":[]}]`))
	runAll(t.Context(), t, "", "bundle", "create", "--insecure-policy", "--src-tls-verify=false", "--all", "bundle.tar", refTo(src)).done(t)
	carried := src.Host() + "/" + repo + ":" + tag

	const (
		several = "oci:several:first, oci:several:second, oci:several:third\n"
		saved   = "docker-archive:saved.tar:docker.io/library/app:1, docker-archive:saved.tar:@1\n"
	)
	for reference, want := range map[string]string{
		"oci:several":                        "; write one of " + several,
		"oci:several:":                       "; write one of " + several,
		"oci:several:thir":                   "; did you mean oci:several:third? There: " + several,
		"oci:several:nonsense":               "; there: " + several,
		"oci:several:@3":                     "; there: " + several,
		"oci:none:1":                         "; none is no layout\n",
		"oci-archive:several.tar":            "; write one of oci-archive:several.tar:first, oci-archive:several.tar:second, ",
		"oci-archive:several.tar:frst":       "; did you mean oci-archive:several.tar:first? There: oci-archive:several.tar:first, ",
		"docker-archive:saved.tar":           "; write one of " + saved,
		"docker-archive:saved.tar:app:2":     "; did you mean docker-archive:saved.tar:docker.io/library/app:1? There: " + saved,
		"docker-archive:saved.tar:@2":        "; there: " + saved,
		"bundle:bundle.tar":                  "; write one of bundle:bundle.tar:" + carried + "\n",
		"bundle:bundle.tar:" + carried + "1": "; did you mean bundle:bundle.tar:" + carried + "? There: bundle:bundle.tar:" + carried + "\n",
	} {
		for _, command := range readers {
			t.Run(command+" "+reference, func(t *testing.T) {
				r := runAll(t.Context(), t, "", strings.Fields(strings.ReplaceAll(command, "REFERENCE", reference))...)
				r.failed(t, r.status, want)
				assert.NotZero(t, r.status)
			})
		}
	}
	for _, fine := range []string{"oci:several:first", "oci:several:@2", "bundle:bundle.tar:" + carried} {
		runAll(t.Context(), t, "", "digest", fine).done(t)
	}
	assert.NoDirExists(t, "out")
}

// TestImagesThatContainerdNames: a layout as docker save and ctr export write it, of images that
// have the same tag, without children of other platforms, and without the file oci-layout.
func TestImagesThatContainerdNames(t *testing.T) {
	t.Chdir(t.TempDir())
	f := imagetest.Platforms(2, 1, 1000)
	require.NoError(t, f.WriteLayout("saved", "", imagetest.Top, "arm64"))
	require.NoError(t, os.Remove("saved/oci-layout"))
	var index imgspecv1.Index
	for name, document := range map[string]string{"docker.io/library/one:1": "amd64", "docker.io/library/two:1": imagetest.Top} {
		content, mediaType := f.Document(document)
		index.Manifests = append(index.Manifests, imgspecv1.Descriptor{
			MediaType: mediaType, Digest: f.Digest(document), Size: int64(len(content)),
			Annotations: map[string]string{annotationImageName: name, imgspecv1.AnnotationRefName: "1"},
		})
	}
	slices.SortFunc(index.Manifests, func(a, b imgspecv1.Descriptor) int {
		return strings.Compare(a.Annotations[annotationImageName], b.Annotations[annotationImageName])
	})
	content, err := json.Marshal(index)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("saved/index.json", content, 0o600))

	const both = "oci:saved:docker.io/library/one:1, oci:saved:docker.io/library/two:1\n"
	for reference, want := range map[string]string{
		"oci:saved":   "; write one of " + both,
		"oci:saved:2": "; there: " + both,
		"oci:saved:1": `"1" is the tag of several images, name one of "docker.io/library/one:1", "docker.io/library/two:1"` + "\n",
	} {
		r := mirror(t, "copy", reference, "dir:out")
		r.failed(t, r.status, want)
	}
	archive, err := os.Create("saved.tar")
	require.NoError(t, err)
	files := tar.NewWriter(archive)
	require.NoError(t, errors.Join(files.AddFS(os.DirFS("saved")), files.Close(), archive.Close()))
	r := mirror(t, "copy", "oci-archive:saved.tar", "dir:out")
	r.failed(t, r.status, "; write one of "+strings.ReplaceAll(both, "oci:saved", "oci-archive:saved.tar"))
	for _, from := range []string{"oci:saved", "oci-archive:saved.tar"} {
		mirror(t, "copy", "--platform", "linux/amd64", from+":docker.io/library/two:1", "oci:out:1").done(t)
		imagetest.CheckLayout(t, "out", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f, Absent: []string{"arm64"}, Only: true})
		require.NoError(t, os.RemoveAll("out"))
	}
}

// TestChoicesAreNotForOtherErrors: nothing is listed where the image that is named is there.
func TestChoicesAreNotForOtherErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	layoutOf(t, "b:1")
	require.NoError(t, os.Mkdir("one", 0o700))
	require.NoError(t, os.WriteFile("one/manifest.json", nil, 0o600))
	for _, reference := range []string{"oci:layout", "oci:layout:b:1", "oci:layout:@0", "docker://a.example/b", "dir:one", "docker://layout"} {
		assert.Empty(t, choicesHint(atEnd("", reference, os.ErrPermission)), reference)
	}
	assert.Empty(t, choicesHint(&copy.Error{Side: copy.DestinationSide, Object: "oci:layout:new", Err: os.ErrPermission}), "it is to be made")
	assert.NotEmpty(t, choicesHint(&copy.Error{Side: copy.SourceSide, Object: "oci:layout:new", Err: os.ErrPermission}))
	assert.Empty(t, choicesHint(os.ErrPermission))
}

// TestChoicesAreBounded: of many images, some are listed; what cannot be typed is named by its
// position.
func TestChoicesAreBounded(t *testing.T) {
	t.Chdir(t.TempDir())
	names := []string{"one", "", "one", "no name", "\x1b[31m", strings.Repeat("long", 100)}
	for i := range 1000 {
		names = append(names, fmt.Sprintf("image%d", i))
	}
	layoutOf(t, names...)
	hint := choicesHint(atEnd("", "oci:layout", os.ErrPermission))
	assert.Equal(t, "; write one of oci:layout:one, oci:layout:@1, oci:layout:@2, oci:layout:@3, oci:layout:@4, oci:layout:@5, "+
		"oci:layout:image0, oci:layout:image1, oci:layout:image2, oci:layout:image3 and 996 more", hint)
	layoutOf(t)
	assert.Equal(t, "; there is no image", choicesHint(atEnd("", "oci:layout:x", os.ErrPermission)))
}

// TestChoicesInArchives: an image without a name is offered as what can be read.
func TestChoicesInArchives(t *testing.T) {
	t.Chdir(t.TempDir())
	f := imagetest.Platforms(2, 1, 100)
	require.NoError(t, f.WriteLayout("saved", "1", "amd64"))
	require.NoError(t, f.WriteLayout("saved", "", "arm64"))
	archive, err := os.Create("saved.tar")
	require.NoError(t, err)
	files := tar.NewWriter(archive)
	require.NoError(t, errors.Join(files.AddFS(os.DirFS("saved")), files.Close(), archive.Close()))

	r := mirror(t, "copy", "oci-archive:saved.tar", "dir:out")
	r.failed(t, r.status, "; write one of oci-archive:saved.tar:1, oci:DIRECTORY:@1; DIRECTORY is where you unpack the archive: ")
	require.NoError(t, os.Rename("saved", "DIRECTORY"))
	for _, offered := range []string{"oci-archive:saved.tar:1", "oci:DIRECTORY:@1"} {
		mirror(t, "copy", offered, "dir:out").done(t)
	}
}

// layoutOf writes the index of a layout of images with these names.
func layoutOf(t *testing.T, names ...string) {
	t.Helper()
	var index imgspecv1.Index
	for _, name := range names {
		index.Manifests = append(index.Manifests, imgspecv1.Descriptor{Annotations: map[string]string{imgspecv1.AnnotationRefName: name}})
	}
	content, err := json.Marshal(index)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll("layout", 0o700))
	require.NoError(t, os.WriteFile("layout/index.json", content, 0o600))
}

// pack writes a compressed archive with one file.
func pack(t *testing.T, path, name string, content []byte) {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(writeArchive(t, []archived{{name, content}}))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
}
