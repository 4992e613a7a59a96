package registry

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// Credentials of the tests. They must never show in an error.
const (
	user, password = "alice", "pass-word-of-alice"
	identityToken  = "identity-token-of-alice"
)

func withPassword(sys *types.SystemContext) *types.SystemContext {
	with := *sys
	with.DockerAuthConfig = &types.DockerAuthConfig{Username: user, Password: password}
	return &with
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// tokens counts the token requests that were granted.
func tokens(r *registrytest.Registry) int {
	return r.Count(func(q registrytest.Request) bool { return q.Kind == registrytest.KindToken && q.Status == 200 })
}

func refused(r *registrytest.Registry) int {
	return r.Count(func(q registrytest.Request) bool { return q.Status == http.StatusUnauthorized })
}

func TestAuth(t *testing.T) {
	alice := []registrytest.Account{{Username: user, Password: password, IdentityToken: identityToken}}
	for _, test := range []struct {
		name string
		auth registrytest.Auth
		sys  types.DockerAuthConfig
	}{
		{"basic", registrytest.Auth{Accounts: alice}, types.DockerAuthConfig{Username: user, Password: password}},
		{"bearer", registrytest.Auth{Bearer: true, Accounts: alice}, types.DockerAuthConfig{Username: user, Password: password}},
		{"token service on another host", registrytest.Auth{Bearer: true, SecondServer: true, Accounts: alice},
			types.DockerAuthConfig{Username: user, Password: password}},
		{"identity token", registrytest.Auth{Bearer: true, Accounts: alice}, types.DockerAuthConfig{IdentityToken: identityToken}},
	} {
		t.Run(test.name, func(t *testing.T) {
			from := registrytest.Start(t, registrytest.Options{Auth: &test.auth, RedirectBlobs: true})
			to := registrytest.Start(t, registrytest.Options{Auth: &test.auth, Location: registrytest.LocationSecond})
			im := newImage(t, 20, 1000, from, "a/b")
			sys := insecure(t)
			sys.DockerAuthConfig = &test.sys
			s := openSource(t, from.Host()+"/a/b:tag", sys, quick())
			d := openDestination(t, to.Host()+"/c/d:tag", sys, quick())
			mustCopy(t, s, d, im)
			requireImage(t, to, "c/d", im)
			for _, r := range []*registrytest.Registry{from, to} {
				assert.Equal(t, 1, refused(r), "one request finds out, the others know")
				if test.auth.Bearer {
					assert.Equal(t, 1, tokens(r), "one token is enough")
				}
				for _, q := range r.Requests() {
					switch {
					case q.Kind == registrytest.KindToken:
						assert.Equal(t, test.auth.SecondServer, q.Second)
					case q.Second:
						assert.Empty(t, q.Authorization(), "no credential follows to another host")
					case test.auth.Bearer:
						assert.NotContains(t, q.Authorization(), "Basic")
					}
				}
			}
		})
	}
}

func TestAnonymousBearer(t *testing.T) {
	auth := registrytest.Auth{Bearer: true, AnonymousPull: true}
	r := registrytest.Start(t, registrytest.Options{Auth: &auth})
	newImage(t, 1, 1000, r, "a")
	openSource(t, r.Host()+"/a:tag", insecure(t), nil)
	assert.Equal(t, 1, tokens(r))
}

// Tokens end by being used, or by time, in the middle of a copy.
func TestExpiringTokens(t *testing.T) {
	auth := registrytest.Auth{Bearer: true, TokenRequests: 7, Accounts: []registrytest.Account{{Username: user, Password: password}}}
	from := registrytest.Start(t, registrytest.Options{Auth: &auth})
	to := registrytest.Start(t, registrytest.Options{Auth: &auth})
	im := newImage(t, 30, 50_000, from, "a")
	sys := withPassword(insecure(t))
	s := openSource(t, from.Host()+"/a:tag", sys, quick())
	d := openDestination(t, to.Host()+"/b:tag", sys, quick())
	mustCopy(t, s, d, im)
	requireImage(t, to, "b", im)
	assert.Greater(t, tokens(from), 3)
	assert.Greater(t, tokens(to), 7)
}

// What is known to have ended is not tried.
func TestTokenLifetime(t *testing.T) {
	var mu sync.Mutex
	var asked int
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case req.URL.Path == "/token":
			asked++
			_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":%s}`, asked, map[int]string{1: "0.000001", 2: "3600"}[asked])
		case req.Header.Get("Authorization") != "Bearer token-2":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+req.Host+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
		case req.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	d := openDestination(t, host+"/a:tag", insecure(t), nil)
	for range 3 {
		_, err := d.HasManifest(context.Background(), blobOf(nil).Digest)
		require.NoError(t, err)
	}
	assert.Equal(t, 2, asked)
}

func TestConcurrentRequestsFetchOneToken(t *testing.T) {
	auth := registrytest.Auth{Bearer: true, AnonymousPull: true, Accounts: []registrytest.Account{{Username: user, Password: password}}}
	r := registrytest.Start(t, registrytest.Options{Auth: &auth})
	for name, sys := range map[string]*types.SystemContext{"anonymous": insecure(t), "password": withPassword(insecure(t))} {
		t.Run(name, func(t *testing.T) {
			r.ResetLog()
			d := openDestination(t, r.Host()+"/a:tag", sys, nil)
			var wg sync.WaitGroup
			for range 32 {
				wg.Go(func() {
					there, err := d.HasManifest(context.Background(), blobOf(nil).Digest)
					assert.NoError(t, err)
					assert.False(t, there)
				})
			}
			wg.Wait()
			assert.Equal(t, 1, tokens(r))
		})
	}
}

// Credentials of one namespace are never used for another one of the same registry.
func TestNamespaces(t *testing.T) {
	for _, bearer := range []bool{false, true} {
		t.Run(fmt.Sprintf("bearer=%v", bearer), func(t *testing.T) {
			auth := registrytest.Auth{Bearer: bearer, Accounts: []registrytest.Account{
				{Username: "one", Password: "pw1", Namespace: "one"},
				{Username: "two", Password: "pw2", Namespace: "two"},
			}}
			r := registrytest.Start(t, registrytest.Options{Auth: &auth})
			im := newImage(t, 5, 1000, r, "one/source")
			sys, dir := hermetictest.System(t)
			sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
			entry := func(user, password string) string {
				return fmt.Sprintf(`{"auth":%q}`, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
			}
			write(t, filepath.Join(dir, "auth.json"), fmt.Sprintf(`{"auths":{"%[1]s/one":%[2]s,"%[1]s/two":%[3]s}}`,
				r.Host(), entry("one", "pw1"), entry("two", "pw2")))
			shared := quick()
			s := openSource(t, r.Host()+"/one/source:tag", sys, shared)
			d := openDestination(t, r.Host()+"/two/copy:tag", sys, shared)
			d.MountFrom(s) // which two may not
			mustCopy(t, s, d, im)
			requireImage(t, r, "two/copy", im)

			other := openDestination(t, r.Host()+"/one/copy:tag", sys, shared)
			require.NoError(t, other.PutManifest(context.Background(), putBlobs(t, other, s, im)))

			for _, q := range r.Requests() {
				credential := q.Authorization()
				scope := q.Path
				if q.Kind == registrytest.KindToken {
					scope = q.Query
				}
				if strings.HasPrefix(credential, "Basic") {
					assert.Equal(t, strings.HasPrefix(scope, "/v2/one") || strings.Contains(scope, "scope=repository%3Aone"),
						credential == basic("one", "pw1"), "%s %s?%s with %s", q.Method, q.Path, q.Query, credential)
				}
			}
			_, err := OpenSource(context.Background(), parseRef(t, r.Host()+"/three/x:tag"), sys, shared)
			require.Error(t, err)
			require.NotErrorIs(t, err, endpoint.ErrNotFound)
		})
	}
}

func putBlobs(t *testing.T, d *Destination, s *Source, im image) endpoint.Document {
	t.Helper()
	for _, b := range im.blobs {
		_, err := d.PutBlob(context.Background(), b, opener(s, b))
		require.NoError(t, err)
	}
	return im.manifest
}

func TestCredentialHelper(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{
		Accounts: []registrytest.Account{{Username: user, Password: password}}}})
	newImage(t, 1, 1000, r, "a")
	sys, dir := hermetictest.System(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o700))
	helper := fmt.Sprintf("#!/bin/sh\nread server\n"+
		`test "$1 $server" = "get %s" && echo '{"ServerURL":"%[1]s","Username":"%s","Secret":"%s"}'`+"\n", r.Host(), user, password)
	require.NoError(t, os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helper), 0o700))
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	write(t, filepath.Join(dir, "registries.conf"), `credential-helpers = ["test"]`)
	openSource(t, r.Host()+"/a:tag", sys, nil)
}

func TestRegistryToken(t *testing.T) {
	ctx := context.Background()
	var mu sync.Mutex
	var seen []string
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, req.Header.Get("Authorization"))
		if req.Header.Get("Authorization") == "Bearer given" {
			http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+req.Host+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	sys := withPassword(insecure(t))
	sys.DockerBearerRegistryToken = "given"
	_, err := OpenSource(ctx, parseRef(t, host+"/a:tag"), sys, nil)
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	assert.Equal(t, []string{"", "Bearer given"}, seen)

	seen = nil
	sys.DockerBearerRegistryToken = "wrong"
	_, err = OpenSource(ctx, parseRef(t, host+"/a:tag"), sys, nil)
	requireStatus(t, err, http.StatusUnauthorized)
	assert.Equal(t, []string{"", "Bearer wrong"}, seen)
}

func requireStatus(t *testing.T, err error, status int) {
	t.Helper()
	var refused *endpoint.RegistryError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, status, refused.Status)
	requireNoSecrets(t, err)
}

func requireNoSecrets(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{password, identityToken, basic(user, password), "scope=", "_state", "secret"} {
		require.NotContains(t, err.Error(), secret)
	}
}

func TestWrongPassword(t *testing.T) {
	for _, auth := range []registrytest.Auth{
		{Accounts: []registrytest.Account{{Username: user, Password: "another"}}},
		{Bearer: true, Accounts: []registrytest.Account{{Username: user, Password: "another"}}},
	} {
		r := registrytest.Start(t, registrytest.Options{Auth: &auth})
		_, err := OpenSource(context.Background(), parseRef(t, r.Host()+"/a:tag"), withPassword(insecure(t)), nil)
		requireStatus(t, err, http.StatusUnauthorized)
		_, err = OpenSource(context.Background(), parseRef(t, r.Host()+"/a:tag"), insecure(t), nil)
		requireStatus(t, err, http.StatusUnauthorized)
		assert.LessOrEqual(t, len(r.Requests()), 4)
	}
}

// A token that is not good for what is asked is not fetched again and again.
func TestInsufficientScope(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Bearer: true,
		Accounts: []registrytest.Account{{Username: user, Password: password, PullOnly: true}}}})
	d := openDestination(t, r.Host()+"/a:tag", withPassword(insecure(t)), nil)
	_, err := d.PutBlob(context.Background(), blobOf([]byte("x")), held([]byte("x")))
	requireStatus(t, err, http.StatusUnauthorized)
	assert.Equal(t, 1, tokens(r))
}

// The scope that a registry asks for is asked for in turn.
func TestChallengedScope(t *testing.T) {
	var asked []string
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/token" {
			asked = append(asked, strings.Join(req.URL.Query()["scope"], " "))
			_, _ = fmt.Fprintf(w, `{"token":"%d"}`, len(asked))
			return
		}
		if req.Header.Get("Authorization") == "Bearer 2" {
			http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
			return
		}
		w.Header().Set("WWW-Authenticate",
			`Bearer realm="http://`+req.Host+`/token",error="insufficient_scope",scope="registry:catalog:*"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	_, err := OpenSource(context.Background(), parseRef(t, host+"/a:tag"), insecure(t), nil)
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	assert.Equal(t, []string{"repository:a:pull", "repository:a:pull registry:catalog:*"}, asked)
}

// Registries that refuse without a challenge are asked for one, once.
func TestPingForChallenge(t *testing.T) {
	var mu sync.Mutex
	var pings int
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case req.URL.Path == "/v2/":
			pings++
			w.Header().Set("X-Sparse-Manifest-Support", "true")
			w.Header().Set("X-Required-Architectures", "amd64")
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case req.Header.Get("Authorization") == "":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	d := openDestination(t, host+"/a:tag", withPassword(insecure(t)), nil)
	for range 2 {
		_, err := d.Top(context.Background())
		require.ErrorIs(t, err, endpoint.ErrNotFound)
	}
	assert.Equal(t, 1, pings)
	announced, err := d.Announcement(context.Background())
	require.NoError(t, err)
	assert.Equal(t, endpoint.Announcement{SparseManifests: "true", RequiredArchitectures: "amd64"}, announced, "in the answer to the ping")
}

// A host that a request was redirected to has no say in authentication, and learns nothing.
func TestRedirectTargetAsksForCredentials(t *testing.T) {
	var mu sync.Mutex
	var leaked []string
	thief := serve(t, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		for _, header := range []string{"Authorization", "Referer", "Cookie"} {
			if v := req.Header.Get(header); v != "" {
				leaked = append(leaked, v)
			}
		}
		if req.URL.Path == "/token" {
			leaked = append(leaked, "a token request")
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+req.Host+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	var posts int
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case req.Method == http.MethodPost && posts == 0:
			posts++
			w.Header().Set("Location", "http://eve:eves@"+thief+"/upload?_state=secret")
			w.WriteHeader(http.StatusAccepted)
		default:
			http.Redirect(w, req, "http://"+thief+"/x?_state=secret", http.StatusTemporaryRedirect)
		}
	})
	sys := withPassword(insecure(t))
	_, err := OpenSource(context.Background(), parseRef(t, host+"/a:tag"), sys, nil)
	requireStatus(t, err, http.StatusUnauthorized)
	d := openDestination(t, host+"/a:tag", sys, nil)
	_, err = d.PutBlob(context.Background(), blobOf([]byte("x")), held([]byte("x")))
	requireStatus(t, err, http.StatusUnauthorized)
	_, err = d.PutBlob(context.Background(), blobOf([]byte("x")), held([]byte("x")))
	requireStatus(t, err, http.StatusTemporaryRedirect)
	assert.Empty(t, leaked)
}

// The refresh token is not sent on to where the token service redirects.
func TestTokenServiceRedirects(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	thief := serve(t, func(_ http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		assert.Empty(t, req.Header.Get("Authorization"))
	})
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/token" {
			http.Redirect(w, req, "http://"+thief+"/token", http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+req.Host+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	sys := insecure(t)
	sys.DockerAuthConfig = &types.DockerAuthConfig{IdentityToken: identityToken}
	_, err := OpenSource(context.Background(), parseRef(t, host+"/a:tag"), sys, nil)
	requireStatus(t, err, http.StatusTemporaryRedirect)
	assert.Zero(t, asked)
	_, err = OpenSource(context.Background(), parseRef(t, host+"/a:tag"), withPassword(insecure(t)), nil)
	require.Error(t, err)
	requireNoSecrets(t, err)
	assert.Equal(t, 1, asked)
}

func TestBadTokenService(t *testing.T) {
	for name, realm := range map[string]string{
		"no URL": "::", "relative": "/token", "file": "file:///etc/passwd", "none": "",
	} {
		t.Run(name, func(t *testing.T) {
			host := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`"`)
				w.WriteHeader(http.StatusUnauthorized)
			})
			_, err := OpenSource(context.Background(), parseRef(t, host+"/a:tag"), insecure(t), nil)
			require.ErrorContains(t, err, "no usable token service")
		})
	}
	for name, body := range map[string]string{"no JSON": "<html>", "no token": "{}", "injected": `{"token":"a\r\nX: y"}`} {
		t.Run(name, func(t *testing.T) {
			host := serve(t, func(w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/token" {
					_, _ = w.Write([]byte(body))
					return
				}
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+req.Host+`/token"`)
				w.WriteHeader(http.StatusUnauthorized)
			})
			_, err := OpenSource(context.Background(), parseRef(t, host+"/a:tag"), insecure(t), nil)
			require.ErrorContains(t, err, "token")
		})
	}
}
