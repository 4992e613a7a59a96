//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestSignalWhileWaiting interrupts a copy that waits for a file, which nothing can end.
func TestSignalWhileWaiting(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "policy.json")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	cmd, stderr := program(t, "copy", "--all", "--policy", fifo, "docker://127.0.0.1:1/a:1", "docker://127.0.0.1:1/b:1")
	cmd.Env = append(cmd.Env, asProgram+"=10ms")
	require.NoError(t, cmd.Start())
	writer, err := os.OpenFile(fifo, os.O_WRONLY, 0) // when the program has opened it for reading
	require.NoError(t, err)
	defer writer.Close()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	assert.Equal(t, mirrorcmd.StatusFailed, exit.ExitCode())
	assert.Equal(t, "mirror: stopped: terminated signal received; something did not stop by itself\n", stderr.String())
}

// TestStorage copies an image into containers-storage, which starts the program once more for each
// layer. Who may not do that gets an error, and a program that does not know of it panics.
func TestStorage(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	imagetest.Platforms(1, 1, 1000).PushTo(r, "image", "1", imagetest.Top)
	dir := t.TempDir()
	store := fmt.Sprintf("containers-storage:[vfs@%s/root+%s/run]registry.example/image:1", dir, dir)
	cmd, stderr := program(t, "copy", "--insecure-policy", "--src-tls-verify=false", "--src-no-creds", "--override-os", "linux", "--override-arch", "amd64",
		"docker://"+r.Host()+"/image:1", store)
	err := cmd.Run()
	assert.NotContains(t, stderr.String(), "panic")
	if os.Geteuid() == 0 {
		assert.NoError(t, err, stderr.String())
	}
}

// patience is how long is waited for what happens. Only what never happens takes so long.
const patience = 5 * time.Minute

// A served is mirror serve, as a process.
type served struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner // of its log
}

func serve(t *testing.T, args ...string) *served {
	t.Helper()
	cmd, _ := program(t, append([]string{
		"serve", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-no-creds", "--dest-no-creds",
		"--log-format", "json", "--listen", "127.0.0.1:0",
	}, args...)...)
	cmd.Stderr = nil
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }) // ends its log
	t.Cleanup(func() { late.Stop() })
	return &served{t: t, cmd: cmd, lines: bufio.NewScanner(log)}
}

// wait reads the log until an entry has a message, and returns it.
func (s *served) wait(message string) map[string]any {
	s.t.Helper()
	var seen []string
	for s.lines.Scan() {
		entry := map[string]any{}
		if json.Unmarshal(s.lines.Bytes(), &entry) == nil && entry["msg"] == message {
			return entry
		}
		seen = append(seen, s.lines.Text())
	}
	require.FailNow(s.t, "it is not logged", "%q: %q", message, seen)
	return nil
}

// TestServe runs a server that copies by schedule, reloads on SIGHUP, and stops on SIGTERM,
// although something is being copied that would never end.
func TestServe(t *testing.T) {
	const stopTimeout = 50 * time.Millisecond
	stalled := make(chan struct{})
	var once sync.Once
	src := registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindBlob), func(_ int, r *http.Request) registrytest.Answer {
			if !strings.Contains(r.URL.Path, "/stalls/") {
				return registrytest.Answer{}
			}
			once.Do(func() { close(stalled) })
			return registrytest.Stall()
		}),
	})
	dst := registrytest.Start(t, registrytest.Options{})
	push := func(repository string, size int64) {
		imagetest.Platforms(2, 1, size).PushTo(src, repository, "1", imagetest.Top)
	}
	push("image", 100)
	push("stalls", 300)
	dir := t.TempDir()
	file := filepath.Join(dir, "images.yaml")
	image := func(name string) string {
		return "- {source: 'docker://" + src.Host() + "/" + name + ":1', destination: 'docker://" + dst.Host() + "/" + name + "', every: 1s, jitter: 0s}\n"
	}
	require.NoError(t, os.WriteFile(file, []byte("images:\n"+image("image")), 0o600))

	s := serve(t, "--state-dir", dir, "--state", filepath.Join(dir, "state"), "--stop-timeout", stopTimeout.String(), file)
	url, _ := s.wait("serving")["url"].(string)
	s.wait("copied")
	push("image", 200)
	s.wait("copied") // by its schedule
	want, _ := src.Resolve("image", "1")
	got, _ := dst.Resolve("image", "1")
	assert.Equal(t, want, got)

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	metrics, err := io.ReadAll(resp.Body)
	require.NoError(t, errors.Join(err, resp.Body.Close()))
	assert.Contains(t, string(metrics), "mirror_images{status=\"mirrored\"} 1\n")

	require.NoError(t, os.WriteFile(file, []byte("images:\n"+image("image")+image("stalls")), 0o600))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	s.wait("read again")
	select {
	case <-stalled:
	case <-time.After(patience):
		require.FailNow(t, "it is not copied")
	}
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.wait("stopping")
	s.wait("copies are cut off: they take longer than they may when the server stops")
	require.NoError(t, s.cmd.Wait(), "the status is 0: nobody had to end it")
	imagetest.CheckUnchanged(t, dst, "stalls", "1", "")
}
