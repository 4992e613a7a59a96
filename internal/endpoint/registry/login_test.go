package registry

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A rotated is a registry whose accounts change, and the configuration with a helper that has the
// password.
type rotated struct {
	*testing.T
	r      *registrytest.Registry
	sys    *types.SystemContext
	sh     *Shared
	clock  *clocktest.Shifted
	answer string // file with what the helper answers
	asked  string // file to which it adds a line whenever it is asked
}

func newRotated(t *testing.T, auth registrytest.Auth) *rotated {
	auth.Accounts = []registrytest.Account{{Username: user, Password: "one"}}
	o := &rotated{T: t, r: registrytest.Start(t, registrytest.Options{Auth: &auth}), clock: &clocktest.Shifted{}, sh: quick()}
	o.sh.Clock = o.clock
	sys, dir := hermetictest.System(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	o.sys, o.answer, o.asked = sys, filepath.Join(dir, "answer"), filepath.Join(dir, "asked")
	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o700))
	program := "#!/bin/sh\necho asked >> " + o.asked + "\ncat " + o.answer + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "docker-credential-rotated"), []byte(program), 0o700))
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	write(t, filepath.Join(dir, "registries.conf"), `credential-helpers = ["rotated"]`)
	o.says("one")
	return o
}

// says changes what the helper knows.
func (o *rotated) says(password string) {
	write(o.T, o.answer, fmt.Sprintf(`{"ServerURL":%q,"Username":%q,"Secret":%q}`, o.r.Host(), user, password))
}

// wants changes what the registry wants. Nothing that was given before is good.
func (o *rotated) wants(password string) {
	o.r.SetAccounts(registrytest.Account{Username: user, Password: password})
	o.r.ExpireTokens()
}

func (o *rotated) questions() int {
	b, _ := os.ReadFile(o.asked)
	return strings.Count(string(b), "\n")
}

func (o *rotated) ask(d *Destination) error {
	_, err := d.HasManifest(o.Context(), digest.FromString("x"))
	return err
}

// TestRotatedPassword changes a password while an end is open, and between two ends of a program
// that goes on.
func TestRotatedPassword(t *testing.T) {
	for name, auth := range map[string]registrytest.Auth{"basic": {}, "bearer": {Bearer: true}} {
		t.Run(name, func(t *testing.T) {
			o := newRotated(t, auth)
			d := openDestination(t, o.r.Host()+"/a:tag", o.sys, o.sh)
			require.NoError(t, o.ask(d))
			assert.Equal(t, 1, o.questions())

			o.wants("two")
			o.says("two")
			requireStatus(t, o.ask(d), http.StatusUnauthorized)
			assert.Equal(t, 1, o.questions(), "not within a minute")
			o.clock.Advance(time.Minute)
			require.NoError(t, o.ask(d), "without being opened again")
			assert.Equal(t, 2, o.questions())
			assert.LessOrEqual(t, o.r.WrongLogins(), 2)

			o.wants("three")
			o.says("three")
			o.clock.Advance(time.Minute)
			wrong := o.r.WrongLogins()
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() { assert.NoError(t, o.ask(d)) })
			}
			wg.Wait()
			assert.Equal(t, 3, o.questions(), "once for all")
			if auth.Bearer {
				assert.Equal(t, 1, o.r.WrongLogins()-wrong)
			}
			require.NoError(t, o.ask(openDestination(t, o.r.Host()+"/a:other", o.sys, o.sh)))
			assert.Equal(t, 3, o.questions(), "another end of the same repository, within the minute")
		})
	}
}

// TestRefusedCredentialIsNotSentAgain has a password that stays wrong, and one that turns right
// without having changed.
func TestRefusedCredentialIsNotSentAgain(t *testing.T) {
	for name, auth := range map[string]registrytest.Auth{"basic": {}, "bearer": {Bearer: true}} {
		t.Run(name, func(t *testing.T) {
			o := newRotated(t, auth)
			o.says("wrong")
			d := openDestination(t, o.r.Host()+"/a:tag", o.sys, o.sh)
			var wg sync.WaitGroup
			for range 28 {
				wg.Go(func() { assert.Error(t, o.ask(d)) })
			}
			wg.Wait()
			require.Equal(t, 1, o.r.WrongLogins())
			for range 30 {
				o.clock.Advance(time.Minute)
				err := o.ask(d)
				requireStatus(t, err, http.StatusUnauthorized)
				require.ErrorContains(t, err, "not sent again")
				require.ErrorContains(t, err, "docker-credential-rotated")
				requireStatus(t, o.ask(openDestination(t, o.r.Host()+"/b:tag", o.sys, o.sh)), http.StatusUnauthorized)
			}
			assert.Equal(t, 1, o.r.WrongLogins(), "whatever repository, and however long it takes")
			o.wants("wrong")
			o.clock.Advance(ocihttp.RefusalLasts)
			require.NoError(t, o.ask(d), "a directory may have been out of order")
		})
	}
}

// TestUnclearAnswersAboutCredentials has a token service, and a registry, that are out of order at
// first: nothing is concluded about the password.
func TestUnclearAnswersAboutCredentials(t *testing.T) {
	for _, bearer := range []bool{false, true} {
		var failures int
		var mu sync.Mutex
		r := registrytest.Start(t, registrytest.Options{
			Auth: &registrytest.Auth{Bearer: bearer, Accounts: []registrytest.Account{{Username: user, Password: password}}},
			Script: func(_ int, req *http.Request) registrytest.Answer {
				mu.Lock()
				defer mu.Unlock()
				if req.Header.Get("Authorization") != "" && failures < 3 {
					failures++
					return registrytest.Fail(http.StatusServiceUnavailable, "UNAVAILABLE", "later")
				}
				return registrytest.Answer{}
			}})
		d := openDestination(t, r.Host()+"/a:tag", withPassword(insecure(t)), quick())
		d.repo.host.proven.Store(true) // all three may come to one of them, which others are asked for twice
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := d.Manifest(context.Background(), digest.FromString("x"))
				assert.ErrorIs(t, err, endpoint.ErrNotFound)
			})
		}
		wg.Wait()
		assert.Equal(t, 3, failures)
	}
}

// TestTokenServiceRefusesOneRepository has one that answers 401 for what an account has no access
// to, although the account is good.
func TestTokenServiceRefusesOneRepository(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Bearer: true, TokenRefusal: http.StatusUnauthorized,
		Accounts: []registrytest.Account{{Username: user, Password: password, Namespace: "team"}}}})
	sys, sh := withPassword(insecure(t)), quick()
	team := openDestination(t, r.Host()+"/team/a:tag", sys, sh)
	ask := func(d *Destination) error {
		_, err := d.HasManifest(t.Context(), digest.FromString("x"))
		return err
	}
	require.NoError(t, ask(team))
	other := openDestination(t, r.Host()+"/other/a:tag", sys, sh)
	for range 3 {
		requireStatus(t, ask(other), http.StatusUnauthorized)
	}
	require.NoError(t, ask(team))
	require.NoError(t, ask(openDestination(t, r.Host()+"/team/b:tag", sys, sh)))
	assert.Equal(t, 2+1, r.Count(registrytest.Is("", registrytest.KindToken)), "the refused one is asked for once")
}

// TestBasicRefusesOneRepository has a registry that answers 401 for repositories that an account
// may not see, as Nexus does. Others are not refused because of them, and each is asked for once.
func TestBasicRefusesOneRepository(t *testing.T) {
	var refused atomic.Int32
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if name, given, _ := req.BasicAuth(); name == user && given == password && strings.HasPrefix(req.URL.Path, "/v2/team/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if req.Header.Get("Authorization") != "" {
			refused.Add(1)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	sys, sh := withPassword(insecure(t)), quick()
	ask := func(name string) error {
		_, err := openDestination(t, host+"/"+name+":tag", sys, sh).HasManifest(t.Context(), digest.FromString("x"))
		return err
	}
	require.NoError(t, ask("team/a"))
	for range 3 {
		requireStatus(t, ask("other/a"), http.StatusUnauthorized)
		requireStatus(t, ask("other/b"), http.StatusUnauthorized)
	}
	assert.EqualValues(t, 2, refused.Load())
	require.NoError(t, ask("team/a"))
	require.NoError(t, ask("team/b"))
	// At once, while it is thought to be good: all are refused, which says no more than one
	// refusal.
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { assert.Error(t, ask("other/c")) })
	}
	wg.Wait()
	require.NoError(t, ask("team/a"))
}

// TestGivenTokenIsRefusedOnce has a bearer token of the caller's that is not good.
func TestGivenTokenIsRefusedOnce(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Bearer: true}})
	sys := insecure(t)
	sys.DockerBearerRegistryToken = "made-up"
	d := openDestination(t, r.Host()+"/a:tag", sys, quick())
	var wg sync.WaitGroup
	for range 28 {
		wg.Go(func() {
			_, err := d.HasManifest(context.Background(), digest.FromString("x"))
			assert.Error(t, err)
		})
	}
	wg.Wait()
	assert.Equal(t, 1, r.Count(func(q registrytest.Request) bool { return q.Authorization() != "" }))
}

// TestTokenServiceIsGone answers 404 whatever is asked: the error is about the token, and two
// methods are tried once.
func TestTokenServiceIsGone(t *testing.T) {
	var asked []string
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/token" {
			asked = append(asked, req.Method)
			http.NotFound(w, req)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+req.Host+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	_, err := OpenSource(t.Context(), parseRef(t, host+"/a:tag"), withPassword(insecure(t)), quick())
	requireStatus(t, err, http.StatusNotFound)
	assert.ErrorContains(t, err, "getting a token: GET ")
	assert.Equal(t, []string{"GET", "POST"}, asked)
	var token *ocihttp.TokenError
	require.ErrorAs(t, err, &token)
	require.NotErrorIs(t, err, endpoint.ErrNotFound, "it says nothing about the image")
	assert.False(t, endpoint.SaysAbsent(err))

	d := openDestination(t, host+"/a:tag", withPassword(insecure(t)), quick())
	_, err = d.Top(t.Context())
	require.NotErrorIs(t, err, endpoint.ErrNotFound)
	_, err = d.HasManifest(t.Context(), digest.FromString("x"))
	requireStatus(t, err, http.StatusNotFound)
	_, err = d.HasBlob(t.Context(), blobOf([]byte("x")))
	requireStatus(t, err, http.StatusNotFound)
	_, err = d.Referrers(t.Context(), digest.FromString("x"), "")
	requireStatus(t, err, http.StatusNotFound)
	_, err = d.Tagged(t.Context(), "sha256-x.sig")
	require.NotErrorIs(t, err, endpoint.ErrNotFound)
}

// TestCredentialFilesAreReadAgain writes the file within the minute in which it is not read again
// otherwise.
func TestCredentialFilesAreReadAgain(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Accounts: []registrytest.Account{{Username: user, Password: password}}}})
	sys, dir := hermetictest.System(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	sh := quick()
	d := openDestination(t, r.Host()+"/a:tag", sys, sh)
	_, err := d.HasManifest(t.Context(), digest.FromString("x"))
	requireStatus(t, err, http.StatusUnauthorized)
	write(t, filepath.Join(dir, "auth.json"), `{"auths":{"`+r.Host()+`":{"auth":"`+strings.TrimPrefix(basic(user, password), "Basic ")+`"}}}`)
	_, err = openDestination(t, r.Host()+"/a:tag", sys, sh).HasManifest(t.Context(), digest.FromString("x"))
	require.NoError(t, err)
}

// TestAuthFiles holds the list of files against containers-auth.json(5).
func TestAuthFiles(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_RUNTIME_DIR", "/run/me")
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("DOCKER_CONFIG", "")
	sys, dir := hermetictest.System(t)
	explicit := sys.AuthFilePath
	paths := func(sys *types.SystemContext) (all []string) {
		for _, f := range authFiles(sys) {
			all = append(all, f.path)
		}
		return all
	}
	assert.Equal(t, []string{explicit}, paths(sys))
	sys.AuthFilePath, sys.RootForImplicitAbsolutePaths = "", ""
	assert.Equal(t, []string{"/run/me/containers/auth.json", home + "/.config/containers/auth.json", home + "/.docker/config.json", home + "/.dockercfg"}, paths(sys))
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("XDG_CONFIG_HOME", "/conf")
	t.Setenv("DOCKER_CONFIG", "/docker")
	perUser := fmt.Sprintf("/run/containers/%d/auth.json", os.Getuid())
	assert.Equal(t, []string{perUser, "/conf/containers/auth.json", "/docker/config.json", home + "/.dockercfg"}, paths(sys))
	sys.RootForImplicitAbsolutePaths = "/root-of-all"
	assert.Equal(t, "/root-of-all"+perUser, paths(sys)[0])
	sys.LegacyFormatAuthFilePath = "/old"
	assert.Equal(t, []authFile{{path: "/old", legacy: true}}, authFiles(sys))
	other := *sys
	other.SystemRegistriesConfPath = filepath.Join(dir, "other.conf")
	write(t, other.SystemRegistriesConfPath, `credential-helpers = ["x"]`)
	assert.Empty(t, authFiles(&other), "registries.conf names helpers only")
}
