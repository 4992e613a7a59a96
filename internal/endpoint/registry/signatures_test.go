package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// simpleSignature looks like one in the simple signing format.
var simpleSignature = []byte("\x90not really a signature")

// withSignatures is a system context for plain registries with a lookaside in dir, and with
// sigstore attachments.
func withSignatures(t *testing.T) (sys *types.SystemContext, lookaside string) {
	t.Helper()
	sys, dir := hermetictest.System(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	lookaside = filepath.Join(dir, "lookaside")
	write(t, filepath.Join(dir, "registries.d/default.yaml"),
		"default-docker:\n  lookaside: file://"+lookaside+"\n  use-sigstore-attachments: true\n")
	return sys, lookaside
}

func signaturePath(lookaside, repo string, d digest.Digest) string {
	return fmt.Sprintf("%s/%s@%s=%s/signature-1", lookaside, repo, d.Algorithm(), d.Encoded())
}

// putAttachment puts a sigstore attachment for d into the repository.
func putAttachment(t *testing.T, r *registrytest.Registry, repo string, d digest.Digest) {
	t.Helper()
	payload := []byte(`{"critical":{}}`)
	config := []byte(`{}`)
	m := imgspecv1.Manifest{MediaType: imgspecv1.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageConfig, Digest: r.PutBlob(repo, config), Size: int64(len(config))}
	m.Layers = []imgspecv1.Descriptor{{
		MediaType: "application/vnd.dev.cosign.simplesigning.v1+json", Digest: r.PutBlob(repo, payload), Size: int64(len(payload)),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": "c2ln"},
	}}
	b, err := json.Marshal(m)
	require.NoError(t, err)
	r.PutManifest(repo, attachmentTag(d), imgspecv1.MediaTypeImageManifest, b)
}

func attachmentTag(d digest.Digest) string { return strings.Replace(d.String(), ":", "-", 1) + ".sig" }

// Signatures of both kinds travel, and the tag is written after them.
func TestSignatures(t *testing.T) {
	ctx := context.Background()
	from, to := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 2, 1000, from, "a/source")
	d := im.manifest.Digest
	sys, lookaside := withSignatures(t)
	path := signaturePath(lookaside, "a/source", d)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	write(t, path, string(simpleSignature))
	putAttachment(t, from, "a/source", d)

	s := openSource(t, from.Host()+"/a/source:tag", sys, nil)
	sigs, err := s.Signatures(ctx, d)
	require.NoError(t, err)
	require.Equal(t, 2, sigs.Len())
	asked := len(from.Requests())
	again, err := s.Signatures(ctx, d)
	require.NoError(t, err)
	assert.Equal(t, 2, again.Len())
	unparsed, err := s.Unparsed(s.Top()).Signatures(ctx)
	require.NoError(t, err)
	assert.Equal(t, [][]byte{simpleSignature}, unparsed)
	assert.Len(t, from.Requests(), asked, "signatures are read once")

	dest := openDestination(t, to.Host()+"/a/copy:tag", sys, nil)
	putBlobs(t, dest, s, im)
	require.NoError(t, dest.PutTop(ctx, s.Top(), sigs))
	got, err := os.ReadFile(signaturePath(lookaside, "a/copy", d))
	require.NoError(t, err)
	assert.Equal(t, simpleSignature, got)
	var written []string
	for _, q := range to.Requests() {
		if q.Method == http.MethodPut && q.Kind == registrytest.KindManifest {
			written = append(written, q.Ref)
		}
	}
	assert.Equal(t, []string{d.String(), attachmentTag(d), "tag"}, written)

	child := openDestination(t, to.Host()+"/a/child:tag", sys, nil)
	putBlobs(t, child, s, im)
	require.NoError(t, child.PutManifest(ctx, im.manifest))
	require.NoError(t, child.PutSignatures(ctx, d, sigs))
	require.NoError(t, child.PutSignatures(ctx, d, nil))
	assert.Equal(t, []string{attachmentTag(d)}, to.Tags("a/child"))
}

func TestAttachmentsOnly(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 1000, r, "a")
	putAttachment(t, r, "a", im.manifest.Digest)
	sys, _ := withSignatures(t)
	s := openSource(t, r.Host()+"/a:tag", sys, nil)
	sigs, err := s.Signatures(context.Background(), im.manifest.Digest)
	require.NoError(t, err)
	assert.Equal(t, 1, sigs.Len())
}

func TestNoSignaturesNoRequests(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{})
	newImage(t, 1, 1000, r, "a")
	sys, dir := hermetictest.System(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	t.Setenv("HOME", dir)
	for _, config := range []string{
		"",
		"default-docker:\n  lookaside: file://" + dir + "/none\n",
		"default-docker:\n  use-sigstore-attachments: true\ndocker:\n  " + r.Host() + "/a:\n    use-sigstore-attachments: false\n",
	} {
		write(t, filepath.Join(dir, "registries.d/default.yaml"), config)
		r.ResetLog()
		s := openSource(t, r.Host()+"/a:tag", sys, nil)
		sigs, err := s.Signatures(ctx, s.Top().Digest)
		require.NoError(t, err)
		assert.Zero(t, sigs.Len())
		assert.Len(t, r.Requests(), 1)
		_, err = s.Signatures(ctx, "sha256:../../x")
		require.Error(t, err)
	}
}

// The extension of the registry's API is noticed without asking for it.
func TestSignatureExtension(t *testing.T) {
	ctx := context.Background()
	r := registrytest.NewHandler(registrytest.Options{})
	newImage(t, 1, 1000, r, "a")
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("X-Registry-Supports-Signatures", "1")
		if strings.HasPrefix(req.URL.Path, "/extensions/") {
			_, _ = fmt.Fprintf(w, `{"signatures":[{"schemaVersion":2,"type":"atomic","name":"x","content":%q}]}`,
				base64.StdEncoding.EncodeToString(simpleSignature))
			return
		}
		r.ServeHTTP(w, req)
	})
	s := openSource(t, host+"/a:tag", insecure(t), nil)
	sigs, err := s.Signatures(ctx, s.Top().Digest)
	require.NoError(t, err)
	assert.Equal(t, 1, sigs.Len())
}

// A lookaside on a web server must be asked; its failure is an error, not "none".
func TestSignaturesThatCannotBeRead(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{})
	newImage(t, 1, 1000, r, "a")
	var mu sync.Mutex
	status := http.StatusInternalServerError
	lookaside := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(status)
	})
	sys, dir := hermetictest.System(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	write(t, filepath.Join(dir, "registries.d/default.yaml"), "default-docker:\n  lookaside: http://"+lookaside+"\n")
	s := openSource(t, r.Host()+"/a:tag", sys, nil)
	_, err := s.Signatures(ctx, s.Top().Digest)
	require.Error(t, err)
	mu.Lock()
	status = http.StatusNotFound
	mu.Unlock()
	sigs, err := s.Signatures(ctx, s.Top().Digest)
	require.NoError(t, err, "failures are not remembered")
	assert.Zero(t, sigs.Len())
}

func TestBadSignatureConfiguration(t *testing.T) {
	sys, dir := hermetictest.System(t)
	write(t, filepath.Join(dir, "registries.d/default.yaml"), "docker: [")
	_, err := OpenSource(context.Background(), parseRef(t, "127.0.0.1:1/a:tag"), sys, nil)
	require.ErrorContains(t, err, "default.yaml")
}
