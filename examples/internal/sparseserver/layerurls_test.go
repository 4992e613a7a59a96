package sparseserver

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

const (
	ociImage    = "application/vnd.oci.image.manifest.v1+json"
	dockerImage = "application/vnd.docker.distribution.manifest.v2+json"

	ociForeign    = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	dockerForeign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
)

// putImage pushes the config "{}" and the manifest of an image of one layer.
func putImage(t *testing.T, client *sparsetest.Client, mediaType, layerType string, layer digest.Digest, urls string) sparsetest.Answer {
	t.Helper()
	require.NoError(t, client.PushBlob(t.Context(), "app", []byte("{}")))
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},`+
		`"layers":[{"mediaType":%q,"digest":%q,"size":5,"urls":%s}]}`, mediaType, digest.FromString("{}"), layerType, layer, urls)
	return client.Do(t, http.MethodPut, "/v2/app/manifests/windows", http.Header{"Content-Type": {mediaType}}, []byte(manifest))
}

func TestLayersElsewhere(t *testing.T) {
	const allow = `^https://mcr\.example/`
	absent, stored := digest.FromString("absent"), digest.FromString("layer")
	for _, c := range []struct {
		name                 string
		allow                string
		mediaType, layerType string
		layer                digest.Digest
		urls                 string
		status               int
		message              string
	}{
		{"docker", allow, dockerImage, dockerForeign, absent, `["https://mcr.example/a"]`, 201, ""},
		{"OCI", allow, ociImage, ociForeign, absent, `["https://mcr.example/a","https://mcr.example/b"]`, 201, ""},
		{"none are allowed", "", dockerImage, dockerForeign, absent, `["https://mcr.example/a"]`, 400,
			`layers[0]: URL "https://mcr.example/a": this registry does not allow layers to be there (--allow-layer-urls)`},
		{"others are allowed", allow, ociImage, ociForeign, absent, `["https://mcr.example/a","https://evil.example/?https://mcr.example/"]`, 400,
			`layers[0]: URL "https://evil.example/?https://mcr.example/": this registry does not allow layers to be there (--allow-layer-urls)`},
		{"no scheme", "", ociImage, ociForeign, absent, `[""]`, 400, `layers[0]: URL "": is neither http nor https`},
		{"another scheme", ".", dockerImage, dockerForeign, absent, `["file:///etc/passwd"]`, 400, `layers[0]: URL "file:///etc/passwd": is neither http nor https`},
		{"a fragment", ".", dockerImage, dockerForeign, absent, `["https://mcr.example/a#b"]`, 400, `layers[0]: URL "https://mcr.example/a#b": has a fragment`},
		{"no URL at all", ".", dockerImage, dockerForeign, absent, `["http://%zz"]`, 400, `layers[0]: URL "http://%zz": is none`},
		{"docker must name one", allow, dockerImage, dockerForeign, absent, `[]`, 400, "layers[0]: a foreign layer must say at which URL it is"},
		{"an ordinary layer is nowhere else", allow, ociImage, "application/vnd.oci.image.layer.v1.tar+gzip", absent, `["https://mcr.example/a"]`, 400, "blob unknown to registry"},
		{"an ordinary layer that is there", allow, ociImage, "application/vnd.oci.image.layer.v1.tar+gzip", stored, `["https://mcr.example/a"]`, 201, ""},
		{"URLs that nobody looks at", "", dockerImage, "application/vnd.docker.image.rootfs.diff.tar.gzip", stored, `["https://mcr.example/a"]`, 201, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log logBuffer
			_, client := start(t, Config{AllowLayerURLs: c.allow, Log: log.logger()})
			require.NoError(t, client.PushBlob(t.Context(), "app", []byte("layer")))
			answer := putImage(t, client, c.mediaType, c.layerType, c.layer, c.urls)
			assert.Equal(t, c.status, answer.Status, "%s", answer.Body)
			if c.status == http.StatusCreated {
				get := client.Do(t, http.MethodGet, "/v2/app/manifests/windows", http.Header{"Accept": {c.mediaType}}, nil)
				assert.Equal(t, http.StatusOK, get.Status)
				assert.Equal(t, answer.Header.Get("Docker-Content-Digest"), digest.FromBytes(get.Body).String())
				blob := client.Do(t, http.MethodHead, "/v2/app/blobs/"+c.layer.String(), nil, nil)
				assert.Equal(t, c.layer == stored, blob.Status == http.StatusOK)
				return
			}
			require.NotEmpty(t, answer.Errors())
			assert.Equal(t, c.message, answer.Errors()[0].Message)
			assert.Equal(t, http.StatusNotFound, client.Do(t, http.MethodGet, "/v2/app/manifests/windows", nil, nil).Status)
			if strings.HasPrefix(c.message, "layers") {
				assert.Equal(t, "MANIFEST_INVALID", answer.Errors()[0].Code)
				assert.Len(t, log.lines("manifest refused"), 1)
			}
		})
	}
}

// TestImagesAreNotTheServersFault pushes what distribution answers with 500.
func TestImagesAreNotTheServersFault(t *testing.T) {
	_, client := start(t, Config{})
	require.NoError(t, client.PushBlob(t.Context(), "app", []byte("{}")))
	config := digest.FromString("{}").String()
	for _, c := range []struct{ schema, config, layer, message string }{
		{"1", config, config, "schemaVersion is 1, not 2"},
		{"2", "sha256:abc", config, `config: digest "sha256:abc": invalid checksum digest length`},
		{"2", config, "md5:d41d8cd98f00b204e9800998ecf8427e", `layers[0]: digest "md5:d41d8cd98f00b204e9800998ecf8427e": unsupported digest algorithm`},
		{"2", config, "none", "provided digest did not match uploaded content"}, // distribution's
	} {
		for _, mediaType := range []string{ociImage, dockerImage} {
			body := fmt.Sprintf(`{"schemaVersion":%s,"mediaType":%q,"config":{"digest":%q,"size":2},"layers":[{"digest":%q,"size":2}]}`, c.schema, mediaType, c.config, c.layer)
			answer := client.Do(t, http.MethodPut, "/v2/app/manifests/v1", http.Header{"Content-Type": {mediaType}}, []byte(body))
			assert.Equal(t, http.StatusBadRequest, answer.Status, "%s", answer.Body)
			require.NotEmpty(t, answer.Errors())
			assert.Equal(t, c.message, answer.Errors()[0].Message)
		}
	}
}

func TestLayerURLsAreRefusedAtStart(t *testing.T) {
	_, err := Start(Config{Address: "127.0.0.1:0", Storage: t.TempDir(), AllowLayerURLs: "("})
	assert.EqualError(t, err, "URLs of layers to allow: error parsing regexp: missing closing ): `(`")
}
