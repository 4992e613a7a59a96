package registries

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// authorizationHabits are habits of token services and logins.
var authorizationHabits = []habit{
	{"ldap-account-lockout", accountLockout},
	{"ldap-account-lockout-sync", accountLockoutOfMany},
	{"harbor-robot-of-another-project", func(t *testing.T) { otherProject(t, registrytest.Auth{Bearer: true, BasicForRefused: true}) }},
	{"distribution-insufficient-scope", func(t *testing.T) { otherProject(t, registrytest.Auth{Bearer: true}) }},
	{"gitlab-token-403", func(t *testing.T) {
		otherProject(t, registrytest.Auth{Bearer: true, TokenRefusal: http.StatusForbidden})
	}},
	{"basic-403-of-a-repository", func(t *testing.T) { otherProject(t, registrytest.Auth{}) }},
	{"harbor-basic-for-an-expired-token", func(t *testing.T) {
		tokensEnd(t, registrytest.Auth{Bearer: true, BasicForRefused: true})
	}},
	{"dhi-no-challenge-for-an-expired-token", func(t *testing.T) {
		tokensEnd(t, registrytest.Auth{Bearer: true, NoChallengeForRefused: true})
	}},
	{"harbor-token-by-get-only", func(t *testing.T) {
		tokensByOneMethod(t, registrytest.Auth{TokenMethod: http.MethodGet}, types.DockerAuthConfig{IdentityToken: "identity"}, http.MethodPost)
	}},
	{"gitlab-page-for-a-token-by-post", func(t *testing.T) {
		tokensByOneMethod(t, registrytest.Auth{TokenMethod: http.MethodGet, TokenPage: true}, types.DockerAuthConfig{IdentityToken: "identity"}, http.MethodPost)
	}},
	{"token-by-post-only", func(t *testing.T) {
		tokensByOneMethod(t, registrytest.Auth{TokenMethod: http.MethodPost}, types.DockerAuthConfig{Username: "alice", Password: "pw"}, http.MethodGet)
	}},
	{"expires-in-a-text", expiresInText},
	{"docker-desktop-creds-store", dockersCredentialStore},
	{"wrong-credentials-of-unknown-origin", credentialsOfUnknownOrigin},
}

// wrongPassword are registries at which alice has another password.
func wrongPassword(t *testing.T) map[string]refusingRegistry {
	accounts := []registrytest.Account{{Username: "alice", Password: "another"}}
	all := map[string]refusingRegistry{}
	for name, o := range map[string]registrytest.Options{
		"basic":              {Auth: &registrytest.Auth{}},
		"bearer":             {Auth: &registrytest.Auth{Bearer: true}},
		"elsewhere":          {Auth: &registrytest.Auth{Bearer: true, SecondServer: true}},
		"harbor":             {Auth: &registrytest.Auth{Bearer: true, BasicForRefused: true}},
		"everybody pulls":    {Auth: &registrytest.Auth{Bearer: true, AnonymousPull: true}},
		"everybody, basic":   {Auth: &registrytest.Auth{AnonymousPull: true}},
		"waits a round trip": {Auth: &registrytest.Auth{Bearer: true}, RTT: 5 * time.Millisecond},
	} {
		o.Auth.Accounts = accounts
		all[name] = refusingRegistry{registrytest.Start(t, o), o.Auth.Bearer || !o.Auth.AnonymousPull}
	}
	return all
}

// A refusingRegistry refuses the password. If it asks readers, it wants one from whoever reads,
// too.
type refusingRegistry struct {
	*registrytest.Registry
	asksReaders bool
}

// accountLockout copies an image of 28 blobs to registries that refuse the password, and from them.
func accountLockout(t *testing.T) {
	f := imagetest.Platforms(7, 3, 100) // and as many configs
	for name, r := range wrongPassword(t) {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			src.Push(f, "v1", imagetest.Top)
			require.Len(t, src.Blobs("app"), 28)
			refusing := copytest.RegistryAt(t, r.Registry, "app")
			sys := e.WithAccount("alice", "a-bad-secret")
			_, err := e.Image(t.Context(), refusing.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, DestinationCtx: sys})
			requireRefused(t, err, http.StatusUnauthorized)
			assert.Equal(t, 1, r.WrongLogins())
			_, err = e.Image(t.Context(), refusing.Ref("v1"), src.Ref("v1"),
				copy.Options{ImageListSelection: copy.CopyAllImages, DestinationCtx: sys, ForceManifestMIMEType: manifest.DockerV2Schema2MediaType})
			requireRefused(t, err, http.StatusUnauthorized)
			assert.Equal(t, 2, r.WrongLogins(), "another copy, with options of upstream's")
			assert.Empty(t, r.Repos())
		})
	}
}

// requireRefused checks that err is about a status, and has no secret.
func requireRefused(t *testing.T, err error, status int) {
	t.Helper()
	var refused *copy.RegistryError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, status, refused.Status)
	assert.NotContains(t, err.Error(), "a-bad-secret")
}

// accountLockoutOfMany copies 38 images of one host that refuses the password, and then to it.
func accountLockoutOfMany(t *testing.T) {
	for name, r := range wrongPassword(t) {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			f := imagetest.Platforms(2, 1, 100)
			other := registrytest.Start(t, registrytest.Options{})
			sys := e.WithAccount("alice", "a-bad-secret")
			var from, to []copy.Job
			for i := range 38 {
				repo := fmt.Sprintf("app%d", i)
				f.PushTo(other, repo, "v1", imagetest.Top)
				to = append(to, copy.Job{Source: copytest.RegistryRef(t, other, repo, "v1"), Destination: copytest.RegistryRef(t, r.Registry, repo, "v1"),
					Options: &copy.Options{ImageListSelection: copy.CopyAllImages, SourceCtx: e.Sys, DestinationCtx: sys}})
				from = append(from, copy.Job{Source: copytest.RegistryRef(t, r.Registry, repo, "v1"), Destination: copytest.RegistryRef(t, other, "x"+repo, "v1"),
					Options: &copy.Options{ImageListSelection: copy.CopyAllImages, SourceCtx: sys, DestinationCtx: e.Sys}})
			}
			logins := 0
			for side, jobs := range [][]copy.Job{to, from} {
				for _, result := range copy.Images(t.Context(), e.Policy, jobs, nil) {
					require.Error(t, result.Err)
					if side == 0 || r.asksReaders {
						requireRefused(t, result.Err, http.StatusUnauthorized)
					}
				}
				if side == 0 || r.asksReaders {
					logins++
				}
				assert.Equal(t, logins, r.WrongLogins())
			}
		})
	}
}

// otherProject copies many images with an account that has access to the repositories of one
// project only: those arrive, whatever becomes of the others. Nothing that the account does counts
// as a wrong login.
func otherProject(t *testing.T, auth registrytest.Auth) {
	auth.Accounts = []registrytest.Account{{Username: "robot$team", Password: "pw", Namespace: "team"}}
	dst := registrytest.Start(t, registrytest.Options{Auth: &auth})
	src := registrytest.Start(t, registrytest.Options{})
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	sys := e.WithAccount("robot$team", "pw")
	var jobs []copy.Job
	for i := range 20 {
		repo := fmt.Sprintf("%s/app%d", []string{"team", "other"}[i%2], i)
		f.PushTo(src, repo, "v1", imagetest.Top)
		jobs = append(jobs, copy.Job{Source: copytest.RegistryRef(t, src, repo, "v1"), Destination: copytest.RegistryRef(t, dst, repo, "v1")})
	}
	for i, result := range copy.Images(t.Context(), e.Policy, jobs, &copy.ImagesOptions{Options: &copy.Options{ImageListSelection: copy.CopyAllImages, SourceCtx: e.Sys, DestinationCtx: sys}}) {
		if i%2 == 0 {
			require.NoError(t, result.Err)
			imagetest.CheckRegistry(t, dst, fmt.Sprintf("team/app%d", i), imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
			continue
		}
		var refused *copy.RegistryError
		require.ErrorAs(t, result.Err, &refused)
		assert.Contains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, refused.Status)
	}
	assert.Zero(t, dst.WrongLogins())
	assert.Len(t, dst.Repos(), 10)
}

// tokensEnd has a token that ends in the middle of a copy: one new one is asked for, the password
// goes nowhere else, and no more requests are in vain than were under way.
func tokensEnd(t *testing.T, auth registrytest.Auth) {
	const underWay = 4
	auth.Accounts = []registrytest.Account{{Username: "alice", Password: "pw"}}
	var ends atomic.Pointer[registrytest.Registry]
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Auth: &auth, RTT: time.Millisecond, Script: func(n int, _ *http.Request) registrytest.Answer {
		if n == 60 {
			ends.Load().ExpireTokens()
		}
		return registrytest.Answer{}
	}}), "app")
	ends.Store(dst.Registry)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(8, 4, 100)
	src.Push(f, "v1", imagetest.Top)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, DestinationCtx: e.WithAccount("alice", "pw"), MaxParallelDownloads: underWay})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	assert.Zero(t, dst.WrongLogins())
	tokens, refused := 0, 0
	for _, q := range dst.Requests() {
		basic := len(q.Authorization()) > 5 && q.Authorization()[:5] == "Basic"
		assert.Equal(t, q.Kind == registrytest.KindToken, basic, "%s %s", q.Method, q.Path)
		if q.Kind == registrytest.KindToken {
			tokens++
		} else if q.Status == http.StatusUnauthorized {
			refused++
		}
	}
	assert.Equal(t, 2, tokens)
	assert.Greater(t, refused, 1, "the first request, and some at the end of the token")
	assert.LessOrEqual(t, refused, 1+underWay)
}

// tokensByOneMethod has a token service that knows one method. The other one, which is usual for
// the credentials, is tried once.
func tokensByOneMethod(t *testing.T, auth registrytest.Auth, credentials types.DockerAuthConfig, tried string) {
	auth.Bearer = true
	auth.Accounts = []registrytest.Account{{Username: "alice", Password: "pw", IdentityToken: "identity"}}
	dst := registrytest.Start(t, registrytest.Options{Auth: &auth})
	src := registrytest.Start(t, registrytest.Options{})
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	sys := *e.Sys
	sys.DockerAuthConfig = &credentials
	var jobs []copy.Job
	for i := range 5 {
		repo := fmt.Sprintf("app%d", i)
		f.PushTo(src, repo, "v1", imagetest.Top)
		jobs = append(jobs, copy.Job{Source: copytest.RegistryRef(t, src, repo, "v1"), Destination: copytest.RegistryRef(t, dst, repo, "v1")})
	}
	for _, result := range copy.Images(t.Context(), e.Policy, jobs, &copy.ImagesOptions{Options: &copy.Options{ImageListSelection: copy.CopyAllImages, SourceCtx: e.Sys, DestinationCtx: &sys}}) {
		require.NoError(t, result.Err)
	}
	assert.Equal(t, 1, dst.Count(registrytest.Is(tried, registrytest.KindToken)))
	assert.Zero(t, dst.WrongLogins())
}

// expiresInText has a token service that says how long its tokens last in quotes.
func expiresInText(t *testing.T) {
	auth := registrytest.Auth{Bearer: true, ExpiresInText: true, Accounts: []registrytest.Account{{Username: "alice", Password: "pw"}}}
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Auth: &auth}), "app")
	f := imagetest.Platforms(2, 1, 100)
	src.Push(f, "v1", imagetest.Top)
	e, dst := copytest.NewEnv(t), copytest.Places["layout"](t)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, SourceCtx: e.WithAccount("alice", "pw")})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	assert.Equal(t, 1, src.Count(registrytest.Is("", registrytest.KindToken)))
}

// helperDir is where the credential helpers of tests are. PATH leads there, for whoever runs beside
// them too.
var helperDir = sync.OnceValue(func() string {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("sparsecopy-helpers-%d", os.Getpid()))
	if err := os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		panic(err)
	}
	return dir
})

var helpers atomic.Int64

// helper makes a credential helper, and returns its name. What it is asked it adds to the file that
// asked names; what it answers is in the file that answer names.
func helper(t *testing.T) (name, asked, answer string) {
	t.Helper()
	dir := t.TempDir()
	asked, answer = filepath.Join(dir, "asked"), filepath.Join(dir, "answer")
	program := "#!/bin/sh\nread -r server\necho \"$1 $server\" >> " + asked + "\nif test -s " + answer + "; then cat " + answer +
		"; else echo 'credentials not found in native keychain'; exit 1; fi\n"
	name = fmt.Sprintf("sparsecopy-%d", helpers.Add(1))
	path := filepath.Join(helperDir(), "docker-credential-"+name)
	require.NoError(t, os.MkdirAll(helperDir(), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(program), 0o700))
	t.Cleanup(func() {
		require.NoError(t, os.Remove(path))
		_ = os.Remove(helperDir()) // if this was the last one
	})
	return name, asked, answer
}

// dockersCredentialStore has credentials in the store that Docker's config.json names, and nowhere
// else.
func dockersCredentialStore(t *testing.T) {
	for file, set := range map[string]func(*types.SystemContext, string){
		"auth file":          func(sys *types.SystemContext, path string) { sys.AuthFilePath = path },
		"docker's auth file": func(sys *types.SystemContext, path string) { sys.AuthFilePath, sys.DockerCompatAuthFilePath = "", path },
	} {
		t.Run(file, func(t *testing.T) {
			auth := registrytest.Auth{Bearer: true, Accounts: []registrytest.Account{{Username: "alice", Password: "pw"}}}
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Auth: &auth}), "app")
			f := imagetest.Platforms(2, 1, 100)
			src.Push(f, "v1", imagetest.Top)
			e, dst := copytest.NewEnv(t), copytest.Places["layout"](t)
			store, asked, answer := helper(t)
			path := filepath.Join(t.TempDir(), "config.json")
			set(e.Sys, path)
			require.NoError(t, os.WriteFile(path, []byte(`{"auths":{"`+src.Host()+`":{}},"credsStore":"`+store+`"}`), 0o600))

			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
			requireRefused(t, err, http.StatusUnauthorized)
			assert.ErrorContains(t, err, "docker-credential-"+store+" (of "+path+"): there are none")

			require.NoError(t, os.WriteFile(answer, []byte(`{"ServerURL":"x","Username":"alice","Secret":"pw"}`), 0o600))
			_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
			require.NoError(t, err)
			dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
			questions, err := os.ReadFile(asked)
			require.NoError(t, err)
			assert.Equal(t, "get "+src.Host()+"\nget "+src.Host()+"\n", string(questions), "once a copy")

			// What is in the files themselves comes first.
			require.NoError(t, os.WriteFile(path, []byte(`{"auths":{"`+src.Host()+`":{"auth":"YWxpY2U6cHc="}},"credsStore":"`+store+`"}`), 0o600))
			_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
			require.NoError(t, err)
			again, err := os.ReadFile(asked)
			require.NoError(t, err)
			assert.Equal(t, questions, again)

			// A store that does not work is in the way of nothing.
			public := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			public.Push(f, "v1", imagetest.Top)
			require.NoError(t, os.WriteFile(path, []byte(`{"credsStore":"sparsecopy-that-nobody-has"}`), 0o600))
			_, err = e.Image(t.Context(), dst.Ref("v2"), public.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
			require.NoError(t, err)
		})
	}
}

// credentialsOfUnknownOrigin has a refusal of credentials, and of a request without any: the errors
// say where credentials were looked for.
func credentialsOfUnknownOrigin(t *testing.T) {
	r := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Auth: &registrytest.Auth{Bearer: true,
		Accounts: []registrytest.Account{{Username: "alice", Password: "pw"}}}}), "app")
	e := copytest.NewEnv(t)
	dst := copytest.Places["layout"](t)
	_, err := e.Image(t.Context(), dst.Ref("v1"), r.Ref("v1"), copy.Options{})
	requireRefused(t, err, http.StatusUnauthorized)
	assert.ErrorContains(t, err, "; credentials for "+r.Host()+"/app were looked for in "+e.Sys.AuthFilePath+" (absent): there are none")

	require.NoError(t, os.WriteFile(e.Sys.AuthFilePath, []byte(`{"auths":{"`+r.Host()+`":{"auth":"YWxpY2U6YS1iYWQtc2VjcmV0"}}}`), 0o600)) // alice:a-bad-secret
	_, err = e.Image(t.Context(), dst.Ref("v1"), r.Ref("v1"), copy.Options{})
	requireRefused(t, err, http.StatusUnauthorized)
	assert.ErrorContains(t, err, "; credentials for "+r.Host()+"/app were looked for in "+e.Sys.AuthFilePath)
	assert.NotContains(t, err.Error(), "there are none")

	require.NoError(t, os.WriteFile(e.Sys.AuthFilePath, []byte(`{"auths":`), 0o600))
	_, err = e.Image(t.Context(), dst.Ref("v1"), r.Ref("v1"), copy.Options{})
	assert.ErrorContains(t, err, "looking up the credentials for "+r.Host()+"/app in "+e.Sys.AuthFilePath)
	assert.Equal(t, 1, r.WrongLogins())
}
