package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.podman.io/image/v5/types"
)

// clientID is how containers/image names itself to token services.
const clientID = "containers/image"

// authorization is what a request carried.
type authorization struct {
	any   bool
	token *token // that was fetched, nil if it was something else
}

// authorize sets the Authorization header of req, which goes to the host of r, as the host's challenges ask. Without a challenge
// that it can answer it sets nothing.
func (r *repository) authorize(ctx context.Context, req *http.Request, scopes []string) (authorization, error) {
	for _, c := range r.host.currentChallenges() {
		switch c.scheme {
		case "basic":
			if r.auth.Username == "" && r.auth.Password == "" {
				continue
			}
			req.SetBasicAuth(r.auth.Username, r.auth.Password)
			return authorization{any: true}, nil
		case "bearer":
			if r.registryToken != "" {
				req.Header.Set("Authorization", "Bearer "+r.registryToken)
				return authorization{any: true}, nil
			}
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

// scopes are what a request of r needs; mountFrom is the repository that it mounts from, or "".
func (r *repository) scopes(mountFrom string) []string {
	scopes := []string{"repository:" + r.name + ":" + r.actions}
	if mountFrom != "" && mountFrom != r.name {
		scopes = append(scopes, "repository:"+mountFrom+":pull")
	}
	return scopes
}

// Values of the parameter "error" of a challenge. RFC 6750, section 3.1.
const (
	invalidToken      = "invalid_token" // it has ended, or was never one
	insufficientScope = "insufficient_scope"
)

// refusedToken is what challenges say about a refused token: the error, "" if there is none, and the scope that would do.
func refusedToken(challenges []challenge) (fault, scope string) {
	for _, c := range challenges {
		if c.scheme == "bearer" {
			return c.params["error"], c.params["scope"]
		}
	}
	return "", ""
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
}

// tokenEntry holds the current token for one key. Whoever sends into lock owns the other field, until it receives from lock.
type tokenEntry struct {
	lock  chan struct{}
	token *token // nil if there is none
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
	e := &tokenEntry{lock: make(chan struct{}, 1)}
	c.entries[key] = e
	return e
}

// bearerToken returns a token that should be good for scopes. Concurrent calls fetch one.
func (r *repository) bearerToken(ctx context.Context, c challenge, scopes []string) (*token, error) {
	e := r.host.tokens.entry(r.tokenKey(c, scopes))
	if err := e.acquire(ctx); err != nil {
		return nil, err
	}
	defer e.release()
	if e.token != nil && time.Now().Before(e.token.expires) {
		return e.token, nil
	}
	text, lifetime, err := r.fetchToken(ctx, c, scopes)
	if err != nil {
		return nil, &tokenError{err}
	}
	e.token = &token{text: text, expires: time.Now().Add(lifetime - min(lifetime/10, 10*time.Second))}
	return e.token, nil
}

// dropToken makes the next bearerToken fetch a new token instead of one that was refused, unless that happened already.
func (r *repository) dropToken(ctx context.Context, c challenge, scopes []string, refused *token) {
	e := r.host.tokens.entry(r.tokenKey(c, scopes))
	if e.acquire(ctx) != nil {
		return
	}
	defer e.release()
	if e.token == refused {
		e.token = nil
	}
}

func (r *repository) tokenKey(c challenge, scopes []string) tokenKey {
	return tokenKey{
		realm:   c.params["realm"],
		service: c.params["service"],
		scopes:  strings.Join(scopes, " "),
		auth:    r.auth,
	}
}

func (e *tokenEntry) acquire(ctx context.Context) error {
	select {
	case e.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *tokenEntry) release() { <-e.lock }

// fetchToken asks the token service that c names: with an identity token as the OAuth2 form of the distribution project
// specifies, and else as its token form does.
func (r *repository) fetchToken(ctx context.Context, c challenge, scopes []string) (string, time.Duration, error) {
	realm, err := url.Parse(c.params["realm"])
	if err != nil || realm.Host == "" || (realm.Scheme != "https" && realm.Scheme != "http") {
		return "", 0, errors.New("the registry names no usable token service")
	}
	var req *http.Request
	if r.auth.IdentityToken != "" {
		req, err = r.refreshTokenRequest(ctx, realm, c, scopes)
	} else {
		req, err = r.tokenRequest(ctx, realm, c, scopes)
	}
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("User-Agent", r.userAgent)
	r.stats.tokenRequests.Add(1)

	ctx, watch := newWatchdog(ctx, r.attemptTimeout())
	defer watch.stop()
	resp, err := r.host.client.Do(req.WithContext(ctx))
	if err != nil {
		return "", 0, newTransportError(req, watch.cause(err), r.host.answered.Load())
	}
	if resp.StatusCode != http.StatusOK {
		return "", 0, newRefusal(resp, time.Now())
	}
	defer resp.Body.Close()
	return readToken(resp, watch)
}

func (r *repository) tokenRequest(ctx context.Context, realm *url.URL, c challenge, scopes []string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err != nil {
		return nil, errors.New("the registry names no usable token service")
	}
	query := req.URL.Query()
	if r.auth.Username != "" {
		query.Set("account", r.auth.Username)
	}
	addService(query, c, scopes)
	req.URL.RawQuery = query.Encode()
	req.URL.User = nil
	if r.auth.Username != "" && r.auth.Password != "" {
		req.SetBasicAuth(r.auth.Username, r.auth.Password)
	}
	return req, nil
}

func (r *repository) refreshTokenRequest(ctx context.Context, realm *url.URL, c challenge, scopes []string) (*http.Request, error) {
	form := url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {r.auth.IdentityToken},
		"client_id":     {clientID},
	}
	addService(form, c, scopes)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("the registry names no usable token service")
	}
	req.URL.User = nil
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req, nil
}

func addService(values url.Values, c challenge, scopes []string) {
	if service := c.params["service"]; service != "" {
		values.Set("service", service)
	}
	values["scope"] = scopes
}

// defaultTokenLifetime is what the token specification says for an answer without expires_in.
const defaultTokenLifetime = 60 * time.Second

// readToken reads the answer of a token service. Its issued_at is ignored: the clocks may differ.
func readToken(resp *http.Response, watch *watchdog) (string, time.Duration, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenSize))
	if err != nil {
		return "", 0, newTransportError(resp.Request, watch.cause(err), true)
	}
	var answer struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", 0, fmt.Errorf("%s: the answer is not a token", cleanURL(resp.Request.URL))
	}
	token := answer.Token
	if token == "" {
		token = answer.AccessToken
	}
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return "", 0, fmt.Errorf("%s: the answer has no token", cleanURL(resp.Request.URL))
	}
	lifetime := defaultTokenLifetime
	if answer.ExpiresIn > 0 {
		lifetime = time.Duration(min(answer.ExpiresIn, 24*3600) * float64(time.Second))
	}
	return token, lifetime, nil
}
