package sparseregistry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
)

// TestFewChildrenAreAskedForAtATime: however many lists name them, and however many each of them
// names.
func TestFewChildrenAreAskedForAtATime(t *testing.T) {
	var entries []string
	for i := range 20 {
		entries = append(entries, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":7}`, ociImage, digest.FromString(fmt.Sprint(i))))
	}
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ociIndex, strings.Join(entries, ","))
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		answer := make(chan struct{})
		h := enforce(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				asked.Add(1)
				<-answer
				w.Header().Set("Content-Length", "7")
				return
			}
			w.WriteHeader(http.StatusCreated)
		}), requireAMD64)
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, fmt.Sprintf("/v2/app/manifests/v%d", i), strings.NewReader(body))
				r.Header.Set("Content-Type", ociIndex)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				assert.Equal(t, http.StatusCreated, w.Code)
			})
		}
		synctest.Wait()
		assert.EqualValues(t, 8, asked.Load())
		close(answer)
		wg.Wait()
		assert.EqualValues(t, 3*20, asked.Load())
	})
}
