package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// configured is isolated with a registries.conf.
func configured(t *testing.T, conf string) *types.SystemContext {
	t.Helper()
	sys, dir := hermetictest.System(t)
	write(t, filepath.Join(dir, "registries.conf"), conf)
	return sys
}

func TestMirrors(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		name         string
		inMirror     bool
		pull         string // pull-from-mirror
		byDigest     bool
		wantMirror   bool   // that it is asked
		wantOriginal bool   // that it is asked
		want         string // Mirror()
	}{
		{name: "mirror has it", inMirror: true, wantMirror: true, want: "/mirrored/a"},
		{name: "mirror has it not", wantMirror: true, wantOriginal: true},
		{name: "digests only, tag", inMirror: true, pull: "digest-only", wantOriginal: true},
		{name: "digests only, digest", inMirror: true, pull: "digest-only", byDigest: true, wantMirror: true, want: "/mirrored/a"},
		{name: "tags only, digest", inMirror: true, pull: "tag-only", byDigest: true, wantOriginal: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			mirror, original := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
			im := newImage(t, 2, 1000, original, "ns/a")
			if test.inMirror {
				newImage(t, 2, 1000, mirror, "mirrored/a")
			}
			sys := configured(t, fmt.Sprintf(`
				[[registry]]
				prefix = "example.com/from"
				location = "%s/ns"
				insecure = true
				[[registry.mirror]]
				location = "%s/mirrored"
				insecure = true
				pull-from-mirror = %q
			`, original.Host(), mirror.Host(), test.pull))
			name := "example.com/from/a:tag"
			if test.byDigest {
				name = "example.com/from/a@" + im.manifest.Digest.String()
			}
			s := openSource(t, name, sys, quick())
			r, err := s.Blob(ctx, im.blobs[0])
			require.NoError(t, err)
			require.NoError(t, r.Close())
			assert.Equal(t, test.wantMirror, len(mirror.Requests()) > 0)
			assert.Equal(t, test.wantOriginal, len(original.Requests()) > 0)
			if test.want == "" {
				assert.Empty(t, s.Mirror())
			} else {
				assert.Equal(t, mirror.Host()+test.want, s.Mirror())
			}
			assert.Equal(t, parseRef(t, name), s.Reference())
		})
	}
}

// What a mirror lacks, or fails to give, comes from the original. A mirror that lacks something
// goes on being asked first.
func TestMirrorFallback(t *testing.T) {
	ctx := context.Background()
	mirror := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
		registrytest.Matching("GET", registrytest.KindBlob), registrytest.FirstN(5, registrytest.Fail(500, "UNKNOWN", "")))})
	original := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 2, 1000, mirror, "a")
	newImage(t, 2, 1000, original, "a")
	extra := original.PutManifest("a", "extra", "application/vnd.oci.image.manifest.v1+json", []byte(`{"schemaVersion":2}`))
	sys := configured(t, fmt.Sprintf(`
		[[registry]]
		location = "%s"
		insecure = true
		[[registry.mirror]]
		location = "%s"
		insecure = true
	`, original.Host(), mirror.Host()))
	s := openSource(t, original.Host()+"/a:tag", sys, quick())
	require.Empty(t, original.Requests())

	doc, err := s.Manifest(ctx, extra)
	require.NoError(t, err)
	assert.Equal(t, extra, doc.Digest)
	assert.Equal(t, mirror.Host()+"/a", s.Mirror())
	_, err = s.Manifest(ctx, digest.FromString("nowhere"))
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	require.ErrorContains(t, err, "mirrors failed too")

	r, err := s.Blob(ctx, im.blobs[0])
	require.NoError(t, err)
	require.NoError(t, r.Close())
	assert.Empty(t, s.Mirror(), "after an error the original is asked")
}

// The original decides what is not there, whatever mirrors say.
func TestMirrorsDoNotDecideAbsence(t *testing.T) {
	mirror := registrytest.Start(t, registrytest.Options{})
	original := registrytest.Start(t, registrytest.Options{Script: registrytest.FirstN(100, registrytest.Fail(403, "DENIED", ""))})
	sys := configured(t, fmt.Sprintf(`
		[[registry]]
		location = "%s"
		insecure = true
		[[registry.mirror]]
		location = "%s"
		insecure = true
	`, original.Host(), mirror.Host()))
	_, err := OpenSource(context.Background(), parseRef(t, original.Host()+"/a:tag"), sys, quick())
	require.Error(t, err)
	require.NotErrorIs(t, err, endpoint.ErrNotFound)
	requireStatus(t, err, http.StatusForbidden)
}

// Mirrors and rewrites are for sources.
func TestDestinationIgnoresMirrors(t *testing.T) {
	mirror, original := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 1000, mirror, "a")
	sys := configured(t, fmt.Sprintf(`
		[[registry]]
		location = "%s"
		insecure = true
		[[registry.mirror]]
		location = "%s"
		insecure = true
	`, original.Host(), mirror.Host()))
	d := openDestination(t, original.Host()+"/a:tag", sys, nil)
	_, err := d.Top(context.Background())
	require.ErrorIs(t, err, endpoint.ErrNotFound)
	there, err := d.HasManifest(context.Background(), im.manifest.Digest)
	require.NoError(t, err)
	assert.False(t, there)
	assert.Empty(t, mirror.Requests())
}

// Credentials that the caller gives are for the registry that the reference names.
func TestCredentialsAreNotForMirrors(t *testing.T) {
	auth := registrytest.Auth{Accounts: []registrytest.Account{{Username: user, Password: password}}}
	forMirror := registrytest.Auth{Bearer: true, Accounts: auth.Accounts}
	mirror := registrytest.Start(t, registrytest.Options{Auth: &forMirror})
	original := registrytest.Start(t, registrytest.Options{Auth: &auth})
	newImage(t, 1, 1000, mirror, "a")
	newImage(t, 1, 1000, original, "a")
	sys := configured(t, fmt.Sprintf(`
		[[registry]]
		location = "%s"
		insecure = true
		[[registry.mirror]]
		location = "%s"
		insecure = true
	`, original.Host(), mirror.Host()))
	sys = withPassword(sys)
	sys.DockerBearerRegistryToken = "token"
	s := openSource(t, original.Host()+"/a:tag", sys, nil)
	assert.Empty(t, s.Mirror())
	require.NotEmpty(t, mirror.Requests())
	for _, q := range mirror.Requests() {
		assert.Empty(t, q.Authorization())
	}
}

func TestNamespaceProxy(t *testing.T) {
	proxy := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 1000, proxy, "a")
	sys := configured(t, fmt.Sprintf(`
		[[registry]]
		location = "example.com"
		[[registry.mirror]]
		location = "%s"
		insecure = true
		namespace-proxy = "example.com"
	`, proxy.Host()))
	s := openSource(t, "example.com/a:tag", sys, nil)
	r, err := s.Blob(context.Background(), im.blobs[0])
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Len(t, proxy.Requests(), 2)
	for _, q := range proxy.Requests() {
		assert.Equal(t, "ns=example.com", q.Query)
	}
}

func TestBlocked(t *testing.T) {
	ctx := context.Background()
	mirror, original := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	newImage(t, 1, 1000, mirror, "a")
	sys := configured(t, fmt.Sprintf(`
		[[registry]]
		location = "%s"
		blocked = true
	`, original.Host()))
	ref := parseRef(t, original.Host()+"/a:tag")
	_, err := OpenSource(ctx, ref, sys, nil)
	require.ErrorContains(t, err, "blocked")
	_, err = OpenDestination(ctx, ref, sys, nil)
	require.ErrorContains(t, err, "blocked")

	// As with the docker transport, the mirror of a blocked registry works.
	sys = configured(t, fmt.Sprintf(`
		[[registry]]
		location = "%s"
		blocked = true
		[[registry.mirror]]
		location = "%s"
		insecure = true
	`, original.Host(), mirror.Host()))
	openSource(t, original.Host()+"/a:tag", sys, nil)
	assert.Empty(t, original.Requests())
}

func TestInsecure(t *testing.T) {
	ctx := context.Background()
	plain := registrytest.Start(t, registrytest.Options{})
	tls := registrytest.Start(t, registrytest.Options{TLS: true})
	newImage(t, 1, 1000, plain, "a")
	newImage(t, 1, 1000, tls, "a")
	conf := func(insecure bool) string {
		return fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = %v\n[[registry]]\nlocation = %q\ninsecure = %[2]v\n",
			plain.Host(), insecure, tls.Host())
	}
	for _, test := range []struct {
		conf bool
		skip types.OptionalBool
		want bool
	}{
		{false, types.OptionalBoolUndefined, false},
		{true, types.OptionalBoolUndefined, true},
		{false, types.OptionalBoolTrue, true},
		{true, types.OptionalBoolFalse, false},
	} {
		for _, r := range []*registrytest.Registry{plain, tls} {
			t.Run(fmt.Sprintf("%+v %s", test, r.URL()), func(t *testing.T) {
				r.ResetLog()
				sys := configured(t, conf(test.conf))
				sys.DockerInsecureSkipTLSVerify = test.skip
				sys = withPassword(sys)
				_, err := OpenSource(ctx, parseRef(t, r.Host()+"/a:tag"), sys, quick())
				d := openDestination(t, r.Host()+"/a:tag", sys, quick())
				_, topErr := d.Top(ctx)
				if test.want {
					require.NoError(t, err)
					require.NoError(t, topErr)
					return
				}
				require.Error(t, err)
				require.Error(t, topErr)
				assert.Empty(t, r.Requests(), "nothing goes over plain HTTP, or to an unknown host")
			})
		}
	}
}

// The authority of a certs.d directory, and client certificates.
func TestCertificates(t *testing.T) {
	ctx := context.Background()
	r := registrytest.Start(t, registrytest.Options{TLS: true, RequireClientCert: true, RedirectBlobs: true})
	im := newImage(t, 2, 1000, r, "a")
	sys, dir := hermetictest.System(t)
	ref := parseRef(t, r.Host()+"/a:tag")
	_, err := OpenSource(ctx, ref, sys, quick())
	require.ErrorContains(t, err, "certificate")

	certs := filepath.Join(dir, "certs.d")
	require.NoError(t, r.WriteCertsDir(certs))
	s := openSource(t, r.Host()+"/a:tag", sys, nil)
	body, err := s.Blob(ctx, im.blobs[0])
	require.NoError(t, err)
	require.NoError(t, body.Close())
	_, err = openDestination(t, r.Host()+"/a:tag", sys, nil).Top(ctx)
	require.NoError(t, err)

	t.Run("DockerCertPath", func(t *testing.T) {
		only := *sys
		only.DockerPerHostCertDirPath = ""
		only.DockerCertPath = filepath.Join(certs, r.Host())
		openSource(t, r.Host()+"/a:tag", &only, nil)
	})
	t.Run("BaseTLSConfig", func(t *testing.T) {
		only := *sys
		only.DockerPerHostCertDirPath = dir
		only.BaseTLSConfig = r.ClientTLS()
		only.BaseTLSConfig.NextProtos = []string{"h2", "http/1.1"}
		openSource(t, r.Host()+"/a:tag", &only, nil)
	})
	t.Run("without client certificate", func(t *testing.T) {
		for _, skip := range []types.OptionalBool{types.OptionalBoolFalse, types.OptionalBoolTrue} {
			none := *sys
			none.DockerPerHostCertDirPath = dir
			none.DockerInsecureSkipTLSVerify = skip
			_, err := OpenSource(ctx, ref, &none, quick())
			require.Error(t, err)
			require.NotErrorIs(t, err, endpoint.ErrNotFound)
		}
	})
}

func TestCertDir(t *testing.T) {
	root := t.TempDir()
	config := filepath.Join(root, "config")
	t.Setenv("XDG_CONFIG_HOME", config)
	sys := &types.SystemContext{RootForImplicitAbsolutePaths: root}
	got, err := certDir(sys, "example.com:5000")
	require.NoError(t, err)
	assert.Empty(t, got)
	// From the least to the most specific place.
	for _, want := range []string{
		filepath.Join(root, dockerCertsDir(), "example.com:5000"),
		filepath.Join(root, "/etc/containers/certs.d/example.com:5000"),
		filepath.Join(config, "containers/certs.d/example.com:5000"),
	} {
		require.NoError(t, os.MkdirAll(want, 0o700))
		got, err := certDir(sys, "example.com:5000")
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	got, err = certDir(&types.SystemContext{DockerPerHostCertDirPath: "/x"}, "example.com")
	require.NoError(t, err)
	assert.Equal(t, "/x/example.com", got)
	got, err = certDir(&types.SystemContext{DockerPerHostCertDirPath: "/x", DockerCertPath: "/y"}, "example.com")
	require.NoError(t, err)
	assert.Equal(t, "/y", got)
}

func TestProxyAndUserAgent(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	r := registrytest.NewHandler(registrytest.Options{})
	newImage(t, 1, 1000, r, "library/a")
	proxy := serve(t, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		seen = append(seen, req.Method+" "+req.URL.String()+" "+req.UserAgent())
		mu.Unlock()
		if req.Method == http.MethodConnect {
			http.Error(w, "no TLS here", http.StatusBadGateway)
			return
		}
		req.URL.Scheme, req.URL.Host = "", ""
		r.ServeHTTP(w, req)
	})
	byURL := insecure(t)
	byURL.DockerProxyURL = &url.URL{Scheme: "http", Host: proxy}
	byURL.DockerRegistryUserAgent = "tester/1"
	byFunc := insecure(t)
	byFunc.DockerProxyURL = &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	byFunc.DockerProxy = func(*url.URL) (*url.URL, error) { return byURL.DockerProxyURL, nil }
	for agent, sys := range map[string]*types.SystemContext{"tester/1": byURL, defaultUserAgent: byFunc} {
		seen = nil
		openSource(t, "a:tag", sys, nil) // a name of Docker Hub, in short
		assert.Contains(t, seen, "GET http://registry-1.docker.io/v2/library/a/manifests/tag "+agent)
	}
}

func TestSharedHosts(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 1000, r, "a", "b")
	sys, shared := insecure(t), quick()
	for _, name := range []string{"/a:tag", "/b:tag"} {
		s := openSource(t, r.Host()+name, sys, shared)
		body, err := s.Blob(context.Background(), im.blobs[0])
		require.NoError(t, err)
		_, err = io.ReadAll(body)
		require.NoError(t, err)
		require.NoError(t, body.Close())
	}
	assert.Len(t, shared.hosts, 1)
	openDestination(t, r.Host()+"/c:tag", sys, shared)
	assert.Len(t, shared.hosts, 2, "the two sides do not wait for each other's limit")
	require.NoError(t, shared.Close())
}
