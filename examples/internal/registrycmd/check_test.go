package registrycmd

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/audit"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// sparseStorage returns a storage with the sparse list app:v1, which lacks arm64.
func sparseStorage(t *testing.T) (string, *imagetest.Fixture) {
	t.Helper()
	storage := t.TempDir()
	server, err := sparseserver.Start(sparseserver.Config{
		Address: "127.0.0.1:0", Storage: storage, Policies: sparseregistry.Policies{Default: manifest.SparsePolicy{Enabled: true}},
	})
	require.NoError(t, err)
	f := imagetest.New()
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	f.Image("arm64", imagetest.Platform("linux/arm64"))
	f.List("top", imagetest.Entries("amd64", "arm64"))
	client := sparsetest.NewClient(server.URL())
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "top").Status)
	require.NoError(t, server.Close())
	return storage, f
}

// checkWith runs sparse-registry check, and returns what it prints and its exit status.
func checkWith(t *testing.T, args ...string) (out string, status int, err error) {
	t.Helper()
	cmd := command(nil, io.Discard)
	var b bytes.Buffer
	cmd.SetOut(&b)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(append([]string{"check"}, args...))
	if err = cmd.ExecuteContext(t.Context()); err != nil {
		status = statusOf(err)
	}
	return b.String(), status, err
}

func TestCheck(t *testing.T) {
	storage, _ := sparseStorage(t)
	out, status, err := checkWith(t, "--storage", storage, "--feature-sparse-index", "--sparse-index-required-archs=amd64")
	require.NoError(t, err)
	assert.Zero(t, status)
	assert.Equal(t, "complete and true: 1 repository, 1 tag, 2 manifests; 4 contents of 3.1 kB, all hashed\n", out)

	out, _, err = checkWith(t, "--storage", storage, "--feature-sparse-index", "--no-hash", "--output=json")
	require.NoError(t, err)
	var report audit.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	assert.Equal(t, audit.Schema, report.Schema)
	assert.Equal(t, 4, report.Contents)
	assert.False(t, report.Hashed)
	assert.Contains(t, out, `"findings": []`)
}

func TestCheckIsMisused(t *testing.T) {
	storage := t.TempDir()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	require.NoError(t, os.WriteFile(file, []byte("FEATURE_SPARSE_INDEX: true\nSPARSE_INDEX_REQUIRED_ARCHS: ARM64\n"), 0o600))
	for _, c := range []struct {
		args []string
		err  string
	}{
		{nil, "no storage directory"},
		{[]string{"--storage", storage + "/none"}, "no such file or directory"},
		{[]string{"--storage", storage}, "is no storage: no registry has ever used it; name the directory that has docker/registry/v2"},
		{[]string{"--storage", file}, "policy.yaml is no directory"},
		{[]string{"--storage", storage, "extra"}, `unexpected argument "extra": sparse-registry check takes flags only`},
		{[]string{"--storage", storage, "--unknown"}, "unknown flag: --unknown"},
		{[]string{"--storage", storage, "--output=xml"}, `flag --output: "xml" is neither text nor json`},
		{[]string{"--storage", storage, "--readers=0"}, "flag --readers: 0 is not positive"},
		{[]string{"--storage", storage, "--require=ARM64"}, `flag --require: required architecture "ARM64" must be in lower case`},
		{[]string{"--storage", storage, "--require=arm64", "--proposed-config", file}, "give one of them"},
		{[]string{"--storage", storage, "--proposed-config", file}, `policy.yaml:2: SPARSE_INDEX_REQUIRED_ARCHS: required architecture "ARM64"`},
		{[]string{"--storage", storage, "--proposed-config=/none"}, "open /none: no such file or directory"},
	} {
		_, status, err := checkWith(t, c.args...)
		require.ErrorContains(t, err, c.err)
		assert.Equal(t, statusMisused, status, c.args)
	}
}

// run runs a check that does not wait before it looks again.
func (c check) runNow(t *testing.T, storage string, o options) (out string, status int) {
	t.Helper()
	auditing, err := c.options(o)
	require.NoError(t, err)
	auditing.Wait = func(context.Context) error { return nil }
	store, err := registrystore.OpenDirectory(storage)
	require.NoError(t, err)
	var b bytes.Buffer
	if err := c.run(t.Context(), store, auditing, &b, io.Discard); err != nil {
		status = statusOf(err)
	}
	return b.String(), status
}

func TestCheckFinds(t *testing.T) {
	storage, f := sparseStorage(t)
	var off, on options
	on.server.Policies.Default.Enabled = true
	text := check{output: "text", readers: 1}
	amd64 := filepath.Join(storage, "docker/registry/v2/blobs/sha256", f.Digest("amd64").Encoded()[:2], f.Digest("amd64").Encoded())

	out, status := text.runNow(t, storage, off)
	assert.Contains(t, out, "fault: app@"+f.Digest("top").String()+": Manifest "+f.Digest("arm64").String()+
		" for platform 'linux/arm64' not found (tag v1); push the child,")
	assert.Equal(t, statusFailed, status)

	required := text
	required.require = "arm64"
	out, status = required.runNow(t, storage, on)
	assert.Contains(t, out, "the proposed policy refuses it: Required architecture 'arm64' manifest not found")
	assert.Contains(t, out, "0 damaged, 1 fault: 1 repository, ")
	assert.Equal(t, statusFailed, status)

	required.require = "linux/arm64, windows/amd64"
	out, _ = required.runNow(t, storage, on)
	assert.Contains(t, out, "the proposed policy refuses it: Required platform 'linux/arm64' manifest not found")

	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("address: :1\nFEATURE_SPARSE_INDEX: false\n"), 0o600))
	proposed := text
	proposed.proposed = file
	out, _ = proposed.runNow(t, storage, on)
	assert.Contains(t, out, "the proposed policy refuses it: Manifest ")

	require.NoError(t, os.RemoveAll(amd64))
	out, status = text.runNow(t, storage, on)
	assert.Contains(t, out, "damage: app@"+f.Digest("amd64").String()+": the manifest is lost: the storage does not have it (tag v1); push it again\n")
	assert.Equal(t, statusDamaged, status)
}

// TestCheckByDistributionsConfiguration finds the storage where plain distribution's file says.
func TestCheckByDistributionsConfiguration(t *testing.T) {
	storage, _ := sparseStorage(t)
	file := filepath.Join(t.TempDir(), "distribution.yaml")
	require.NoError(t, os.WriteFile(file, []byte("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: "+storage+"\n"), 0o600))
	out, _, err := checkWith(t, "--distribution-config", file, "--feature-sparse-index")
	require.NoError(t, err)
	assert.Contains(t, out, "complete and true: 1 repository,")
}

// TestCheckRebuildsReferrers makes links anew, but not beside a server.
func TestCheckRebuildsReferrers(t *testing.T) {
	storage, f := sparseStorage(t)
	store, err := registrystore.OpenDirectory(storage)
	require.NoError(t, err)
	require.NoError(t, store.PutReferrer(t.Context(), "app", f.Digest("top"), f.Digest("amd64")))
	args := []string{"--storage", storage, "--feature-sparse-index", "--rebuild-referrers"}

	lock, err := registrystore.TakeLock(storage, "a server")
	require.NoError(t, err)
	_, status, err := checkWith(t, args...)
	require.ErrorContains(t, err, "is in use by a server")
	assert.Equal(t, statusFailed, status)
	require.NoError(t, lock.Release())

	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(storage, 54321, 54321))
		_, status, err = checkWith(t, args...)
		require.ErrorContains(t, err, `belongs to user #54321, whose server could not change what root writes: run it as that user, as with sudo -u "#54321"`)
		assert.Equal(t, statusMisused, status)
		require.NoError(t, os.Chown(storage, 0, 0))
	}

	out, _, err := checkWith(t, args...)
	require.NoError(t, err)
	assert.Contains(t, out, "complete and true")
	links := 0
	require.NoError(t, store.Referrers(t.Context(), "app", func(registrystore.Referrer) error { links++; return nil }))
	assert.Zero(t, links)
}
