package ocihttp

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/bounded"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// tokenKey says what a token was issued for, and for whom.
type tokenKey struct {
	realm, service, scopes string
	auth                   types.DockerAuthConfig
}

// tokenCache holds the tokens of one host. The zero value is empty.
type tokenCache struct {
	mu      sync.Mutex
	entries map[tokenKey]*tokenEntry
	only    map[string]string // the method that the token service at a URL answers, where it is not the usual one
	busy    map[string]busy   // token services that want to be left alone, by URL
}

// busy is what a token service said that wants to be left alone.
type busy struct {
	err   error
	until time.Time
}

// leave notes that the token service at a URL wants to be left alone, if that is what err says.
func (c *tokenCache) leave(realm string, err error, now time.Time, most time.Duration) {
	no, refused := errors.AsType[Refusal](err)
	if !refused || no.Wait() == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy == nil {
		c.busy = map[string]busy{}
	}
	bounded.MakeRoom(c.busy, maxKnown)
	c.busy[realm] = busy{err, now.Add(min(no.Wait(), most))}
}

// left returns what the token service at a URL said when it wanted to be left alone, nil if it may
// be asked.
func (c *tokenCache) left(realm string, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.busy[realm]; now.Before(b.until) {
		return b.err
	}
	return nil
}

// tokenEntry holds the current token for one key. Whoever has the turn owns the other fields.
type tokenEntry struct {
	turn    turns.Turn
	token   *token    // nil if there is none
	refused error     // of the last request for one, nil if it was not refused for lack of authorization
	since   time.Time // of refused
}

// token is a bearer token.
type token struct {
	text     string
	expires  time.Time
	accepted atomic.Bool // whether any request with it was
}

// accept notes that a request with t, which may be nil, was not refused.
func (t *token) accept() {
	if t != nil {
		t.accepted.Store(true)
	}
}

func (c *tokenCache) entry(key tokenKey) *tokenEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bounded.GetOrAdd(&c.entries, key, maxKnown, func() *tokenEntry { return &tokenEntry{} })
}

// bearerToken returns a token that should be good for scopes. Concurrent calls fetch one.
func (a *Authorization) bearerToken(ctx context.Context, c Challenge, scopes []string) (*token, error) {
	for {
		auth := a.Credentials.Get()
		t, err := a.bearerTokenOf(ctx, c, scopes, auth)
		no, refused := errors.AsType[Refusal](err)
		if refused && ctx.Err() == nil && no.HTTPStatus() == http.StatusUnauthorized && a.Credentials.Renew(auth) {
			continue
		}
		return t, err
	}
}

// bearerTokenOf is bearerToken with the given credentials.
func (a *Authorization) bearerTokenOf(ctx context.Context, c Challenge, scopes []string, auth types.DockerAuthConfig) (*token, error) {
	e := a.Host.tokens.entry(tokenKeyOf(c, scopes, auth))
	done, err := e.turn.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	now := a.Now()
	switch {
	case e.token != nil && now.Before(e.token.expires):
		return e.token, nil
	case e.refused != nil && now.Sub(e.since) < CredentialsLast:
		return nil, &refusedBefore{e.refused}
	}
	if err := a.Host.tokens.left(c.Params["realm"], now); err != nil {
		return nil, err
	}
	turn, err := a.login(auth).begin(ctx, strings.Join(scopes, " "))
	if err != nil {
		return nil, err
	}
	defer turn.leave()
	text, lifetime, err := a.fetchToken(ctx, c, scopes, auth)
	if err != nil && ctx.Err() != nil { // the reason may be somebody else's refusal
		return nil, &TokenError{err}
	}
	if err != nil {
		err = &TokenError{err}
		a.Host.tokens.leave(c.Params["realm"], err, a.Now(), a.MostWait)
	}
	turn.settle(err)
	if no, refused := errors.AsType[Refusal](err); refused && no.HTTPStatus() == http.StatusUnauthorized {
		e.refused, e.since = err, now
	}
	if err != nil {
		return nil, err
	}
	e.token, e.refused = &token{text: text, expires: now.Add(lifetime - min(lifetime/10, 10*time.Second))}, nil
	return e.token, nil
}

// dropToken makes the next bearerToken fetch a new token instead of one that was refused, unless
// that happened already.
func (a *Authorization) dropToken(ctx context.Context, c Challenge, scopes []string, refused *token) {
	e := a.Host.tokens.entry(tokenKeyOf(c, scopes, a.Credentials.Get()))
	done, err := e.turn.Take(ctx)
	if err != nil {
		return
	}
	defer done()
	if e.token == refused {
		e.token = nil
	}
}

func tokenKeyOf(c Challenge, scopes []string, auth types.DockerAuthConfig) tokenKey {
	return tokenKey{realm: c.Params["realm"], service: c.Params["service"], scopes: strings.Join(scopes, " "), auth: auth}
}
