package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/bounded"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// capabilitiesPath is where Quay, and registries like it, tell what they can do.
const capabilitiesPath = "/api/v1/registry/capabilities"

// maxCapabilities is how much of the answer is read.
const maxCapabilities = 64 << 10

// factsLast is how long what a registry has said or shown about itself is believed, and for how
// long it is not asked again if it gave no answer: it may be configured anew, or be another one
// after a restart.
const factsLast = 10 * time.Minute

// A fact is something that a registry has shown about itself. The zero value was not seen.
type fact struct{ seen atomic.Pointer[time.Time] }

func (f *fact) note(now time.Time) { f.seen.Store(&now) }

func (f *fact) holds(now time.Time) bool {
	seen := f.seen.Load()
	return seen != nil && now.Sub(*seen) < factsLast
}

// facts are what repositories of a registry have shown about themselves, by name: others may be on
// other servers, or of another kind. The zero value was not seen of any.
type facts struct {
	mu   sync.Mutex
	seen map[string]time.Time // guarded by mu
}

func (f *facts) note(repository string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen = map[string]time.Time{}
	}
	bounded.MakeRoom(f.seen, maxKnown)
	f.seen[repository] = now
}

func (f *facts) holds(repository string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen, known := f.seen[repository]
	return known && now.Sub(seen) < factsLast
}

// announcements is what one host has announced.
type announcements struct {
	asking turns.Turn // of who asks

	mu       sync.Mutex            // guards what follows
	all      announced             // is for all repositories
	refused  map[string]*announced // is for one repository, by its name: it may not ask
	inHeader bool                  // the registry has announced itself in a header
}

// announced is an answer, or that there was none.
type announced struct {
	what  endpoint.Announcement
	err   error
	since time.Time // zero if nobody asked
}

// Announcement is what the registry says about sparse lists: in headers, if one of its answers had
// them, else in the answer to one request for its capabilities. What it said is believed for ten
// minutes, and so is an error, which means that nothing is known. An error that is a refusal counts
// for the repository of d alone. It must be called after another request was answered.
func (d *Destination) Announcement(ctx context.Context) (endpoint.Announcement, error) {
	a := &d.repo.host.announcements
	done, err := a.asking.Take(ctx)
	if err != nil {
		return endpoint.Announcement{}, err
	}
	defer done()
	if known, ok := a.current(d.repo); ok {
		return known.what, known.err
	}
	if a.wasInHeader() {
		_ = d.ask(ctx, "/v2/", func(io.Reader) error { return nil }) // the host learns from the answer, whatever it is
		if known, ok := a.current(d.repo); ok {
			return known.what, known.err
		}
	}
	var what endpoint.Announcement
	err = d.ask(ctx, capabilitiesPath, func(body io.Reader) (err error) {
		what, err = parseCapabilities(body)
		return err
	})
	if ctx.Err() == nil {
		a.note(d.repo, what, err)
	}
	return what, err
}

// AskedForAnnouncement reports whether the registry was asked already what it announces, or has
// said so unasked, through any end of the same Shared.
func (d *Destination) AskedForAnnouncement() bool {
	a := &d.repo.host.announcements
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.all.since.IsZero() || a.refused[d.repo.name] != nil
}

// ask sends one request that is not about a repository.
func (d *Destination) ask(ctx context.Context, path string, read func(body io.Reader) error) error {
	resp, err := d.repo.send(ctx, &request{
		method: http.MethodGet, location: &url.URL{Host: d.repo.host.Name, Path: path},
	})
	if err != nil {
		return err
	}
	defer discard(resp)
	return read(io.LimitReader(resp.Body, maxCapabilities))
}

// current returns what is known for r, if that is anything.
func (a *announcements) current(r *repository) (announced, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, known := range []*announced{&a.all, a.refused[r.name]} {
		if known != nil && !known.since.IsZero() && r.shared.now().Sub(known.since) < factsLast {
			return *known, true
		}
	}
	return announced{}, false
}

func (a *announcements) wasInHeader() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inHeader
}

// note keeps an answer to r.
func (a *announcements) note(r *repository, what endpoint.Announcement, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	it := announced{what, err, r.shared.now()}
	no, answered := errors.AsType[*endpoint.RegistryError](err)
	if !answered || no.Status != http.StatusUnauthorized && no.Status != http.StatusForbidden {
		a.all = it
		return
	}
	if a.refused == nil {
		a.refused = map[string]*announced{}
	}
	bounded.MakeRoom(a.refused, maxKnown)
	a.refused[r.name] = &it
}

// learn reads the header of an answer to GET /v2/.
func (a *announcements) learn(header http.Header, now time.Time) {
	what := endpoint.Announcement{
		SparseManifests:       header.Get("X-Sparse-Manifest-Support"),
		RequiredArchitectures: header.Get("X-Required-Architectures"),
		Widening:              header.Get("X-Sparse-Manifest-Widening"),
	}
	if what == (endpoint.Announcement{}) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all, a.inHeader = announced{what: what, since: now}, true
}

func parseCapabilities(r io.Reader) (endpoint.Announcement, error) {
	var answer struct {
		SparseManifests struct {
			Supported             *bool    `json:"supported"`
			RequiredArchitectures []string `json:"required_architectures"`
			Widening              bool     `json:"widening"`
		} `json:"sparse_manifests"`
	}
	if err := json.NewDecoder(r).Decode(&answer); err != nil {
		return endpoint.Announcement{}, fmt.Errorf("reading the registry's capabilities: %w", err)
	}
	sparse := answer.SparseManifests
	if sparse.Supported == nil {
		return endpoint.Announcement{}, nil
	}
	return endpoint.Announcement{
		SparseManifests:       strconv.FormatBool(*sparse.Supported),
		RequiredArchitectures: strings.Join(sparse.RequiredArchitectures, ","),
		Widening:              strconv.FormatBool(sparse.Widening),
	}, nil
}
