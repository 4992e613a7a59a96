package sparseserver

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// annotated is about size bytes of annotations.
func annotated(size int) []imagetest.Option {
	var options []imagetest.Option
	for i := range size / 400 {
		options = append(options, imagetest.Annotation(fmt.Sprintf("org.example.note.%d", i), strings.Repeat("words ", 63)))
	}
	return options
}

// ofSizes has images on both sides of what is read without memory, and lists of them.
func ofSizes() *imagetest.Fixture {
	f := sparsetest.Fixture(false)
	f.Image("large", append(annotated(200<<10), imagetest.Platform("linux/amd64"))...)
	f.List("large list", append(annotated(200<<10), imagetest.Entries("large"))...)
	f.List("small list", imagetest.Entries("large"))
	return f
}

// takeReads takes all the memory that there is for reading, but for what the policy looks for.
func takeReads(t *testing.T, s *Server) (giveBack func()) {
	t.Helper()
	return takeAll(t, s.reads)
}

// takeAll takes all the memory of a budget.
func takeAll(t *testing.T, b *budget) (giveBack func()) {
	t.Helper()
	lanes := []lane{b.small, b.large}
	for _, lane := range lanes {
		require.True(t, lane.free.TryAcquire(lane.bytes), "somebody has memory")
	}
	return func() {
		for _, lane := range lanes {
			lane.free.Release(lane.bytes)
		}
	}
}

// What is large is answered as distribution answers it.
func TestLargeManifestsAreReadAsOthers(t *testing.T) {
	server, client := start(t, Config{})
	f := ofSizes()
	for _, name := range []string{"large", "amd64"} {
		require.NoError(t, client.PushImage(t.Context(), f, "app", name))
	}
	require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "large list").Status)
	for ref, name := range map[string]string{
		f.Digest("large").String(): "large", f.Digest("amd64").String(): "amd64",
		f.Digest("large list").String(): "large list", "v1": "large list",
	} {
		document, mediaType := f.Document(name)
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			for _, accept := range []string{mediaType, "text/plain"} {
				header := http.Header{"Accept": {accept}}
				answer := client.Do(t, method, sparsetest.ManifestPath("app", ref), header, nil)
				plain := httptest.NewRecorder()
				r := httptest.NewRequest(method, sparsetest.ManifestPath("app", ref), nil)
				r.Header = header
				server.registry.ServeHTTP(plain, r)
				assert.Equal(t, plain.Code, answer.Status)
				if accept == mediaType {
					assert.Equal(t, http.StatusOK, answer.Status)
					answer.Header.Del("Date")
					assert.Equal(t, plain.Header(), answer.Header)
				}
				if method == http.MethodGet {
					assert.Equal(t, plain.Body.String(), string(answer.Body))
				}
				if method == http.MethodGet && accept == mediaType {
					assert.Equal(t, string(document), string(answer.Body))
				}
			}
		}
	}
	takeReads(t, server)()
}

// Who asks for something large waits for memory, and is told to try again; small ones do not.
func TestNoMemoryToRead(t *testing.T) {
	server, client := start(t, Config{MetricsAddress: "127.0.0.1:0", ManifestWait: time.Millisecond, Policies: requireAMD64})
	exporter := sparsetest.NewClient("http://" + server.MetricsAddress())
	f := ofSizes()
	f.Artifact("sbom", append(annotated(200<<10), imagetest.Subject("large"))...)
	for _, name := range []string{"large", "amd64", "sbom"} {
		require.NoError(t, client.PushImage(t.Context(), f, "app", name))
	}
	giveBack := takeReads(t, server)
	require.NoError(t, client.PushImage(t.Context(), f, "other", "sbom"), "who makes the tag has memory of its own")
	assert.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v0", "small list").Status, "so has who looks for children")
	giveBackChildren := takeAll(t, server.children)
	assert.Equal(t, http.StatusOK, client.Get(t, http.MethodGet, "app", f.Digest("amd64").String()).Status)
	referrers := "/v2/app/referrers/" + f.Digest("large").String()
	for name, answer := range map[string]sparsetest.Answer{
		"GET":       client.Get(t, http.MethodGet, "app", f.Digest("large").String()),
		"look-up":   client.Put(t, f, "app", "v1", "small list"),
		"referrers": client.Do(t, http.MethodGet, referrers, nil, nil),
	} {
		assert.Equal(t, http.StatusServiceUnavailable, answer.Status, name)
		assert.Equal(t, "5", answer.Header.Get("Retry-After"), name)
		require.Len(t, answer.Errors(), 1, name)
		assert.Equal(t, "UNAVAILABLE", answer.Errors()[0].Code, name)
		assert.Equal(t, "the registry is busy with other manifests; try again: no memory for it in 1ms", answer.Errors()[0].Message, name)
	}
	answer := client.Get(t, http.MethodHead, "app", f.Digest("large").String())
	assert.Equal(t, http.StatusServiceUnavailable, answer.Status)
	assert.Equal(t, "5", answer.Header.Get("Retry-After"))

	giveBack()
	giveBackChildren()
	assert.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "small list").Status)
	assert.Equal(t, http.StatusOK, client.Get(t, http.MethodHead, "app", f.Digest("large").String()).Status)
	assert.Contains(t, string(client.Do(t, http.MethodGet, referrers, nil, nil).Body), f.Digest("sbom").String())
	s := scrapeMetrics(t, exporter, "/metrics")
	assert.Equal(t, 4.0, s.series[`sparse_registry_denied_total{code="503",reason="busy"}`])
	assert.Equal(t, 1.0, s.series[`sparse_registry_manifests_refused_total{reason="busy"}`])
	assert.Zero(t, s.series["sparse_registry_manifests_waiting"])
	assert.Zero(t, s.series["sparse_registry_manifest_memory_bytes"])
}

// Who waits for memory, and leaves, has not been denied any: operators are told when there is none.
func TestWhoLeavesIsNotDeniedMemory(t *testing.T) {
	server, client := start(t, Config{MetricsAddress: "127.0.0.1:0"})
	f := ofSizes()
	f.Artifact("sbom", append(annotated(200<<10), imagetest.Subject("large"))...)
	for _, name := range []string{"large", "amd64", "sbom"} {
		require.NoError(t, client.PushImage(t.Context(), f, "app", name))
	}
	takeReads(t, server)
	takeAll(t, server.budget)
	begun := make(chan struct{})
	server.reads.gauges.waiting = waitingGauge{server.reads.gauges.waiting, begun}
	server.budget.gauges.waiting = waitingGauge{server.budget.gauges.waiting, begun}
	large, mediaType := f.Document("large")
	for _, c := range []struct {
		method, location string
		body             []byte
	}{
		{http.MethodGet, sparsetest.ManifestPath("app", f.Digest("large").String()), nil},
		{http.MethodGet, "/v2/app/referrers/" + f.Digest("large").String(), nil},
		{http.MethodPut, sparsetest.ManifestPath("app", "v1"), large},
	} {
		ctx, leave := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		asking.Go(func() {
			_, err := client.Try(ctx, c.method, c.location, http.Header{"Accept": {mediaType}, "Content-Type": {mediaType}}, c.body)
			assert.ErrorIs(t, err, context.Canceled, c.location)
		})
		<-begun
		leave()
		asking.Wait()
	}
	server.handlers.Lock() // waits for those who answer
	defer server.handlers.Unlock()
	s := scrapeMetrics(t, sparsetest.NewClient("http://"+server.MetricsAddress()), "/metrics")
	assert.Equal(t, map[string]float64{`sparse_registry_denied_total{code="503",reason="client_left"}`: 3}, s.with("sparse_registry_denied_total"))
	assert.Equal(t, map[string]float64{`sparse_registry_manifests_refused_total{reason="client_left"}`: 1}, s.with("sparse_registry_manifests_refused_total"))
}

// A client that does not take its answer keeps no memory.
func TestSlowClientsHoldNoMemory(t *testing.T) {
	server, client := start(t, Config{})
	f := ofSizes()
	f.Artifact("sbom", append(annotated(200<<10), imagetest.Subject("large"))...)
	for _, name := range []string{"large", "sbom"} {
		require.NoError(t, client.PushImage(t.Context(), f, "app", name))
	}
	for _, path := range []string{
		sparsetest.ManifestPath("app", f.Digest("large").String()),
		"/v2/app/referrers/" + f.Digest("large").String(),
	} {
		w := &stuckWriter{ResponseRecorder: httptest.NewRecorder(), stuck: make(chan struct{}), goOn: make(chan struct{})}
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
		goOn := sync.OnceFunc(func() { close(w.goOn) })
		t.Cleanup(goOn)
		var answered sync.WaitGroup
		answered.Go(func() { server.http.Handler.ServeHTTP(w, r) })
		<-w.stuck
		takeReads(t, server)()
		goOn()
		answered.Wait()
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Equal(t, w.Header().Get("Content-Length"), fmt.Sprint(w.Body.Len()))
	}
}

// A stuckWriter waits before the first byte of a body is written.
type stuckWriter struct {
	*httptest.ResponseRecorder
	once        sync.Once
	stuck, goOn chan struct{}
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	w.once.Do(func() {
		close(w.stuck)
		<-w.goOn
	})
	return w.ResponseRecorder.Write(p)
}

// Clients that know no lists get the image for linux/amd64: both are read, and neither kept.
// TestASmallImageInThePlaceOfALargeList: what was read last is sent.
func TestASmallImageInThePlaceOfALargeList(t *testing.T) {
	_, client := start(t, Config{})
	f := sparsetest.Fixture(true)
	f.Image("small", imagetest.Docker(), imagetest.Platform("linux/amd64"))
	f.List("list", imagetest.Docker(), imagetest.Entries("small"))
	list, listType := f.Document("list")
	f.Raw("large list", listType, append(list, bytes.Repeat([]byte(" "), 200<<10)...), "small")
	require.NoError(t, client.PushImage(t.Context(), f, "app", "small"))
	require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "large list").Status)
	document, mediaType := f.Document("small")
	answer := client.Do(t, http.MethodGet, sparsetest.ManifestPath("app", "v1"), http.Header{"Accept": {mediaType}}, nil)
	assert.Equal(t, http.StatusOK, answer.Status)
	assert.Equal(t, string(document), string(answer.Body))
}

func TestAnImageInThePlaceOfALargeList(t *testing.T) {
	faults := distributionsFaults(t)
	server, client := start(t, Config{ManifestWait: time.Millisecond})
	f := sparsetest.Fixture(true)
	f.Image("large", append(annotated(200<<10), imagetest.Docker(), imagetest.Platform("linux/amd64"))...)
	f.List("list", imagetest.Docker(), imagetest.Entries("large"))
	list, listType := f.Document("list")
	f.Raw("large list", listType, append(list, bytes.Repeat([]byte(" "), 200<<10)...), "large")
	require.NoError(t, client.PushImage(t.Context(), f, "app", "large"))
	require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "large list").Status)
	document, mediaType := f.Document("large")
	get := func() sparsetest.Answer {
		return client.Do(t, http.MethodGet, sparsetest.ManifestPath("app", "v1"), http.Header{"Accept": {mediaType}}, nil)
	}
	answer := get()
	assert.Equal(t, http.StatusOK, answer.Status)
	assert.Equal(t, string(document), string(answer.Body))
	takeReads(t, server)()

	most := server.reads.large.bytes
	require.True(t, server.reads.large.free.TryAcquire(most-readWeight*f.Size("large list")))
	answer = get()
	assert.Equal(t, http.StatusServiceUnavailable, answer.Status, "there is memory for the list only")
	assert.Equal(t, "the registry is busy with other manifests; try again: no memory for it in 1ms", answer.Errors()[0].Message)
	assert.True(t, server.reads.large.free.TryAcquire(readWeight*f.Size("large list")), "nothing is kept")
	assert.Empty(t, faults())
}

// A waitingGauge tells who waits for memory.
type waitingGauge struct {
	prometheus.Gauge
	begun chan struct{}
}

func (g waitingGauge) Inc() { g.begun <- struct{}{} }
func (g waitingGauge) Dec() {}

// distributionsFaults has distribution log to faults, which returns those lines that are not about
// what clients did wrong.
func distributionsFaults(t *testing.T) (faults func() []string) {
	hook := new(test.Hook)
	before := logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	t.Cleanup(func() { logrus.StandardLogger().ReplaceHooks(before) })
	logrus.AddHook(hook)
	return func() []string {
		var lines []string
		for _, e := range hook.AllEntries() {
			if status, ok := e.Data["http.response.status"].(int); e.Level <= logrus.ErrorLevel && (!ok || status >= http.StatusInternalServerError) {
				lines = append(lines, fmt.Sprint(e.Message, e.Data))
			}
		}
		return lines
	}
}

// Who waits for memory keeps nobody from the storage, and is answered by what is there afterwards.
func TestWhoWaitsToReadHoldsNothing(t *testing.T) {
	faults := distributionsFaults(t)
	server, client := start(t, Config{ManifestWait: time.Hour})
	waiting := waitingGauge{server.reads.gauges.waiting, make(chan struct{})}
	server.reads.gauges.waiting = waiting
	f := ofSizes()
	for _, name := range []string{"large", "amd64"} {
		require.NoError(t, client.PushImage(t.Context(), f, "app", name))
	}
	tag := func(name string) { require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", name).Status) }
	for name, c := range map[string]struct {
		meanwhile func()
		want      string // "" for 404
	}{
		"nothing":    {func() {}, "large"},
		"a deletion": {func() { client.Do(t, http.MethodDelete, sparsetest.ManifestPath("app", "v1"), nil, nil) }, ""},
		"a push":     {func() { tag("amd64") }, "amd64"},
	} {
		tag("large")
		giveBack := takeReads(t, server)
		var answer sparsetest.Answer
		var asking sync.WaitGroup
		asking.Go(func() { answer = client.Get(t, http.MethodGet, "app", "v1") })
		<-waiting.begun
		server.storage.Exclusive()() // waits for those who hold the lock
		c.meanwhile()
		giveBack()
		asking.Wait()
		if c.want == "" {
			assert.Equal(t, http.StatusNotFound, answer.Status, name)
			continue
		}
		document, mediaType := f.Document(c.want)
		assert.Equal(t, http.StatusOK, answer.Status, name)
		assert.Equal(t, []string{mediaType}, answer.Header["Content-Type"], name)
		assert.Equal(t, fmt.Sprint(len(document)), answer.Header.Get("Content-Length"), name)
		assert.Equal(t, string(document), string(answer.Body), name)
	}
	takeReads(t, server)()
	assert.Empty(t, faults(), "that somebody waits is none")
}
