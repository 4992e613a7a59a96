package sparseserver

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// A tokenServer gives alice a token for every scope that she asks for, and others none.
type tokenServer struct {
	server *httptest.Server
	signer jose.Signer
	jwks   string // file with its public key
}

func newTokenServer(t *testing.T) *tokenServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	s := &tokenServer{jwks: filepath.Join(t.TempDir(), "jwks.json")}
	public, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256"}}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.jwks, public, 0o600))
	s.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	require.NoError(t, err)
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "alice" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"token": s.token(t, r.URL.Query()["scope"]...)})
	}))
	t.Cleanup(s.server.Close)
	return s
}

// token is one for scopes like "repository:app:pull,push".
func (s *tokenServer) token(t *testing.T, scopes ...string) string {
	access := []map[string]any{}
	for _, scope := range scopes {
		parts := strings.Split(scope, ":")
		access = append(access, map[string]any{"type": parts[0], "name": parts[1], "actions": strings.Split(parts[2], ",")})
	}
	now := clock.System.Now()
	token, err := jwt.Signed(s.signer).Claims(map[string]any{
		"iss": "issuer", "sub": "alice", "aud": "registry", "jti": "1", "access": access,
		"exp": now.Add(time.Hour).Unix(), "nbf": now.Add(-time.Hour).Unix(), "iat": now.Unix(),
	}).Serialize()
	if err != nil {
		t.Error(err)
	}
	return token
}

// configuration is of a registry over a directory that takes tokens of s.
func (s *tokenServer) configuration(dir string) *configuration.Configuration {
	config := inDirectory(dir)
	config.Auth = configuration.Auth{"token": {
		"realm": s.server.URL, "issuer": "issuer", "service": "registry", "jwks": s.jwks,
	}}
	return config
}

// TestStrangersSendNoManifests: who may not push is told so before the manifest is read, of which
// nothing comes here.
func TestStrangersSendNoManifests(t *testing.T) {
	tokens := newTokenServer(t)
	dir := t.TempDir()
	server, _ := start(t, Config{Storage: dir, Distribution: tokens.configuration(dir), StallTimeout: time.Second})
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"a stranger":      {"", http.StatusUnauthorized},
		"who may pull":    {tokens.token(t, "repository:app:pull"), http.StatusUnauthorized},
		"who may push":    {tokens.token(t, "repository:app:pull,push"), http.StatusBadRequest}, // nothing has come for a second
		"who may another": {tokens.token(t, "repository:other:pull,push"), http.StatusUnauthorized},
	} {
		conn, err := net.Dial("tcp", server.Address())
		require.NoError(t, err)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL()+sparsetest.ManifestPath("app", "v1"), nil)
		require.NoError(t, err)
		r.Header = bearer(c.token)
		r.Header.Set("Content-Type", ociImage)
		head := fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: app\r\nContent-Length: 100000\r\n", r.URL.Path)
		_, err = io.WriteString(conn, head)
		require.NoError(t, err)
		require.NoError(t, r.Header.Write(conn))
		_, err = io.WriteString(conn, "\r\n")
		require.NoError(t, err)
		answer, err := http.ReadResponse(bufio.NewReader(conn), r)
		require.NoError(t, err, name)
		assert.Equal(t, c.want, answer.StatusCode, name)
		if c.want == http.StatusUnauthorized {
			assert.Regexp(t, `scope="repository:app:(pull,push|push,pull)"`, answer.Header.Get("WWW-Authenticate"), name)
		}
		require.NoError(t, conn.Close())
	}
}

// TestTokenAuthentication has distribution ask for tokens, and nobody else.
func TestTokenAuthentication(t *testing.T) {
	tokens := newTokenServer(t)
	dir := t.TempDir()
	config := tokens.configuration(dir)
	server, client := start(t, Config{Storage: dir, Distribution: config, Policies: requireAMD64})
	challenge := func(scope string) []string {
		return []string{`Bearer realm="` + tokens.server.URL + `",service="registry"` + scope}
	}
	do := func(method, path, token string) sparsetest.Answer {
		return client.Do(t, method, path, bearer(token), nil)
	}

	// Who asks without a token learns the policy, and where there are tokens.
	answer := do(http.MethodGet, "/v2/", "")
	assert.Equal(t, http.StatusUnauthorized, answer.Status)
	assert.Equal(t, challenge(""), answer.Header.Values("WWW-Authenticate"))
	assert.Equal(t, "amd64", answer.Header.Get(sparseregistry.ArchitecturesHeader))
	assert.Equal(t, http.StatusOK, do(http.MethodGet, "/v2/", tokens.token(t)).Status)
	assert.Equal(t, http.StatusOK, do(http.MethodGet, sparseregistry.CapabilitiesPath, "").Status)

	// Images, by clients that fetch tokens.
	for _, p := range []func(ctx context.Context, host, user, password string) error{podmanPush, orasPush} {
		require.NoError(t, p(t.Context(), server.Address(), "alice", "secret"))
		require.Error(t, p(t.Context(), server.Address(), "alice", "wrong"))
		require.Error(t, p(t.Context(), server.Address(), "", ""))
	}

	// Lists: the policy asks with the client's token.
	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "arm64"))
	both := tokens.token(t, "repository:app:pull,push")
	put := func(ref, name, token string) sparsetest.Answer {
		body, mediaType := f.Document(name)
		header := bearer(token)
		header.Set("Content-Type", mediaType)
		return client.Do(t, http.MethodPut, sparsetest.ManifestPath("app", ref), header, body)
	}
	refused := put("v1", "top", both)
	assert.Equal(t, http.StatusBadRequest, refused.Status)
	require.NotEmpty(t, refused.Errors())
	assert.Equal(t, "MANIFEST_BLOB_UNKNOWN", refused.Errors()[0].Code)
	f.List("optional", imagetest.Entries("arm64"))
	require.Equal(t, http.StatusCreated, put("v2", "optional", both).Status)
	for list, scope := range map[string]string{"top": "repository:other:pull,push", "optional": "repository:app:pull"} {
		refused := put("v1", list, tokens.token(t, scope))
		assert.Equal(t, http.StatusUnauthorized, refused.Status, scope)
		for _, c := range refused.Header.Values("WWW-Authenticate") {
			assert.Contains(t, c, `error="insufficient_scope"`)
			assert.Regexp(t, `scope="repository:app:(pull,push|push,pull)"`, c, "what the push needs, and not only what the policy asks for")
		}
		assert.Len(t, refused.Header.Values("WWW-Authenticate"), 1)
		require.NotEmpty(t, refused.Errors())
		assert.Equal(t, "UNAUTHORIZED", refused.Errors()[0].Code)
	}
	refused = put("v1", "top", "")
	assert.Equal(t, http.StatusUnauthorized, refused.Status)
	assert.Regexp(t, `scope="repository:app:(pull,push|push,pull)"`, refused.Header.Get("WWW-Authenticate"))

	// Referrers are for those who may pull from the repository.
	subject := "/v2/app/referrers/" + f.Digest("amd64").String()
	for _, token := range []string{"", tokens.token(t, "repository:other:pull")} {
		answer := do(http.MethodGet, subject, token)
		assert.Equal(t, http.StatusUnauthorized, answer.Status)
		assert.Contains(t, answer.Header.Get("WWW-Authenticate"), `scope="repository:app:pull"`)
	}
	assert.Equal(t, http.StatusOK, do(http.MethodGet, subject, tokens.token(t, "repository:app:pull")).Status)
}

// bearer is a header with a token; "" is none.
func bearer(token string) http.Header {
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	return header
}
