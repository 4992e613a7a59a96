package sparseserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/distribution/registry/client/auth"
	"github.com/docker/distribution/registry/client/auth/challenge"
	"github.com/docker/distribution/registry/client/transport"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"
	"golang.org/x/crypto/bcrypt"
	orasremote "oras.land/oras-go/v2/registry/remote"
	orasauth "oras.land/oras-go/v2/registry/remote/auth"

	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// writeUsers makes an htpasswd file in which each user has the password "secret".
func writeUsers(t *testing.T, names ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "htpasswd")
	var content strings.Builder
	for _, name := range names {
		hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
		require.NoError(t, err)
		fmt.Fprintf(&content, "%s:%s\n", name, hash)
	}
	require.NoError(t, os.WriteFile(file, []byte(content.String()), 0o600))
	return file
}

// A puller pulls app:v1, and pushes something to app, as one client does that others use. Without a
// user's name it has no credentials.
type puller struct {
	name       string
	lazy       bool // shows what it has only where it would not get in without
	pull, push func(ctx context.Context, host, user, password string) error
}

var pullers = []puller{
	{
		"docker", false, // as the daemon without containerd's store: with the library that it uses
		func(ctx context.Context, host, user, password string) error {
			return dockerDo(ctx, host, user, password, http.MethodGet, "/v2/app/manifests/v1", "pull", http.StatusOK)
		},
		func(ctx context.Context, host, user, password string) error {
			return dockerDo(ctx, host, user, password, http.MethodPost, "/v2/app/blobs/uploads/", "pull,push", http.StatusAccepted)
		},
	},
	{"containers/image", false, podmanPull, podmanPush},
	{
		"go-containerregistry", false,
		func(ctx context.Context, host, user, password string) error {
			ref, options, err := craneOptions(ctx, host, user, password)
			if err == nil {
				_, err = remote.Get(ref, options...)
			}
			return err
		},
		func(ctx context.Context, host, user, password string) error {
			ref, options, err := craneOptions(ctx, host, user, password)
			if err != nil {
				return err
			}
			image, err := random.Image(10, 1)
			if err != nil {
				return err
			}
			return remote.Write(ref, image, options...)
		},
	},
	{
		"oras-go", true,
		func(ctx context.Context, host, user, password string) error {
			r, err := orasRepository(host, user, password)
			if err == nil {
				_, err = r.Resolve(ctx, "v1")
			}
			return err
		},
		orasPush,
	},
}

type dockerCredentials struct{ user, password string }

func (c dockerCredentials) Basic(*url.URL) (user, password string)         { return c.user, c.password }
func (c dockerCredentials) RefreshToken(_ *url.URL, _ string) string       { return "" }
func (c dockerCredentials) SetRefreshToken(_ *url.URL, _ string, _ string) {}

func dockerDo(ctx context.Context, host, user, password, method, path, actions string, want int) error {
	base := "http://" + host
	ping, err := http.Get(base + "/v2/") //nolint:noctx // as docker does
	if err != nil {
		return err
	}
	defer ping.Body.Close()
	challenges := challenge.NewSimpleManager()
	if err := challenges.AddResponse(ping); err != nil {
		return err
	}
	credentials := dockerCredentials{user, password}
	tokenHandler := auth.NewTokenHandlerWithOptions(auth.TokenHandlerOptions{
		Transport: http.DefaultTransport, Credentials: credentials, ClientID: "docker",
		Scopes: []auth.Scope{auth.RepositoryScope{Repository: "app", Actions: strings.Split(actions, ",")}},
	})
	client := http.Client{Transport: transport.NewTransport(http.DefaultTransport,
		auth.NewAuthorizer(challenges, tokenHandler, auth.NewBasicHandler(credentials)))}
	request, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", ociImage)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return nil
}

func podmanReference(host, user, password string) (types.ImageReference, *types.SystemContext, error) {
	ref, err := docker.ParseReference("//" + host + "/app:v1")
	return ref, &types.SystemContext{
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
		DockerAuthConfig:            &types.DockerAuthConfig{Username: user, Password: password},
	}, err
}

func podmanPull(ctx context.Context, host, user, password string) error {
	ref, sys, err := podmanReference(host, user, password)
	if err != nil {
		return err
	}
	source, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return err
	}
	return source.Close()
}

func podmanPush(ctx context.Context, host, user, password string) error {
	ref, sys, err := podmanReference(host, user, password)
	if err != nil {
		return err
	}
	destination, err := ref.NewImageDestination(ctx, sys)
	if err != nil {
		return err
	}
	defer destination.Close()
	content := []byte("podman")
	_, err = destination.PutBlob(ctx, bytes.NewReader(content), types.BlobInfo{Digest: digest.FromBytes(content), Size: int64(len(content))}, none.NoCache, false)
	return err
}

func craneOptions(ctx context.Context, host, user, password string) (name.Reference, []remote.Option, error) {
	ref, err := name.ParseReference(host + "/app:v1")
	options := []remote.Option{remote.WithContext(ctx)}
	if user != "" {
		options = append(options, remote.WithAuth(&authn.Basic{Username: user, Password: password}))
	}
	return ref, options, err
}

func orasRepository(host, user, password string) (*orasremote.Repository, error) {
	r, err := orasremote.NewRepository(host + "/app")
	if err != nil {
		return nil, err
	}
	r.PlainHTTP = true
	client := &orasauth.Client{}
	if user != "" {
		client.Credential = orasauth.StaticCredential(host, orasauth.Credential{Username: user, Password: password})
	}
	r.Client = client
	return r, nil
}

func orasPush(ctx context.Context, host, user, password string) error {
	r, err := orasRepository(host, user, password)
	if err != nil {
		return err
	}
	content := []byte("oras")
	d := v1.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(content), Size: int64(len(content))}
	return r.Push(ctx, d, bytes.NewReader(content))
}

// TestAnonymousPull pulls and pushes with clients that differ in when they authenticate.
func TestAnonymousPull(t *testing.T) {
	server, client := start(t, Config{Htpasswd: writeUsers(t, "alice"), AnonymousPull: true})
	alice := func(contentType string) http.Header { // a password in the place of a token
		return http.Header{"Authorization": {"Basic YWxpY2U6c2VjcmV0"}, "Content-Type": {contentType}}
	}
	upload := client.Do(t, http.MethodPost, "/v2/app/blobs/uploads/", alice(""), nil).Header.Get("Location")
	require.Equal(t, http.StatusCreated, client.Do(t, http.MethodPut, upload+"&digest="+digest.FromString("{}").String(), alice("application/octet-stream"), []byte("{}")).Status)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[]}`, ociImage, digest.FromString("{}"))
	require.Equal(t, http.StatusCreated, client.Do(t, http.MethodPut, "/v2/app/manifests/v1", alice(ociImage), []byte(manifest)).Status)

	for _, p := range pullers {
		t.Run(p.name, func(t *testing.T) {
			ctx, host := t.Context(), server.Address()
			assert.NoError(t, p.pull(ctx, host, "", ""), "nobody pulls")
			assert.Error(t, p.push(ctx, host, "", ""), "nobody pushes")
			assert.NoError(t, p.pull(ctx, host, "alice", "secret"), "a user pulls")
			assert.NoError(t, p.push(ctx, host, "alice", "secret"), "a user pushes")
			assert.Equal(t, p.lazy, p.pull(ctx, host, "alice", "wrong") == nil, "a wrong password that is shown does not go unnoticed")
			assert.Error(t, p.push(ctx, host, "bob", "secret"), "a stranger pushes")
		})
	}
}

// TestTokens asks for tokens, and shows them, by hand.
func TestTokens(t *testing.T) {
	users := writeUsers(t, "alice", "bob")
	server, client := start(t, Config{Htpasswd: users, AnonymousPull: true, Policies: requireAMD64})
	token := func(user string) string {
		header := http.Header{}
		if user != "" {
			r := &http.Request{Header: header}
			r.SetBasicAuth(user, "secret")
		}
		answer := client.Do(t, http.MethodGet, "/token?service=sparse-registry&scope=repository:app:pull", header, nil)
		require.Equal(t, http.StatusOK, answer.Status)
		var body struct {
			Token       string `json:"token"`
			AccessToken string `json:"access_token"`
			ExpiresIn   int    `json:"expires_in"`
		}
		require.NoError(t, json.Unmarshal(answer.Body, &body))
		assert.Equal(t, body.Token, body.AccessToken)
		assert.Equal(t, 300, body.ExpiresIn)
		assert.Equal(t, "no-store", answer.Header.Get("Cache-Control"))
		return "Bearer " + body.Token
	}
	do := func(method, path, authorization string) sparsetest.Answer {
		header := http.Header{}
		if authorization != "" {
			header.Set("Authorization", authorization)
		}
		return client.Do(t, method, path, header, nil)
	}
	anybody, alice, bob := token(""), token("alice"), token("bob")
	claims, _, _ := strings.Cut(alice, ".")
	_, proof, _ := strings.Cut(bob, ".")
	challenge := fmt.Sprintf(`Bearer realm="%s/token",service="sparse-registry"`, server.URL())
	const empty = "Basic Og==" // what Podman sends for nobody
	for _, c := range []struct {
		method, path, authorization string
		status                      int
		challenge                   string
	}{
		{http.MethodGet, "/v2/", "", 401, challenge},
		{http.MethodGet, "/v2/", empty, 401, challenge},
		{http.MethodGet, "/v2/", anybody, 200, ""},
		{http.MethodGet, "/v2/", alice, 200, ""},
		{http.MethodGet, "/v2/_catalog", "", 200, ""},
		{http.MethodGet, "/v2/app/tags/list", empty, 404, ""},
		{http.MethodHead, "/v2/app/manifests/v1", anybody, 404, ""},
		{http.MethodPost, "/v2/a/b/blobs/uploads/", "", 401, challenge + `,scope="repository:a/b:pull,push,delete"`},
		{http.MethodPost, "/v2/a/b/blobs/uploads/", empty, 401, challenge + `,scope="repository:a/b:pull,push,delete"`},
		{http.MethodPost, "/v2/a/b/blobs/uploads/", anybody, 401, challenge + `,scope="repository:a/b:pull,push,delete"`},
		{http.MethodPost, "/v2/a/b/blobs/uploads/", alice, 202, ""},
		{http.MethodPost, "/v2/a/b/blobs/uploads/", strings.ToLower(bob[:6]) + bob[6:], 202, ""},
		{http.MethodDelete, "/v2/app/manifests/v1", anybody, 401, challenge + `,scope="repository:app:pull,push,delete"`},
		{http.MethodGet, "/v2/manifests/manifests/v1", "Bearer x", 401, challenge + `,scope="repository:manifests:pull",error="invalid_token"`},
		{http.MethodGet, "/v2/", "Bearer " + strings.Repeat("A", 20) + "." + strings.Repeat("A", 43), 401, challenge + `,error="invalid_token"`},
		{http.MethodGet, "/v2/", claims + "." + proof, 401, challenge + `,error="invalid_token"`},
		{http.MethodGet, "/v2/", "Basic YWxpY2U6d3Jvbmc=", 401, challenge + `,error="invalid_token"`},
		{http.MethodGet, "/v2/", "Negotiate x", 401, challenge + `,error="invalid_token"`},
		{http.MethodGet, "/token", "Basic YWxpY2U6d3Jvbmc=", 401, `Basic realm="sparse-registry"`},
		{http.MethodPost, "/token", "", 405, ""},
		{http.MethodGet, sparseregistry.CapabilitiesPath, "", 200, ""},
	} {
		answer := do(c.method, c.path, c.authorization)
		assert.Equal(t, c.status, answer.Status, "%+v", c)
		assert.Equal(t, c.challenge, answer.Header.Get("WWW-Authenticate"), "%+v", c)
	}
	assert.Equal(t, "true", do(http.MethodGet, "/v2/", "").Header.Get(sparseregistry.SupportHeader))

	// Another password, and a user who is gone, end tokens.
	hash, err := bcrypt.GenerateFromPassword([]byte("other"), bcrypt.MinCost)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(users, []byte("# one\nbob:"+string(hash)+"\n"), 0o600))
	assert.Equal(t, http.StatusUnauthorized, do(http.MethodGet, "/v2/", alice).Status)
	assert.Equal(t, http.StatusUnauthorized, do(http.MethodGet, "/v2/", bob).Status)
	assert.Equal(t, http.StatusOK, do(http.MethodGet, "/v2/", anybody).Status)
}

func TestTokensEnd(t *testing.T) {
	users, err := readUsers(writeUsers(t, "alice"))
	require.NoError(t, err)
	issuer := newTokens("a")
	now := clock.System.Now()
	good := issuer.issue("alice", users, now.Add(time.Minute))
	user, ok := issuer.verify("Bearer "+good, users)
	assert.True(t, ok)
	assert.Equal(t, "alice", user)
	_, ok = newTokens("a").verify("Bearer "+good, users)
	assert.True(t, ok, "the next server over the storage takes it")
	_, ok = newTokens("b").verify("Bearer "+good, users)
	assert.False(t, ok)
	_, ok = issuer.verify("Bearer "+issuer.issue("alice", users, now.Add(-time.Second)), users)
	assert.False(t, ok, "its time is over")
	_, signature, _ := strings.Cut(issuer.issue("", users, now.Add(time.Minute)), ".")
	_, ok = issuer.verify("Bearer "+encode([]byte(fmt.Sprint(now.Add(time.Minute).Unix())+":alice"))+"."+signature, users)
	assert.False(t, ok, "what is for anybody is not for a user")
}

// TestTheChallengeIsAtTheProxy has the token's URL where Locations are.
func TestTheChallengeIsAtTheProxy(t *testing.T) {
	for _, c := range []struct {
		external string
		header   http.Header
		want     string
	}{
		{"https://registry.example:8443", nil, "https://registry.example:8443/token"},
		{"https://registry.example/", http.Header{"X-Forwarded-Host": {"x.example"}}, "https://registry.example/token"},
		{"", http.Header{"X-Forwarded-Host": {"x.example:1, y.example"}, "X-Forwarded-Proto": {"https"}}, "https://x.example:1/token"},
		{"", http.Header{"Forwarded": {"host=f.example;proto=https"}}, "https://f.example/token"},
		{"", http.Header{"X-Forwarded-Host": {`"`}}, `http://"/token`},
	} {
		_, client := start(t, Config{Htpasswd: writeUsers(t, "alice"), AnonymousPull: true, ExternalURL: c.external})
		answer := client.Do(t, http.MethodGet, "/v2/", c.header, nil)
		assert.Equal(t, fmt.Sprintf(`Bearer realm=%q,service="sparse-registry"`, c.want), answer.Header.Get("WWW-Authenticate"))
	}
}
