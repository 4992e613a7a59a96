package sparseserver

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// sweepEvery is how long it takes until leftovers are looked for again.
const sweepEvery = 6 * time.Hour

// removedPrefix begins the names of what is being removed, in the directory that is ours.
const removedPrefix = "removed-"

// leftovers are what killed processes and clients that did not come back have left in a storage
// directory: temporary files, and uploads that nobody goes on with.
type leftovers struct {
	storage      string
	uploadAge    time.Duration // since the last byte of an upload; 0 keeps them
	temporaryAge time.Duration // since a temporary file was written; 0 keeps them
	clock        clock.Clock
	log          *slog.Logger

	mu   sync.Mutex
	busy map[string]int // requests that are being answered, by the upload that they are about; guarded by mu
}

// watchLeftovers has s remove leftovers until it stops, if it stores in a directory.
func (s *Server) watchLeftovers(c Config) {
	if c.Storage == "" || c.ReadOnly {
		return
	}
	s.leftovers = newLeftovers(c)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.leftovers.run(ctx)
	}()
	s.endSweeping = func() { cancel(); <-ended }
}

func newLeftovers(c Config) *leftovers {
	return &leftovers{
		storage: c.Storage, uploadAge: c.UploadAge, temporaryAge: c.TemporaryAge,
		clock: clock.System, log: c.Log, busy: map[string]int{},
	}
}

// run removes leftovers at once, and again and again until ctx ends.
func (l *leftovers) run(ctx context.Context) {
	for ctx.Err() == nil {
		l.sweep(ctx)
		_ = clock.Sleep(ctx, l.clock, sweepEvery) // the loop looks why it has ended
	}
}

// A swept counts what was removed.
type swept struct {
	uploads, temporary int
	bytes              int64
}

// sweep removes what is old enough, and says in the log what that was.
func (l *leftovers) sweep(ctx context.Context) {
	var removed swept
	l.removeRest()
	err := filepath.WalkDir(filepath.Join(l.storage, registrystore.Root), func(path string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return fs.SkipAll
		case err != nil:
			return ignoreAbsent(err) // it has gone meanwhile, or nothing was ever stored
		case entry.IsDir() && registrystore.IsUpload(path):
			return l.visitUpload(path, &removed)
		case entry.Type().IsRegular() && temporaryFile.MatchString(entry.Name()):
			return l.visitTemporary(path, entry, &removed)
		}
		return nil
	})
	if err != nil {
		l.log.Error("leftovers in the storage could not be removed", "error", err)
	}
	if removed != (swept{}) {
		l.log.Info("leftovers have been removed from the storage",
			"uploads", removed.uploads, "temporary_files", removed.temporary, "bytes", removed.bytes)
	}
}

// temporaryFile matches the names under which distribution's filesystem driver writes a file before
// it gets its name.
var temporaryFile = regexp.MustCompile(`^.+\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$`)

func (l *leftovers) old(t time.Time, age time.Duration) bool {
	return age > 0 && clock.Since(l.clock, t) > age
}

func (l *leftovers) visitTemporary(path string, entry fs.DirEntry, removed *swept) error {
	info, err := entry.Info()
	if err != nil || !l.old(info.ModTime(), l.temporaryAge) {
		return ignoreAbsent(err)
	}
	if err := os.Remove(path); err != nil {
		return ignoreAbsent(err)
	}
	removed.temporary++
	removed.bytes += info.Size()
	return nil
}

// visitUpload removes an upload that is old and that no request is about.
func (l *leftovers) visitUpload(path string, removed *swept) error {
	away, size, err := l.takeAway(path)
	if err != nil || away == "" {
		return skipDirUnless(ignoreAbsent(err))
	}
	removed.uploads++
	removed.bytes += size
	return skipDirUnless(os.RemoveAll(away))
}

// skipDirUnless ends a walk with err, or has it leave out what is in the directory.
func skipDirUnless(err error) error {
	if err != nil {
		return err
	}
	return fs.SkipDir
}

// takeAway gives an upload a name under which no request finds it, and returns that, "" if the
// upload is to stay.
func (l *leftovers) takeAway(path string) (away string, size int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := filepath.Base(path)
	if l.busy[id] > 0 {
		return "", 0, nil
	}
	last, size, err := lastWrite(path)
	if err != nil || !l.old(last, l.uploadAge) {
		return "", 0, err
	}
	away = filepath.Join(l.storage, registrystore.OwnDirectory, removedPrefix+id)
	return away, size, os.Rename(path, away)
}

// lastWrite returns when something was last written in a directory, and how much is in it.
func lastWrite(directory string) (last time.Time, size int64, err error) {
	err = filepath.WalkDir(directory, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
		if info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return last, size, err
}

// removeRest removes what a process that was killed was removing.
func (l *leftovers) removeRest() {
	names, _ := filepath.Glob(filepath.Join(l.storage, registrystore.OwnDirectory, removedPrefix+"*"))
	for _, name := range names {
		if err := os.RemoveAll(name); err != nil {
			l.log.Error("leftovers in the storage could not be removed", "error", err)
		}
	}
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// mark notes which uploads requests are about, so that none is removed meanwhile. A nil l
// removes nothing.
func (l *leftovers) mark(next http.Handler) http.Handler {
	if l == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := uploadOf(r.URL.Path)
		if id == "" {
			next.ServeHTTP(w, r)
			return
		}
		l.count(id, 1)
		defer l.count(id, -1)
		next.ServeHTTP(w, r)
	})
}

func (l *leftovers) count(id string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy[id] += n; l.busy[id] == 0 {
		delete(l.busy, id)
	}
}
