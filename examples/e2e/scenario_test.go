package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"
	"golang.org/x/crypto/bcrypt"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// TestOnePlatformOfThree mirrors what the registry requires, and pulls it.
func TestOnePlatformOfThree(t *testing.T) {
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			f := threePlatforms(form...)
			dst := newPlace(t, on("amd64"), announced)

			r := mirror(t, "copy", "--platform", "linux/amd64", newSource(t, f), dst.ref(tag)).done()

			assert.Contains(t, r.stdout, "→ "+f.Digest(imagetest.Top).String())
			assert.Contains(t, r.stdout, "(unchanged)")
			dst.check(imagetest.Want{
				Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f, Only: true,
				Present: []string{"amd64"}, Absent: []string{"arm64", "ppc64le"},
			})
			dst.checkDocument(f, tag, imagetest.Top)
			dst.checkDocument(f, f.Digest(imagetest.Top).String(), imagetest.Top)
			dst.checkDocument(f, f.Digest("amd64").String(), "amd64")
			dst.checkUnknown(refs(f, "arm64", "ppc64le")...)

			checkPullable(t, f, dst.ref(tag))
			for _, architecture := range []string{"arm64", "ppc64le"} {
				_, err := pull(t, dst.ref(tag), architecture, nil)
				assert.ErrorContains(t, err, "manifest unknown")
			}
		})
	}
}

// TestRequiredArchitectureIsNotSelected mirrors amd64 to a registry that requires arm64.
func TestRequiredArchitectureIsNotSelected(t *testing.T) {
	for name, form := range forms {
		f := threePlatforms(form...)
		t.Run(name+", announced", func(t *testing.T) {
			dst := newPlace(t, on("arm64"), announced)

			r := mirror(t, "copy", "--platform", "linux/amd64", newSource(t, f), dst.ref(tag))

			r.failed("refuses the sparse list "+f.Digest(imagetest.Top).String(), "requires the instance", "(linux/arm64)", "it announces", "--sparse strip")
			assert.NotContains(t, r.stderr, "ppc64le")
			assert.Empty(t, dst.written(), "not a blob is copied")
			dst.checkEmpty()
		})
		t.Run(name+", hidden", func(t *testing.T) {
			dst := newPlace(t, on("arm64"), hidden)

			r := mirror(t, "copy", "--platform", "linux/amd64", newSource(t, f), dst.ref(tag))

			r.failed("MANIFEST_BLOB_UNKNOWN", "Required architecture 'arm64' manifest not found", f.Digest("arm64").String(), "--sparse strip")
			assert.NotContains(t, r.stderr, "announces")
			dst.checkUnknown(tag)
		})
	}
}

// TestSelectionWidens mirrors what is required after the refusal.
func TestSelectionWidens(t *testing.T) {
	f := threePlatforms()
	source, dst := newSource(t, f), newPlace(t, on("amd64", "arm64"), announced)
	mirror(t, "copy", "--platform", "linux/amd64", source, dst.ref(tag)).failed("linux/arm64")
	mirror(t, "copy", "--platform", "linux/amd64,linux/arm64", source, dst.ref(tag)).done()
	mirror(t, "copy", "--all", source, dst.ref(tag)).done()
	dst.check(imagetest.Want{Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f, Only: true, Present: []string{"ppc64le"}})
}

// TestRequiredArchitectureIsThereAlready mirrors amd64 to a registry that requires arm64, and has
// it.
func TestRequiredArchitectureIsThereAlready(t *testing.T) {
	f := threePlatforms()
	dst := newPlace(t, on("arm64"), announced)
	require.NoError(t, dst.client.PushImage(t.Context(), f, repo, "arm64"))
	mirror(t, "copy", "--platform", "linux/amd64", newSource(t, f), dst.ref(tag)).done()
	dst.check(imagetest.Want{Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"amd64", "arm64"}, Absent: []string{"ppc64le"}})
}

// TestKeepWithoutThePolicy keeps a list for a registry that takes none with absent children.
func TestKeepWithoutThePolicy(t *testing.T) {
	f := threePlatforms()
	t.Run("announced", func(t *testing.T) {
		dst := newPlace(t, off, announced)
		mirror(t, "copy", "--platform", "linux/amd64", newSource(t, f), dst.ref(tag)).failed("it announces that it does not take them", "--sparse auto")
		assert.Empty(t, dst.written(), "not a blob is copied")
		dst.checkEmpty()
	})
	t.Run("hidden", func(t *testing.T) {
		dst := newPlace(t, off, hidden)
		source := newSource(t, f)
		mirror(t, "copy", "--platform", "linux/amd64", source, dst.ref(tag)).failed("MANIFEST_BLOB_UNKNOWN",
			"Manifest "+f.Digest("arm64").String()+" for platform 'linux/arm64' not found", "--sparse auto")
		dst.checkUnknown(tag)

		r := mirror(t, "copy", "--platform", "linux/amd64", "--sparse", "auto", source, dst.ref(tag)).done()
		assert.Contains(t, r.stdout, "stripped, because the destination refused the sparse list")
		assert.Contains(t, r.stdout, "for platform 'linux/arm64' not found")
		dst.check(imagetest.Want{Tag: tag, Fixture: f, Present: []string{"amd64"}, Absent: []string{"arm64", "ppc64le", imagetest.Top}, Only: true})
	})
}

// TestSelectionMatchesNothing asks for platforms that the list does not have.
func TestSelectionMatchesNothing(t *testing.T) {
	f := threePlatforms()
	source := newSource(t, f)
	for name, platforms := range map[string]string{"nothing": "linux/riscv64", "partly": "linux/amd64,linux/riscv64"} {
		t.Run(name, func(t *testing.T) {
			dst := newPlace(t, on("amd64"), announced)
			mirror(t, "copy", "--platform", platforms, source, dst.ref(tag)).
				failed("linux/riscv64", "linux/amd64", "linux/arm64", "linux/ppc64le")
			assert.Empty(t, dst.written())
		})
	}
	t.Run("partly, and that is fine", func(t *testing.T) {
		dst := newPlace(t, on("amd64"), announced)
		args := []string{"--platform", "linux/amd64", "--optional-platform", "linux/riscv64", source, dst.ref(tag)}
		var report copy.Report
		r := mirror(t, "copy", append([]string{"--output", "json"}, args...)...).done()
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &report))
		require.Len(t, report.Warnings, 1)
		assert.Contains(t, report.Warnings[0], "linux/riscv64")
		assert.Equal(t, f.Digest(imagetest.Top), report.DestinationDigest)
		outcomes := map[string]copy.Outcome{}
		for _, i := range report.Instances {
			outcomes[i.Platform] = i.Outcome
		}
		assert.Equal(t, map[string]copy.Outcome{"linux/amd64": copy.Copied, "linux/arm64": copy.Skipped, "linux/ppc64le": copy.Skipped}, outcomes)

		assert.Contains(t, mirror(t, "copy", args...).done().stdout, "warning: ")
	})
}

// TestPolicySwitchedOffAfterTheCopy does not take away what was accepted.
func TestPolicySwitchedOffAfterTheCopy(t *testing.T) {
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			f := threePlatforms(form...)
			source, dst := newSource(t, f), newPlace(t, on("amd64"), announced)
			mirror(t, "copy", "--platform", "linux/amd64", source, dst.ref(tag)).done()

			dst.restart(off)
			dst.checkDocument(f, tag, imagetest.Top)
			checkPullable(t, f, dst.ref(tag))
			body, mediaType := f.Document(imagetest.Top)
			again := dst.client.Do(t, http.MethodPut, sparsetest.ManifestPath(repo, tag), http.Header{"Content-Type": {mediaType}}, body)
			assert.Equal(t, http.StatusBadRequest, again.Status)

			dst.forget()
			assert.Contains(t, mirror(t, "copy", "--platform", "linux/amd64", source, dst.ref(tag)).done().stdout, "nothing to do")
			assert.Empty(t, dst.written())
			// Each command asks for the announcement.
			mirror(t, "copy", "--platform", "linux/amd64", source, dst.ref("other")).failed("it announces that it does not take them")
			dst.checkUnknown("other")
			r := mirror(t, "copy", "--platform", "linux/amd64", "--sparse", "auto", source, dst.ref("other")).done()
			assert.Contains(t, r.stdout, "action strip: the destination refuses sparse lists: it announces that it does not take them")
			dst.checkDocument(f, tag, imagetest.Top)
			checkPullable(t, f, dst.ref("other"))
		})
	}
}

// TestSecondMirror mirrors from a sparse mirror to a registry that wants every child.
func TestSecondMirror(t *testing.T) {
	for name, form := range forms {
		f := threePlatforms(form...)
		for how, hide := range map[string]bool{"announced": announced, "hidden": hidden} {
			t.Run(name+", "+how, func(t *testing.T) {
				first, second := newPlace(t, on("amd64"), announced), newPlace(t, off, hide)
				mirror(t, "copy", "--platform", "linux/amd64", newSource(t, f), first.ref(tag)).done()

				mirror(t, "copy", "--all", "--sparse", "auto", first.ref(tag), second.ref(tag)).
					failed(f.Digest("arm64").String(), "linux/arm64", f.Digest("ppc64le").String(), "linux/ppc64le", "--skip-missing")
				second.checkEmpty()

				mirror(t, "copy", "--all", "--skip-missing", "--sparse", "keep", first.ref(tag), second.ref(tag)).failed("refuses the sparse list")
				second.checkUnknown(tag)

				r := mirror(t, "copy", "--all", "--skip-missing", "--sparse", "auto", first.ref(tag), second.ref(tag)).done()
				assert.Equal(t, 2, strings.Count(r.stdout, "missing, stripped"), r.stdout)
				second.check(imagetest.Want{
					Tag: tag, Fixture: f, Only: true, Present: []string{"amd64"}, Absent: []string{"arm64", "ppc64le", imagetest.Top},
				})
				checkPullable(t, f, second.ref(tag))

				// What was not selected is not missed.
				mirror(t, "copy", "--platform", "linux/amd64", "--sparse", "auto", first.ref(tag), second.ref("selected")).done()
				checkPullable(t, f, second.ref("selected"))
			})
		}
	}
}

// TestTLSAndPasswords mirrors to a registry over TLS that lets only one user in.
func TestTLSAndPasswords(t *testing.T) {
	f := threePlatforms()
	dir := t.TempDir()
	certificate, key := writeCertificate(t, dir)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	require.NoError(t, err)
	htpasswd := filepath.Join(dir, "htpasswd")
	require.NoError(t, os.WriteFile(htpasswd, []byte("alice:"+string(hash)+"\n"), 0o600))
	server, err := sparseserver.Start(sparseserver.Config{
		Address: "127.0.0.1:0", Storage: t.TempDir(), Policies: sparseregistry.Policies{Default: on("amd64")}, Certificate: certificate, Key: key, Htpasswd: htpasswd,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, server.Close())
		retire(server.Address())
	})
	dst := "docker://" + server.Address() + "/" + repo + ":" + tag
	copyTo := func(args ...string) outcome {
		common := []string{"copy", "--insecure-policy", "--src-tls-verify=false", "--src-no-creds"}
		return mirrorAs(t, append(append(common, args...), newSource(t, f), dst)...)
	}

	copyTo("--dest-cert-dir", dir, "--platform", "linux/amd64").failed("401", "--dest-creds")
	copyTo("--dest-cert-dir", dir, "--dest-creds", "alice:wrong", "--platform", "linux/amd64").failed("401")
	copyTo("--dest-creds", "alice:secret", "--platform", "linux/amd64").failed("certificate", "--dest-cert-dir")
	copyTo("--dest-cert-dir", dir, "--dest-creds", "alice:secret", "--platform", "linux/arm64").failed("(linux/amd64)", "it announces")
	copyTo("--dest-cert-dir", dir, "--dest-creds", "alice:secret", "--platform", "linux/amd64").done()

	checkPulled(t, f, dst, "amd64", &types.SystemContext{
		DockerCertPath: dir, DockerAuthConfig: &types.DockerAuthConfig{Username: "alice", Password: "secret"},
	})
}

// writeCertificate writes a certificate for 127.0.0.1, which is its own authority, and its key.
func writeCertificate(t *testing.T, dir string) (certificate, key string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	pair := server.TLS.Certificates[0]
	return writePEM(t, dir, "ca.crt", "CERTIFICATE", pair.Certificate[0]), writePEM(t, t.TempDir(), "key.pem", "PRIVATE KEY", privateKey(t, pair))
}

func privateKey(t *testing.T, pair tls.Certificate) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	return der
}

func writePEM(t *testing.T, dir, name, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}

// TestMisuse is told before anything is asked.
func TestMisuse(t *testing.T) {
	dst := newPlace(t, on("amd64"), announced)
	r := mirror(t, "copy", "--platform", "linux/amd64", "--sparse", "perhaps", "docker://"+repo, dst.ref(tag))
	assert.Equal(t, mirrorcmd.StatusMisused, r.status)
	assert.Empty(t, dst.seen(""))
}
