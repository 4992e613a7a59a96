package transport

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// layoutOf writes a layout that has all of f, and these entries in its index.json.
func layoutOf(t *testing.T, f *imagetest.Fixture, entries ...imgspecv1.Descriptor) (dir string) {
	dir = t.TempDir()
	require.NoError(t, f.WriteLayout(dir, "", imagetest.Top))
	writeEntries(t, dir, entries...)
	return dir
}

func writeEntries(t *testing.T, dir string, entries ...imgspecv1.Descriptor) {
	content, err := json.Marshal(imgspecv1.Index{Manifests: entries})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, imgspecv1.ImageIndexFile), content, 0o600))
}

// entry is an entry of an index.json for the named document: with a name, and one of containerd's,
// unless these are "".
func entry(f *imagetest.Fixture, document, name, imageName string) imgspecv1.Descriptor {
	content, mediaType := f.Document(document)
	e := imgspecv1.Descriptor{MediaType: mediaType, Digest: f.Digest(document), Size: int64(len(content)), Annotations: map[string]string{}}
	if name != "" {
		e.Annotations[imgspecv1.AnnotationRefName] = name
	}
	if imageName != "" {
		e.Annotations[annotationImageName] = imageName
	}
	return e
}

func parsed(t *testing.T, dir, image string) types.ImageReference {
	ref, err := layout.ParseReference(dir + ":" + image)
	require.NoError(t, err)
	return ref
}

// A form is how a layout in a directory can be read.
type form struct {
	name string
	ref  func(t *testing.T, dir, image string) types.ImageReference
}

var forms = []form{
	{"layout", parsed},
	{"archive", func(t *testing.T, dir, image string) types.ImageReference {
		return archiveRef(t, packed(t, dir), image)
	}},
	{"compressed archive", func(t *testing.T, dir, image string) types.ImageReference {
		return archiveRef(t, compressed(t, packed(t, dir)), image)
	}},
	{"archive with a link", func(t *testing.T, dir, image string) types.ImageReference {
		return archiveRef(t, packed(t, dir, &tar.Header{
			Typeflag: tar.TypeSymlink, Name: "blobs/sha256/" + digestB.Encoded(), Linkname: digestA.Encoded(),
		}), image)
	}},
}

// straight are the forms that are read without upstream.
var straight = forms[:3]

// packed is a tar archive of the files in dir, and more entries.
func packed(t *testing.T, dir string, more ...*tar.Header) (file string) {
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	require.NoError(t, w.AddFS(os.DirFS(dir)))
	for _, header := range more {
		require.NoError(t, w.WriteHeader(header))
	}
	require.NoError(t, w.Close())
	file = filepath.Join(t.TempDir(), "layout.tar")
	require.NoError(t, os.WriteFile(file, content.Bytes(), 0o600))
	return file
}

func compressed(t *testing.T, file string) string {
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	var small bytes.Buffer
	w := gzip.NewWriter(&small)
	_, err = w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, os.WriteFile(file+".gz", small.Bytes(), 0o600))
	return file + ".gz"
}

func blobFile(dir string, d digest.Digest) string {
	return layoutBlob(layoutBlobs(dir, nil), d)
}

// TestLayoutIsReadAsUpstreamReadsIt holds every reference to some layouts against what upstream
// reads there, or says.
func TestLayoutIsReadAsUpstreamReadsIt(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	odd := entry(f, "amd64", "odd", "")
	odd.MediaType = "text/plain"
	unknown := imgspecv1.Descriptor{Digest: "blake3:abc", MediaType: imgspecv1.MediaTypeImageManifest,
		Annotations: map[string]string{imgspecv1.AnnotationRefName: "unknown"}}
	top, amd, arm := entry(f, imagetest.Top, "v1", ""), entry(f, "amd64", "", ""), entry(f, "arm64", "a/b:v1", "")
	for name, entries := range map[string][]imgspecv1.Descriptor{
		"none": nil, "one": {top}, "one without name": {amd}, "one of a strange type": {odd},
		"several": {top, amd, arm, odd, unknown}, "twice": {arm, top, entry(f, "amd64", "v1", "")},
	} {
		dir := layoutOf(t, f, entries...)
		for i, form := range forms {
			if i > 0 && name != "several" && name != "none" {
				continue // upstream unpacks archives, which takes its time
			}
			for _, image := range []string{"", "v1", "a/b:v1", "odd", "unknown", "nothing", "@0", "@1", "@3", "@4", "@9"} {
				if form.name != "layout" && strings.HasPrefix(image, "@") {
					continue // archives have no such references
				}
				t.Run(strings.Join([]string{form.name, name, image}, "/"), func(t *testing.T) {
					checkReadsTheSame(t, f, form.ref(t, dir, image))
				})
			}
		}
	}
}

// checkReadsTheSame holds what is read as ref against what upstream reads, or says.
func checkReadsTheSame(t *testing.T, f *imagetest.Fixture, ref types.ImageReference) {
	sys := system(t, "")
	theirs, err := ref.NewImageSource(t.Context(), sys)
	if err == nil {
		defer theirs.Close()
		_, _, err = theirs.GetManifest(t.Context(), nil)
	}
	src, failed := OpenSource(t.Context(), ref, sys)
	if err != nil {
		require.Error(t, failed)
		checkSaysTheSame(t, err, failed)
		return
	}
	require.NoError(t, failed)
	defer src.Close()
	for _, d := range append(f.Manifests(imagetest.Top), "") {
		instance := &d
		if d == "" {
			instance = nil
		}
		content, mediaType, err := src.ImageSource().GetManifest(t.Context(), instance)
		require.NoError(t, err)
		wantContent, wantType, err := theirs.GetManifest(t.Context(), instance)
		require.NoError(t, err)
		assert.Equal(t, string(wantContent), string(content))
		assert.Equal(t, wantType, mediaType, d)
	}
}

// checkSaysTheSame checks that err is what upstream says, too.
func checkSaysTheSame(t *testing.T, upstream, err error) {
	_, notInLayout := errors.AsType[layout.ImageNotFoundError](upstream)
	_, notInArchive := errors.AsType[archive.ImageNotFoundError](upstream)
	assert.Equal(t, notInLayout || notInArchive, errors.Is(err, endpoint.ErrNotFound), err)
	for _, known := range []error{layout.ErrMoreThanOneImage, digest.ErrDigestUnsupported} {
		assert.Equal(t, errors.Is(upstream, known), errors.Is(err, known), err)
	}
	if !errors.Is(upstream, digest.ErrDigestUnsupported) { // which is said of a digest, in both's words
		assert.ErrorContains(t, err, upstream.Error())
	}
}

// TestLayoutsOfOtherTools are all read as they are.
func TestLayoutsOfOtherTools(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	const appName, otherName = "registry.example/app:1", "registry.example/other:1"
	app, other := entry(f, "amd64", "1", appName), entry(f, "arm64", "1", otherName)
	untyped := entry(f, imagetest.Top, "1", "")
	untyped.MediaType = ""
	for name, c := range map[string]struct {
		entries []imgspecv1.Descriptor
		image   string
		want    string
	}{
		"by containerd's name":                {[]imgspecv1.Descriptor{app, other}, otherName, "arm64"},
		"by position":                         {[]imgspecv1.Descriptor{app, other}, "@1", "arm64"},
		"by a tag":                            {[]imgspecv1.Descriptor{app, entry(f, "arm64", "2", otherName)}, "2", "arm64"},
		"one image by a tag of two names":     {[]imgspecv1.Descriptor{app, entry(f, "amd64", "1", otherName)}, "1", "amd64"},
		"names go before containerd's":        {[]imgspecv1.Descriptor{other, entry(f, "amd64", otherName, "")}, otherName, "amd64"},
		"the first of those of a name":        {[]imgspecv1.Descriptor{app, entry(f, "arm64", "1", appName)}, appName, "amd64"},
		"the first of those of a tag":         {[]imgspecv1.Descriptor{app, entry(f, "arm64", "1", "")}, "1", "amd64"},
		"an entry that does not say what":     {[]imgspecv1.Descriptor{untyped}, "1", imagetest.Top},
		"the only one, whatever it is called": {[]imgspecv1.Descriptor{app}, "", "amd64"},
	} {
		dir := layoutOf(t, f, c.entries...)
		require.NoError(t, os.Remove(filepath.Join(dir, imgspecv1.ImageLayoutFile)), "archives of containers have none")
		for _, form := range straight {
			if form.name != "layout" && strings.HasPrefix(c.image, "@") {
				continue // archives have no such references
			}
			src, err := OpenSource(t.Context(), form.ref(t, dir, c.image), system(t, ""))
			if assert.NoError(t, err, "%s: %s", form.name, name) {
				assert.IsType(t, &layoutImage{}, src.ImageSource())
				checkSource(t, f, src, c.want)
				assert.NoError(t, src.Close())
			}
		}
	}

	for _, form := range straight {
		_, err := OpenSource(t.Context(), form.ref(t, layoutOf(t, f, app, other), "1"), system(t, ""))
		assert.ErrorContains(t, err, `"1" is the tag of several images, name one of "registry.example/app:1", "registry.example/other:1"`)
		assert.NotErrorIs(t, err, endpoint.ErrNotFound)
	}
}

// TestArchiveSourceReadsInParallel: all blobs are open at the same time, and nothing is left
// behind.
func TestArchiveSourceReadsInParallel(t *testing.T) {
	f := imagetest.Platforms(3, 2, 1000)
	dir := layoutOf(t, f, entry(f, imagetest.Top, "v1", ""))
	for _, form := range straight {
		sys := system(t, "")
		src, err := OpenSource(t.Context(), form.ref(t, dir, "v1"), sys)
		require.NoError(t, err)
		require.IsType(t, &layoutImage{}, src.ImageSource(), "upstream's would wait for the reader before")
		var open []io.ReadCloser
		for _, b := range blobs(f, imagetest.Top) {
			r, err := src.Blob(t.Context(), b)
			require.NoError(t, err)
			open = append(open, r)
		}
		for i, b := range blobs(f, imagetest.Top) {
			content, err := io.ReadAll(open[i])
			require.NoError(t, err)
			assert.Equal(t, b.Digest, digest.FromBytes(content))
			require.NoError(t, open[i].Close())
		}
		checkSource(t, f, src, imagetest.Top)
		require.NoError(t, src.Close())
		assert.Empty(t, filesOf(t, sys.BigFilesTemporaryDir))
	}
}

// TestDamagedArchives: wherever one was cut short, that is said, and nothing is left behind.
func TestDamagedArchives(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	whole := packed(t, layoutOf(t, f, entry(f, imagetest.Top, "v1", "")))
	for _, file := range []string{whole, compressed(t, whole)} {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, size := range []int{1, len(content)/3 + 100, len(content)/2 + 100} {
			sys := system(t, "")
			require.NoError(t, os.WriteFile(file, content[:size], 0o600))
			_, err := OpenSource(t.Context(), archiveRef(t, file, "v1"), sys)
			assert.Error(t, err, "%s: %d", file, size)
			assert.NotErrorIs(t, err, endpoint.ErrNotFound, "%s: %d", file, size)
			assert.Empty(t, filesOf(t, sys.BigFilesTemporaryDir))
		}
	}
}

// TestNestedAndSparseLayouts: what a list names need not be there.
func TestNestedAndSparseLayouts(t *testing.T) {
	f := imagetest.Nested()
	src := openSource(t, parsed(t, layoutOf(t, f, entry(f, imagetest.Top, "", "")), ""), nil)
	checkSource(t, f, src, imagetest.Top)

	f = imagetest.Platforms(2, 1, 100)
	dir := t.TempDir()
	require.NoError(t, f.WriteLayout(dir, "", imagetest.Top, "arm64"))
	src = openSource(t, parsed(t, dir, ""), nil)
	assert.Equal(t, f.Digest(imagetest.Top), src.Top().Digest)
	_, err := src.Manifest(t.Context(), f.Digest("arm64"))
	assert.ErrorIs(t, err, endpoint.ErrNotFound)
	doc, err := src.Manifest(t.Context(), f.Digest("amd64"))
	require.NoError(t, err)
	assert.Equal(t, document(f, "amd64"), doc)
}

// TestLayoutsOfStrangeFiles: links are followed, as those of build tools have to be, and nothing
// but regular files is read.
func TestLayoutsOfStrangeFiles(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	real := layoutOf(t, f, entry(f, imagetest.Top, "v1", ""))
	linked := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Dir(blobFile(linked, digestA)), 0o700))
	require.NoError(t, os.Symlink(filepath.Join(real, imgspecv1.ImageIndexFile), filepath.Join(linked, imgspecv1.ImageIndexFile)))
	for _, d := range append(f.Manifests(imagetest.Top), f.Blobs(imagetest.Top)...) {
		require.NoError(t, os.Symlink(blobFile(real, d), blobFile(linked, d)))
	}
	src := openSource(t, parsed(t, linked, "v1"), nil)
	checkSource(t, f, src, imagetest.Top)

	layer, child := blobs(f, "amd64")[1], f.Digest("amd64")
	for _, d := range []digest.Digest{layer.Digest, child, f.Digest(imagetest.Top)} {
		require.NoError(t, os.Remove(blobFile(linked, d)))
		require.NoError(t, os.Mkdir(blobFile(linked, d), 0o700))
	}
	_, err := src.Blob(t.Context(), layer)
	assert.ErrorContains(t, err, "no regular file")
	_, err = src.Manifest(t.Context(), child)
	assert.ErrorContains(t, err, "no regular file")
	_, err = OpenSource(t.Context(), parsed(t, linked, "v1"), nil)
	assert.ErrorContains(t, err, "no regular file")
	require.NoError(t, os.Remove(filepath.Join(linked, imgspecv1.ImageIndexFile)))
	require.NoError(t, os.Mkdir(filepath.Join(linked, imgspecv1.ImageIndexFile), 0o700))
	_, err = OpenSource(t.Context(), parsed(t, linked, "v1"), nil)
	assert.ErrorContains(t, err, "no regular file")
}

// TestLayoutThatIsNotToBeLeft: a reference that is restricted to a directory stays upstream's.
func TestLayoutThatIsNotToBeLeft(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	dir := layoutOf(t, f, entry(f, "amd64", "", ""))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	ref, err := layout.NewReaderWithRoot(root).NewReference(dir, "")
	require.NoError(t, err)
	src := openSource(t, ref, nil)
	checkSource(t, f, src, "amd64")

	layer := blobs(f, "amd64")[1]
	outside := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.Rename(blobFile(dir, layer.Digest), outside))
	require.NoError(t, os.Symlink(outside, blobFile(dir, layer.Digest)))
	_, err = src.Blob(t.Context(), layer)
	assert.Error(t, err)
}

// TestLayersElsewhere: upstream's copy, which the source is handed over to, may ask for a layer by
// its URLs.
func TestLayersElsewhere(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "from elsewhere")
	}))
	defer elsewhere.Close()
	const name = "registry.example/app:1"
	dir := layoutOf(t, f, entry(f, "arm64", "", ""), entry(f, "amd64", "1", name))
	layer := blobs(f, "amd64")[1]
	read := func(ref types.ImageReference, urls ...string) string {
		src := openSource(t, ref, system(t, "")).ImageSource()
		r, _, err := src.GetBlob(t.Context(), types.BlobInfo{Digest: layer.Digest, Size: layer.Size, URLs: urls}, none.NoCache)
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		if digest.FromBytes(content) == layer.Digest {
			return "from here"
		}
		return string(content)
	}
	for _, form := range straight {
		assert.Equal(t, "from elsewhere", read(form.ref(t, dir, "1"), elsewhere.URL))
		assert.Equal(t, "from here", read(form.ref(t, dir, "1"), "ftp://a.example/layer"), "it cannot be fetched")
		assert.Equal(t, "from here", read(form.ref(t, dir, "1")))
	}
	assert.Equal(t, "from elsewhere", read(parsed(t, dir, name), elsewhere.URL))
	assert.Equal(t, "from here", read(archiveRef(t, packed(t, dir), name), elsewhere.URL), "upstream does not know the name")
}
