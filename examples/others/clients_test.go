package others

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// The clients of the field copy a multi-platform image between two registries that use about every
// option at once.

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // distribution's log
	os.Exit(hermetictest.Main(m.Run))
}

const sourceRepo, destRepo = "team-a/app", "team-b/app"

var accounts = []registrytest.Account{
	{Username: "a", Password: "1", Namespace: "team-a"},
	{Username: "b", Password: "2", Namespace: "team-b"},
}

// seed puts an image of some platforms into the source and returns its list.
func seed(t *testing.T, r *registrytest.Registry) digest.Digest {
	t.Helper()
	put := func(v any, ref, mediaType string) imgspecv1.Descriptor {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		d := digest.FromBytes(b)
		if ref == "" {
			ref = d.String()
		}
		r.PutManifest(sourceRepo, ref, mediaType, b)
		return imgspecv1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
	}
	index := imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex}
	for i, arch := range []string{"amd64", "arm64", "s390x"} {
		config := []byte(`{"architecture":"` + arch + `","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
		layer := registrytest.Seeded(uint64(i), 1<<20)
		child := put(imgspecv1.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest,
			Config: imgspecv1.Descriptor{
				MediaType: imgspecv1.MediaTypeImageConfig, Digest: r.PutBlob(sourceRepo, config), Size: int64(len(config)),
			},
			Layers: []imgspecv1.Descriptor{{
				MediaType: imgspecv1.MediaTypeImageLayerGzip, Digest: r.PutContent(sourceRepo, layer), Size: layer.Size,
			}},
		}, "", imgspecv1.MediaTypeImageManifest)
		child.Platform = &imgspecv1.Platform{OS: "linux", Architecture: arch}
		index.Manifests = append(index.Manifests, child)
	}
	return put(index, "v1", imgspecv1.MediaTypeImageIndex).Digest
}

// startPair starts a source with an image, and a destination that does everything that a client
// must cope with. elsewhere puts token service and uploads on other hosts.
func startPair(t *testing.T, elsewhere bool) (source, dest *registrytest.Registry, list digest.Digest) {
	t.Helper()
	location := registrytest.LocationRelative
	if elsewhere {
		location = registrytest.LocationSecond
	}
	source = registrytest.Start(t, registrytest.Options{
		TLS: true, HTTP2: true, RedirectBlobs: true, RTT: time.Millisecond,
		Auth: &registrytest.Auth{Bearer: true, SecondServer: elsewhere, Accounts: accounts},
	})
	dest = registrytest.Start(t, registrytest.Options{
		TLS: true, RequireClientCert: true, Strict: true, IgnoreMounts: true, Location: location,
		Auth: &registrytest.Auth{Bearer: true, Accounts: accounts},
	})
	return source, dest, seed(t, source)
}

// requireCopied checks that the destination has all that the source has, and wrote the tag last.
func requireCopied(t *testing.T, source, dest *registrytest.Registry, list digest.Digest) {
	t.Helper()
	require.Equal(t, source.Snapshot(sourceRepo), dest.Snapshot(destRepo))
	h := dest.History(destRepo)
	last := h[len(h)-1]
	require.Equal(t, registrytest.EventTag, last.Kind)
	require.Equal(t, list, last.Digest)
	require.Zero(t, source.Count(func(q registrytest.Request) bool {
		return q.Second && q.Kind == registrytest.KindBlob && q.Authorization() != ""
	}))
}

func TestContainersImage(t *testing.T) {
	source, dest, list := startPair(t, true)
	sys, _ := hermetictest.System(t)
	certs := sys.DockerPerHostCertDirPath
	require.NoError(t, source.WriteCertsDir(certs))
	require.NoError(t, dest.WriteCertsDir(certs))
	entry := func(account registrytest.Account) map[string]string {
		return map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(account.Username + ":" + account.Password))}
	}
	b, err := json.Marshal(map[string]any{"auths": map[string]any{
		source.Host() + "/team-a": entry(accounts[0]), dest.Host() + "/team-b": entry(accounts[1]),
	}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(sys.AuthFilePath, b, 0o600))
	ref := func(host, repo string) types.ImageReference {
		ref, err := docker.ParseReference("//" + host + "/" + repo + ":v1")
		require.NoError(t, err)
		return ref
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	require.NoError(t, err)
	_, err = copy.Image(t.Context(), policy, ref(dest.Host(), destRepo), ref(source.Host(), sourceRepo), &copy.Options{
		SourceCtx: sys, DestinationCtx: sys, ImageListSelection: copy.CopyAllImages, PreserveDigests: true,
	})
	require.NoError(t, err)
	requireCopied(t, source, dest, list)
}

func TestORAS(t *testing.T) {
	source, dest, list := startPair(t, false) // oras-go refuses both
	repository := func(r *registrytest.Registry, name string, account registrytest.Account) *remote.Repository {
		repo, err := remote.NewRepository(r.Host() + "/" + name)
		require.NoError(t, err)
		tr := &http.Transport{TLSClientConfig: r.ClientTLS(), ForceAttemptHTTP2: true}
		t.Cleanup(tr.CloseIdleConnections)
		repo.Client = &auth.Client{
			Client: &http.Client{Transport: tr},
			Cache:  auth.NewCache(),
			Credential: auth.StaticCredential(r.Host(), auth.Credential{
				Username: account.Username, Password: account.Password,
			}),
		}
		return repo
	}
	_, err := oras.Copy(t.Context(), repository(source, sourceRepo, accounts[0]), "v1",
		repository(dest, destRepo, accounts[1]), "v1", oras.DefaultCopyOptions)
	require.NoError(t, err)
	requireCopied(t, source, dest, list)
}
