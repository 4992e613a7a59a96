//go:build linux

package torture

import (
	"fmt"
	"net/http"
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
				src, dst := copytest.StartPeer(t, registrytest.Options{}, paced), copytest.StartPeer(t, registrytest.Options{}, nil)
				f := imagetest.Platforms(1, 1, 4*long, imagetest.SeededLayers()) // so that a busy machine asks for ranges in time
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
