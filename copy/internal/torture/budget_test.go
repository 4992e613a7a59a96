//go:build linux

package torture

import (
	"context"
	"fmt"
	"net/http"
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
				wrap := paced
				if most > 1 {
					wrap = func(next http.Handler) http.Handler { return paced(untilRanged(next)) }
				}
				src, dst := copytest.StartPeer(t, registrytest.Options{}, wrap), copytest.StartPeer(t, registrytest.Options{}, nil)
				f := imagetest.Platforms(1, 1, 4*long, imagetest.SeededLayers())
				f.PushTo(src.Registry, repo(0), "v1", imagetest.Top)
				o.ImageListSelection = copy.CopyAllImages
				_, err := e.Image(t.Context(), dst.Ref(t, repo(0), "v1"), src.Ref(t, repo(0), "v1"), o)
				require.NoError(t, err)
				ranges := src.Count(func(q registrytest.Request) bool {
					return q.Method == http.MethodGet && q.Header.Get("Range") != ""
				})
				assert.Equal(t, most > 1, ranges > 0)
				assert.LessOrEqual(t, src.Peak(), most)
			})
		}
	}
}

// untilRanged holds back what follows the first piece of an answer until a request for a range has
// come, however late that is: a copy that asks for ranges does so before it has everything.
func untilRanged(next http.Handler) http.Handler {
	ranged := make(chan struct{})
	come := sync.OnceFunc(func() { close(ranged) })
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Range") != "" {
			come()
		}
		next.ServeHTTP(&heldWriter{ResponseWriter: w, ctx: req.Context(), goOn: ranged}, req)
	})
}

type heldWriter struct {
	http.ResponseWriter
	ctx  context.Context
	goOn <-chan struct{}
	sent int
}

func (w *heldWriter) Write(p []byte) (n int, err error) {
	if w.sent < piece {
		n, err = w.ResponseWriter.Write(p[:min(len(p), piece-w.sent)])
		if w.sent += n; err != nil || n == len(p) {
			return n, err
		}
	}
	if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil {
		return n, err
	}
	select {
	case <-w.goOn:
	case <-w.ctx.Done():
		return n, w.ctx.Err()
	}
	rest, err := w.ResponseWriter.Write(p[n:])
	return n + rest, err
}

func (w *heldWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
