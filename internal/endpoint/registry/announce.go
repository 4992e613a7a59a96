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
	own      map[string]*announced // is for one repository, by its name: what it was told
	inHeader bool                  // the registry has announced itself in a header
}

// announced is an answer, or that there was none.
type announced struct {
	what  endpoint.Announcement
	err   error
	since time.Time // zero if nobody asked
}

func (a *announced) holds(now time.Time) bool {
	return a != nil && !a.since.IsZero() && now.Sub(a.since) < factsLast
}

// repositoryParameter is for which repository a registry is asked.
const repositoryParameter = "repository"

// Announcement is what the registry says about sparse lists in all repositories: in headers, if one
// of its answers had them, else in the answer to one request for its capabilities. What it said is
// believed for ten minutes, and so is an error, which means that nothing is known. An error that is
// a refusal counts for the repository of d alone. It must be called after another request was
// answered.
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
		d.askForHeader(ctx, "")
		if known, ok := a.current(d.repo); ok {
			return known.what, known.err
		}
	}
	what, err := d.askForCapabilities(ctx, "")
	if ctx.Err() == nil {
		a.note(d.repo, what, err)
	}
	return what, err
}

// OwnAnnouncement is what the registry says about sparse lists in the repository of d. That may be
// less strict than Announcement, and is never stricter. It sends one request, or two, if the
// registry is known to answer for one repository; Quay, and registries like it, do not. The answer,
// or that there is none, is believed for ten minutes. It must be called after Announcement.
func (d *Destination) OwnAnnouncement(ctx context.Context) (endpoint.Announcement, error) {
	a := &d.repo.host.announcements
	done, err := a.asking.Take(ctx)
	if err != nil {
		return endpoint.Announcement{}, err
	}
	defer done()
	if known, ok := a.currentOwn(d.repo); ok {
		return known.what, known.err
	}
	if a.wasInHeader() {
		d.askForHeader(ctx, d.repo.name)
		if known, ok := a.currentOwn(d.repo); ok {
			return known.what, known.err
		}
	}
	what, err := d.askForCapabilities(ctx, d.repo.name)
	if ctx.Err() == nil {
		a.noteOwn(d.repo.name, announced{what, err, d.repo.shared.now()})
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

// askForHeader asks for what the registry does in a repository, "" for all. The host learns from
// the answer, whatever it is.
func (d *Destination) askForHeader(ctx context.Context, repository string) {
	_ = d.ask(ctx, "/v2/", repository, func(io.Reader) error { return nil })
}

func (d *Destination) askForCapabilities(ctx context.Context, repository string) (what endpoint.Announcement, err error) {
	err = d.ask(ctx, capabilitiesPath, repository, func(body io.Reader) (err error) {
		what, err = parseCapabilities(body)
		return err
	})
	return what, err
}

// ask sends one request for what the registry does in a repository, "" for all.
func (d *Destination) ask(ctx context.Context, path, repository string, read func(body io.Reader) error) error {
	location := &url.URL{Host: d.repo.host.Name, Path: path}
	if repository != "" {
		location.RawQuery = url.Values{repositoryParameter: {repository}}.Encode()
	}
	resp, err := d.repo.send(ctx, &request{method: http.MethodGet, location: location})
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
		if known.holds(r.shared.now()) {
			return *known, true
		}
	}
	return announced{}, false
}

// currentOwn returns what holds in r alone, if that is known: what r was told, or what is for all,
// if the registry does not tell them apart. Those that do say what they require of children without
// a platform.
func (a *announcements) currentOwn(r *repository) (announced, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := r.shared.now()
	if own := a.own[r.name]; own.holds(now) {
		return *own, true
	}
	return a.all, a.all.holds(now) && a.all.what.RequiredWithoutPlatform == ""
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

// noteOwn keeps what one repository was told, or that it was told nothing.
func (a *announcements) noteOwn(repository string, it announced) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.own == nil {
		a.own = map[string]*announced{}
	}
	bounded.MakeRoom(a.own, maxKnown)
	a.own[repository] = &it
}

// learn reads the header of an answer to GET /v2/, which is for the given repository, "" for all.
func (a *announcements) learn(header http.Header, repository string, now time.Time) {
	what := endpoint.Announcement{
		SparseManifests:         header.Get("X-Sparse-Manifest-Support"),
		RequiredArchitectures:   header.Get("X-Required-Architectures"),
		RequiredPlatforms:       header.Get("X-Required-Platforms"),
		RequiredWithoutPlatform: header.Get("X-Required-Without-Platform"),
		Widening:                header.Get("X-Sparse-Manifest-Widening"),
	}
	switch it := (announced{what: what, since: now}); {
	case what == (endpoint.Announcement{}):
	case repository != "":
		a.noteOwn(repository, it)
	default:
		a.mu.Lock()
		defer a.mu.Unlock()
		a.all, a.inHeader = it, true
	}
}

func parseCapabilities(r io.Reader) (endpoint.Announcement, error) {
	var answer struct {
		SparseManifests struct {
			Supported               *bool    `json:"supported"`
			RequiredArchitectures   []string `json:"required_architectures"`
			RequiredPlatforms       []string `json:"required_platforms"`
			RequiredWithoutPlatform *bool    `json:"required_without_platform"`
			Widening                bool     `json:"widening"`
		} `json:"sparse_manifests"`
	}
	if err := json.NewDecoder(r).Decode(&answer); err != nil {
		return endpoint.Announcement{}, fmt.Errorf("reading the registry's capabilities: %w", err)
	}
	sparse := answer.SparseManifests
	if sparse.Supported == nil {
		return endpoint.Announcement{}, nil
	}
	what := endpoint.Announcement{
		SparseManifests:       strconv.FormatBool(*sparse.Supported),
		RequiredArchitectures: strings.Join(sparse.RequiredArchitectures, ","),
		RequiredPlatforms:     strings.Join(sparse.RequiredPlatforms, ","),
		Widening:              strconv.FormatBool(sparse.Widening),
	}
	if without := sparse.RequiredWithoutPlatform; without != nil {
		what.RequiredWithoutPlatform = strconv.FormatBool(*without)
	}
	return what, nil
}
