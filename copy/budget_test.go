package copy_test

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

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestSmallBlobsTogether holds back blobs until as many are asked for as may be at once.
func TestSmallBlobsTogether(t *testing.T) {
	const most, patience = copy.MostSmallBlobs, time.Minute
	var asked atomic.Int32
	full := make(chan struct{})
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
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
	}}), "app")
	f := imagetest.Platforms(2, 40, 1000)
	src.Push(f, "v1", imagetest.Top)
	begun := time.Now()
	_, err := copytest.NewEnv(t).Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.NoError(t, err)
	assert.Less(t, time.Since(begun), patience, "there never were so many at once")
}
