package copy_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// blobIn is the file of a blob in a layout.
func blobIn(p copytest.LayoutPlace, d digest.Digest) string {
	return filepath.Join(p.Dir, "blobs", d.Algorithm().String(), d.Encoded())
}

// pushReadable is Push of all of f, whose files all may read, and their owner may write to.
func pushReadable(t *testing.T, p copytest.LayoutPlace, f *imagetest.Fixture) {
	p.Push(f, "v1", imagetest.Top)
	for _, d := range f.Blobs(imagetest.Top) {
		require.NoError(t, os.Chmod(blobIn(p, d), 0o644))
	}
}

// isSameFile reports whether two names are those of one file.
func isSameFile(t *testing.T, a, b string) bool {
	t.Helper()
	infoA, err := os.Stat(a)
	require.NoError(t, err)
	infoB, err := os.Stat(b)
	require.NoError(t, err)
	return os.SameFile(infoA, infoB)
}

// waysToLayouts are how files get from one layout to another.
var waysToLayouts = map[string]copy.CopierOptions{
	"copied": {}, "trusted": {TrustSource: true}, "linked": {HardLinks: true}, "linked, trusted": {HardLinks: true, TrustSource: true},
}

// TestLayoutToLayout copies to a layout from another one, a directory and an archive.
func TestLayoutToLayout(t *testing.T) {
	f := imagetest.Platforms(3, 2, 300_000, imagetest.SharedBase())
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	for name, options := range waysToLayouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := copytest.NewEnv(t)
			c := copytest.NewCopier(t, options)
			src, dst := copytest.LayoutAt(t, t.TempDir()), copytest.LayoutAt(t, filepath.Join(t.TempDir(), "layout"))
			pushReadable(t, src, f)
			r, err := e.ImageWith(t.Context(), c, dst.Ref("v1"), src.Ref("v1"), all)
			require.NoError(t, err)
			want := imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{imagetest.Top}, Only: true}
			dst.Check(want)
			assert.Equal(t, len(f.Blobs(imagetest.Top)), r.BlobsCopied)
			for _, d := range f.Blobs(imagetest.Top) {
				linked := isSameFile(t, blobIn(src, d), blobIn(dst, d))
				assert.Equal(t, options.HardLinks && runtime.GOOS == "linux", linked, d)
			}

			dir, err := directory.NewReference(filepath.Join(t.TempDir(), "dir"))
			require.NoError(t, err)
			tarred, err := archive.NewReference(filepath.Join(t.TempDir(), "archive"), "v1")
			require.NoError(t, err)
			for _, through := range []types.ImageReference{dir, tarred} {
				_, err = e.ImageWith(t.Context(), c, through, src.Ref("v1"), all)
				require.NoError(t, err)
				again := copytest.LayoutAt(t, filepath.Join(t.TempDir(), "again"))
				_, err = e.ImageWith(t.Context(), c, again.Ref("v1"), through, all)
				require.NoError(t, err)
				again.Check(want)
			}
		})
	}
}

// TestLayoutToLayoutOfDamage copies a layout in which a layer of the right size is another one:
// only who trusts it gets that.
func TestLayoutToLayoutOfDamage(t *testing.T) {
	before, f := imagetest.Platforms(1, 1, 10), imagetest.Platforms(3, 2, 300_000)
	blobs := f.Blobs(imagetest.Top)
	damaged := blobs[len(blobs)-1]
	for name, options := range waysToLayouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := copytest.NewEnv(t)
			c := copytest.NewCopier(t, options)
			src, dst := copytest.LayoutAt(t, t.TempDir()), copytest.LayoutAt(t, t.TempDir())
			pushReadable(t, src, f)
			content, err := os.ReadFile(blobIn(src, damaged))
			require.NoError(t, err)
			require.Greater(t, len(content), 100_000, "it is a layer")
			wrong := append(bytes.Clone(content[:len(content)-1]), content[len(content)-1]+1)
			require.NoError(t, os.WriteFile(blobIn(src, damaged), wrong, 0o600))
			dst.Push(before, "v1", imagetest.Top)

			_, err = e.ImageWith(t.Context(), c, dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
			if options.TrustSource {
				require.NoError(t, err)
				stored, err := os.ReadFile(blobIn(dst, damaged))
				require.NoError(t, err)
				assert.True(t, bytes.Equal(wrong, stored), "as it is there")
				return
			}
			failed, ok := errors.AsType[*copy.Error](err)
			require.True(t, ok, err)
			assert.Equal(t, copy.SourceSide, failed.Side)
			assert.Equal(t, damaged.String(), failed.Object)
			require.ErrorContains(t, err, "does not match the digest")
			assert.NoFileExists(t, blobIn(dst, damaged))
			dst.Check(imagetest.Want{Tag: "v1", Digest: before.Digest(imagetest.Top), Fixture: before})
		})
	}
}

// TestTrustNeedsTheSize: a file that was cut short is no blob, whoever trusts it.
func TestTrustNeedsTheSize(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100_000)
	blobs := f.Blobs(imagetest.Top)
	short := blobs[len(blobs)-1]
	e := copytest.NewEnv(t)
	c := copytest.NewCopier(t, copy.CopierOptions{TrustSource: true, HardLinks: true})
	src, dst := copytest.LayoutAt(t, t.TempDir()), copytest.LayoutAt(t, t.TempDir())
	pushReadable(t, src, f)
	require.NoError(t, os.Truncate(blobIn(src, short), 10))
	_, err := e.ImageWith(t.Context(), c, dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.ErrorContains(t, err, "ends after 10 of the")
	assert.NoFileExists(t, blobIn(dst, short))
	imagetest.CheckLayoutUnchanged(t, dst.Dir, "v1", "")
}
