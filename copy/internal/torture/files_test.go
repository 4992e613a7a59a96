//go:build linux

package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// filesFixture is what is copied to files that fail.
var filesFixture = imagetest.Platforms(2, 2, 3000)

// A filesTask is a copy to files that goes wrong in one way, at every place where it can.
type filesTask struct {
	Fault string // one of fileFaults
	To    string // "layout", "dir" or "archive"
	Step  int    // between the places that are tried
	Host  string // of the source
}

// fileFaults are what goes wrong with files. Each is tried in a child, because what makes it happen
// concerns a whole process.
var fileFaults = []string{
	"disk full",      // a tmpfs that is too small
	"read-only",      // the same, mounted read-only
	"file too large", // RLIMIT_FSIZE
	"no descriptors", // RLIMIT_NOFILE
	"permission",     // nothing can be created in the directory
	"in the way",     // a file where a directory is needed
}

// filesResult is what a child found out.
type filesResult struct {
	Skip       string
	Faults     int
	Violations []string
}

// TestTortureFiles lets files and directories fail. Each time, the copy must succeed with a
// complete destination, or fail with an error that says where, and with what was there as it was; a
// second run must complete it.
func TestTortureFiles(t *testing.T) {
	for _, what := range fileFaults {
		for _, to := range []string{"layout", "dir", "archive"} {
			if !strings.Contains(what+"/"+to, tortureCase()) {
				continue
			}
			t.Run(what+"/"+to, func(t *testing.T) {
				t.Parallel()
				step := 1
				if !fullTorture() {
					step = 7
				}
				r := runFiles(t, filesTask{Fault: what, To: to, Step: step})
				if r.Skip != "" {
					t.Skip(r.Skip)
				}
				if what != "permission" || to != "archive" { // an archive is written in its place where there can be none beside it
					require.NotZero(t, r.Faults, "no fault was injected")
				}
				for _, v := range r.Violations {
					t.Error(v)
				}
				t.Logf("%d faults, %d violations", r.Faults, len(r.Violations))
			})
		}
	}
}

func runFiles(t *testing.T, task filesTask) filesResult {
	src := copytest.StartPeer(t, registrytest.Options{}, nil)
	filesFixture.PushTo(src.Registry, "app", "v1", imagetest.Top)
	old.PushTo(src.Registry, "app", "old", "amd64")
	task.Host = src.Addr
	cmd := childTask{Do: "files", Files: task}.command(t)
	attributes := &syscall.SysProcAttr{}
	switch {
	case task.needsMount():
		// In namespaces of its own, anybody may mount.
		attributes.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
		attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	case task.Fault == "permission" && os.Getuid() == 0:
		attributes.Credential = &syscall.Credential{Uid: 65534, Gid: 65534} // permissions do not bind root
		copyBinary(t, &cmd.Path)
		cmd.Env = append(cmd.Env, "TMPDIR="+worldTemp(t), "HOME=/")
		cmd.Dir = "/"
	}
	cmd.SysProcAttr = attributes
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	if err := cmd.Start(); err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) {
			t.Skipf("the child may not have namespaces of its own: %v", err)
		}
		require.NoError(t, err)
	}
	var r filesResult
	decodeErr := json.NewDecoder(bufio.NewReader(stdout)).Decode(&r)
	require.NoError(t, cmd.Wait(), stderr.String())
	require.NoError(t, decodeErr, stderr.String())
	return r
}

func (f filesTask) needsMount() bool { return f.Fault == "disk full" || f.Fault == "read-only" }

// copyBinary copies the test binary to where another user may execute it.
func copyBinary(t *testing.T, path *string) {
	b, err := os.ReadFile(*path)
	require.NoError(t, err)
	*path = filepath.Join(worldTemp(t), "child.test")
	require.NoError(t, os.WriteFile(*path, b, 0o755))
}

// worldTemp is a temporary directory for any user.
func worldTemp(t *testing.T) string {
	dir, err := os.MkdirTemp("/tmp", "torture")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	return dir
}

// run is what the child does.
func (f filesTask) run(e *copytest.Env) int {
	c := &filesChild{filesTask: f, env: e, fixture: filesFixture}
	c.all()
	if err := json.NewEncoder(os.Stdout).Encode(c.result); err != nil {
		return 2
	}
	return 0
}

// A filesChild runs the cases of one task.
type filesChild struct {
	filesTask
	env     *copytest.Env
	fixture *imagetest.Fixture
	dir     string // what is written is in it
	ref     types.ImageReference
	result  filesResult
}

func (c *filesChild) reference() types.ImageReference {
	path := filepath.Join(c.dir, "image")
	switch c.To {
	case "layout":
		return copytest.LayoutRef(c.env.T, path, "v1")
	case "dir":
		return copytest.DirRef(c.env.T, path)
	}
	return copytest.ArchiveRef(c.env.T, path, "v1")
}

func (c *filesChild) all() {
	switch c.Fault {
	case "disk full":
		for kib := 8; kib < 80; kib += 4 * c.Step {
			c.mounted(kib, func() func() { return func() { c.remount(0, "size=16m") } })
		}
	case "read-only":
		c.mounted(16<<10, func() func() {
			c.remount(syscall.MS_RDONLY, "size=16m")
			return func() { c.remount(0, "size=16m") }
		})
	case "file too large":
		signal.Ignore(syscall.SIGXFSZ)
		for size := uint64(0); size < 24_000; size += uint64(97 * c.Step) {
			c.plain(func() func() { return limit(syscall.RLIMIT_FSIZE, size) })
		}
	case "no descriptors":
		for n := openCount() + 1; n < openCount()+24; n += (c.Step + 2) / 3 {
			c.plain(func() func() { return limit(syscall.RLIMIT_NOFILE, uint64(n)) })
		}
	case "permission":
		c.plain(func() func() { return c.modes(0o555) })
	case "in the way":
		for _, name := range []string{"blobs", "blobs/sha256", "index.json", "oci-layout", "manifest.json", "version"} {
			c.plain(func() func() { return c.replace(name) })
		}
		c.plain(func() func() { return c.replace("") })
	}
}

// limit lowers a limit of this process, and returns what lifts it again.
func limit(resource int, value uint64) func() {
	var before syscall.Rlimit
	if err := syscall.Getrlimit(resource, &before); err != nil {
		panic(err)
	}
	set := func(l syscall.Rlimit) {
		if err := syscall.Setrlimit(resource, &l); err != nil {
			panic(err)
		}
	}
	set(syscall.Rlimit{Cur: value, Max: before.Max})
	return func() { set(before) }
}

// openCount is the number of descriptors in use.
func openCount() int { return len(copytest.OpenFiles()) }

// modes takes permissions away from everything that is written to.
func (c *filesChild) modes(mode fs.FileMode) func() {
	var changed []string
	_ = filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			changed = append(changed, path)
		}
		return nil
	})
	for i := len(changed) - 1; i >= 0; i-- {
		_ = os.Chmod(changed[i], mode)
	}
	return func() {
		for _, path := range changed {
			_ = os.Chmod(path, 0o755)
		}
	}
}

// replace puts something of the wrong kind in the place of a file or directory.
func (c *filesChild) replace(name string) func() {
	path := filepath.Join(c.dir, "image", filepath.FromSlash(name))
	kept := filepath.Join(filepath.Dir(c.dir), filepath.Base(c.dir)+".kept")
	info, err := os.Stat(path)
	if err != nil {
		return nil // there is no such thing
	}
	if err := os.Rename(path, kept); err != nil {
		panic(err)
	}
	if info.IsDir() {
		err = os.WriteFile(path, []byte("in the way"), 0o600)
	} else {
		err = os.MkdirAll(filepath.Join(path, "in the way"), 0o700)
	}
	if err != nil {
		panic(err)
	}
	return func() {
		_ = os.RemoveAll(path)
		if err := os.Rename(kept, path); err != nil {
			panic(err)
		}
	}
}

// mounted is plain in a file system of its own.
func (c *filesChild) mounted(kib int, fail func() func()) {
	dir := c.env.T.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%dk", kib)); err != nil {
		c.result.Skip = fmt.Sprintf("nothing can be mounted here: %v", err)
		return
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	c.one(dir, fail)
}

func (c *filesChild) remount(flags uintptr, data string) {
	if err := syscall.Mount("none", c.dir, "tmpfs", syscall.MS_REMOUNT|flags, data); err != nil {
		panic(err)
	}
}

func (c *filesChild) plain(fail func() func()) { c.one(c.env.T.TempDir(), fail) }

// one runs one case: fail makes files fail, and returns what ends that; nil if it does not apply.
func (c *filesChild) one(dir string, fail func() func()) {
	c.dir = dir
	defer func() { c.dir = "" }()
	c.ref = c.reference()
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	oldErr := c.copy("old", copy.Options{})
	if c.Fault != "disk full" && oldErr != nil {
		c.violation("first copy: %v", oldErr)
		return
	}
	heal := fail()
	if heal == nil {
		return
	}
	err := c.copy("v1", all)
	if err != nil || c.Fault != "in the way" { // what a copy has replaced stays replaced
		heal()
	}
	if err != nil {
		c.result.Faults++
		if why := unclear(err, copy.DestinationSide); why != "" && c.Fault != "no descriptors" {
			c.violation("%s: %v", why, err)
		} else if why != "" && unclear(err, copy.SourceSide) != "" {
			c.violation("%s: %v", why, err)
		}
		if oldErr == nil {
			c.check(err, imagetest.Want{Tag: "v1", Digest: old.Digest("amd64"), Fixture: old})
		}
	} else {
		c.check(errors.New("success"), imagetest.Want{Tag: "v1", Digest: c.fixture.Digest(imagetest.Top), Fixture: c.fixture})
	}
	if err := c.copy("v1", all); err != nil {
		c.violation("second run: %v", err)
		return
	}
	c.check(errors.New("the second run"), imagetest.Want{Tag: "v1", Digest: c.fixture.Digest(imagetest.Top), Fixture: c.fixture})
	if c.Fault != "no descriptors" { // nothing can be removed without one
		c.tidy()
	}
}

func (c *filesChild) copy(tag string, o copy.Options) error {
	options := c.env.Options(o)
	copier := c.env.Copier(o)
	_, err := copier.Image(context.Background(), c.env.Policy, c.ref, (&copytest.Peer{Addr: c.Host}).Ref(c.env.T, "app", tag), options)
	_ = copier.Close()
	return err
}

func (c *filesChild) violation(format string, args ...any) {
	c.result.Violations = append(c.result.Violations, fmt.Sprintf(format, args...))
}

// check inspects what is there after err.
func (c *filesChild) check(after error, want imagetest.Want) {
	path := filepath.Join(c.dir, "image")
	var s imagetest.Store
	switch c.To {
	case "layout":
		s = imagetest.LayoutStore(path)
	case "dir":
		s = dirStore(path)
	default:
		content := c.env.T.TempDir()
		if err := untar(path, content); err != nil {
			c.violation("after %v: %v", after, err)
			return
		}
		s = imagetest.LayoutStore(content)
	}
	for _, v := range imagetest.Inspect(s, want) {
		c.violation("after %v: %s", after, v)
	}
}

// tidy finds what a run should have cleared up.
func (c *filesChild) tidy() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		c.violation("%v", err)
	}
	for _, entry := range entries {
		if entry.Name() != "image" && !strings.HasSuffix(entry.Name(), ".lock") {
			c.violation("left behind: %s", entry.Name())
		}
	}
}
