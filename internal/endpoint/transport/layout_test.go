package transport

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/blobdir"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// tagsOf are the named entries of the layout in dir.
func tagsOf(t *testing.T, dir string) map[string]digest.Digest {
	index, err := readIndex(filepath.Join(dir, imgspecv1.ImageIndexFile))
	require.NoError(t, err)
	tags := map[string]digest.Digest{}
	for _, entry := range index.entries {
		if name := entry.name(); name != "" {
			tags[name] = entry.Digest
		}
	}
	return tags
}

// leftovers are the files in dir that this package should have removed.
func leftovers(t *testing.T, dir string) []string {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var found []string
	for _, entry := range entries {
		if isTemp(entry.Name()) {
			found = append(found, entry.Name())
		}
	}
	return found
}

func TestParallelWritersToOneLayout(t *testing.T) {
	const writers = 20
	f := imagetest.Platforms(3, 2, 1000, imagetest.SharedBase())
	reg := registrytest.Start(t, registrytest.Options{})
	f.PushTo(reg, "source", "v1", imagetest.Top)
	dir := filepath.Join(t.TempDir(), "layout")
	sys := system(t, "")
	var group sync.WaitGroup
	from := dockerRef(t, reg, "source:v1")
	for i := range writers {
		to := layoutRef(t, dir, fmt.Sprint("tag", i))
		group.Go(func() {
			src, err := OpenSource(t.Context(), from, sys)
			if !assert.NoError(t, err) {
				return
			}
			defer src.Close()
			dest, err := OpenDestination(t.Context(), to, sys)
			if !assert.NoError(t, err) {
				return
			}
			assert.NoError(t, copyTree(t.Context(), f, src, dest))
			assert.NoError(t, dest.Close())
		})
	}
	group.Wait()
	assert.Len(t, tagsOf(t, dir), writers)
	for i := range writers {
		imagetest.CheckLayout(t, dir, imagetest.Want{Tag: fmt.Sprint("tag", i), Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
	}
	assert.Empty(t, leftovers(t, dir))
}

// Of a process that writes to a layout until it is killed.
const (
	childSource = "TRANSPORT_TEST_SOURCE" // docker: reference without tag
	childLayout = "TRANSPORT_TEST_LAYOUT"
	childTag    = "TRANSPORT_TEST_TAG"
)

// TestMain is also the main function of the processes that TestKilledWriters starts.
func TestMain(m *testing.M) {
	if os.Getenv(childLayout) != "" {
		os.Exit(childMain())
	}
	os.Exit(hermetictest.Main(m.Run))
}

// childMain copies list after list to the same tag, and says so on standard output after each.
func childMain() int {
	f := killFixture()
	ctx := context.Background()
	err := func() error {
		dir, err := os.MkdirTemp(filepath.Dir(os.Getenv(childLayout)), "child-") // nobody removes what a killed process made elsewhere
		if err != nil {
			return err
		}
		sys, err := hermetictest.SystemIn(dir)
		if err != nil {
			return err
		}
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
		for i := 0; ; i++ {
			from, err := docker.ParseReference(os.Getenv(childSource) + ":" + killLists[i%len(killLists)])
			if err != nil {
				return err
			}
			to, err := layout.NewReference(os.Getenv(childLayout), os.Getenv(childTag))
			if err != nil {
				return err
			}
			src, err := OpenSource(ctx, from, sys)
			if err != nil {
				return err
			}
			dest, err := OpenDestination(ctx, to, sys)
			if err != nil {
				return err
			}
			if err := copyTree(ctx, f, src, dest); err != nil {
				return err
			}
			if err := dest.Close(); err != nil {
				return err
			}
			fmt.Println(i)
		}
	}()
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// killLists are tags at the source.
var killLists = []string{"a", "b", "c"}

func killFixture() *imagetest.Fixture {
	f := imagetest.New()
	for _, name := range killLists {
		f.Image("amd64-"+name, imagetest.Platform("linux/amd64"))
		f.Image("arm64-"+name, imagetest.Platform("linux/arm64"))
		f.List(name, imagetest.Entries("amd64-"+name, "arm64-"+name))
	}
	return f
}

func TestKilledWriters(t *testing.T) {
	const writers, seed = 6, 1
	random := rand.New(rand.NewPCG(seed, 0))
	f := killFixture()
	// Once all have written their tags, each writer is killed some requests after the one before,
	// while it writes its tag again, or waits for the lock.
	var armed atomic.Bool
	tick := make(chan struct{})
	reg := registrytest.Start(t, registrytest.Options{Script: func(_ int, r *http.Request) registrytest.Answer {
		if armed.Load() {
			select {
			case tick <- struct{}{}:
			case <-r.Context().Done():
			}
		}
		return registrytest.Answer{}
	}})
	for _, name := range killLists {
		f.PushTo(reg, "source", name, name)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	require.NoError(t, f.WriteLayout(dir, "old", "a"))
	self, err := os.Executable()
	require.NoError(t, err)

	var running []*exec.Cmd
	var outputs []*bufio.Reader
	for i := range writers {
		command := exec.Command(self)
		command.Env = append(os.Environ(), childSource+"=//"+reg.Host()+"/source", childLayout+"="+dir, fmt.Sprint(childTag, "=tag", i))
		command.Stderr = os.Stderr
		out, err := command.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, command.Start())
		t.Cleanup(func() { _ = command.Process.Kill() })
		running, outputs = append(running, command), append(outputs, bufio.NewReader(out))
	}
	for _, out := range outputs {
		_, err := out.ReadString('\n')
		require.NoError(t, err)
	}
	armed.Store(true)
	for i, command := range running {
		for range random.IntN(60) {
			<-tick
		}
		require.NoError(t, command.Process.Kill())
		_, _ = io.Copy(io.Discard, outputs[i]) // until the end
		_ = command.Wait()
	}
	armed.Store(false)

	tags := tagsOf(t, dir)
	assert.Len(t, tags, writers+1)
	assert.Equal(t, f.Digest("a"), tags["old"])
	for tag, d := range tags {
		for _, problem := range imagetest.Inspect(imagetest.LayoutStore(dir), imagetest.Want{Tag: tag, Digest: d, Fixture: f}) {
			t.Error(tag, problem)
		}
	}
	// The next writer gets the lock, and clears up.
	sys := system(t, "")
	copyOnce(t, f, dockerRef(t, reg, "source:b"), layoutRef(t, dir, "new"), sys)
	assert.Empty(t, leftovers(t, dir))
	imagetest.CheckLayout(t, dir, imagetest.Want{Tag: "new", Digest: f.Digest("b"), Fixture: f})
}

func TestOneWriterAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	first := openDestination(t, layoutRef(t, dir, "a"), nil)
	ref := layoutRef(t, dir, "b")

	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := OpenDestination(ctx, ref, nil)
		failed <- err
	}()
	cancel()
	assert.ErrorIs(t, <-failed, context.Canceled)

	opened := make(chan *Destination, 1)
	go func() {
		dest, err := OpenDestination(t.Context(), ref, nil)
		assert.NoError(t, err)
		opened <- dest
	}()
	second, err := lockAt(flock.New(lockedFile(dir)))
	require.NoError(t, err)
	assert.False(t, second)
	require.NoError(t, first.Close())
	require.NoError(t, (<-opened).Close())
	assert.Empty(t, leftovers(t, dir))
}

func TestLockOfAReplacedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, imgspecv1.ImageLayoutFile)
	lock, err := lockLayout(t.Context(), dir, &blobdir.Dir{})
	require.NoError(t, err)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.JSONEq(t, `{"imageLayoutVersion":"1.0.0"}`, string(content))
	locked, err := lockAt(lock) // again: it is the same file
	require.NoError(t, err)
	assert.True(t, locked)

	require.NoError(t, os.Rename(path, path+".old"))
	locked, err = lockAt(lock)
	require.NoError(t, err)
	assert.False(t, locked)
	assert.False(t, lock.Locked())
	lock, err = lockLayout(t.Context(), dir, &blobdir.Dir{})
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, []byte(`{ "imageLayoutVersion": "1.0.0" }`), 0o600))
	locked, err = lockAt(lock)
	require.NoError(t, err)
	assert.False(t, locked)
	assert.False(t, lock.Locked())

	lock, err = lockLayout(t.Context(), dir, &blobdir.Dir{})
	require.NoError(t, err)
	require.NoError(t, lock.Close())
	content, err = os.ReadFile(path)
	require.NoError(t, err)
	assert.Len(t, content, len(`{ "imageLayoutVersion": "1.0.0" }`), "what is there stays, with its spaces")
}

func TestFailedCopyLeavesTheLayout(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	dir := t.TempDir()
	require.NoError(t, f.WriteLayout(dir, "v1", "amd64"))
	before, err := os.ReadFile(filepath.Join(dir, imgspecv1.ImageIndexFile))
	require.NoError(t, err)

	dest := openDestination(t, layoutRef(t, dir, "v1"), nil)
	require.NoError(t, dest.PutManifest(t.Context(), document(f, "arm64")))
	wrong := document(f, imagetest.Top)
	wrong.Digest = digestA
	require.Error(t, dest.PutTop(t.Context(), wrong, nil))
	require.NoError(t, dest.Close())

	after, err := os.ReadFile(filepath.Join(dir, imgspecv1.ImageIndexFile))
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
	imagetest.CheckLayoutUnchanged(t, dir, "v1", f.Digest("amd64"))
	assert.Empty(t, leftovers(t, dir))
}

func TestIndexIsReplacedNotRewritten(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	dir := t.TempDir()
	require.NoError(t, f.WriteLayout(dir, "v1", imagetest.Top))
	path := filepath.Join(dir, imgspecv1.ImageIndexFile)
	require.NoError(t, os.Chmod(path, 0o640))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	reader, err := os.Open(path)
	require.NoError(t, err)
	defer reader.Close()

	dest := openDestination(t, layoutRef(t, dir, "v2"), nil)
	require.NoError(t, dest.PutTop(t.Context(), document(f, "amd64"), nil))
	require.NoError(t, dest.Close())

	seen, err := io.ReadAll(reader)
	require.NoError(t, err)
	assert.Equal(t, string(before), string(seen), "who has opened the old one reads the old one")
	assert.Len(t, tagsOf(t, dir), 2)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode().Perm())
}

func TestLayoutRefusesSignatures(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	sys := system(t, "")
	reg := registrytest.Start(t, registrytest.Options{})
	f.PushTo(reg, "source", "v1", "amd64")
	sign(t, sys, "source", f.Digest("amd64"))
	src := openSource(t, dockerRef(t, reg, "source:v1"), sys)
	sigs, err := src.Signatures(t.Context(), f.Digest("amd64"))
	require.NoError(t, err)
	for _, ref := range []types.ImageReference{
		layoutRef(t, filepath.Join(t.TempDir(), "layout"), ""), archiveRef(t, filepath.Join(t.TempDir(), "archive"), ""),
	} {
		dest := openDestination(t, ref, sys)
		require.Error(t, dest.PutTop(t.Context(), document(f, "arm64"), sigs))
		_, err = OpenSource(t.Context(), ref, sys)
		require.ErrorIs(t, err, endpoint.ErrNotFound)
		for _, b := range blobs(f, "amd64") {
			_, err := dest.PutBlob(t.Context(), b, from(src, b))
			require.NoError(t, err)
		}
		require.NoError(t, dest.PutTop(t.Context(), src.Top(), nil))
		require.NoError(t, dest.Close())
		checkSource(t, f, openSource(t, ref, sys), "amd64")
	}
}

func TestLayoutFindsAndRepairsWhatIsThere(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	dir := t.TempDir()
	require.NoError(t, f.WriteLayout(dir, "v1", imagetest.Top))
	dest := openDestination(t, layoutRef(t, dir, "v2"), nil)
	child, layer := document(f, "amd64"), blobs(f, "amd64")[1]
	has, err := dest.HasManifest(t.Context(), child.Digest)
	require.NoError(t, err)
	assert.True(t, has)
	read, err := dest.Manifest(t.Context(), child.Digest)
	require.NoError(t, err)
	assert.Equal(t, child, read)
	has, err = dest.HasManifest(t.Context(), digestA)
	require.NoError(t, err)
	assert.False(t, has)
	_, err = dest.Manifest(t.Context(), digestA)
	assert.ErrorIs(t, err, endpoint.ErrNotFound)
	_, err = dest.Manifest(t.Context(), "sha256:../../x")
	assert.Error(t, err)
	result, err := dest.PutBlob(t.Context(), layer, never(t))
	require.NoError(t, err)
	assert.True(t, result.Reused)
	_, err = dest.Top(t.Context())
	assert.ErrorIs(t, err, endpoint.ErrNotFound, "another tag is there")

	// Files that a writer without rename has left half done.
	blobPath := func(d digest.Digest) string { return filepath.Join(dir, "blobs", "sha256", d.Encoded()) }
	require.NoError(t, os.Truncate(blobPath(child.Digest), 10))
	require.NoError(t, os.Truncate(blobPath(layer.Digest), 10))
	has, err = dest.HasManifest(t.Context(), child.Digest)
	require.NoError(t, err)
	assert.False(t, has)
	_, err = dest.Manifest(t.Context(), child.Digest)
	assert.ErrorIs(t, err, endpoint.ErrNotFound)
	has, err = dest.HasBlob(t.Context(), layer)
	require.NoError(t, err)
	assert.False(t, has)

	damaged := openSource(t, layoutRef(t, dir, "v1"), nil)
	_, err = damaged.Manifest(t.Context(), child.Digest)
	assert.Error(t, err)
	assert.NotErrorIs(t, err, endpoint.ErrNotFound)

	whole := t.TempDir()
	require.NoError(t, f.WriteLayout(whole, "v1", imagetest.Top))
	require.NoError(t, copyTree(t.Context(), f, openSource(t, layoutRef(t, whole, "v1"), nil), dest))
	require.NoError(t, dest.Close())
	imagetest.CheckLayout(t, dir, imagetest.Want{Tag: "v2", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
	imagetest.CheckLayout(t, dir, imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
}

func TestDamagedTopOfALayout(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	dir := t.TempDir()
	require.NoError(t, f.WriteLayout(dir, "v1", imagetest.Top))
	path := filepath.Join(dir, "blobs", "sha256", f.Digest(imagetest.Top).Encoded())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append([]byte(" "), content...), 0o600))
	_, err = OpenSource(t.Context(), layoutRef(t, dir, "v1"), nil)
	assert.ErrorContains(t, err, "does not match")
	assert.NotErrorIs(t, err, endpoint.ErrNotFound)

	require.NoError(t, os.WriteFile(path, make([]byte, maxManifest+1), 0o600))
	_, err = OpenSource(t.Context(), layoutRef(t, dir, "v1"), nil)
	assert.ErrorContains(t, err, "bytes")
}

func TestLayoutWithSHA512(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	content, mediaType := f.Document("amd64")
	d := digest.SHA512.FromBytes(content)
	dir := t.TempDir()
	dest := openDestination(t, layoutRef(t, dir, "v1"), nil)
	require.NoError(t, dest.PutTop(t.Context(), endpoint.Document{Digest: d, MediaType: mediaType, Bytes: content}, nil))
	src := openSource(t, layoutRef(t, dir, "v1"), nil)
	assert.Equal(t, d, src.Top().Digest)
	top, err := dest.Top(t.Context())
	require.NoError(t, err)
	assert.Equal(t, d, top)
}

func TestSharedBlobsOfLayouts(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	source := t.TempDir()
	require.NoError(t, f.WriteLayout(source, "v1", imagetest.Top))
	dir := t.TempDir()
	sys := &types.SystemContext{OCISharedBlobDirPath: filepath.Join(dir, "shared")}
	dest := openDestination(t, layoutRef(t, filepath.Join(dir, "layout"), "v1"), sys)
	require.NoError(t, copyTree(t.Context(), f, openSource(t, layoutRef(t, source, "v1"), nil), dest))
	require.NoError(t, dest.Close())
	checkSource(t, f, openSource(t, layoutRef(t, filepath.Join(dir, "layout"), "v1"), sys), imagetest.Top)
	assert.FileExists(t, filepath.Join(dir, "shared", "sha256", f.Digest(imagetest.Top).Encoded()))
	assert.Equal(t, filepath.Join(dir, "shared"), sys.OCISharedBlobDirPath)
}

func TestLayoutSourceReadsInParallel(t *testing.T) {
	f := imagetest.Platforms(4, 2, 1000)
	dir := t.TempDir()
	require.NoError(t, f.WriteLayout(dir, "v1", imagetest.Top))
	src := openSource(t, layoutRef(t, dir, "v1"), nil)
	all := blobs(f, imagetest.Top)
	var open []interface{ Close() error }
	for _, b := range all { // all open at once, by one goroutine
		r, err := src.Blob(t.Context(), b)
		require.NoError(t, err)
		open = append(open, r)
	}
	// The tag may go away meanwhile, which does not matter to a source that is open.
	require.NoError(t, os.Remove(filepath.Join(dir, imgspecv1.ImageIndexFile)))
	checkSource(t, f, src, imagetest.Top)
	for _, r := range open {
		require.NoError(t, r.Close())
	}
	checkSource(t, f, src, imagetest.Top)
}

func TestRefusedLayouts(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, imgspecv1.ImageIndexFile), []byte("{"), 0o600))
	_, err := OpenDestination(t.Context(), layoutRef(t, dir, "v1"), nil)
	assert.ErrorContains(t, err, "index.json")
	require.NoError(t, os.WriteFile(filepath.Join(dir, imgspecv1.ImageIndexFile), nil, 0o600))
	_, err = OpenDestination(t.Context(), layoutRef(t, dir, "v1"), nil)
	assert.ErrorContains(t, err, "index.json: it is empty")
	// The lock was released.
	require.NoError(t, os.Remove(filepath.Join(dir, imgspecv1.ImageIndexFile)))
	require.NoError(t, openDestination(t, layoutRef(t, dir, "v1"), nil).Close())

	position, err := layout.NewIndexReference(dir, 0)
	require.NoError(t, err)
	_, err = OpenDestination(t.Context(), position, nil)
	assert.ErrorContains(t, err, "@0")
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = OpenDestination(t.Context(), layoutRef(t, file, "v1"), nil)
	assert.Error(t, err)
}

// TestIndexOfUpstream compares with what upstream writes for the same sequence of copies.
func TestIndexOfUpstream(t *testing.T) {
	f := killFixture()
	ours, theirs := t.TempDir(), t.TempDir()
	for _, step := range []struct{ name, tag string }{
		{"a", "x"}, {"b", "y"}, {"c", "x"}, {"a", ""}, {"a", "x"}, {"b", "y"}, {"b", "z"}, {"c", ""}, {"c", ""},
	} {
		doc := document(f, step.name)
		dest := openDestination(t, layoutRef(t, ours, step.tag), nil)
		require.NoError(t, dest.PutTop(t.Context(), doc, nil))
		require.NoError(t, dest.Close())

		upstream, err := layoutRef(t, theirs, step.tag).NewImageDestination(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, upstream.PutManifest(t.Context(), doc.Bytes, nil))
		require.NoError(t, upstream.Commit(t.Context(), nil))
		require.NoError(t, upstream.Close())

		assert.Equal(t, tagsOf(t, theirs), tagsOf(t, ours), step)
		assert.ElementsMatch(t, entriesOf(t, theirs), entriesOf(t, ours), step)
	}
	var file imgspecv1.ImageLayout
	for _, dir := range []string{ours, theirs} {
		content, err := os.ReadFile(filepath.Join(dir, imgspecv1.ImageLayoutFile))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(content, &file))
		assert.Equal(t, imgspecv1.ImageLayoutVersion, file.Version)
	}
}

func entriesOf(t *testing.T, dir string) []string {
	index, err := readIndex(filepath.Join(dir, imgspecv1.ImageIndexFile))
	require.NoError(t, err)
	var all []string
	for _, entry := range index.entries {
		all = append(all, strings.Join([]string{entry.name(), entry.Digest.String(), entry.MediaType, fmt.Sprint(entry.Size)}, " "))
	}
	return all
}
