package transport

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/internal/blobdir"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// treeOf is what is in dir: permissions and contents, by path.
func treeOf(t *testing.T, dir string) map[string]string {
	tree := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		tree[name] = info.Mode().String()
		if entry.IsDir() {
			return nil
		}
		content, err := os.ReadFile(path)
		tree[name] += " " + string(content)
		return err
	}))
	return tree
}

// TestLayoutIsUpstreams compares a layout file by file with what upstream's copy makes of the same
// image, at first and when another one takes its tag.
func TestLayoutIsUpstreams(t *testing.T) {
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, policy.Destroy()) }()
	ours, theirs := filepath.Join(t.TempDir(), "layout"), filepath.Join(t.TempDir(), "layout")
	for _, f := range []*imagetest.Fixture{
		imagetest.Platforms(3, 2, 300_000, imagetest.SharedBase()), imagetest.Platforms(2, 1, 100),
	} {
		source := t.TempDir()
		require.NoError(t, f.WriteLayout(source, "v1", imagetest.Top))
		from := layoutRef(t, source, "v1")
		copyOnce(t, f, from, layoutRef(t, ours, "v1"), nil)
		_, err := copy.Image(t.Context(), policy, layoutRef(t, theirs, "v1"), from, &copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err)
		assert.Equal(t, treeOf(t, theirs), treeOf(t, ours))
	}
}

// A syncRecord notes what is synced of the layout in dir.
type syncRecord struct {
	dir    string
	synced []string // paths in dir; "a file" for one that has no name yet
	fail   int      // how many succeed before one does not; -1 if all do
}

var errSync = errors.New("the disk is gone")

func (r *syncRecord) sync(f *os.File) error {
	if r.fail == len(r.synced) {
		return errSync
	}
	name, err := filepath.Rel(r.dir, f.Name())
	if strings.HasPrefix(name, ".") && name != "." {
		name = "a file"
	}
	r.synced = append(r.synced, name)
	return err
}

// write writes an image to the layout, one blob after the other.
func (r *syncRecord) write(t *testing.T, f *imagetest.Fixture, top string) error {
	dest, err := OpenDestination(t.Context(), layoutRef(t, r.dir, "v1"), nil)
	require.NoError(t, err)
	defer func() {
		require.NoError(t, dest.Close())
		assert.Empty(t, leftovers(t, r.dir))
	}()
	dest.end.(*layoutEnd).blobs.Sync = r.sync
	source := t.TempDir()
	require.NoError(t, f.WriteLayout(source, "v1", top))
	src := openSource(t, layoutRef(t, source, "v1"), nil)
	for _, b := range blobs(f, top) {
		if _, err := dest.PutBlob(t.Context(), b, from(src, b)); err != nil {
			return err
		}
	}
	return dest.PutTop(t.Context(), src.Top(), nil)
}

// TestLayoutIsSynced checks the order: files, their names, index.json, and its name.
func TestLayoutIsSynced(t *testing.T) {
	f := imagetest.Platforms(1, 2, 1000)
	r := &syncRecord{dir: t.TempDir(), fail: -1}
	require.NoError(t, r.write(t, f, "amd64"))
	const config, layers, manifest, index = "a file", 2, "a file", "a file"
	assert.Equal(t, slices.Concat(
		[]string{config}, slices.Repeat([]string{"a file"}, layers), []string{manifest},
		[]string{filepath.Join("blobs", "sha256"), "blobs", index, "."},
	), r.synced)

	r.synced = nil
	require.NoError(t, r.write(t, f, "amd64"))
	assert.Empty(t, r.synced, "everything was there")
}

// TestLayoutThatCannotBeSynced lets one sync after the other fail: the tag names what it has named,
// and nothing is left half done.
func TestLayoutThatCannotBeSynced(t *testing.T) {
	before, after := imagetest.Platforms(1, 1, 100), imagetest.Platforms(1, 2, 1000)
	complete := &syncRecord{dir: t.TempDir(), fail: -1}
	require.NoError(t, complete.write(t, after, "amd64"))
	for fail := range complete.synced {
		dir := t.TempDir()
		require.NoError(t, before.WriteLayout(dir, "v1", "amd64"))
		err := (&syncRecord{dir: dir, fail: fail}).write(t, after, "amd64")
		require.ErrorIs(t, err, errSync)
		require.ErrorContains(t, err, "oci:"+dir+":v1")
		if fail < len(complete.synced)-1 { // of the last, index.json has its name already
			imagetest.CheckLayoutUnchanged(t, dir, "v1", before.Digest("amd64"))
		}
		require.NoError(t, (&syncRecord{dir: dir, fail: -1}).write(t, after, "amd64"))
		assert.Equal(t, after.Digest("amd64"), tagsOf(t, dir)["v1"])
	}
}

func TestMarkerOfANewLayoutIsSynced(t *testing.T) {
	r := &syncRecord{dir: t.TempDir(), fail: -1}
	for range 2 { // it is new once
		lock, err := lockLayout(t.Context(), r.dir, &blobdir.Dir{Sync: r.sync})
		require.NoError(t, err)
		require.NoError(t, lock.Close())
		assert.Equal(t, []string{imgspecv1.ImageLayoutFile}, r.synced)
	}
	r = &syncRecord{dir: t.TempDir()}
	_, err := lockLayout(t.Context(), r.dir, &blobdir.Dir{Sync: r.sync})
	require.ErrorIs(t, err, errSync)
}

func TestOptionsSayWhetherLayoutsAreSynced(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		dest, err := Options{NoSync: noSync}.OpenDestination(t.Context(), layoutRef(t, t.TempDir(), "v1"), nil)
		require.NoError(t, err)
		blobs := &dest.end.(*layoutEnd).blobs
		assert.Equal(t, noSync, blobs.Sync == nil)
		assert.Equal(t, noSync, blobs.Begin == nil)
		require.NoError(t, dest.Close())
	}
}

// TestBlobsThatFailLeaveTheLayout counts the files of a layout after blobs that could not be
// stored: there is none, and the error names the blob.
func TestBlobsThatFailLeaveTheLayout(t *testing.T) {
	dir := t.TempDir()
	content := []byte("content")
	b := endpoint.Blob{Digest: digest.FromBytes(content), Size: int64(len(content))}
	broken := errors.New("broken")
	dest := openDestination(t, layoutRef(t, dir, "v1"), nil)
	ctx, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		open endpoint.Opener
		is   error
	}{
		"cannot be opened": {func(context.Context) (io.ReadCloser, error) { return nil, broken }, broken},
		"breaks": {func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(newReader(content[:3]), failing{broken})), nil
		}, broken},
		"is another": {func(context.Context) (io.ReadCloser, error) {
			return endpoint.Verified(io.NopCloser(newReader([]byte("CONTENT"))), b, nil, func(err error) error { return errors.Join(broken, err) }), nil
		}, broken},
		"is cancelled": {func(context.Context) (io.ReadCloser, error) {
			cancel()
			return io.NopCloser(newReader(content)), nil
		}, context.Canceled},
	} {
		_, err := dest.PutBlob(ctx, b, c.open)
		require.ErrorIs(t, err, c.is, name)
		require.ErrorContains(t, err, b.Digest.String(), name)
		if name == "is cancelled" {
			ctx = t.Context()
		}
		for _, empty := range []string{dest.end.(*layoutEnd).staging, filepath.Join(dir, imgspecv1.ImageBlobsDir, "sha256")} {
			files, err := filepath.Glob(filepath.Join(empty, ".sparsecopy-write-*"))
			require.NoError(t, err)
			assert.Empty(t, files, name)
		}
		has, err := dest.HasBlob(t.Context(), b)
		require.NoError(t, err)
		assert.False(t, has, name)
	}
}
