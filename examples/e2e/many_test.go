package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestManyCopiesOverTLS makes 200 copies between registries that offer HTTP/2, where uploads that
// wait for one another in one connection would wait for ever: all of them end.
func TestManyCopiesOverTLS(t *testing.T) {
	const n = 200
	dir := t.TempDir()
	certificate, key := writeCertificate(t, dir)
	server, err := sparseserver.Start(sparseserver.Config{
		Address: "127.0.0.1:0", Storage: t.TempDir(), Certificate: certificate, Key: key,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, server.Close())
		retire(server.Address())
	})
	requireHTTP2(t, server.URL())

	src := registrytest.Start(t, registrytest.Options{TLS: true, HTTP2: true})
	certs := t.TempDir()
	require.NoError(t, src.WriteCertsDir(certs))
	f := imagetest.New() // more in flight than fits into the windows of a connection
	file := "defaults:\n  destination: docker://" + server.Address() + "/mirror/{repository}\nimages:\n"
	for i := range n {
		image := fmt.Sprintf("n%d", i)
		f.Layer(image+".layer", imagetest.Random(uint64(i), 64<<10))
		f.Image(image, imagetest.Platform("linux/amd64"), imagetest.Layers(image+".layer"))
		f.List(image+".list", imagetest.Entries(image))
		f.PushTo(src, image, tag, image+".list")
		file += fmt.Sprintf("- source: docker://%s/%s:%s\n", src.Host(), image, tag)
	}
	images := filepath.Join(dir, "images.yaml")
	require.NoError(t, os.WriteFile(images, []byte(file), 0o600))
	sync := func() outcome {
		return mirrorAs(t, "sync", "--insecure-policy", "--src-cert-dir", filepath.Join(certs, src.Host()), "--dest-cert-dir", dir,
			"--state-dir", t.TempDir(), "--quiet", "--exit-unchanged", images)
	}

	sync().done()
	again := sync()
	assert.Equal(t, mirrorcmd.StatusUnchanged, again.status, again.stderr)
	for _, image := range []string{"n0", fmt.Sprintf("n%d", n-1)} {
		ref := fmt.Sprintf("docker://%s/mirror/%s:%s", server.Address(), image, tag)
		layout, err := pull(t, ref, "amd64", &types.SystemContext{DockerCertPath: dir})
		require.NoError(t, err)
		imagetest.CheckLayout(t, layout, imagetest.Want{Tag: "pulled", Digest: f.Digest(image), Fixture: f, Only: true})
	}
}

// requireHTTP2 demands that a server speaks HTTP/2 with clients that want to.
func requireHTTP2(t *testing.T, url string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, //nolint:gosec // whoever it is
	}}
	defer client.CloseIdleConnections()
	answer, err := client.Get(url + "/v2/")
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.True(t, strings.HasPrefix(answer.Proto, "HTTP/2"), answer.Proto)
}
