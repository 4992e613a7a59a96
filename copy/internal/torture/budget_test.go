//go:build linux

package torture

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// What a copy may have in flight holds for the connections of one blob, too, whoever says it.
func TestRangesKeepToTheLimit(t *testing.T) {
	for _, most := range []int{1, 2, 8} {
		for name, o := range map[string]copy.Options{
			"MaxParallelDownloads":          {MaxParallelDownloads: uint(most)},
			"ConcurrentBlobCopiesSemaphore": {ConcurrentBlobCopiesSemaphore: semaphore.NewWeighted(int64(most))},
		} {
			t.Run(fmt.Sprintf("%s %d", name, most), func(t *testing.T) {
				e := copytest.NewEnv(t)
				var answers gauge
				src := copytest.StartPeer(t, registrytest.Options{}, func(next http.Handler) http.Handler { return answers.of(paced(next)) })
				dst := copytest.StartPeer(t, registrytest.Options{}, nil)
				f := imagetest.Platforms(1, 1, 4*long, imagetest.SeededLayers()) // so that a busy machine asks for ranges in time
				f.PushTo(src.Registry, repo(0), "v1", imagetest.Top)
				o.ImageListSelection = copy.CopyAllImages
				_, err := e.Image(t.Context(), dst.Ref(t, repo(0), "v1"), src.Ref(t, repo(0), "v1"), o)
				require.NoError(t, err)
				ranges := src.Count(func(q registrytest.Request) bool {
					return q.Method == http.MethodGet && q.Header.Get("Range") != ""
				})
				assert.Equal(t, most > 1, ranges > 0)
				assert.LessOrEqual(t, answers.peak(), most)
			})
		}
	}
}

// A gauge counts answers that are under way. One is not any more when its last byte is about to be
// sent: from then on its client may ask again, however late the handler returns.
type gauge struct {
	mu        sync.Mutex
	now, most int // guarded by mu
}

func (g *gauge) of(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		g.add(1)
		counted := &gaugedWriter{ResponseWriter: w, end: sync.OnceFunc(func() { g.add(-1) })}
		defer counted.end()
		next.ServeHTTP(counted, req)
	})
}

func (g *gauge) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now += n
	g.most = max(g.most, g.now)
}

func (g *gauge) peak() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most
}

type gaugedWriter struct {
	http.ResponseWriter
	written int
	end     func()
}

func (w *gaugedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *gaugedWriter) Write(p []byte) (int, error) {
	w.written += len(p)
	if w.Header().Get("Content-Length") == strconv.Itoa(w.written) {
		w.end()
	}
	return w.ResponseWriter.Write(p)
}
