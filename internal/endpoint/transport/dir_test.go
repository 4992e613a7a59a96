package transport

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// layoutSource is a source of the named document.
func layoutSource(t *testing.T, f *imagetest.Fixture, name string) *Source {
	dir := t.TempDir()
	require.NoError(t, f.WriteLayout(dir, "v1", name))
	return openSource(t, layoutRef(t, dir, "v1"), nil)
}

// filesOf are the names of the files in dir.
func filesOf(t *testing.T, dir string) []string {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestDirectoryIsSwappedIn(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	old, list := layoutSource(t, f, "arm64"), layoutSource(t, f, imagetest.Top)
	parent := t.TempDir()
	dir := filepath.Join(parent, "dir")
	write := func(src *Source) {
		dest := openDestination(t, dirRef(t, dir), nil)
		require.NoError(t, copyTree(t.Context(), f, src, dest))
		assert.Error(t, dest.PutTop(t.Context(), src.Top(), nil), "published already")
		require.NoError(t, dest.Close())
		checkSource(t, f, openSource(t, dirRef(t, dir), nil), f.Name(src.Top().Digest))
		assert.Equal(t, []string{"dir"}, filesOf(t, parent))
	}
	write(old)
	require.NoError(t, os.Chmod(dir, 0o750))

	// Until PutTop, everybody sees the old image, and the destination what will be there.
	dest := openDestination(t, dirRef(t, dir), nil)
	for _, b := range blobs(f, imagetest.Top) {
		has, err := dest.HasBlob(t.Context(), b)
		require.NoError(t, err)
		assert.False(t, has, "it will be gone")
		_, err = dest.PutBlob(t.Context(), b, from(list, b))
		require.NoError(t, err)
		has, err = dest.HasBlob(t.Context(), b)
		require.NoError(t, err)
		assert.True(t, has)
	}
	child := document(f, "amd64")
	has, err := dest.HasManifest(t.Context(), child.Digest)
	require.NoError(t, err)
	assert.False(t, has)
	require.NoError(t, dest.PutManifest(t.Context(), child))
	has, err = dest.HasManifest(t.Context(), child.Digest)
	require.NoError(t, err)
	assert.True(t, has)
	top, err := dest.Top(t.Context())
	require.NoError(t, err)
	assert.Equal(t, f.Digest("arm64"), top)
	checkSource(t, f, openSource(t, dirRef(t, dir), nil), "arm64")
	require.NoError(t, dest.Close())
	checkSource(t, f, openSource(t, dirRef(t, dir), nil), "arm64")
	assert.Equal(t, []string{"dir"}, filesOf(t, parent))

	write(list)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o750), info.Mode().Perm(), "of the directory that was there")
	write(old)
	assert.Len(t, filesOf(t, dir), 4, "nothing of the list is left: a config, a layer, the manifest and the version")
}

func TestDirectoryThroughLinksAndRelativePaths(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	src := layoutSource(t, f, imagetest.Top)
	parent := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(parent, "real"), 0o700))
	require.NoError(t, os.Symlink("real", filepath.Join(parent, "link")))
	dest := openDestination(t, dirRef(t, filepath.Join(parent, "link")), nil)
	require.NoError(t, copyTree(t.Context(), f, src, dest))
	require.NoError(t, dest.Close())
	checkSource(t, f, openSource(t, dirRef(t, filepath.Join(parent, "real")), nil), imagetest.Top)
	assert.ElementsMatch(t, []string{"real", "link"}, filesOf(t, parent))

	t.Chdir(filepath.Join(parent, "real"))
	dest = openDestination(t, dirRef(t, "."), nil)
	require.NoError(t, copyTree(t.Context(), f, src, dest))
	require.NoError(t, dest.Close())
	checkSource(t, f, openSource(t, dirRef(t, filepath.Join(parent, "real")), nil), imagetest.Top)
}

func TestRefusedDirectories(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		check func(t *testing.T, err error)
	}{
		{"somebody's files", map[string]string{"thesis.txt": "x"}, func(t *testing.T, err error) {
			assert.ErrorIs(t, err, directory.ErrNotContainerImageDir)
		}},
		{"another kind of version", map[string]string{"version": "1.0\n", "x": ""}, func(t *testing.T, err error) {
			assert.ErrorIs(t, err, directory.ErrNotContainerImageDir)
		}},
		{"a newer version", map[string]string{"version": "Directory Transport Version: 99.0\n"}, func(t *testing.T, err error) {
			var unsupported directory.UnsupportedVersionError
			assert.ErrorAs(t, err, &unsupported)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "dir")
			require.NoError(t, os.Mkdir(dir, 0o700))
			for name, text := range c.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
			}
			_, err := OpenDestination(t.Context(), dirRef(t, dir), nil)
			c.check(t, err)
			assert.Len(t, filesOf(t, dir), len(c.files))
			assert.Equal(t, []string{"dir"}, filesOf(t, parent))

			_, theirs := dirRef(t, dir).NewImageDestination(t.Context(), nil)
			require.Error(t, theirs, "upstream refuses it, too")
		})
	}
}

// TestDirectoryThatCannotBeReplaced is about mount points and the like, with the temporary
// directory inside.
func TestDirectoryThatCannotBeReplaced(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	sys := system(t, "")
	reg := registrytest.Start(t, registrytest.Options{})
	f.PushTo(reg, "signed", "v1", imagetest.Top)
	sign(t, sys, "signed", f.Digest(imagetest.Top))
	dir := filepath.Join(t.TempDir(), "dir")
	copyOnce(t, f, dockerRef(t, reg, "signed:v1"), dirRef(t, dir), sys)
	assert.FileExists(t, filepath.Join(dir, "signature-1"))
	before, err := os.Stat(dir)
	require.NoError(t, err)

	temp, err := os.MkdirTemp(dir, stagingPattern)
	require.NoError(t, err)
	e := &directoryEnd{ref: dirRef(t, dir), target: dir, temp: temp}
	require.NoError(t, e.stage(t.Context(), sys))
	dest := &Destination{ref: e.ref, end: e}
	require.NoError(t, copyTree(t.Context(), f, layoutSource(t, f, "arm64"), dest))
	require.NoError(t, dest.Close())
	checkSource(t, f, openSource(t, dirRef(t, dir), sys), "arm64")
	assert.Len(t, filesOf(t, dir), 4)
	after, err := os.Stat(dir)
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after))

	// One that was left by a process that died does not make the directory somebody else's.
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".sparsecopy-dead"), 0o700))
	copyOnce(t, f, dockerRef(t, reg, "signed:v1"), dirRef(t, dir), sys)
	checkSource(t, f, openSource(t, dirRef(t, dir), sys), imagetest.Top)
}

func TestDirectoryReplacedInTwoSteps(t *testing.T) {
	parent := t.TempDir()
	make := func(name, file string) string {
		dir := filepath.Join(parent, name)
		require.NoError(t, os.MkdirAll(dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), nil, 0o600))
		return dir
	}
	e := &directoryEnd{target: make("dir", "old"), temp: filepath.Join(parent, "temp"), staged: make("temp/new", "new")}
	require.NoError(t, e.replaceInTwoSteps())
	assert.Equal(t, []string{"new"}, filesOf(t, e.target))
	require.Error(t, e.replaceInTwoSteps())
	assert.Equal(t, []string{"new"}, filesOf(t, e.target), "put back")
}

func TestWhereTheTemporaryDirectoryGoes(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "dir")
	temp, err := tempBeside(dir, false)
	require.NoError(t, err)
	assert.Equal(t, parent, filepath.Dir(temp))
	require.NoError(t, os.Mkdir(dir, 0o700))
	temp, err = tempBeside(dir, true)
	require.NoError(t, err)
	assert.Equal(t, parent, filepath.Dir(temp))
	assert.Empty(t, filesOf(t, dir))
	assert.False(t, sameFileSystem(dir, "/proc"))
	assert.Empty(t, filesOf(t, dir))
}

func TestSignaturesOfDirectories(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	sys := system(t, "")
	reg := registrytest.Start(t, registrytest.Options{})
	f.PushTo(reg, "signed", "v1", imagetest.Top)
	sign(t, sys, "signed", f.Digest(imagetest.Top))
	sign(t, sys, "signed", f.Digest("amd64"))
	dir := filepath.Join(t.TempDir(), "dir")
	copyOnce(t, f, dockerRef(t, reg, "signed:v1"), dirRef(t, dir), sys)
	copyOnce(t, f, dirRef(t, dir), dockerRef(t, reg, "back:v1"), sys)
	for _, ref := range []types.ImageReference{dirRef(t, dir), dockerRef(t, reg, "back:v1")} {
		src := openSource(t, ref, sys)
		for name, want := range map[string]int{imagetest.Top: 1, "amd64": 1, "arm64": 0} {
			sigs, err := src.Signatures(t.Context(), f.Digest(name))
			require.NoError(t, err)
			assert.Equal(t, want, sigs.Len(), name)
			simple, err := src.Unparsed(document(f, name)).Signatures(t.Context())
			require.NoError(t, err)
			assert.Len(t, simple, want)
		}
	}

	// A PutTop that failed leaves nothing behind for the next one.
	src := openSource(t, dirRef(t, dir), sys)
	sigs, err := src.Signatures(t.Context(), f.Digest(imagetest.Top))
	require.NoError(t, err)
	dest := openDestination(t, dirRef(t, filepath.Join(t.TempDir(), "dir")), sys)
	e := dest.end.(*directoryEnd)
	require.NoError(t, sigs.Put(t.Context(), e.dest, nil))
	require.NoError(t, dest.PutTop(t.Context(), document(f, "amd64"), endpoint.NoSignatures()))
	assert.NoFileExists(t, filepath.Join(e.target, "signature-1"))
}

func TestDamagedDirectory(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	dir := filepath.Join(t.TempDir(), "dir")
	dest := openDestination(t, dirRef(t, dir), nil)
	require.NoError(t, copyTree(t.Context(), f, layoutSource(t, f, imagetest.Top), dest))
	require.NoError(t, dest.Close())
	child := f.Digest("amd64")
	require.NoError(t, os.Truncate(filepath.Join(dir, child.Encoded()+".manifest.json"), 10))
	_, err := openSource(t, dirRef(t, dir), nil).Manifest(t.Context(), child)
	assert.Error(t, err)
	assert.NotErrorIs(t, err, endpoint.ErrNotFound)

	changed := []byte("{}")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), changed, 0o600))
	assert.Equal(t, digest.FromBytes(changed), openSource(t, dirRef(t, dir), nil).Top().Digest, "nothing says what it must be")
}
