package sparseserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// A room is where things are stored: a directory, on a file system that can be full.
type room struct {
	storage string
	minFree int64 // bytes that stay free; 0 stores as long as there are any
	log     *slog.Logger
	clock   clock.Clock
	free    func(directory string) (int64, error) // bytes; freeSpace but for tests
	may     func(directory string) error          // mayWrite but for tests

	mu     sync.Mutex
	looked time.Time // when fault was found; guarded by mu
	fault  string    // guarded by mu
	scarce bool      // fault is only that less than minFree is left; guarded by mu
	left   int64     // bytes that were free then, 0 if that is not known; guarded by mu
}

// watchRoom has s look after the space for what is stored, if that goes to a directory.
func (s *Server) watchRoom(c Config) {
	if c.Storage == "" || c.ReadOnly {
		return
	}
	s.room = newRoom(c.Storage, c.MinFreeSpace, c.Log)
	s.metrics.gauge("sparse_registry_storage_free_bytes", "Bytes that the storage's file system has left.", s.room.freeBytes)
}

func newRoom(storage string, minFree int64, log *slog.Logger) *room {
	return &room{storage: storage, minFree: minFree, log: log, clock: clock.System, free: freeSpace, may: mayWrite}
}

// lookEvery is how old an answer may be: many who ask cost the disk no more than one.
const lookEvery = time.Second

// why says why nothing can be stored; "" if something can.
func (m *room) why() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lookAgain()
	return m.fault
}

// whyUnwritable is why, but that there is little space does not count as long as there is some.
func (m *room) whyUnwritable() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lookAgain()
	if m.scarce {
		return ""
	}
	return m.fault
}

// lookAgain finds fault unless what was found is new enough. The caller holds mu.
func (m *room) lookAgain() {
	if m.looked.IsZero() || clock.Since(m.clock, m.looked) >= lookEvery {
		m.look()
	}
}

// littleRoom is too little to store anything in, with its directories and links: what then fails,
// fails for that.
const littleRoom = 1 << 20

// whyNow is why for those who have just seen that so many bytes could not be stored. Where these
// had no room, less may have.
func (m *room) whyNow(size int64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.look()
	if m.fault != "" {
		return m.fault
	}
	if m.left < max(size, littleRoom) {
		return fmt.Sprintf("the registry's storage has %s left", prose.Bytes(m.left))
	}
	return ""
}

// look finds fault. The caller holds mu.
func (m *room) look() {
	before := m.fault
	m.looked = m.clock.Now()
	m.fault, m.scarce, m.left = m.find()
	switch {
	case before == "" && m.fault != "":
		m.log.Error("pushes are refused: "+m.fault, "storage", m.storage)
	case before != "" && m.fault == "":
		m.log.Info("pushes are taken again", "storage", m.storage)
	}
}

func (m *room) find() (fault string, scarce bool, left int64) {
	if err := m.tryToWrite(); err != nil {
		return "the registry's storage cannot be written to: " + reason(err), false, 0
	}
	free, err := m.free(m.storage)
	switch {
	case err != nil:
		return "the registry's storage does not say how much space it has: " + reason(err), false, 0
	case free < m.minFree:
		return fmt.Sprintf("the registry's storage has %s left, and keeps %s free", prose.Bytes(free), prose.Bytes(m.minFree)), true, free
	}
	return "", false, free
}

// freeBytes is the number for the metrics.
func (m *room) freeBytes() float64 {
	free, err := m.free(m.storage)
	if err != nil {
		return math.NaN()
	}
	return float64(free)
}

// tryToWrite writes a file and removes it, in the directory that is ours. Those of distribution can
// belong to somebody else, as those that it has made before, in a container.
func (m *room) tryToWrite() error {
	path := filepath.Join(m.storage, registrystore.OwnDirectory, "probe")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		_ = os.Remove(path) // of no use, and overwritten the next time
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	for _, directory := range registrystore.Directories(m.storage) {
		if err := m.may(directory); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// reason is what an error of a file says, without its name, which clients need not know.
func reason(err error) string {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err.Error()
	}
	return err.Error()
}

// withRoom refuses what is to be stored, before anything is read from its body, while there is no
// room for it; and says so when room was missing after all. Everything else passes.
//
// The status is 507 and the code DENIED: most clients then show the message and do not try again,
// as they would after 503. That would be of no use, and a proxy could take a 503 for a server that
// does not even serve what it has.
func (s *Server) withRoom(next http.Handler) http.Handler {
	if s.room == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !stores(r) {
			next.ServeHTTP(w, r)
			return
		}
		if why := s.room.why(); why != "" {
			refuseForRoom(w, r, why)
			return
		}
		next.ServeHTTP(&roomWriter{ResponseWriter: w, request: r, room: s.room}, r)
	})
}

// stores reports whether r is to store something.
func stores(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return strings.HasPrefix(r.URL.Path, "/v2/")
	}
	return false
}

func refuseForRoom(w http.ResponseWriter, r *http.Request, why string) {
	noteError(r, errors.New(why))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Del("Content-Length") // of another answer
	w.WriteHeader(http.StatusInsufficientStorage)
	answer := errcode.Errors{errcode.ErrorCodeDenied.WithMessage(why + ": pulls go on")}
	_ = json.NewEncoder(w).Encode(answer) // only the client can make it fail, by leaving
}

// A roomWriter answers with what is wrong with the storage where the registry answers that it does
// not know what is wrong.
type roomWriter struct {
	http.ResponseWriter
	request  *http.Request
	room     *room
	answered bool
	replaced bool // what the registry writes is of no interest any more
}

// Unwrap is for http.ResponseController.
func (w *roomWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *roomWriter) WriteHeader(status int) {
	if status >= http.StatusInternalServerError && !w.answered {
		if why := w.room.whyNow(w.request.ContentLength); why != "" {
			w.answered, w.replaced = true, true
			refuseForRoom(w.ResponseWriter, w.request, why)
		}
	}
	if w.replaced {
		return
	}
	w.answered = w.answered || status >= http.StatusOK
	w.ResponseWriter.WriteHeader(status)
}

func (w *roomWriter) Write(p []byte) (int, error) {
	if w.replaced {
		return len(p), nil
	}
	w.answered = true
	return w.ResponseWriter.Write(p)
}
