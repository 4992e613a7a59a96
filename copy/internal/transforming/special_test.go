package transforming_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	upstreammanifest "go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/compression"

	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/copy/internal/transforming"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestEncryptAndDecrypt encrypts with one copier and decrypts with the other. What is encrypted is
// never the same twice; what it becomes again is.
func TestEncryptAndDecrypt(t *testing.T) {
	f := images()
	encrypt, decrypt := copytest.NewCryptKeys(t)
	for name, layers := range map[string][]int{"all": {}, "the last": {-1}, "the first two": {0, 1}} {
		for _, to := range []string{"docker", "oci", "dir"} {
			t.Run(name+"/"+to, func(t *testing.T) {
				e := copytest.NewEnv(t)
				_, src := source(t, f, "oci", registrytest.Options{})
				in := upstream.Options{OciEncryptConfig: encrypt, OciEncryptLayers: &layers}
				out := upstream.Options{OciDecryptConfig: decrypt}

				their := newPlace(t, to, registrytest.Options{}).ref()
				encrypted, err := theirs(t, e, src, their, in)
				require.NoError(t, err)
				want, err := theirs(t, e, their, newPlace(t, to, registrytest.Options{}).ref(), out)
				require.NoError(t, err)

				p := newPlace(t, to, registrytest.Options{})
				b := newBench(t, e, src, p.ref(), 2)
				result, err := b.transform(t.Context(), "", in)
				require.NoError(t, err)
				assert.Equal(t, mediaTypes(t, encrypted), mediaTypes(t, result.Document.Bytes))
				p.published(b, result.Document)
				got, err := theirs(t, e, p.ref(), newPlace(t, to, registrytest.Options{}).ref(), out)
				require.NoError(t, err)
				assert.Equal(t, string(want), string(got), "what we have encrypted")

				b = newBench(t, e, their, newPlace(t, to, registrytest.Options{}).ref(), 2)
				result, err = b.transform(t.Context(), "", out)
				require.NoError(t, err)
				assert.Equal(t, string(want), string(result.Document.Bytes), "what we have decrypted")
			})
		}
	}
	t.Run("with another key", func(t *testing.T) {
		e := copytest.NewEnv(t)
		_, src := source(t, f, "oci", registrytest.Options{})
		their := newPlace(t, "docker", registrytest.Options{}).ref()
		_, err := theirs(t, e, src, their, upstream.Options{OciEncryptConfig: encrypt, OciEncryptLayers: &[]int{}})
		require.NoError(t, err)
		_, other := copytest.NewCryptKeys(t)
		b := newBench(t, e, their, newPlace(t, "docker", registrytest.Options{}).ref(), 2)
		_, err = b.transform(t.Context(), "", upstream.Options{OciDecryptConfig: other})
		require.ErrorContains(t, err, "decrypting layer")
	})
}

// mediaTypes returns those of the layers of a manifest.
func mediaTypes(t *testing.T, content []byte) []string {
	t.Helper()
	var m imgspecv1.Manifest
	require.NoError(t, json.Unmarshal(content, &m))
	mediaTypes := make([]string, len(m.Layers))
	for i, l := range m.Layers {
		mediaTypes[i] = l.MediaType
	}
	return mediaTypes
}

// pushSchema1 stores an image in Docker's obsolete format, which says that it is called name.
func pushSchema1(t *testing.T, reg *registrytest.Registry, name string, signed bool) {
	t.Helper()
	f := imagetest.New()
	var layers []upstreammanifest.Schema1FSLayers
	var history []upstreammanifest.Schema1History
	for i, layer := range []string{"top", "base"} { // the base comes last
		f.Layer(layer, imagetest.File("name", layer))
		reg.PutBlob("lib/app", f.Content(layer))
		layers = append(layers, upstreammanifest.Schema1FSLayers{BlobSum: f.Digest(layer)})
		v1 := map[string]any{
			"id": fmt.Sprintf("%064x", 2-i), "created": "2020-01-01T00:00:00Z", "os": "linux", "architecture": "amd64",
			"container_config": map[string]any{"Cmd": []string{layer}},
		}
		if i == 0 {
			v1["parent"] = fmt.Sprintf("%064x", 1)
		}
		said, err := json.Marshal(v1)
		require.NoError(t, err)
		history = append(history, upstreammanifest.Schema1History{V1Compatibility: string(said)})
	}
	named, err := reference.ParseNormalizedNamed(name)
	require.NoError(t, err)
	m, err := upstreammanifest.Schema1FromComponents(named, layers, history, "amd64")
	require.NoError(t, err)
	content, err := json.Marshal(m)
	require.NoError(t, err)
	mediaType := manifest.MediaTypeDockerSchema1
	if signed {
		content, err = upstreammanifest.AddDummyV2S1Signature(content)
		require.NoError(t, err)
		mediaType = manifest.MediaTypeDockerSchema1Signed
	}
	reg.PutManifest("lib/app", "v1", mediaType, content)
}

// TestSchema1 transforms images in Docker's obsolete format. What upstream writes in this format it
// signs with a key that is made for the purpose, so that digests are the same and bytes are not.
func TestSchema1(t *testing.T) {
	for title, set := range map[string]func(*copytest.Env, *upstream.Options){
		"nothing": func(*copytest.Env, *upstream.Options) {},
		"OCI":     func(_ *copytest.Env, o *upstream.Options) { o.ForceManifestMIMEType = imgspecv1.MediaTypeImageManifest },
		"Docker":  func(_ *copytest.Env, o *upstream.Options) { o.ForceManifestMIMEType = manifest.MediaTypeDockerManifest },
		"schema 1": func(_ *copytest.Env, o *upstream.Options) {
			o.ForceManifestMIMEType = manifest.MediaTypeDockerSchema1Signed
		},
		"zstd": func(e *copytest.Env, o *upstream.Options) { o.DestinationCtx = compressedAs(e, compression.Zstd, 0) },
		"no schema 1": func(e *copytest.Env, o *upstream.Options) {
			sys := *e.Sys
			sys.DockerDisableDestSchema1MIMETypes = true
			o.DestinationCtx = &sys
		},
	} {
		for name, signed := range map[string]bool{"signed": true, "unsigned": false} {
			for _, to := range []string{"docker", "oci", "dir"} {
				t.Run(title+"/"+name+"/"+to, func(t *testing.T) {
					e := copytest.NewEnv(t)
					reg := registrytest.Start(t, registrytest.Options{})
					pushSchema1(t, reg, "example.com/team/app:v1", signed)
					src := copytest.RegistryRef(t, reg, "lib/app", "v1")
					var o upstream.Options
					set(e, &o)
					at := newPlace(t, to, registrytest.Options{})
					want, theirErr := theirs(t, e, src, at.ref(), o)

					b := newBench(t, e, src, newPlace(t, to, registrytest.Options{}).ref(), 2)
					got, err := b.transform(t.Context(), "", o)
					if theirErr != nil {
						require.ErrorContains(t, err, theirErr.Error())
						return
					}
					require.NoError(t, err)
					assert.Equal(t, upstreammanifest.GuessMIMEType(want), upstreammanifest.GuessMIMEType(got.Document.Bytes))
					assert.Equal(t, upstreammanifest.GuessMIMEType(want), got.Document.MediaType)
					if manifest.TypeOf(want, "") == manifest.TypeOf(got.Document.Bytes, "") && got.Document.MediaType != manifest.MediaTypeDockerSchema1Signed {
						assert.Equal(t, string(want), string(got.Document.Bytes))
					}
				})
			}
		}
	}
}

// dockerOnly is a registry that does not know OCI's manifests.
func dockerOnly() registrytest.Options {
	return registrytest.Options{Script: registrytest.Only(
		registrytest.Matching(http.MethodPut, registrytest.KindManifest),
		func(_ int, req *http.Request) registrytest.Answer {
			if req.Header.Get("Content-Type") == imgspecv1.MediaTypeImageManifest {
				return registrytest.Fail(http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid")
			}
			return registrytest.Answer{}
		},
	)}
}

// TestTypeRefused: a registry that does not take OCI manifests gets Docker's.
func TestTypeRefused(t *testing.T) {
	f := images()
	docker := newPlace(t, "docker", dockerOnly())
	e := copytest.NewEnv(t)
	_, src := source(t, f, "compressed", registrytest.Options{})
	want, err := theirs(t, e, src, newPlace(t, "docker", dockerOnly()).ref(), upstream.Options{})
	require.NoError(t, err)
	b := newBench(t, e, src, docker.ref(), 2)
	got, err := b.transform(t.Context(), "", upstream.Options{})
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got.Document.Bytes))
	assert.Equal(t, manifest.MediaTypeDockerManifest, got.Document.MediaType)

	_, err = b.transform(t.Context(), "", upstream.Options{DestinationCtx: compressedAs(e, compression.Zstd, 0)})
	refused := copytest.ErrorAs[*endpoint.RegistryError](t, err)
	assert.Equal(t, "MANIFEST_INVALID", refused.Errors[0].Code)
	failed := copytest.ErrorAs[*transforming.Error](t, err)
	assert.Equal(t, "writing manifest", failed.Op)
	assert.True(t, failed.AtDestination)
}
