package copy

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/sigstore"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/transport"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// newSigningEnv is newEnv with sigstore attachments, and a key pair.
func newSigningEnv(t testing.TB) (e *env, private, public string) {
	e = newEnv(t)
	require.NoError(t, os.WriteFile(filepath.Join(e.sys.RegistriesDirPath, "default.yaml"),
		[]byte("default-docker:\n  use-sigstore-attachments: true\n"), 0o600))
	keys, err := sigstore.GenerateKeyPair([]byte("passphrase"))
	require.NoError(t, err)
	dir := t.TempDir()
	private, public = filepath.Join(dir, "key"), filepath.Join(dir, "key.pub")
	require.NoError(t, os.WriteFile(private, keys.PrivateKey, 0o600))
	require.NoError(t, os.WriteFile(public, keys.PublicKey, 0o600))
	return e, private, public
}

// signedSource is a list at a registry that is signed, with its instances.
func signedSource(t testing.TB, e *env, f *imagetest.Fixture, private string, o registrytest.Options) registryPlace {
	src := registryPlace{t, registrytest.Start(t, o), "app"}
	src.push(f, "unsigned", imagetest.Top)
	r, err := e.image(t.Context(), src.ref("v1"), src.ref("unsigned"), Options{
		ImageListSelection: CopyAllImages, SignBySigstorePrivateKeyFile: private, SignSigstorePrivateKeyPassphrase: []byte("passphrase"),
	})
	require.NoError(t, err)
	require.Equal(t, Upstream, r.Plan.Way)
	require.Equal(t, f.Digest(imagetest.Top), src.top("v1"))
	return src
}

func signaturesAt(t testing.TB, e *env, ref types.ImageReference, d digest.Digest) endpoint.Signatures {
	src, err := transport.OpenSource(t.Context(), ref, e.sys)
	require.NoError(t, err)
	defer func() { require.NoError(t, src.Close()) }()
	sigs, err := src.Signatures(t.Context(), d)
	require.NoError(t, err)
	return sigs
}

func sigstorePolicy(t testing.TB, e *env, public, repository string) *signature.PolicyContext {
	identity, err := signature.NewPRMExactRepository(repository)
	require.NoError(t, err)
	requirement, err := signature.NewPRSigstoreSigned(
		signature.PRSigstoreSignedWithKeyPath(public), signature.PRSigstoreSignedWithSignedIdentity(identity))
	require.NoError(t, err)
	return e.newPolicy(&signature.Policy{Default: signature.PolicyRequirements{requirement}})
}

// TestSignaturesTravel keeps the signatures of a list and its instances, and those of instances when the list is stripped.
func TestSignaturesTravel(t *testing.T) {
	e, private, public := newSigningEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src := signedSource(t, e, f, private, registrytest.Options{})
	e.policy = sigstorePolicy(t, e, public, src.Host()+"/app")
	two := Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64")}

	t.Run("keep", func(t *testing.T) {
		dst := places["registry"](t).(registryPlace)
		_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), two)
		require.NoError(t, err)
		for _, name := range []string{imagetest.Top, "amd64", "arm64"} {
			assert.Equal(t, 1, signaturesAt(t, e, dst.ref("v1"), f.Digest(name)).Len(), name)
		}
		assert.Equal(t, 0, signaturesAt(t, e, dst.ref("v1"), f.Digest("arm/v7")).Len())
		tagSeen := false
		for _, event := range dst.History(dst.repo) {
			if tagSeen {
				assert.Fail(t, "the tag is written last", "%+v follows it", event)
			}
			tagSeen = event.Kind == registrytest.EventTag && event.Tag == "v1"
		}
	})
	strip := two
	strip.SparseManifestListAction = StripSparseManifestList
	t.Run("strip is refused", func(t *testing.T) {
		dst := places["registry"](t).(registryPlace)
		_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), strip)
		var cannot *CannotModifyError
		require.ErrorAs(t, err, &cannot)
		assert.Contains(t, cannot.Reason, "RemoveListSignatures")
		assert.Empty(t, dst.Snapshot(dst.repo))
	})
	strip.RemoveListSignatures = true
	t.Run("strip without the list's signatures", func(t *testing.T) {
		dst := places["registry"](t).(registryPlace)
		r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), strip)
		require.NoError(t, err)
		assert.Equal(t, 1, signaturesAt(t, e, dst.ref("v1"), f.Digest("amd64")).Len())
		assert.Equal(t, 0, signaturesAt(t, e, dst.ref("v1"), r.DestinationDigest).Len())
	})
	remove := two
	remove.RemoveSignatures = true
	t.Run("remove signatures", func(t *testing.T) {
		dst := places["registry"](t).(registryPlace)
		_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), remove)
		require.NoError(t, err)
		assert.Equal(t, []string{"v1"}, dst.Tags(dst.repo), "no attachment")
	})
	t.Run("to a layout, which stores none", func(t *testing.T) {
		dst := places["layout"](t)
		src.ResetLog()
		_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), two)
		var at *Error
		require.ErrorAs(t, err, &at)
		assert.Equal(t, DestinationSide, at.Side)
		assert.Empty(t, dst.top("v1"))
		for _, d := range f.Blobs(imagetest.Top) {
			assert.Zero(t, src.Count(func(q registrytest.Request) bool { return q.Ref == d.String() }), "no blob is read")
		}
	})
}

// TestPolicyRejectsBeforeLayers stops at the first instance that the policy rejects, before any config or layer is read, also
// when there would be nothing to do.
func TestPolicyRejectsBeforeLayers(t *testing.T) {
	e, private, public := newSigningEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src := signedSource(t, e, f, private, registrytest.Options{})
	attachment := strings.Replace(f.Digest("arm64").String(), ":", "-", 1) + ".sig"
	require.True(t, src.DeleteTag("app", attachment))
	all := Options{ImageListSelection: CopyAllImages}

	dst := places["registry"](t).(registryPlace)
	accepting := e.policy
	e.policy = sigstorePolicy(t, e, public, src.Host()+"/app")
	src.ResetLog()
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), all)
	var rejected *RejectedError
	require.ErrorAs(t, err, &rejected)
	assert.Equal(t, f.Digest("arm64"), rejected.Digest)
	assert.Empty(t, dst.Snapshot(dst.repo))
	for _, d := range f.Blobs(imagetest.Top) {
		assert.Zero(t, src.Count(func(q registrytest.Request) bool { return q.Ref == d.String() }), f.Name(d))
	}

	strict := e.policy
	e.policy = accepting
	_, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), all)
	require.NoError(t, err)
	e.policy = strict
	_, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), all)
	require.ErrorAs(t, err, &rejected, "a copy that has nothing to do is judged too")
}

// TestPolicyReject reads nothing but the list.
func TestPolicyReject(t *testing.T) {
	e := newEnv(t)
	e.policy = e.newPolicy(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRReject()}})
	f := imagetest.Platforms(2, 1, 100)
	src, dst := places["registry"](t).(registryPlace), places["registry"](t).(registryPlace)
	src.push(f, "v1", imagetest.Top)
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages})
	var rejected *RejectedError
	require.ErrorAs(t, err, &rejected)
	assert.Zero(t, src.Count(registrytest.Is(http.MethodGet, registrytest.KindBlob)))
	assert.Empty(t, dst.Snapshot(dst.repo))
}

// TestSignedLater signs an image that is mirrored already, where tags are immutable: the signatures arrive with the next run, and the run
// after that writes nothing.
func TestSignedLater(t *testing.T) {
	e, private, _ := newSigningEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := signedSource(t, e, f, private, registrytest.Options{})
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{PutAgain: registrytest.HarborTagImmutable}), "app"}
	two := Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64")}
	for _, from := range []string{"unsigned", "v1", "v1"} {
		before := dst.Snapshot(dst.repo)
		o := two
		o.RemoveSignatures = from == "unsigned"
		r, err := e.image(t.Context(), dst.ref("v1"), src.ref(from), o)
		require.NoError(t, err)
		switch {
		case from == "unsigned":
			assert.Equal(t, 0, signaturesAt(t, e, dst.ref("v1"), f.Digest("amd64")).Len())
		case r.SignaturesCopied > 0:
			assert.Equal(t, 2, r.SignaturesCopied)
			assert.False(t, r.Written, "the tag names the list already")
			assert.Zero(t, r.BlobsCopied, "of the image itself")
			for _, name := range []string{imagetest.Top, "amd64"} {
				assert.Equal(t, 1, signaturesAt(t, e, dst.ref("v1"), f.Digest(name)).Len(), name)
			}
		default:
			assert.Equal(t, before, dst.Snapshot(dst.repo))
		}
	}
	r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), two)
	require.NoError(t, err)
	assert.False(t, r.Written)
}

// TestSingleImageSignedLater is the same for the default selection.
func TestSingleImageSignedLater(t *testing.T) {
	e, private, _ := newSigningEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := signedSource(t, e, f, private, registrytest.Options{})
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{PutAgain: registrytest.HarborTagImmutable}), "app"}
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("unsigned"), Options{RemoveSignatures: true})
	require.NoError(t, err)
	r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{})
	require.NoError(t, err)
	assert.Zero(t, r.BlobsCopied)
	assert.Equal(t, 1, r.SignaturesCopied)
	assert.Equal(t, 1, signaturesAt(t, e, dst.ref("v1"), f.Digest("amd64")).Len())
}
