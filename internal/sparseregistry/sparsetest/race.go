package sparsetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	raceRepo     = "race/app"
	raceLists    = 50
	raceChildren = 8 // that are deleted and pushed again, over and over
	raceAttempts = 5 // pushes of each list, and more until one was accepted and one refused
	mostAttempts = 1000
)

// Race pushes lists concurrently, each several times, while their required children are deleted and
// pushed again. At no time may the registry store a list one of whose required children is not
// there.
func Race(t *testing.T, backend Backend) {
	witness := &witness{next: backend(t)}
	client := Serve(t, witness, on("amd64"))
	f := raceFixture()
	for i := range raceChildren {
		require.NoError(t, client.PushImage(t.Context(), f, raceRepo, childName(i)))
	}

	var accepted, refused atomic.Int64
	var pushers, deleters errgroup.Group
	done := make(chan struct{})
	for i := range raceChildren {
		deleters.Go(func() error { return deleteAndPush(t, client, f, childName(i), done) })
	}
	for i := range raceLists {
		pushers.Go(func() error { return pushRepeatedly(t, client, f, i, &accepted, &refused) })
	}
	err := pushers.Wait()
	close(done)
	require.NoError(t, deleters.Wait())
	require.NoError(t, err)

	assert.Empty(t, witness.violations(), "lists that were stored without a required child")
	assert.Equal(t, accepted.Load(), witness.stored.Load())
	assert.Positive(t, accepted.Load())
	assert.Positive(t, refused.Load())
	t.Logf("%d pushes accepted, %d refused, %d children deleted", accepted.Load(), refused.Load(), witness.deleted.Load())
}

func childName(i int) string { return fmt.Sprintf("child-%d", i) }
func listName(i int) string  { return fmt.Sprintf("list-%d", i) }

// raceFixture has the children, and lists that require two of them each and name a third that never
// exists.
func raceFixture() *imagetest.Fixture {
	f := imagetest.New()
	f.Layer("base", imagetest.File("etc/motd", "hello\n"))
	for i := range raceChildren {
		f.Image(childName(i), imagetest.Platform("linux/amd64"), imagetest.Layers("base"), imagetest.Annotation("child", fmt.Sprint(i)))
	}
	f.Image("absent", imagetest.Platform("linux/arm64"), imagetest.Layers("base"))
	for i := range raceLists {
		f.List(listName(i), imagetest.Entries(childName(i%raceChildren), "absent", childName((i+1)%raceChildren)),
			imagetest.Annotation("list", fmt.Sprint(i)))
	}
	return f
}

// deleteAndPush deletes a child and pushes it again until done is closed, and leaves it there.
func deleteAndPush(t *testing.T, client *Client, f *imagetest.Fixture, name string, done chan struct{}) error {
	for {
		select {
		case <-done:
			return nil
		default:
		}
		answer, err := client.Try(t.Context(), http.MethodDelete, ManifestPath(raceRepo, f.Digest(name).String()), nil, nil)
		if err == nil && answer.Status != http.StatusAccepted {
			err = fmt.Errorf("DELETE: %d %s", answer.Status, answer.Body)
		}
		if err != nil {
			return err
		}
		if err := created(client.TryPut(t.Context(), f, raceRepo, "", name)); err != nil {
			return err
		}
	}
}

// pushRepeatedly pushes one list, until both has happened to some list, and checks that it is there
// when it was accepted, and what a refusal says.
func pushRepeatedly(t *testing.T, client *Client, f *imagetest.Fixture, i int, accepted, refused *atomic.Int64) error {
	for n := range mostAttempts {
		if n >= raceAttempts && accepted.Load() > 0 && refused.Load() > 0 {
			break
		}
		answer, err := client.TryPut(t.Context(), f, raceRepo, fmt.Sprintf("v%d", i), listName(i))
		if err != nil {
			return err
		}
		switch errs := answer.Errors(); {
		case answer.Status == http.StatusCreated:
			accepted.Add(1)
			got, err := client.Try(t.Context(), http.MethodGet, ManifestPath(raceRepo, fmt.Sprintf("v%d", i)), accept, nil)
			if err != nil {
				return err
			}
			if want, _ := f.Document(listName(i)); !bytes.Equal(got.Body, want) {
				return fmt.Errorf("an accepted list is not there: %d %s", got.Status, got.Body)
			}
		case answer.Status == http.StatusBadRequest && len(errs) > 0 && errs[0].Code == "MANIFEST_BLOB_UNKNOWN":
			refused.Add(1)
		default:
			return fmt.Errorf("PUT: %d %s", answer.Status, answer.Body)
		}
	}
	return nil
}

// A witness stands between the policy and the registry. Whenever the registry has stored a list,
// and before the policy knows it, the witness looks whether the required children are there.
type witness struct {
	next            http.Handler
	stored, deleted atomic.Int64

	mu    sync.Mutex
	wrong []string // guarded by mu
}

func (w *witness) violations() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrong
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodDelete:
		w.deleted.Add(1)
		w.next.ServeHTTP(rw, r)
	case r.Method == http.MethodPut && manifest.IsListMediaType(r.Header.Get("Content-Type")):
		w.putList(rw, r)
	default:
		w.next.ServeHTTP(rw, r)
	}
}

func (w *witness) putList(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)                             // the policy has it in memory
	list, _ := manifest.Parse(body, "")                       // and has parsed it
	r.Body = io.NopCloser(bytes.NewReader(body))              // r is ours alone
	for range 100 * (1 + int(w.stored.Load()%raceChildren)) { // time for others
		runtime.Gosched()
	}
	status := &statusWriter{ResponseWriter: rw}
	w.next.ServeHTTP(status, r)
	if status.status != http.StatusCreated {
		return
	}
	w.stored.Add(1)
	for _, in := range list.Instances() {
		if in.Platform.Architecture == "amd64" && !w.has(r, in.Digest) {
			w.mu.Lock()
			w.wrong = append(w.wrong, r.URL.Path)
			w.mu.Unlock()
		}
	}
}

func (w *witness) has(r *http.Request, d digest.Digest) bool {
	head := r.Clone(r.Context())
	head.Method, head.Body, head.ContentLength, head.Header = http.MethodHead, http.NoBody, 0, accept.Clone()
	head.URL.Path = r.URL.Path[:strings.LastIndex(r.URL.Path, "/")+1] + d.String()
	answer := &statusWriter{ResponseWriter: discard{}}
	w.next.ServeHTTP(answer, head)
	return answer.status == http.StatusOK
}

// A statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
