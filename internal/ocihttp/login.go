package ocihttp

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/bounded"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// RefusalLasts is how long a refused credential is not sent again. Directories lock accounts after
// a few wrong passwords within minutes or hours; a directory that was out of order for a moment
// must not need a new process.
const RefusalLasts = time.Hour

// An Account is what requests are authorized by.
type Account struct {
	Auth  types.DockerAuthConfig
	Token string // that was given, in place of fetched ones
}

// Logins are what is known about the credentials at registries, whichever side of a copy they are
// for. The zero value knows nothing; it may be used concurrently and must not be copied. What it
// holds is bounded.
type Logins struct {
	mu    sync.Mutex
	known map[loginKey]*login // guarded by mu
}

// loginKey names a credential at a registry.
type loginKey struct {
	registry string
	account  Account
}

// Len is how many credentials something is known about.
func (l *Logins) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.known)
}

// of returns what is known about an account at a registry, nil for no account.
func (l *Logins) of(registry string, a Account, now func() time.Time) *login {
	if a == (Account{}) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return bounded.GetOrAdd(&l.known, loginKey{registry, a}, maxKnown, func() *login { return &login{now: now} })
}

// A login is what is known about a credential at a registry. As long as nobody knows whether it is
// good, one request at a time is sent with it; once it is refused, none is.
type login struct {
	now   func() time.Time
	first turns.Turn // of the request that finds out

	mu      sync.Mutex
	good    bool                    // the last answer accepted it; guarded by mu
	was     bool                    // some answer accepted it, since when nothing refused it for all; guarded by mu
	refused loginRefusal            // that is for all, zero if there is none since it was last accepted; guarded by mu
	places  map[string]loginRefusal // where it was refused since, although it was accepted elsewhere; guarded by mu
}

// A loginRefusal is the refusal of a credential.
type loginRefusal struct {
	err   error // nil for none
	since time.Time
}

// maxPlaces is how many places in a row may refuse a credential that was accepted elsewhere: then
// it is not good any more.
const maxPlaces = 3

// A loginTurn is the right to send a credential once. One of its methods must be called when the
// answer is there, or will not come; further calls do nothing. A nil one is that of no credential.
type loginTurn struct {
	login *login
	place string
	done  func() // lets the next one begin; nil if nobody waits for this one
	ended bool
}

// begin waits until the credential may be sent for place: a repository, or the scopes of a token.
// It fails with a *refusedBefore if that would be of no use. l may be nil.
func (l *login) begin(ctx context.Context, place string) (*loginTurn, error) {
	if l == nil {
		return nil, nil
	}
	// Whoever has the turn may be waiting for what holds a slot.
	known, err := l.state(place)
	if err != nil {
		return nil, err
	}
	if known || HoldsSlot(ctx) {
		return &loginTurn{login: l, place: place}, nil
	}
	done, err := l.first.Take(ctx)
	if err != nil {
		return nil, err
	}
	if known, err = l.state(place); err != nil {
		done()
		return nil, err
	}
	if known {
		done()
		return &loginTurn{login: l, place: place}, nil
	}
	return &loginTurn{login: l, place: place, done: done}, nil
}

// state reports whether the credential is known to be good, and fails if it is known not to be, or
// not for place.
func (l *login) state(place string) (good bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, no := range []loginRefusal{l.refused, l.places[place]} {
		if no.err != nil && l.now().Sub(no.since) < RefusalLasts {
			return false, &refusedBefore{no.err}
		}
	}
	return l.good, nil
}

// accept notes that the credential is good.
func (t *loginTurn) accept() {
	t.end(func(l *login) { l.good, l.was, l.refused, l.places = true, true, loginRefusal{}, nil })
}

// refuse notes that the credential is refused. One that was accepted before may lack the place
// only, which it is not sent for again then; the next request with it goes alone.
func (t *loginTurn) refuse(err error) {
	t.end(func(l *login) {
		no := loginRefusal{err, l.now()}
		l.good = false
		if l.places == nil {
			l.places = map[string]loginRefusal{}
		}
		l.places[t.place] = no
		if !l.was || len(l.places) >= maxPlaces {
			l.was, l.refused, l.places = false, no, nil
		}
	})
}

// leave ends the turn without an answer.
func (t *loginTurn) leave() { t.end(func(*login) {}) }

func (t *loginTurn) end(learn func(*login)) {
	if t == nil || t.ended {
		return
	}
	t.ended = true
	t.login.mu.Lock()
	learn(t.login)
	t.login.mu.Unlock()
	if t.done != nil {
		t.done()
	}
}

// settle ends the turn with what err, nil or the error of a request for a token, says about the
// credential.
func (t *loginTurn) settle(err error) {
	no, answered := errors.AsType[Refusal](err)
	switch {
	case err == nil, answered && no.HTTPStatus() == http.StatusForbidden: // it is known, and may not
		t.accept()
	case answered && no.HTTPStatus() == http.StatusUnauthorized:
		t.refuse(err)
	default:
		t.leave()
	}
}

// refusedBefore says that a credential was not sent because it was refused. It unwraps to that
// refusal.
type refusedBefore struct{ err error }

func (e *refusedBefore) Error() string {
	return "the credentials are not sent again, as they were refused: " + e.err.Error()
}
func (e *refusedBefore) Unwrap() error { return e.err }
