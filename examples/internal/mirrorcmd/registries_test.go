package mirrorcmd

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// guarded starts a registry that wants a certificate and a password of its own, and writes both
// into dir: certs/HOST and NAME.json.
func guarded(t *testing.T, dir, name string) *registrytest.Registry {
	r := registrytest.Start(t, registrytest.Options{
		TLS: true, RequireClientCert: true,
		Auth: &registrytest.Auth{Accounts: []registrytest.Account{{Username: name, Password: "pw"}}},
	})
	require.NoError(t, r.WriteCertsDir(filepath.Join(dir, "certs")))
	auth := base64.StdEncoding.EncodeToString([]byte(name + ":pw"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".json"), fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, r.Host(), auth), 0o600))
	return r
}

// TestSyncRegistries has three registries, of which each wants other certificates and passwords,
// and only the file says which.
func TestSyncRegistries(t *testing.T) {
	dir := t.TempDir()
	src, dst, referrers := guarded(t, dir, "source"), guarded(t, dir, "destination"), guarded(t, dir, "referrers")
	f := imagetest.Platforms(2, 1, 100)
	f.PushTo(src, "app", "1", imagetest.Top)
	other := imagetest.New()
	other.Image("other", imagetest.Platform("linux/amd64"))
	other.PushTo(dst, "app", "old", "other")
	cosign := strings.Replace(f.Digest(imagetest.Top).String(), ":", "-", 1) + ".sig"
	f.PushTo(referrers, "sigs", cosign, "amd64")
	file := filepath.Join(dir, "images.yaml")
	text := fmt.Sprintf(`
registries:
- {registry: %[1]s, cert-dir: certs/%[1]s, authfile: source.json}
- {registry: %[2]s, cert-dir: certs/%[2]s, authfile: destination.json}
- {registry: %[3]s, cert-dir: certs/%[3]s, authfile: referrers.json}
images:
- source: docker://%[1]s/app
  tags: ["*"]
  destination: docker://%[2]s/app
  digest-tags: true
  referrers-source: docker://%[3]s/sigs
`, src.Host(), dst.Host(), referrers.Host())
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	run := func(args ...string) outcome {
		return runAll(t.Context(), t, "", append([]string{args[0], "--insecure-policy"}, args[1:]...)...)
	}
	state := filepath.Join(dir, "locks")
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(dir, "source.json")) // which has no password for the others
	run("sync", "--state-dir", state, "--dry-run", file).done(t)
	run("sync", "--state-dir", state, "--delete", "--yes", file).done(t)
	assert.ElementsMatch(t, []string{"1", cosign}, dst.Tags("app"))
	run("verify", file).done(t)
	bundled := filepath.Join(dir, "bundle.tar")
	made := runAll(t.Context(), t, "", "bundle", "create", "--insecure-policy", "-q", "-f", file, bundled)
	assert.Equal(t, StatusDone, made.status, made.stderr)

	t.Run("what would help", func(t *testing.T) {
		t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(dir, "destination.json"))
		without := filepath.Join(dir, "without.yaml")
		for name, want := range map[string]string{
			"authfile: source.json":               "--src-authfile gives credentials, and so does authfile in registries of the file",
			"cert-dir: certs/" + src.Host() + ",": "--src-cert-dir names certificates to trust, and so does cert-dir in registries of the file",
		} {
			require.NoError(t, os.WriteFile(without, []byte(strings.Replace(text, name, "", 1)), 0o600))
			run("sync", "--state-dir", state, without).failed(t, StatusFailed, want)
		}
	})
	t.Run("a flag wins", func(t *testing.T) {
		run("sync", "--state-dir", state, "--dest-cert-dir", filepath.Join(dir, "certs", src.Host()), file).failed(t, StatusFailed, "certificate")
		run("sync", "--state-dir", state, "--dest-authfile", filepath.Join(dir, "source.json"), file).failed(t, StatusFailed, "401")
		run("sync", "--state-dir", state, "--src-no-creds", file).failed(t, StatusFailed, "401")
	})
	t.Run("paths", func(t *testing.T) {
		broken := filepath.Join(dir, "broken.yaml")
		for _, c := range []struct{ from, to, want string }{
			{"source.json", "none.json", ":3: authfile of " + src.Host()},
			{"certs/" + src.Host(), "source.json", ":3: cert-dir of " + src.Host()},
		} {
			require.NoError(t, os.WriteFile(broken, []byte(strings.Replace(text, c.from, c.to, 1)), 0o600))
			run("sync", "--state-dir", state, broken).failed(t, StatusMisused, broken+c.want)
		}
	})
}

// TestRegistryContext: flags say first how a registry is reached, then the file.
func TestRegistryContext(t *testing.T) {
	a := &access{dest: end{authFile: "/flag.json"}}
	a.registries.use(&syncfile.File{Registries: []syncfile.Registry{
		{Name: "A.example:5000", TLSVerify: types.OptionalBoolFalse, CertDir: "/certs", AuthFile: "/file.json"},
		{Name: "b.example", TLSVerify: types.OptionalBoolTrue},
	}})
	said := func(registry string, sys types.SystemContext) []any {
		own := a.registryContext(registry, &sys)
		return []any{own.DockerInsecureSkipTLSVerify, own.DockerCertPath, own.AuthFilePath}
	}
	none := types.SystemContext{}
	flags := types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolFalse, DockerCertPath: "/flag", AuthFilePath: "/flag.json"}
	environment := types.SystemContext{AuthFilePath: "/env.json"}
	assert.Equal(t, []any{types.OptionalBoolTrue, "/certs", "/file.json"}, said("a.example:5000", none))
	assert.Equal(t, []any{types.OptionalBoolFalse, "/flag", "/flag.json"}, said("a.example:5000", flags))
	assert.Equal(t, []any{types.OptionalBoolTrue, "/certs", "/file.json"}, said("a.example:5000", environment))
	assert.Equal(t, []any{types.OptionalBoolFalse, "", ""}, said("b.example", none))
	assert.Equal(t, []any{types.OptionalBoolUndefined, "", "/env.json"}, said("a.example", environment), "another port is another registry")
	assert.Equal(t, none, *a.registryContext("c.example", &none))
}
