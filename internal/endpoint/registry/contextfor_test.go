package registry

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// What reaches one registry is not used for another, also where registries.conf sends a reference
// to both.
func TestContextFor(t *testing.T) {
	dir := t.TempDir()
	certs := filepath.Join(dir, "certs")
	start := func(name string) *registrytest.Registry {
		r := registrytest.Start(t, registrytest.Options{
			TLS: true, RequireClientCert: true,
			Auth: &registrytest.Auth{Accounts: []registrytest.Account{{Username: name, Password: password}}},
		})
		require.NoError(t, r.WriteCertsDir(certs))
		return r
	}
	mirror, original := start("mirror"), start("original")
	newImage(t, 1, 1000, original, "a")
	newImage(t, 1, 1000, mirror, "a")
	login := func(file, user string) string {
		path := filepath.Join(dir, file)
		auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
		write(t, path, fmt.Sprintf(`{"auths": {%q: {"auth": %q}, %q: {"auth": %[2]q}}}`, original.Host(), auth, mirror.Host()))
		return path
	}
	files := map[string]string{original.Host(): login("original.json", "original"), mirror.Host(): login("mirror.json", "mirror")}
	sys := configured(t, fmt.Sprintf(`
		[[registry]]
		location = "%s"
		[[registry.mirror]]
		location = "%s"
	`, original.Host(), mirror.Host()))
	contextFor := func(registry string, sys *types.SystemContext) *types.SystemContext {
		own := *sys
		own.DockerCertPath, own.AuthFilePath = filepath.Join(certs, registry), files[registry]
		return &own
	}
	text := original.Host() + "/a:tag"

	sh := quick()
	sh.ContextFor = contextFor
	s := openSource(t, text, sys, sh)
	assert.Equal(t, mirror.Host()+"/a", s.Mirror())
	mirror.DeleteTag("a", "tag")
	s = openSource(t, text, sys, sh)
	assert.Empty(t, s.Mirror())
	_, err := openDestination(t, text, sys, sh).Top(context.Background())
	require.NoError(t, err)
	list, err := Tags(context.Background(), parseRef(t, text), true, sys, sh)
	require.NoError(t, err)
	assert.Equal(t, []string{"tag"}, list.Tags)

	for r, user := range map[*registrytest.Registry]string{mirror: "mirror", original: "original"} {
		for _, q := range r.Requests() {
			if auth := q.Authorization(); auth != "" {
				assert.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)), auth)
			}
		}
	}
	assert.Same(t, sys, sh.PullContext(parseRef(t, text), sys), "one for both would be too much")
	assert.Equal(t, files[mirror.Host()], sh.PullContext(parseRef(t, mirror.Host()+"/a:tag"), sys).AuthFilePath)
	assert.Equal(t, files[original.Host()], sh.PushContext(parseRef(t, text), sys).AuthFilePath)
}
