package copy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestSignaturesTravel keeps the signatures of a list and its instances, and those of instances
// when the list is stripped.
func TestSignaturesTravel(t *testing.T) {
	e, _, public := copytest.NewSigningEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src := copytest.SignedSource(t, e, f, registrytest.Options{})
	e.Policy = copytest.SigstorePolicy(t, e, public, src.Host()+"/app")
	two := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64")}

	t.Run("keep", func(t *testing.T) {
		dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), two)
		require.NoError(t, err)
		for _, name := range []string{imagetest.Top, "amd64", "arm64"} {
			assert.Equal(t, 1, copytest.SignaturesAt(t, e, dst.Ref("v1"), f.Digest(name)).Len(), name)
		}
		assert.Equal(t, 0, copytest.SignaturesAt(t, e, dst.Ref("v1"), f.Digest("arm/v7")).Len())
		tagSeen := false
		for _, event := range dst.History(dst.Repo) {
			if tagSeen {
				assert.Fail(t, "the tag is written last", "%+v follows it", event)
			}
			tagSeen = event.Kind == registrytest.EventTag && event.Tag == "v1"
		}
	})
	strip := two
	strip.SparseManifestListAction = copy.StripSparseManifestList
	t.Run("strip is refused", func(t *testing.T) {
		dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), strip)
		var cannot *copy.CannotModifyError
		require.ErrorAs(t, err, &cannot)
		assert.Contains(t, cannot.Reason, "RemoveListSignatures")
		assert.Empty(t, dst.Snapshot(dst.Repo))
	})
	strip.RemoveListSignatures = true
	t.Run("strip without the list's signatures", func(t *testing.T) {
		dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), strip)
		require.NoError(t, err)
		assert.Equal(t, 1, copytest.SignaturesAt(t, e, dst.Ref("v1"), f.Digest("amd64")).Len())
		assert.Equal(t, 0, copytest.SignaturesAt(t, e, dst.Ref("v1"), r.DestinationDigest).Len())
	})
	remove := two
	remove.RemoveSignatures = true
	t.Run("remove signatures", func(t *testing.T) {
		dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), remove)
		require.NoError(t, err)
		assert.Equal(t, []string{"v1"}, dst.Tags(dst.Repo), "no attachment")
	})
	t.Run("to a layout, which stores none", func(t *testing.T) {
		dst := copytest.Places["layout"](t)
		src.ResetLog()
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), two)
		var at *copy.Error
		require.ErrorAs(t, err, &at)
		assert.Equal(t, copy.DestinationSide, at.Side)
		assert.Empty(t, dst.Top("v1"))
		for _, d := range f.Blobs(imagetest.Top) {
			assert.Zero(t, src.Count(func(q registrytest.Request) bool { return q.Ref == d.String() }), "no blob is read")
		}
	})
}

// TestPolicyRejectsBeforeLayers stops at the first instance that the policy rejects, before any
// config or layer is read, also when there would be nothing to do.
func TestPolicyRejectsBeforeLayers(t *testing.T) {
	e, _, public := copytest.NewSigningEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src := copytest.SignedSource(t, e, f, registrytest.Options{})
	attachment := strings.Replace(f.Digest("arm64").String(), ":", "-", 1) + ".sig"
	require.True(t, src.DeleteTag("app", attachment))
	all := copy.Options{ImageListSelection: copy.CopyAllImages}

	dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
	accepting := e.Policy
	e.Policy = copytest.SigstorePolicy(t, e, public, src.Host()+"/app")
	src.ResetLog()
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), all)
	var rejected *copy.RejectedError
	require.ErrorAs(t, err, &rejected)
	assert.Equal(t, f.Digest("arm64"), rejected.Digest)
	assert.Empty(t, dst.Snapshot(dst.Repo))
	for _, d := range f.Blobs(imagetest.Top) {
		assert.Zero(t, src.Count(func(q registrytest.Request) bool { return q.Ref == d.String() }), f.Name(d))
	}

	strict := e.Policy
	e.Policy = accepting
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), all)
	require.NoError(t, err)
	e.Policy = strict
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), all)
	require.ErrorAs(t, err, &rejected, "a copy that has nothing to do is judged too")
}

// TestPolicyReject reads nothing but the list.
func TestPolicyReject(t *testing.T) {
	e := copytest.NewEnv(t)
	e.Policy = e.NewPolicy(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRReject()}})
	f := imagetest.Platforms(2, 1, 100)
	src, dst := copytest.Places["registry"](t).(copytest.RegistryPlace), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(f, "v1", imagetest.Top)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	var rejected *copy.RejectedError
	require.ErrorAs(t, err, &rejected)
	assert.Zero(t, src.Count(registrytest.Is(http.MethodGet, registrytest.KindBlob)))
	assert.Empty(t, dst.Snapshot(dst.Repo))
}

// TestSignedLater signs an image that is mirrored already, where tags are immutable: the signatures
// arrive with the next run, and the run after that writes nothing.
func TestSignedLater(t *testing.T) {
	e := copytest.NewAttachmentsEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.SignedSource(t, e, f, registrytest.Options{})
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{PutAgain: registrytest.HarborTagImmutable}), "app")
	two := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64")}
	for _, from := range []string{"unsigned", "v1", "v1"} {
		before := dst.Snapshot(dst.Repo)
		o := two
		o.RemoveSignatures = from == "unsigned"
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref(from), o)
		require.NoError(t, err)
		switch {
		case from == "unsigned":
			assert.Equal(t, 0, copytest.SignaturesAt(t, e, dst.Ref("v1"), f.Digest("amd64")).Len())
		case r.SignaturesCopied > 0:
			assert.Equal(t, 2, r.SignaturesCopied)
			assert.False(t, r.Written, "the tag names the list already")
			assert.Zero(t, r.BlobsCopied, "of the image itself")
			for _, name := range []string{imagetest.Top, "amd64"} {
				assert.Equal(t, 1, copytest.SignaturesAt(t, e, dst.Ref("v1"), f.Digest(name)).Len(), name)
			}
		default:
			assert.Equal(t, before, dst.Snapshot(dst.Repo))
		}
	}
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), two)
	require.NoError(t, err)
	assert.False(t, r.Written)
}

// TestSingleImageSignedLater is the same for the default selection.
func TestSingleImageSignedLater(t *testing.T) {
	e := copytest.NewAttachmentsEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.SignedSource(t, e, f, registrytest.Options{})
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{PutAgain: registrytest.HarborTagImmutable}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("unsigned"), copy.Options{RemoveSignatures: true})
	require.NoError(t, err)
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{})
	require.NoError(t, err)
	assert.Zero(t, r.BlobsCopied)
	assert.Equal(t, 1, r.SignaturesCopied)
	assert.Equal(t, 1, copytest.SignaturesAt(t, e, dst.Ref("v1"), f.Digest("amd64")).Len())
}
