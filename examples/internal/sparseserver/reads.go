package sparseserver

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"

	upstream "github.com/distribution/distribution/v3"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	storagemiddleware "github.com/distribution/distribution/v3/registry/storage/driver/middleware"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

const (
	// readFreely is how many bytes of a manifest are read without memory having been asked for:
	// most manifests have less.
	readFreely = 64 << 10

	// readWeight is how many bytes of memory distribution takes at the most, as measured, for each
	// byte of a manifest that it reads.
	readWeight = 6
)

// boundReads lets next, which is distribution with what is in front of it, hold no more manifests
// at a time than there is memory for. Distribution reads all of a manifest to answer GET and HEAD,
// and holds it until the client has it: so large ones are sent from the storage, when next is done
// and its memory given back. Whoever holds memory waits for the storage only, and who waits for
// memory holds nothing: next has returned by then, and is asked once more when there is enough.
func boundReads(next http.Handler, memory *budget) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !readsManifest(r) {
			next.ServeHTTP(w, r)
			return
		}
		m := &readManifest{budget: memory}
		defer m.release()
		r = r.WithContext(context.WithValue(r.Context(), readKey{}, m))
		before := w.Header().Clone()
		answer := m.answer(w, r, next)
		for m.short {
			clear(w.Header())
			maps.Copy(w.Header(), before)
			if err := m.wait(r.Context()); err != nil {
				noteFailure(r, err)
				sparseregistry.RefuseBusy(w, err)
				return
			}
			answer = m.answer(w, r, next)
		}
		if answer.withheld {
			m.send(w, r)
		}
	})
}

func readsManifest(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	p, ok := sparseregistry.ParsePath(r.URL.Path)
	return ok && p.Kind == sparseregistry.Manifests
}

// readKey is the key of what a request reads in its context.
type readKey struct{}

// A readManifest is the manifest that a request reads, if that turns out to be large. Only the
// goroutine of the request uses it.
type readManifest struct {
	budget *budget
	open   func(context.Context) (io.ReadCloser, error) // reads it again; nil if what was read last is not large
	needs  int64                                        // bytes of memory, as far as next has read
	short  bool                                         // it was not read, because there is no memory for it
	has    int64                                        // bytes of memory
	given  []func()                                     // give them back
}

// answer has next answer r, and what is large withheld.
func (m *readManifest) answer(w http.ResponseWriter, r *http.Request, next http.Handler) *manifestWriter {
	m.open, m.needs, m.short = nil, 0, false
	answer := &manifestWriter{ResponseWriter: w, manifest: m, hasBody: r.Method == http.MethodGet}
	next.ServeHTTP(answer, r)
	return answer
}

// ask takes the memory that a manifest needs, if there is enough now. A client without a type for
// lists in its Accept gets the image for linux/amd64 of a list: then it is called for both.
func (m *readManifest) ask(ctx context.Context, driver storagedriver.StorageDriver, path string) error {
	info, err := driver.Stat(ctx, path)
	if err != nil {
		return err
	}
	m.needs += readWeight * info.Size()
	if lacks := m.needs - m.has; lacks > 0 {
		release, ok := m.budget.admitNow(lacks)
		if !ok {
			m.short = true
			return upstream.ErrManifestUnknownRevision{} // no fault for distribution to log, and nobody hears of it
		}
		m.take(release, m.needs)
	}
	m.open = func(ctx context.Context) (io.ReadCloser, error) { return driver.Reader(ctx, path, 0) }
	return nil
}

// wait gives back what it has, and waits for all that is needed.
func (m *readManifest) wait(ctx context.Context) error {
	m.release()
	release, err := m.budget.admit(ctx, m.needs)
	if err == nil {
		m.take(release, m.needs)
	}
	return err
}

func (m *readManifest) take(release func(), has int64) {
	m.given, m.has = append(m.given, release), has
}

func (m *readManifest) release() {
	for _, release := range m.given {
		release()
	}
	m.given, m.has = nil, 0
}

// send sends the manifest from the storage, to which the header is as distribution has made it.
func (m *readManifest) send(w http.ResponseWriter, r *http.Request) {
	m.release()
	content, err := m.open(r.Context())
	if err != nil {
		noteError(r, fmt.Errorf("sending the manifest: %w", err))
		panic(http.ErrAbortHandler) // it was there: whoever asks again is told what has become of it
	}
	defer content.Close()
	w.WriteHeader(http.StatusOK)
	_, _ = io.Copy(w, content) // only the client can make it fail, by leaving, or the storage, which the client sees by the length
}

// A manifestWriter withholds what distribution answers if there was no memory for it, and the body
// if the manifest is large.
type manifestWriter struct {
	http.ResponseWriter
	manifest           *readManifest
	hasBody            bool // the answer has one, if it is 200
	answered, withheld bool
}

func (w *manifestWriter) WriteHeader(status int) {
	w.answered = true
	large := w.hasBody && w.manifest.open != nil && status == http.StatusOK
	if w.withheld = large || w.manifest.short; !w.withheld {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *manifestWriter) Write(p []byte) (int, error) {
	if !w.answered {
		w.WriteHeader(http.StatusOK)
	}
	if w.withheld {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// boundMiddleware is the name by which distribution knows boundDriver, as a storage middleware.
const boundMiddleware = "sparse-registry-reads"

func init() {
	wrap := func(_ context.Context, d storagedriver.StorageDriver, _ map[string]any) (storagedriver.StorageDriver, error) {
		return boundDriver{d}, nil
	}
	if err := storagemiddleware.Register(boundMiddleware, wrap); err != nil {
		panic(err)
	}
}

// A boundDriver lets requests that read manifests ask for memory when one turns out to be large:
// nobody knows before what a tag leads to, and looking would cost those of small ones time.
type boundDriver struct{ storagedriver.StorageDriver }

func (d boundDriver) Reader(ctx context.Context, path string, offset int64) (io.ReadCloser, error) {
	r, err := d.StorageDriver.Reader(ctx, path, offset)
	m, ok := ctx.Value(readKey{}).(*readManifest)
	if err != nil || !ok {
		return r, err
	}
	m.open = nil // what is sent is what is read last
	ask := func() error { return m.ask(ctx, d.StorageDriver, path) }
	return &boundReader{ReadCloser: r, free: readFreely, ask: ask}, nil
}

// A boundReader asks before it reads more than is free.
type boundReader struct {
	io.ReadCloser
	free int          // bytes
	ask  func() error // nil when it was called
}

func (b *boundReader) Read(p []byte) (int, error) {
	if b.ask != nil {
		if b.free == 0 {
			if err := b.ask(); err != nil {
				return 0, err
			}
			b.ask = nil
		} else {
			p = p[:min(len(p), b.free)]
		}
	}
	n, err := b.ReadCloser.Read(p)
	b.free -= n
	return n, err
}
