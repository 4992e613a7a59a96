package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// clientID is how containers/image names itself to token services.
const clientID = "containers/image"

// authorization is what a request carried.
type authorization struct {
	any   bool
	token *token                 // that was fetched, nil if it was something else
	auth  types.DockerAuthConfig // in place of a token
	turn  *loginTurn             // of auth, or of a token that was given; nil for a fetched one
}

// accepted notes that a request was not refused for lack of authorization.
func (a authorization) accepted(status int) {
	a.token.accept()
	if status < http.StatusInternalServerError && status != http.StatusTooManyRequests {
		a.turn.accept()
	} else {
		a.turn.leave()
	}
}

// authorize sets the Authorization header of req, which goes to the host of r, as the host's challenges ask. Without a challenge
// that it can answer it sets nothing. If it returns a turn, that must be ended.
func (r *repository) authorize(ctx context.Context, req *http.Request, scopes []string) (authorization, error) {
	for _, c := range r.host.Challenges() {
		switch auth := r.creds.get(); {
		case c.Scheme == "basic" && (auth.Username != "" || auth.Password != ""):
			turn, auth, err := r.beginLogin(ctx)
			if err != nil {
				return authorization{}, err
			}
			req.SetBasicAuth(auth.Username, auth.Password)
			return authorization{any: true, auth: auth, turn: turn}, nil
		case c.Scheme == "bearer" && r.registryToken != "":
			turn, _, err := r.beginLogin(ctx)
			if err != nil {
				return authorization{}, err
			}
			req.Header.Set("Authorization", "Bearer "+r.registryToken)
			return authorization{any: true, turn: turn}, nil
		case c.Scheme == "bearer":
			token, err := r.bearerToken(ctx, c, scopes)
			if err != nil {
				return authorization{}, err
			}
			req.Header.Set("Authorization", "Bearer "+token.text)
			return authorization{any: true, token: token}, nil
		}
	}
	return authorization{}, nil
}

// beginLogin waits until the credentials may be sent, and returns them. If they were refused, it looks for others.
func (r *repository) beginLogin(ctx context.Context) (*loginTurn, types.DockerAuthConfig, error) {
	for {
		auth := r.creds.get()
		turn, err := r.login(auth).begin(ctx, r.name)
		if before, refused := errors.AsType[*refusedBefore](err); refused && r.registryToken == "" && r.creds.renew(auth) {
			logrus.Debugf("Other credentials for %s/%s: %v", r.host.Name, r.name, before)
			continue
		}
		return turn, auth, err
	}
}

// scopes are what a request of r needs; mountFrom is the repository that it mounts from, or "".
func (r *repository) scopes(mountFrom string) []string {
	scopes := []string{"repository:" + r.name + ":" + r.actions}
	if mountFrom != "" && mountFrom != r.name {
		scopes = append(scopes, "repository:"+mountFrom+":pull")
	}
	return scopes
}

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
	no, refused := errors.AsType[*refusal](err)
	if !refused || no.RetryAfter == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy == nil {
		c.busy = map[string]busy{}
	}
	makeRoom(c.busy, maxKnown)
	c.busy[realm] = busy{err, now.Add(min(no.RetryAfter, most))}
}

// left returns what the token service at a URL said when it wanted to be left alone, nil if it may be asked.
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
	if e, ok := c.entries[key]; ok {
		return e
	}
	if c.entries == nil {
		c.entries = map[tokenKey]*tokenEntry{}
	}
	makeRoom(c.entries, maxKnown)
	e := &tokenEntry{}
	c.entries[key] = e
	return e
}

// bearerToken returns a token that should be good for scopes. Concurrent calls fetch one.
func (r *repository) bearerToken(ctx context.Context, c ocihttp.Challenge, scopes []string) (*token, error) {
	for {
		auth := r.creds.get()
		t, err := r.bearerTokenOf(ctx, c, scopes, auth)
		if no, refused := errors.AsType[*endpoint.RegistryError](err); refused && no.Status == http.StatusUnauthorized && r.creds.renew(auth) {
			continue
		}
		return t, err
	}
}

// bearerTokenOf is bearerToken with the given credentials.
func (r *repository) bearerTokenOf(ctx context.Context, c ocihttp.Challenge, scopes []string, auth types.DockerAuthConfig) (*token, error) {
	e := r.host.tokens.entry(tokenKeyOf(c, scopes, auth))
	done, err := e.turn.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	now := r.shared.now()
	switch {
	case e.token != nil && now.Before(e.token.expires):
		return e.token, nil
	case e.refused != nil && now.Sub(e.since) < credentialsLast:
		return nil, &refusedBefore{e.refused}
	}
	if err := r.host.tokens.left(c.Params["realm"], now); err != nil {
		return nil, err
	}
	turn, err := r.login(auth).begin(ctx, strings.Join(scopes, " "))
	if err != nil {
		return nil, err
	}
	defer turn.leave()
	text, lifetime, err := r.fetchToken(ctx, c, scopes, auth)
	if err != nil {
		err = &tokenError{err}
		r.host.tokens.leave(c.Params["realm"], err, r.shared.now(), r.shared.Retry.withDefaults().MaxElapsed)
	}
	turn.settle(err)
	if no, refused := errors.AsType[*endpoint.RegistryError](err); refused && no.Status == http.StatusUnauthorized {
		e.refused, e.since = err, now
	}
	if err != nil {
		return nil, err
	}
	e.token, e.refused = &token{text: text, expires: now.Add(lifetime - min(lifetime/10, 10*time.Second))}, nil
	return e.token, nil
}

// dropToken makes the next bearerToken fetch a new token instead of one that was refused, unless that happened already.
func (r *repository) dropToken(ctx context.Context, c ocihttp.Challenge, scopes []string, refused *token) {
	e := r.host.tokens.entry(tokenKeyOf(c, scopes, r.creds.get()))
	done, err := e.turn.Take(ctx)
	if err != nil {
		return
	}
	defer done()
	if e.token == refused {
		e.token = nil
	}
}

func tokenKeyOf(c ocihttp.Challenge, scopes []string, auth types.DockerAuthConfig) tokenKey {
	return tokenKey{realm: c.Params["realm"], service: c.Params["service"], scopes: strings.Join(scopes, " "), auth: auth}
}

// Methods of asking a token service.
const (
	byGet  = http.MethodGet  // the distribution project's token form
	byPost = http.MethodPost // its OAuth2 form
)

// fetchToken asks the token service that c names: with an identity token by POST, and else by GET. Some services know only one of the two: the
// other is tried if the first is not known there, and remembered.
func (r *repository) fetchToken(ctx context.Context, c ocihttp.Challenge, scopes []string, auth types.DockerAuthConfig) (string, time.Duration, error) {
	realm, err := url.Parse(c.Params["realm"])
	if err != nil || realm.Host == "" || (realm.Scheme != "https" && realm.Scheme != "http") {
		return "", 0, errors.New("the registry names no usable token service")
	}
	first, other := byGet, byPost
	if auth.IdentityToken != "" {
		first, other = byPost, byGet
	}
	if auth == (types.DockerAuthConfig{}) { // the OAuth2 form is for somebody
		return r.askForToken(ctx, realm, c, scopes, auth, byGet)
	}
	if r.host.tokens.knowsOnly(realm, other) {
		return r.askForToken(ctx, realm, c, scopes, auth, other)
	}
	text, lifetime, err := r.askForToken(ctx, realm, c, scopes, auth, first)
	if !saysOtherMethod(err) {
		return text, lifetime, err
	}
	text, lifetime, second := r.askForToken(ctx, realm, c, scopes, auth, other)
	if saysOtherMethod(second) {
		return "", 0, err // it is something else
	}
	if second == nil {
		r.host.tokens.noteOnly(realm, other)
	}
	return text, lifetime, second
}

// errNoToken is about an answer of success that has no token.
var errNoToken = errors.New("the answer is not a token")

// saysOtherMethod reports whether err may come of a token service that does not know the method.
func saysOtherMethod(err error) bool {
	if no, ok := errors.AsType[*refusal](err); ok {
		switch no.Status {
		case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType, http.StatusNotImplemented:
			return true
		}
	}
	return errors.Is(err, errNoToken)
}

// knowsOnly reports whether the token service is known to answer only one method.
func (c *tokenCache) knowsOnly(realm *url.URL, method string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.only[realm.String()] == method
}

func (c *tokenCache) noteOnly(realm *url.URL, method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.only == nil {
		c.only = map[string]string{}
	}
	c.only[realm.String()] = method
}

// askForToken asks the token service once.
func (r *repository) askForToken(ctx context.Context, realm *url.URL, c ocihttp.Challenge, scopes []string, auth types.DockerAuthConfig, method string) (string, time.Duration, error) {
	ask := tokenByGet
	if method == byPost {
		ask = tokenByPost
	}
	req, err := ask(ctx, realm, c, scopes, auth)
	if err != nil {
		return "", 0, errors.New("the registry names no usable token service")
	}
	req.URL.User = nil
	req.Header.Set("User-Agent", r.userAgent)
	r.stats.tokenRequests.Add(1)

	resp, err := r.host.asks.RoundTrip(req)
	if err != nil {
		return "", 0, err
	}
	if resp.StatusCode != http.StatusOK {
		no := newRefusal(resp, time.Now())
		no.TokenService = true
		return "", 0, no
	}
	defer resp.Body.Close()
	return readToken(resp)
}

// noUser is how Docker's helpers name whoever has an identity token only.
const noUser = "<token>"

// tokenByGet asks as the token form says. An identity token takes the place of the password then.
func tokenByGet(ctx context.Context, realm *url.URL, c ocihttp.Challenge, scopes []string, auth types.DockerAuthConfig) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err != nil {
		return nil, err
	}
	query := req.URL.Query()
	if auth.Username != "" {
		query.Set("account", auth.Username)
	}
	addService(query, c, scopes)
	req.URL.RawQuery = query.Encode()
	switch {
	case auth.IdentityToken != "":
		req.SetBasicAuth(cmp.Or(auth.Username, noUser), auth.IdentityToken)
	case auth.Username != "" && auth.Password != "":
		req.SetBasicAuth(auth.Username, auth.Password)
	}
	return req, nil
}

// tokenByPost asks as the OAuth2 form says.
func tokenByPost(ctx context.Context, realm *url.URL, c ocihttp.Challenge, scopes []string, auth types.DockerAuthConfig) (*http.Request, error) {
	form := url.Values{"client_id": {clientID}}
	if auth.IdentityToken != "" {
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", auth.IdentityToken)
	} else {
		form.Set("grant_type", "password")
		form.Set("username", auth.Username)
		form.Set("password", auth.Password)
	}
	addService(form, c, scopes)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req, nil
}

func addService(values url.Values, c ocihttp.Challenge, scopes []string) {
	if service := c.Params["service"]; service != "" {
		values.Set("service", service)
	}
	values["scope"] = scopes
}

// defaultTokenLifetime is what the token specification says for an answer without expires_in.
const defaultTokenLifetime = 60 * time.Second

// readToken reads the answer of a token service. Its issued_at is ignored: the clocks may differ.
func readToken(resp *http.Response) (string, time.Duration, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenSize))
	if err != nil {
		return "", 0, err
	}
	var answer struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   seconds `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", 0, fmt.Errorf("%s: %w", ocihttp.CleanURL(resp.Request.URL), errNoToken)
	}
	token := answer.Token
	if token == "" {
		token = answer.AccessToken
	}
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return "", 0, fmt.Errorf("%s: the answer has no token", ocihttp.CleanURL(resp.Request.URL))
	}
	lifetime := defaultTokenLifetime
	if answer.ExpiresIn > 0 {
		lifetime = time.Duration(min(float64(answer.ExpiresIn), 24*3600) * float64(time.Second))
	}
	return token, lifetime, nil
}

// seconds is a number, or one in a text; 0 for anything else.
type seconds float64

// UnmarshalJSON implements json.Unmarshaler.
func (s *seconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseFloat(strings.TrimSpace(strings.Trim(string(b), `"`)), 64)
	if err != nil || math.IsNaN(n) {
		n = 0
	}
	*s = seconds(n)
	return nil
}
