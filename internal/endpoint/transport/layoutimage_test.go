package transport

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		for _, image := range []string{"", "v1", "a/b:v1", "odd", "unknown", "nothing", "@0", "@1", "@3", "@4", "@9"} {
			ref := parsed(t, dir, image)
			theirs, err := ref.NewImageSource(t.Context(), nil)
			if err == nil {
				_, _, err = theirs.GetManifest(t.Context(), nil)
			}
			src, failed := OpenSource(t.Context(), ref, nil)
			if err != nil {
				if assert.Error(t, failed, "%s: %s", name, image) {
					checkSaysTheSame(t, err, failed)
				}
				continue
			}
			if !assert.NoError(t, failed, "%s: %s", name, image) {
				continue
			}
			assert.IsType(t, &layoutImage{}, src.ImageSource(), "%s: %s", name, image)
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
				assert.Equal(t, wantType, mediaType, "%s: %s: %s", name, image, d)
			}
		}
	}
}

// checkSaysTheSame checks that err is what upstream says, too.
func checkSaysTheSame(t *testing.T, upstream, err error) {
	_, notFound := errors.AsType[layout.ImageNotFoundError](upstream)
	assert.Equal(t, notFound, errors.Is(err, endpoint.ErrNotFound), err)
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
		src, err := OpenSource(t.Context(), parsed(t, dir, c.image), nil)
		if assert.NoError(t, err, name) {
			checkSource(t, f, src, c.want)
			assert.NoError(t, src.Close())
		}
	}

	_, err := OpenSource(t.Context(), parsed(t, layoutOf(t, f, app, other), "1"), nil)
	assert.ErrorContains(t, err, `"1" is the tag of several images, name one of "registry.example/app:1", "registry.example/other:1"`)
	assert.NotErrorIs(t, err, endpoint.ErrNotFound)
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

func TestLayoutWithBlobsOfOtherAlgorithms(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	dir := layoutOf(t, f, entry(f, "amd64", "", ""))
	for _, algorithm := range []digest.Algorithm{digest.SHA384, digest.SHA512} {
		d := algorithm.FromString("content")
		require.NoError(t, os.MkdirAll(filepath.Dir(blobFile(dir, d)), 0o700))
		require.NoError(t, os.WriteFile(blobFile(dir, d), []byte("content"), 0o600))
		src := openSource(t, parsed(t, dir, ""), nil)
		size, err := src.BlobSize(t.Context(), endpoint.Blob{Digest: d, Size: -1})
		require.NoError(t, err)
		assert.EqualValues(t, 7, size)
		r, err := src.Blob(t.Context(), endpoint.Blob{Digest: d, Size: 7})
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		assert.Equal(t, "content", string(content))
	}
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
	dir := layoutOf(t, f, entry(f, "arm64", "", ""), entry(f, "amd64", "1", "registry.example/app:1"))
	src := openSource(t, parsed(t, dir, "registry.example/app:1"), nil).HandOver()
	layer := blobs(f, "amd64")[1]
	read := func(urls ...string) string {
		r, _, err := src.GetBlob(t.Context(), types.BlobInfo{Digest: layer.Digest, Size: layer.Size, URLs: urls}, none.NoCache)
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		return string(content)
	}
	assert.Equal(t, "from elsewhere", read(elsewhere.URL))
	assert.Equal(t, layer.Digest, digest.FromString(read("ftp://a.example/layer")), "what cannot be fetched is read here")
	assert.Equal(t, layer.Digest, digest.FromString(read()))
}
