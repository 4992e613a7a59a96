package copy

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestSmallBlobsTogether holds back blobs until as many are asked for as may be at once.
func TestSmallBlobsTogether(t *testing.T) {
	const most, patience = MostSmallBlobs, 20 * time.Second
	var asked atomic.Int32
	full := make(chan struct{})
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if !strings.Contains(req.URL.Path, "/blobs/") {
			return registrytest.Answer{}
		}
		if asked.Add(1) == most {
			close(full)
		}
		select {
		case <-full:
		case <-time.After(patience):
		}
		return registrytest.Answer{}
	}}), "app"}
	f := imagetest.Platforms(2, 40, 1000)
	src.push(f, "v1", imagetest.Top)
	begun := time.Now()
	_, err := newEnv(t).image(t.Context(), places["registry"](t).ref("v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages})
	require.NoError(t, err)
	assert.Less(t, time.Since(begun), patience, "there never were so many at once")
}
