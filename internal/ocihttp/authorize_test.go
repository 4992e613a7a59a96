package ocihttp

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
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"
)

// A fakeRegistry is a registry and its token service, without a network: it accepts the
// Authorization headers in good, and challenges others.
type fakeRegistry struct {
	mu        sync.Mutex
	good      map[string]bool
	challenge string // "" for none, but at /v2/
	pinged    string // the challenge there
	granted   int    // tokens, which are good when they are granted
	refuses   int    // the status of the token service, 0 to grant
	requests  []string
	atOnce    int // the most requests to the registry that were in flight
	inFlight  int
}

func (f *fakeRegistry) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := func(status int, challenge, body string) (*http.Response, error) {
		if req.URL.Scheme == "" {
			located := *req.URL
			located.Scheme = "https"
			req = req.Clone(req.Context())
			req.URL = &located
		}
		header := http.Header{}
		if challenge != "" {
			header.Set("WWW-Authenticate", challenge)
		}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	}
	f.requests = append(f.requests, req.URL.Host+req.URL.Path)
	if req.URL.Host == "tokens.example" {
		if f.refuses != 0 {
			return answer(f.refuses, "", "")
		}
		f.granted++
		token := fmt.Sprintf("token%d", f.granted)
		f.good["Bearer "+token] = true
		body, _ := json.Marshal(map[string]any{"token": token, "expires_in": 3600})
		return answer(http.StatusOK, "", string(body))
	}
	f.inFlight++
	f.atOnce = max(f.atOnce, f.inFlight)
	f.mu.Unlock()
	time.Sleep(time.Second)
	f.mu.Lock()
	f.inFlight--
	switch {
	case f.good[req.Header.Get("Authorization")]:
		return answer(http.StatusOK, "", "")
	case req.URL.Path == "/v2/":
		return answer(http.StatusUnauthorized, f.pinged, "")
	}
	return answer(http.StatusUnauthorized, f.challenge, "")
}

type fakeCredentials struct {
	mu   sync.Mutex
	all  []types.DockerAuthConfig // the first one is current
	more int                      // how often others were looked for
}

func (c *fakeCredentials) Get() types.DockerAuthConfig {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) == 0 {
		return types.DockerAuthConfig{}
	}
	return c.all[0]
}

func (c *fakeCredentials) Renew(refused types.DockerAuthConfig) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more++
	if len(c.all) > 1 && c.all[0] == refused {
		c.all = c.all[1:]
	}
	return len(c.all) > 0 && c.all[0] != refused
}

type fakeRefusal struct{ status int }

func (r *fakeRefusal) Error() string       { return http.StatusText(r.status) }
func (r *fakeRefusal) HTTPStatus() int     { return r.status }
func (r *fakeRefusal) Wait() time.Duration { return 0 }

// authorizing is a stack that authorizes requests to f.
func authorizing(f *fakeRegistry, creds *fakeCredentials) (http.RoundTripper, *Authorization) {
	if f.good == nil {
		f.good = map[string]bool{}
	}
	a := &Authorization{
		Host: NewHost("registry.example", false), Logins: &Logins{}, Credentials: creds, Repository: "app", UserAgent: "test",
		Services: f, Asked: func() {}, MostWait: time.Minute, Now: time.Now,
		Refuse: func(resp *http.Response, _ bool) Refusal {
			_ = resp.Body.Close()
			return &fakeRefusal{resp.StatusCode}
		},
	}
	return Stack(f, a.Authorize, a.Host.Learn), a
}

func ask(ctx context.Context, stack http.RoundTripper, target string) (int, error) {
	u, err := url.Parse(target)
	if err != nil {
		return 0, err
	}
	ctx = WithCall(ctx, Call{Scopes: []string{"repository:app:pull"}})
	resp, err := stack.RoundTrip((&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).WithContext(ctx))
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

const (
	manifestURL = "//registry.example/v2/app/manifests/tag"
	bearer      = `Bearer realm="https://tokens.example/token"`
)

func TestAuthorize(t *testing.T) {
	me, you := types.DockerAuthConfig{Username: "me", Password: "pw"}, types.DockerAuthConfig{Username: "you", Password: "pw"}
	const myBasic, yourBasic = "Basic bWU6cHc=", "Basic eW91OnB3"
	for name, c := range map[string]struct {
		registry *fakeRegistry
		creds    []types.DockerAuthConfig
		token    string
		status   int  // 0 for an error
		refused  int  // the status of the refusal in the error
		requests int  // of the first call
		again    int  // of the second
		noToken  bool // the error is a *TokenError
	}{
		"everybody may":             {registry: &fakeRegistry{good: map[string]bool{"": true}}, status: 200, requests: 1, again: 1},
		"a token":                   {registry: &fakeRegistry{challenge: bearer}, status: 200, requests: 3, again: 1},
		"basic":                     {registry: &fakeRegistry{challenge: "Basic", good: map[string]bool{myBasic: true}}, creds: []types.DockerAuthConfig{me}, status: 200, requests: 2, again: 1},
		"other credentials":         {registry: &fakeRegistry{challenge: "Basic", good: map[string]bool{yourBasic: true}}, creds: []types.DockerAuthConfig{me, you}, status: 200, requests: 3, again: 1},
		"a wrong password":          {registry: &fakeRegistry{challenge: "Basic"}, creds: []types.DockerAuthConfig{me}, refused: 401, requests: 2, again: 0},
		"no credentials":            {registry: &fakeRegistry{challenge: "Basic"}, status: 401, requests: 1, again: 1},
		"no challenge":              {registry: &fakeRegistry{pinged: bearer}, status: 200, requests: 4, again: 1},
		"no challenge at all":       {registry: &fakeRegistry{}, status: 401, requests: 2, again: 1},
		"a given token":             {registry: &fakeRegistry{challenge: bearer, good: map[string]bool{"Bearer given": true}}, token: "given", status: 200, requests: 2, again: 1},
		"a wrong token":             {registry: &fakeRegistry{challenge: bearer}, token: "given", refused: 401, requests: 2, again: 0},
		"the token service refuses": {registry: &fakeRegistry{challenge: bearer, refuses: 401}, creds: []types.DockerAuthConfig{me}, refused: 401, noToken: true, requests: 2, again: 0},
		"the token service is gone": {registry: &fakeRegistry{challenge: bearer, refuses: 503}, refused: 503, noToken: true, requests: 2, again: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := c.registry
				stack, a := authorizing(f, &fakeCredentials{all: c.creds})
				a.Token = c.token
				for _, want := range []int{c.requests, c.again} {
					f.requests = nil
					status, err := ask(t.Context(), stack, manifestURL)
					assert.Len(t, f.requests, want, "%v", f.requests)
					assert.Equal(t, c.status, status)
					if c.status != 0 {
						require.NoError(t, err)
						continue
					}
					no, ok := errors.AsType[Refusal](err)
					require.True(t, ok, "%v", err)
					assert.Equal(t, c.refused, no.HTTPStatus())
					_, none := errors.AsType[*TokenError](err)
					assert.Equal(t, c.noToken, none)
				}
			})
		})
	}
}

// TestOneTokenForAll has many requests at once, and a token that ends.
func TestOneTokenForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRegistry{challenge: bearer}
		stack, a := authorizing(f, &fakeCredentials{})
		all := func() {
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					status, err := ask(t.Context(), stack, manifestURL)
					assert.NoError(t, err)
					assert.Equal(t, 200, status)
				})
			}
			wg.Wait()
		}
		all()
		assert.Equal(t, 1, f.granted)
		assert.Equal(t, 1, a.Host.Tokens())
		time.Sleep(time.Hour)
		all()
		assert.Equal(t, 2, f.granted, "it had ended by its lifetime")
		clear(f.good)
		all()
		assert.Equal(t, 3, f.granted, "it was refused")
	})
}

// TestRefusalsOfOthers: what ends a request for a token may be that another host has refused
// something. That says nothing about this one, or the credentials for it.
func TestRefusalsOfOthers(t *testing.T) {
	for name, all := range map[string][]types.DockerAuthConfig{"nobody": nil, "somebody": {{Username: "me", Password: "pw"}, {Username: "other"}}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, creds := &fakeRegistry{challenge: bearer}, &fakeCredentials{all: all}
				stack, a := authorizing(f, creds)
				ctx, cancel := context.WithCancelCause(t.Context())
				elsewhere := &fakeRefusal{http.StatusUnauthorized}
				a.Services = RoundTripFunc(func(req *http.Request) (*http.Response, error) {
					cancel(elsewhere)
					return nil, context.Cause(req.Context())
				})
				_, err := ask(ctx, stack, manifestURL)
				require.ErrorIs(t, err, elsewhere)
				assert.Zero(t, creds.more)

				a.Services = f
				status, err := ask(t.Context(), stack, manifestURL)
				require.NoError(t, err)
				assert.Equal(t, http.StatusOK, status)
			})
		})
	}
}

// TestFirstLoginGoesAlone sends a password that nobody knows to be good.
func TestFirstLoginGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRegistry{challenge: "Basic"}
		stack, a := authorizing(f, &fakeCredentials{all: []types.DockerAuthConfig{{Username: "me", Password: "pw"}}})
		_, err := ask(t.Context(), stack, manifestURL)
		require.Error(t, err)
		_, err = a.Known()
		require.Error(t, err)
		time.Sleep(RefusalLasts)
		f.good["Basic bWU6cHc="], f.atOnce = true, 0
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				_, err := ask(t.Context(), stack, manifestURL)
				assert.NoError(t, err)
			})
		}
		time.Sleep(time.Millisecond)
		f.mu.Lock()
		assert.Equal(t, 1, f.inFlight)
		f.mu.Unlock()
		wg.Wait()
		assert.Equal(t, 4, f.atOnce, "they go when it is known to be good")
		good, err := a.Known()
		require.NoError(t, err)
		assert.True(t, good)
	})
}

// TestNothingToAuthorizeIsNotCopied sends the very request where the host asks for no
// authorization: most hosts of mirrors are such, and a copy of each request takes time.
func TestNothingToAuthorizeIsNotCopied(t *testing.T) {
	_, a := authorizing(&fakeRegistry{}, &fakeCredentials{})
	var sent *http.Request
	stack := Stack(RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		sent = req
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: req}, nil
	}), a.Authorize)
	u, err := url.Parse(manifestURL)
	require.NoError(t, err)
	req := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}
	resp, err := stack.RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Same(t, req, sent)

	a.Host.challenges = []Challenge{{Scheme: "bearer"}}
	a.Token = "given"
	resp, err = stack.RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, "Bearer given", sent.Header.Get("Authorization"))
	assert.Empty(t, req.Header, "whoever has made the request goes on having it as it was")
}

// TestAuthorizationStaysHome asks another host, and the same one by a location.
func TestAuthorizationStaysHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRegistry{challenge: bearer}
		stack, _ := authorizing(f, &fakeCredentials{})
		status, err := ask(t.Context(), stack, "https://cdn.example/blob")
		require.NoError(t, err)
		assert.Equal(t, 401, status)
		assert.Zero(t, f.granted, "its challenge is not answered")
		_, err = ask(t.Context(), stack, manifestURL)
		require.NoError(t, err)
		status, err = ask(t.Context(), stack, "https://cdn.example/blob")
		require.NoError(t, err)
		assert.Equal(t, 401, status, "it is sent no token")
		status, err = ask(t.Context(), stack, "https://registry.example/v2/app/blobs/uploads/1")
		require.NoError(t, err)
		assert.Equal(t, 200, status)
	})
}
