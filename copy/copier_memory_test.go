//go:build !race

package copy_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestCopierMemory makes ten thousand small copies with one Copier, most of them of an image, some
// of them of a list, into two hundred repositories and, each second one, into a repository of its
// own, of a registry that loses everything now and then. From the first thousand on, memory does
// not grow, and there are hardly more connections than requests at the same time. With -short there
// are two thousand.
//
// It looks for nothing that the race detector finds, with which it takes most of a minute: make
// test runs it without.
func TestCopierMemory(t *testing.T) {
	const settled, round, restart, repos, mostBytes, mostConnections = 1000, 500, 2500, 200, 2 << 20, 200
	copies := 10_000
	if testing.Short() {
		copies = 2000
	}
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(3, 1, 10)
	src := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Bearer: true, AnonymousPull: true}})
	for i := range 10 {
		f.PushTo(src, fmt.Sprintf("app/%d", i), "list", imagetest.Top)
		f.PushTo(src, fmt.Sprintf("app/%d", i), "image", "arm64")
	}
	dst := newRestarted(t, registrytest.Options{Strict: true, Auth: &registrytest.Auth{
		Bearer: true, Accounts: []registrytest.Account{{Username: "alice", Password: "secret"}},
	}})
	sys := *e.Sys
	sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "alice", Password: "secret"}
	list := e.Options(copytest.Auto("linux/amd64"))
	list.DestinationCtx = &sys
	image := e.Options(copy.Options{DestinationCtx: &sys})
	job := func(i int) copy.Job {
		from, tag, o := fmt.Sprintf("app/%d", i%10), "image", image
		to := fmt.Sprintf("mirror/%d", i%repos)
		if i%2 == 1 {
			to = fmt.Sprintf("own/%d", i)
		}
		if i%100 == 0 {
			tag, o = "list", list
		}
		return copy.Job{Source: copytest.RegistryRef(t, src, from, tag), Destination: copytest.DockerRef(t, fmt.Sprintf("%s/%s:v%d", dst.host, to, i)), Options: o}
	}

	c := copytest.NewCopier(t, copy.CopierOptions{})
	heap, connections := map[int]int{}, map[int]int{}
	for done := 0; done < copies; {
		if done%restart == 0 {
			dst.restart()
		}
		jobs := make([]copy.Job, round)
		for i := range jobs {
			jobs[i] = job(done + i)
		}
		for _, r := range c.Images(t.Context(), e.Policy, jobs, nil) {
			require.NoError(t, r.Err)
		}
		done += round
		src.ResetLog()
		dst.Load().ResetLog()
		if done == settled || done == copies {
			imagetest.CheckRegistry(t, dst.Load(), "mirror/0", imagetest.Want{Tag: fmt.Sprint("v", done-repos), Fixture: f, Present: []string{"amd64"}})
			dst.restart() // what the registry holds is not the Copier's
			heap[done], connections[done] = heapInUse(), src.Connections()+int(dst.connections.Load())
		}
	}
	t.Logf("%d KiB after %d copies, %d KiB after %d", heap[settled]>>10, settled, heap[copies]>>10, copies)
	t.Logf("%d connections after %d copies, %d after %d", connections[settled], settled, connections[copies], copies)
	assert.LessOrEqual(t, heap[copies]-heap[settled], mostBytes)
	assert.LessOrEqual(t, connections[copies], mostConnections)
}

// heapInUse is how many bytes of the heap something refers to.
func heapInUse() int {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second one
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// restarted is a registry that can be restarted, without what it held. Its connections stay.
type restarted struct {
	atomic.Pointer[registrytest.Registry]
	options     registrytest.Options
	host        string
	connections atomic.Int64 // that were ever made
}

func newRestarted(t *testing.T, o registrytest.Options) *restarted {
	r := &restarted{options: o}
	r.restart()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.Load().ServeHTTP(w, req) }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			r.connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	r.host = server.Listener.Addr().String()
	return r
}

func (r *restarted) restart() { r.Store(registrytest.NewHandler(r.options)) }
