package transports

import (
	"cmp"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/daemon"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// An engine is what docker-daemon: needs of Docker's API: it takes archives as "docker load" sends
// them, and gives one as "docker save" gets it.
type engine struct {
	host string
	save []byte // the archive that is given for any name; nil if there is none
	full bool   // refuses what is loaded

	mu     sync.Mutex
	loaded []string // what was in the archives that came; guarded by mu
}

// newEngine starts e.
func newEngine(t *testing.T, e *engine) *engine {
	dir, err := os.MkdirTemp("", "engine") // a test's own directory may be too long for the name of a socket
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	server := httptest.NewUnstartedServer(e)
	require.NoError(t, server.Listener.Close())
	server.Listener, err = net.Listen("unix", filepath.Join(dir, "docker.sock"))
	require.NoError(t, err)
	server.Start()
	t.Cleanup(server.Close)
	e.host = "unix://" + server.Listener.Addr().String()
	return e
}

// ServeHTTP implements http.Handler.
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path.Base(r.URL.Path) {
	case "_ping":
		w.Header().Set("Api-Version", "1.47")
	case "load":
		lines := members(r.Body)
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return // the client has given up
		}
		if e.full {
			_, _ = io.WriteString(w, `{"errorDetail":{"message":"no space left on device"}}`)
			return
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.loaded = append(e.loaded, lines...)
		_, _ = io.WriteString(w, `{"stream":"Loaded image"}`)
	case "get":
		if e.save == nil {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"message":"reference does not exist"}`)
			return
		}
		_, _ = w.Write(e.save)
	default:
		http.NotFound(w, r)
	}
}

// destination is the engine as a destination, by a reference.
func (e *engine) destination(text string) kind {
	return func(t *testing.T, _ string) place {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.loaded = nil
		return place{parsed(daemon.Transport, text)(t, "").ref, e.content}
	}
}

// content describes what was loaded.
func (e *engine) content() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.loaded...)
}

// TestToDockerDaemon loads images into an engine.
func TestToDockerDaemon(t *testing.T) {
	const name = "example.com/app:v1"
	for format, f := range fixtures {
		list, image := layoutOf(f, imagetest.Top), layoutOf(f, "arm64")
		for title, b := range map[string]struct {
			both
			engine *engine
			ref    string
		}{
			"the system image of a list": {both: both{src: list}},
			"a list":                     {both: both{src: list, options: all, want: notAGroup}},
			"some of a list":             {both: both{src: list, options: some, want: notAGroup}},
			"an image":                   {both: both{src: image}},
			"an image ID":                {both: both{src: image, want: "a destination must be a name:tag"}, ref: f.Digest("arm64").String()},
			"a digest":                   {both: both{src: image, want: "a destination must be a name:tag"}, ref: "example.com/app@" + f.Digest("arm64").String()},
			"a full engine":              {both: both{src: image, want: "no space left on device"}, engine: &engine{full: true}},
		} {
			t.Run(format+"/"+title, func(t *testing.T) {
				e := newEngine(t, cmp.Or(b.engine, &engine{}))
				b.dst = e.destination(cmp.Or(b.ref, name))
				b.sys = func(s *types.SystemContext) { s.DockerDaemonHost = e.host }
				if out := b.run(t); b.want == "" {
					assert.NotEmpty(t, out.content)
				}
			})
		}
	}
}

// TestFromDockerDaemon saves images of an engine.
func TestFromDockerDaemon(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.tar")
	makeArchive(t, file, fixtures["Docker"], "amd64")
	saved, err := os.ReadFile(file)
	require.NoError(t, err)
	src := parsed(daemon.Transport, "example.com/app:v1")
	for to, dst := range map[string]kind{"layout": emptyLayout, "directory": emptyDirectory, "archive": parsed(archive.Transport, "DIR/b.tar")} {
		for title, b := range map[string]struct {
			both
			engine *engine
		}{
			"an image":           {both{src: src, dst: dst}, &engine{save: saved}},
			"all of it":          {both{src: src, dst: dst, options: all}, &engine{save: saved}},
			"by its ID":          {both{src: parsed(daemon.Transport, fixtures["Docker"].Digest("amd64").String()), dst: dst}, &engine{save: saved}},
			"a name that is not": {both{src: src, dst: dst, want: "reference does not exist"}, &engine{}},
			"no archive":         {both{src: src, dst: dst, want: "loading tar component"}, &engine{save: []byte("no archive")}},
		} {
			t.Run(to+"/"+title, func(t *testing.T) {
				e := newEngine(t, b.engine)
				b.sys = func(s *types.SystemContext) { s.DockerDaemonHost = e.host }
				b.run(t)
			})
		}
	}
}

// TestWithoutDockerDaemon asks a socket at which nobody listens.
func TestWithoutDockerDaemon(t *testing.T) {
	nobody := func(s *types.SystemContext) {
		s.DockerDaemonHost = "unix://" + filepath.Join(s.BigFilesTemporaryDir, "docker.sock")
	}
	list, daemon := layoutOf(fixtures["OCI"], imagetest.Top), parsed(daemon.Transport, "example.com/app:v1")
	for name, b := range map[string]both{
		"source":      {src: daemon, dst: emptyLayout, want: "docker.sock"},
		"destination": {src: list, dst: daemon, want: "writing blob"},
		"a list":      {src: list, dst: daemon, options: all, want: notAGroup},
	} {
		t.Run(name, func(t *testing.T) {
			b.sys = nobody
			b.run(t)
		})
	}
}
