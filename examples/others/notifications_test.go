package others

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"

	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// pushes is a queue that hands on what it is asked to look at.
type pushes chan string

func (p pushes) Enqueue(tag reference.NamedTagged) notify.Verdict {
	p <- tag.String()
	return notify.Queued
}

func (p pushes) Rescan() { p <- "everything" }

// TestDistributionNotifies pushes a list to distribution, with clients that pull and delete beside
// it: the tag is all that comes of what it sends.
func TestDistributionNotifies(t *testing.T) {
	const secret = "6f1ed002ab5595859014ebf0951522d9"
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(secret), 0o600))
	queue, outcomes := make(pushes, 100), make(chan notify.Outcome, 100)
	listener, err := notify.New(
		[]notify.Sender{{Name: "team", Format: notify.Distribution, Auth: notify.Header, Registries: []string{"registry.example"}, SecretFile: file}},
		notify.Options{Queue: queue, Log: slog.New(slog.DiscardHandler), Observe: func(_ string, o notify.Outcome) { outcomes <- o }})
	require.NoError(t, err)
	mirror := httptest.NewServer(listener)
	t.Cleanup(mirror.Close)

	config := &configuration.Configuration{
		Storage: configuration.Storage{"inmemory": {}, "delete": {"enabled": true}},
		Tags:    configuration.Tags{MaxTags: 1000},
		Notifications: configuration.Notifications{Endpoints: []configuration.Endpoint{{
			Name: "mirror", URL: mirror.URL + "/notify/team", Headers: http.Header{"Authorization": {"Bearer " + secret}},
			Timeout: 10 * time.Second, Threshold: 1, Backoff: time.Millisecond,
		}}},
	}
	app := handlers.NewApp(t.Context(), config)
	t.Cleanup(func() { assert.NoError(t, app.Shutdown()) })
	registry := httptest.NewServer(app)
	t.Cleanup(registry.Close)
	client := sparsetest.NewClient(registry.URL)
	t.Cleanup(client.CloseIdle)

	f := fixture()
	for _, architecture := range list {
		require.NoError(t, client.PushImage(t.Context(), f, repo, architecture))
	}
	assert.Equal(t, http.StatusCreated, client.Put(t, f, repo, tag, imagetest.Top).Status)
	assert.Equal(t, http.StatusOK, client.Get(t, http.MethodGet, repo, tag).Status)
	assert.Equal(t, http.StatusAccepted, client.Do(t, http.MethodDelete, sparsetest.ManifestPath(repo, tag), nil, nil).Status)
	assert.Equal(t, http.StatusCreated, client.Put(t, f, repo, "last", imagetest.Top).Status)

	var asked []string
	for !strings.HasSuffix(strings.Join(asked, " "), ":last") { // events come one after the other
		asked = append(asked, <-queue)
	}
	assert.Equal(t, []string{"registry.example/" + repo + ":" + tag, "registry.example/" + repo + ":last"}, asked)
	seen := map[notify.Outcome]int{}
	for seen[notify.Accepted] < 2 {
		seen[<-outcomes]++
	}
	assert.Greater(t, seen[notify.Ignored], 10, "blobs, images, a pull, a delete")
	assert.Len(t, seen, 2, "%v", seen)
}
