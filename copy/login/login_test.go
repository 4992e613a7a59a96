package login

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

// insecure is the configuration of registries without TLS.
func insecure() *types.SystemContext {
	return &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}
}

func TestCheck(t *testing.T) {
	accounts := []registrytest.Account{{Username: "user", Password: "secret", Namespace: "team"}}
	for name, test := range map[string]struct {
		auth    *registrytest.Auth
		checked bool
		wrong   int // the status for a wrong password, 0 for none
	}{
		"basic":              {&registrytest.Auth{Accounts: accounts}, true, 401},
		"tokens":             {&registrytest.Auth{Bearer: true, Accounts: accounts}, true, 401},
		"tokens for all":     {&registrytest.Auth{Bearer: true, AnonymousPull: true, Accounts: accounts}, true, 401},
		"tokens or a page":   {&registrytest.Auth{Bearer: true, TokenMethod: "GET", TokenPage: true, TokenRefusal: 403, Accounts: accounts}, true, 401},
		"open to everybody":  {nil, false, 0},
		"open, but it looks": {&registrytest.Auth{AnonymousPull: true, OpenBase: true, Accounts: accounts}, false, 401},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, registrytest.Options{Auth: test.auth})
			checked, err := Check(t.Context(), r.Host(), types.DockerAuthConfig{Username: "user", Password: "secret"}, insecure())
			require.NoError(t, err)
			assert.Equal(t, test.checked, checked)
			checked, err = Check(t.Context(), r.Host(), types.DockerAuthConfig{Username: "user", Password: "secret2"}, insecure())
			assert.False(t, checked)
			if test.wrong == 0 {
				require.NoError(t, err)
				return
			}
			var refused *copy.RegistryError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, test.wrong, refused.Status)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestCheckFails(t *testing.T) {
	_, err := Check(t.Context(), "no host", types.DockerAuthConfig{}, nil)
	assert.ErrorContains(t, err, `registry "no host"`)
	tls := registrytest.Start(t, registrytest.Options{TLS: true})
	_, err = Check(t.Context(), tls.Host(), types.DockerAuthConfig{Username: "user", Password: "secret"}, nil)
	assert.ErrorContains(t, err, "certificate")
	assert.NotContains(t, err.Error(), "secret")
}

func TestFind(t *testing.T) {
	home := hermetictest.Home(t)
	file := filepath.Join(home, ".docker", "config.json")
	write := func(content string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	}
	auth, err := Find("registry.example", "registry.example", nil)
	require.NoError(t, err)
	assert.Zero(t, auth)
	write(`{"auths": {"registry.example/team": {"auth": "dXNlcjpzZWNyZXQ="}, "registry.example": {"auth": "YTpi"}}}`)
	for key, user := range map[string]string{"registry.example": "a", "registry.example/team": "user", "registry.example/team/app": "user", "registry.example/t": "a"} {
		auth, err = Find(key, "registry.example", nil)
		require.NoError(t, err)
		assert.Equal(t, user, auth.Username, key)
	}
	write(`{"credHelpers": {"registry.example": "no-such"}}`)
	_, err = Find("registry.example", "registry.example", nil)
	assert.ErrorContains(t, err, `docker-credential-no-such is not in $PATH: install it, or remove "registry.example" in credHelpers of `+file)
}
