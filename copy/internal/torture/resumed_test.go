//go:build linux

package torture

import (
	"net/http"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// notes is how many bytes lie between two points of an upload that are remembered, and brokenOffAt
// where an earlier process has broken off.
const (
	notes       = 50_000
	brokenOffAt = 200_000
)

// An earlierProcess has broken off an upload before a run begins. Scripts count from there on. All
// of its uploads are cut: the first may be refused, for a token that has ended, before it is read.
type earlierProcess struct {
	dir      string // of CopierOptions.ResumeDir
	over     atomic.Bool
	from, to atomic.Int64 // requests that it has made
}

func newEarlierProcess(t testing.TB, so, do *registrytest.Options) *earlierProcess {
	dir, err := os.MkdirTemp("", "torture")
	require.NoError(t, err)
	e := &earlierProcess{dir: dir}
	so.Script = e.then(&e.from, nil, so.Script)
	do.Script = e.then(&e.to, registrytest.Only(func(q *http.Request) bool {
		return upload(q.Method) && q.ContentLength > brokenOffAt
	}, registrytest.EveryNth(1, registrytest.CutUpload(brokenOffAt))), do.Script)
	return e
}

// then is a script that does as first as long as the process runs, and counts its requests, and as
// next from then on.
func (e *earlierProcess) then(requests *atomic.Int64, first, next registrytest.Script) registrytest.Script {
	return func(n int, q *http.Request) registrytest.Answer {
		script := next
		if !e.over.Load() {
			requests.Add(1)
			script = first
		}
		if script == nil {
			return registrytest.Answer{}
		}
		return script(n-int(requests.Load()), q)
	}
}

// run lets the process begin what r does.
func (e *earlierProcess) run(r *run) {
	o := impatience(0, r.options)
	o.ResumeDir, o.Retries.Attempts = e.dir, 1
	next := r.copier
	r.copier = copy.NewCopier(o)
	require.Error(r.t, r.copy(r.options)[0])
	require.NoError(r.t, r.copier.Close())
	r.copier = next
	r.src.ResetLog()
	r.dst.ResetLog()
	e.over.Store(true)
}

// requests is how many requests the process has made to a peer that was filled with what it has.
func (e *earlierProcess) requests(r *run, p *copytest.Peer) int {
	switch {
	case e == nil:
		return 0
	case p == r.src:
		return int(e.from.Load())
	}
	return int(e.to.Load())
}
