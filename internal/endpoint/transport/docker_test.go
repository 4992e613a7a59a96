package transport

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/distribution/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// failures are ways in which a registry refuses to hand out what was asked for, and what becomes of
// them.
var failures = []struct {
	name     string
	answer   registrytest.Answer
	notFound bool
	unproven bool                   // until a manifest has been read
	asked    bool                   // by a second request, for manifests only
	refusal  endpoint.RegistryError // URL, Text and messages are not compared
	upstream func(error) bool       // the original error is still there
}{
	{
		name: "manifest unknown", answer: registrytest.Fail(404, "MANIFEST_UNKNOWN", "no"), notFound: true,
		refusal: endpoint.RegistryError{Status: 404, Errors: []endpoint.RegistryErrorDetail{{Code: "MANIFEST_UNKNOWN"}}}, upstream: hasCode,
	},
	{
		name: "name unknown", answer: registrytest.Fail(404, "NAME_UNKNOWN", "no"), notFound: true,
		refusal: endpoint.RegistryError{Status: 404, Errors: []endpoint.RegistryErrorDetail{{Code: "NAME_UNKNOWN"}}}, upstream: hasCode,
	},
	{
		name: "not found, no code", answer: registrytest.FailHTML(404), notFound: true, unproven: true,
		refusal: endpoint.RegistryError{Status: 404},
	},
	{
		// Upstream knows neither the code nor, then, the status.
		name: "not found, another code", answer: registrytest.Fail(404, "TAG_EXPIRED", "no"), notFound: true, asked: true,
		refusal: endpoint.RegistryError{Errors: []endpoint.RegistryErrorDetail{{Code: "UNKNOWN"}}}, upstream: hasCode,
	},
	{
		name: "unauthorized", answer: registrytest.Fail(401, "UNAUTHORIZED", "no"),
		refusal: endpoint.RegistryError{Status: 401, Errors: []endpoint.RegistryErrorDetail{{Code: "UNAUTHORIZED"}}}, upstream: hasCode,
	},
	{
		name: "denied", answer: registrytest.Fail(403, "DENIED", "no"),
		refusal: endpoint.RegistryError{Status: 403, Errors: []endpoint.RegistryErrorDetail{{Code: "DENIED"}}}, upstream: hasCode,
	},
	{
		name: "page of a proxy", answer: registrytest.FailHTML(403),
		refusal: endpoint.RegistryError{Status: 403},
	},
	{
		name: "server error", answer: registrytest.Fail(500, "UNKNOWN", "no"),
		refusal: endpoint.RegistryError{Status: 500},
		upstream: func(err error) bool {
			_, ok := asType[docker.UnexpectedHTTPStatusError](err)
			return ok
		},
	},
}

func hasCode(err error) bool {
	_, ok := asType[errcode.Error](err)
	return ok
}

// asType is errors.As with the type as a parameter.
func asType[T error](err error) (found T, ok bool) {
	ok = errors.As(err, &found)
	return found, ok
}

// failingRegistry makes a registry that answers requests for manifests and blobs, but for those
// that except matches, with answer.
func failingRegistry(t *testing.T, f *imagetest.Fixture, answer registrytest.Answer, except string) *registrytest.Registry {
	reg := registrytest.Start(t, registrytest.Options{Script: func(_ int, r *http.Request) registrytest.Answer {
		if r.URL.Path == "/v2/" || except != "" && strings.HasSuffix(r.URL.Path, except) {
			return registrytest.Answer{}
		}
		return answer
	}})
	f.PushTo(reg, "team/app", "v1", imagetest.Top)
	return reg
}

func TestRegistryErrors(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	sys := system(t, "")
	for _, failure := range failures {
		t.Run(failure.name, func(t *testing.T) {
			found := true
			check := func(err error, method, path string) {
				t.Helper()
				require.Error(t, err)
				assert.Equal(t, failure.notFound && found, errors.Is(err, endpoint.ErrNotFound), err.Error())
				refusal, ok := asType[*endpoint.RegistryError](err)
				require.True(t, ok, err)
				assert.Equal(t, method, refusal.Method)
				assert.Equal(t, failure.refusal.Status, refusal.Status)
				assert.True(t, strings.HasSuffix(refusal.URL, "/v2/team/app/"+path), refusal.URL)
				require.Len(t, refusal.Errors, len(failure.refusal.Errors))
				for i, want := range failure.refusal.Errors {
					assert.Equal(t, want.Code, refusal.Errors[i].Code)
					assert.Equal(t, "no", refusal.Errors[i].Message)
				}
				if failure.upstream != nil {
					assert.True(t, failure.upstream(err))
				}
			}
			down := failingRegistry(t, f, failure.answer, "")
			_, err := OpenSource(t.Context(), dockerRef(t, down, "team/app:v1"), sys)
			found = !failure.unproven
			check(err, "GET", "manifests/v1")
			found = true

			reg := failingRegistry(t, f, failure.answer, "/v1")
			src := openSource(t, dockerRef(t, reg, "team/app:v1"), sys)
			child := f.Digest("amd64")
			_, err = src.Manifest(t.Context(), child)
			check(err, "GET", "manifests/"+child.String())
			b := blobs(f, "amd64")[0]
			_, err = src.Blob(t.Context(), b)
			found = !failure.asked
			check(err, "GET", "blobs/"+b.Digest.String())

			dest := openDestination(t, dockerRef(t, down, "team/app:v1"), sys)
			check(dest.PutManifest(t.Context(), document(f, "amd64")), "PUT", "manifests/"+child.String())
			check(dest.PutTop(t.Context(), document(f, imagetest.Top), nil), "PUT", "manifests/v1")

			// Answers to HEAD have no body: the status decides.
			_, err = dest.Top(t.Context())
			assert.Equal(t, failure.answer.Status == 404, errors.Is(err, endpoint.ErrNotFound))
			has, err := dest.HasManifest(t.Context(), child)
			assert.False(t, has)
			assert.Equal(t, failure.answer.Status == 404, err == nil)
			has, err = dest.HasBlob(t.Context(), b)
			assert.False(t, has)
			assert.Equal(t, failure.answer.Status == 404, err == nil)
		})
	}
}

func TestTokenServiceThatIsNotFound(t *testing.T) {
	reg := registrytest.Start(t, registrytest.Options{
		Auth: &registrytest.Auth{Bearer: true},
		Script: func(_ int, r *http.Request) registrytest.Answer {
			if !strings.HasPrefix(r.URL.Path, "/v2/") {
				return registrytest.FailHTML(404)
			}
			return registrytest.Answer{}
		},
	})
	_, err := OpenSource(t.Context(), dockerRef(t, reg, "team/app:v1"), system(t, ""))
	require.ErrorContains(t, err, "404")
	assert.NotErrorIs(t, err, endpoint.ErrNotFound)
}

func TestRefusedManifestsKeepTheirErrors(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	for _, c := range []struct {
		policy registrytest.ListPolicy
		code   string
		detail bool
	}{
		{registrytest.Distribution3, "MANIFEST_BLOB_UNKNOWN", true},
		{registrytest.Quay, "MANIFEST_INVALID", true}, // behind upstream's ManifestTypeRejectedError
	} {
		reg := registrytest.Start(t, registrytest.Options{ListPolicy: c.policy})
		dest := openDestination(t, dockerRef(t, reg, "team/app:v1"), system(t, ""))
		err := dest.PutTop(t.Context(), document(f, imagetest.Top), nil)
		refusal, ok := asType[*endpoint.RegistryError](err)
		require.True(t, ok, err)
		assert.True(t, refusal.Has(c.code), err)
		assert.Equal(t, c.detail, len(refusal.Errors[0].Detail) > 0)
		_, ok = asType[errcode.Error](err)
		assert.True(t, ok, err)
		imagetest.CheckUnchanged(t, reg, "team/app", "v1", "")
	}
}

func TestRegistrySourceVerifies(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	sys := system(t, "")
	reg := registrytest.Start(t, registrytest.Options{})
	f.PushTo(reg, "team/app", "v1", imagetest.Top)
	top, child := document(f, imagetest.Top), document(f, "amd64")

	checkSource(t, f, openSource(t, dockerRef(t, reg, "team/app@"+top.Digest.String()), sys), imagetest.Top)

	lying := append([]byte(" "), top.Bytes...)
	reg.PutManifest("lies", top.Digest.String(), top.MediaType, lying)
	_, err := OpenSource(t.Context(), dockerRef(t, reg, "lies@"+top.Digest.String()), sys)
	assert.ErrorContains(t, err, digest.FromBytes(lying).String())
	assert.NotErrorIs(t, err, endpoint.ErrNotFound)

	reg.PutManifest("lies", "v1", top.MediaType, top.Bytes)
	reg.PutManifest("lies", child.Digest.String(), child.MediaType, lying)
	src := openSource(t, dockerRef(t, reg, "lies:v1"), sys)
	_, err = src.Manifest(t.Context(), child.Digest)
	assert.ErrorContains(t, err, digest.FromBytes(lying).String())

	// Upstream bounds what it reads from registries.
	reg.PutManifest("lies", "big", top.MediaType, append(bytes.Clone(top.Bytes), bytes.Repeat([]byte(" "), maxManifest)...))
	_, err = OpenSource(t.Context(), dockerRef(t, reg, "lies:big"), sys)
	assert.Error(t, err)

	// A tag that moves changes nothing.
	before := openSource(t, dockerRef(t, reg, "team/app:v1"), sys)
	f.PushTo(reg, "team/app", "v1", "arm64")
	checkSource(t, f, before, imagetest.Top)
	content, _, err := before.ImageSource().GetManifest(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, top.Bytes, content)
}

func TestMediaTypeOfTheDocument(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	reg := registrytest.Start(t, registrytest.Options{})
	f.PushTo(reg, "team/app", "", imagetest.Top)
	top := document(f, imagetest.Top)
	for declared, misdeclared := range map[string]bool{
		"text/plain":  true,
		top.MediaType: false,
		"application/vnd.docker.distribution.manifest.list.v2+json": true,
		"application/vnd.docker.distribution.manifest.v1+json":      true,
	} {
		reg.PutManifest("team/app", "v1", declared, top.Bytes)
		src := openSource(t, dockerRef(t, reg, "team/app:v1"), system(t, ""))
		assert.Equal(t, top.MediaType, src.Top().MediaType, "the document knows better")
		assert.Equal(t, misdeclared, src.Top().Misdeclared == declared)
	}
	assert.Equal(t, "x/y", endpoint.NewDocument("", "x/y", []byte("{}")).MediaType)
}

// signaturePath is where the lookaside storage of sys has the first signature for d in repo.
func signaturePath(sys *types.SystemContext, repo string, d digest.Digest) string {
	return filepath.Join(filepath.Dir(sys.RegistriesDirPath), "lookaside",
		repo+"@"+strings.Replace(d.String(), ":", "=", 1), "signature-1")
}

// sign puts a signature for d into the lookaside storage that sys has for repo. Nobody verifies it
// here.
func sign(t *testing.T, sys *types.SystemContext, repo string, d digest.Digest) {
	path := signaturePath(sys, repo, d)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte("\xA3signature of "+d.String()), 0o600))
}

func TestSignaturesAreStoredBeforeTheTag(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	sys := system(t, "")
	tagged := false
	reg := registrytest.Start(t, registrytest.Options{Script: func(_ int, r *http.Request) registrytest.Answer {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/copy/manifests/v1") {
			tagged = true
			assert.FileExists(t, signaturePath(sys, "copy", f.Digest(imagetest.Top)))
		}
		return registrytest.Answer{}
	}})
	f.PushTo(reg, "source", "v1", imagetest.Top)
	sign(t, sys, "source", f.Digest(imagetest.Top))
	sign(t, sys, "source", f.Digest("amd64"))

	copyOnce(t, f, dockerRef(t, reg, "source:v1"), dockerRef(t, reg, "copy:v1"), sys)
	assert.True(t, tagged)
	src := openSource(t, dockerRef(t, reg, "copy:v1"), sys)
	for name, want := range map[string]int{imagetest.Top: 1, "amd64": 1, "arm64": 0} {
		sigs, err := src.Signatures(t.Context(), f.Digest(name))
		require.NoError(t, err)
		assert.Equal(t, want, sigs.Len(), name)
	}
	imagetest.CheckRegistry(t, reg, "copy", imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})

	// Where they cannot be stored, the tag stays.
	f.PushTo(reg, "refused", "v1", "arm64")
	f.PushTo(reg, "refused", "", imagetest.Top)
	reg.ResetLog()
	readOnly := *sys
	readOnly.RegistriesDirPath = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(readOnly.RegistriesDirPath, "default.yaml"),
		[]byte("default-docker:\n  lookaside: http://127.0.0.1:1/x\n"), 0o600))
	dest := openDestination(t, dockerRef(t, reg, "refused:v1"), &readOnly)
	sigs, err := src.Signatures(t.Context(), f.Digest(imagetest.Top))
	require.NoError(t, err)
	require.Error(t, dest.PutTop(t.Context(), src.Top(), sigs))
	imagetest.CheckUnchanged(t, reg, "refused", "v1", f.Digest("arm64"))
	require.NoError(t, dest.PutTop(t.Context(), src.Top(), nil))
	d, _ := reg.Resolve("refused", "v1")
	assert.Equal(t, f.Digest(imagetest.Top), d)
}

func TestTopWithoutTag(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	sys := system(t, "")
	reg := registrytest.Start(t, registrytest.Options{})
	f.PushTo(reg, "copy", "", imagetest.Top, imagetest.Top)
	top := document(f, imagetest.Top)

	byDigest := openDestination(t, dockerRef(t, reg, "copy@"+top.Digest.String()), sys)
	_, err := byDigest.Top(t.Context())
	assert.ErrorIs(t, err, endpoint.ErrNotFound)
	assert.Error(t, byDigest.PutTop(t.Context(), document(f, "amd64"), nil), "another digest than the reference's")
	require.NoError(t, byDigest.PutTop(t.Context(), top, nil))
	d, err := byDigest.Top(t.Context())
	require.NoError(t, err)
	assert.Equal(t, top.Digest, d)

	reg.DeleteManifest("copy", top.Digest)
	unknown := openDestination(t, dockerRef(t, reg, "copy"+docker.UnknownDigestSuffix), sys)
	_, err = unknown.Top(t.Context())
	assert.ErrorIs(t, err, endpoint.ErrNotFound)
	has, err := unknown.HasManifest(t.Context(), top.Digest)
	require.NoError(t, err)
	assert.False(t, has)
	require.NoError(t, unknown.PutTop(t.Context(), top, nil))
	has, err = unknown.HasManifest(t.Context(), top.Digest)
	require.NoError(t, err)
	assert.True(t, has)
	imagetest.CheckUnchanged(t, reg, "copy", "latest", "")
}

func TestFewRequests(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	reg := registrytest.Start(t, registrytest.Options{})
	f.PushTo(reg, "source", "v1", "amd64")
	src := openSource(t, dockerRef(t, reg, "source:v1"), system(t, ""))
	dest := openDestination(t, dockerRef(t, reg, "copy:v1"), system(t, ""))
	b := blobs(f, "amd64")[0]
	reg.ResetLog()
	_, err := dest.PutBlob(t.Context(), b, from(src, b))
	require.NoError(t, err)
	assert.Equal(t, 1, reg.Count(registrytest.Is("HEAD", registrytest.KindBlob)), "upstream looks for itself")
	assert.Equal(t, 1, reg.Count(registrytest.Is("GET", registrytest.KindBlob)))
	_, err = dest.PutBlob(t.Context(), b, never(t))
	require.NoError(t, err)
}

// mirrored is a registries.conf in which reg has a mirror.
func mirrored(reg, mirror *registrytest.Registry) string {
	return "[[registry]]\nprefix = \"" + reg.Host() + "\"\nlocation = \"" + reg.Host() + "\"\ninsecure = true\n" +
		"[[registry.mirror]]\nlocation = \"" + mirror.Host() + "\"\ninsecure = true\n"
}

func TestMirrors(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	reg := registrytest.Start(t, registrytest.Options{})
	mirror := registrytest.Start(t, registrytest.Options{})
	sys := system(t, mirrored(reg, mirror))
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolUndefined // it would apply to mirrors as well
	f.PushTo(mirror, "team/app", "v1", imagetest.Top, "arm64")

	// The destination is never looked for at a mirror.
	dest := openDestination(t, dockerRef(t, reg, "team/app:v1"), sys)
	_, err := dest.Top(t.Context())
	assert.ErrorIs(t, err, endpoint.ErrNotFound)
	has, err := dest.HasManifest(t.Context(), f.Digest("amd64"))
	require.NoError(t, err)
	assert.False(t, has)
	has, err = dest.HasBlob(t.Context(), blobs(f, "amd64")[0])
	require.NoError(t, err)
	assert.False(t, has)

	// A mirror without some of the children does not make them missing.
	src := openSource(t, dockerRef(t, reg, "team/app:v1"), sys)
	_, err = src.Manifest(t.Context(), f.Digest("arm64"))
	assert.ErrorIs(t, err, endpoint.ErrNotFound, "neither has it")
	f.PushTo(reg, "team/app", "v1", imagetest.Top)
	src = openSource(t, dockerRef(t, reg, "team/app:v1"), sys)
	checkSource(t, f, src, imagetest.Top)
	assert.NotZero(t, mirror.Count(registrytest.Is("GET", registrytest.KindManifest)))
	assert.Equal(t, 2, reg.Count(func(r registrytest.Request) bool {
		return r.Method == http.MethodGet && r.Ref == f.Digest("arm64").String()
	}), "once when it was missing, once when it was there")
}

func TestRegistryWithoutDigestHeader(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	reg := registrytest.Start(t, registrytest.Options{Script: func(_ int, r *http.Request) registrytest.Answer {
		if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/manifests/") {
			return registrytest.Answer{Status: http.StatusOK}
		}
		return registrytest.Answer{}
	}})
	dest := openDestination(t, dockerRef(t, reg, "team/app:v1"), system(t, ""))
	_, err := dest.Top(t.Context())
	assert.ErrorIs(t, err, endpoint.ErrNotFound)
	has, err := dest.HasManifest(t.Context(), f.Digest("amd64"))
	require.NoError(t, err)
	assert.True(t, has)
}

func TestSignaturesAreReadOnce(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	sys := system(t, "")
	reg := registrytest.Start(t, registrytest.Options{})
	f.PushTo(reg, "source", "v1", imagetest.Top)
	src := openSource(t, dockerRef(t, reg, "source:v1"), sys)
	reg.ResetLog()
	for range 3 {
		image := src.Unparsed(document(f, "amd64"))
		_, err := image.Signatures(t.Context())
		require.NoError(t, err)
	}
	attachments := reg.Count(func(r registrytest.Request) bool { return strings.HasSuffix(r.Ref, ".sig") })
	assert.Equal(t, 1, attachments)

	// A failure is not remembered.
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := src.Signatures(cancelled, f.Digest("arm64"))
	require.ErrorIs(t, err, context.Canceled)
	_, err = src.Signatures(t.Context(), f.Digest("arm64"))
	require.NoError(t, err)
}
