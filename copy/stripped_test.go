package copy_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// cosignedOriginal is a mirror of v1 of the lists that cosign has signed, stripped to two
// platforms, with its original and the signature of that.
func cosignedOriginal(t *testing.T, o registrytest.Options) (list digest.Digest, at copytest.RegistryPlace) {
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, o)
	imagetest.PushSigned(src, "app", imagetest.SignedTags)
	f := imagetest.SignedLists()
	f.List("stripped", imagetest.Entries("amd64", "arm64"))
	at = copytest.RegistryAt(t, dst, "team/app")
	at.Push(f, "v1", "stripped")

	content, mediaType := f.Document(imagetest.Top)
	top := manifest.Document{Digest: f.Digest(imagetest.Top), MediaType: mediaType, Bytes: content}
	signed := original.Signature{Of: top.Digest, Kind: original.TagSignature, Blobs: map[digest.Digest][]byte{}}
	content, mediaType, ok := src.Manifest("app", digesttag.Name(top.Digest, digesttag.Signatures))
	require.True(t, ok)
	signed.Document = manifest.Document{Digest: digest.FromBytes(content), MediaType: mediaType, Bytes: content}
	image, err := manifest.ParseImage(content, mediaType)
	require.NoError(t, err)
	for b := range image.Blobs() {
		signed.Blobs[b.Digest], _ = src.Blob("app", b.Digest)
	}
	subject := imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageIndex, Digest: f.Digest("stripped"), Size: f.Size("stripped")}
	carrier, err := original.OfSignature(subject, signed)
	require.NoError(t, err)
	for _, a := range []original.Artifact{original.Of(subject, []manifest.Document{top}, ""), carrier} {
		for _, part := range append(a.Layers, a.Config) {
			dst.PutBlob("team/app", part.Content)
		}
		dst.PutManifest("team/app", a.Document.Digest.String(), a.Document.MediaType, a.Document.Bytes)
	}
	return subject.Digest, at
}

func TestVerifyStripped(t *testing.T) {
	e := copytest.NewEnv(t)
	list, at := cosignedOriginal(t, registrytest.Options{})
	cosign := copytest.SigstorePolicy(t, e, imagetest.SignedFile("cosign.pub"), imagetest.SignedRepository)
	other := copytest.SigstorePolicy(t, e, imagetest.SignedFile("other.pub"), imagetest.SignedRepository)
	verify := func(ref string, policy *signature.PolicyContext) (*copy.StripVerification, error) {
		return copy.VerifyStripped(t.Context(), at.Ref(ref), &copy.VerifyStrippedOptions{
			Origin: copytest.DockerRef(t, imagetest.SignedRepository+":v1"), Policy: policy, SystemContext: e.Sys,
		})
	}
	for _, ref := range []string{"v1", list.String()} {
		v, err := verify(ref, cosign)
		require.NoError(t, err)
		assert.True(t, v.Proven)
		assert.Equal(t, list, v.List)
		assert.Equal(t, 6, v.Removal.Count())
		content, err := json.Marshal(v)
		require.NoError(t, err)
		assert.Contains(t, string(content), copy.StripVerificationSchema)
	}
	for ref, c := range map[string]struct {
		policy *signature.PolicyContext
		reason copy.StripReason
	}{"v1": {other, "wrong-key"}, "v2": {cosign, "absent"}} {
		v, err := verify(ref, c.policy)
		refused, ok := errors.AsType[*copy.StripVerificationError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, c.reason, refused.Reason)
		assert.Equal(t, c.reason, v.Reason)
		assert.Contains(t, v.Destination, "/team/app:"+ref)
	}
}

// TestVerifyStrippedOfACopy: what a copy leaves at any place is proven there, with the source gone,
// under the name that only whoever asks knows.
func TestVerifyStrippedOfACopy(t *testing.T) {
	for name, at := range copytest.AttachablePlaces {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := copytest.NewEnv(t)
			src, dst := signedSource(t, imagetest.SignedTags, imagetest.SignedBundles), at(t)
			for _, tag := range []string{"v1", "nested"} {
				_, err := e.Image(t.Context(), dst.Ref(tag), src.Ref(tag), withOriginal())
				require.NoError(t, err)
			}
			src.Close()
			cosign := copytest.SigstorePolicy(t, e, imagetest.SignedFile("cosign.pub"), imagetest.SignedRepository)
			f := imagetest.SignedLists()
			for tag, of := range map[string]string{"v1": imagetest.Top, "nested": "nested"} {
				v, err := copy.VerifyStripped(t.Context(), dst.Ref(tag), &copy.VerifyStrippedOptions{
					Origin: copytest.DockerRef(t, imagetest.SignedRepository+":"+tag), Policy: cosign, SystemContext: e.Sys,
				})
				require.NoError(t, err, tag)
				assert.Equal(t, dst.Top(tag), v.List, tag)
				assert.Equal(t, f.Digest(of), v.Original, tag)
				assert.Equal(t, src.Host()+"/app", v.Claim, tag)
				assert.Empty(t, v.Warnings, tag)
				var accepted []string
				for _, s := range v.Signatures {
					if s.Accepted {
						accepted = append(accepted, s.Identity)
					}
				}
				assert.Equal(t, []string{imagetest.SignedRepository}, accepted, tag)
			}
		})
	}
}

// TestVerifyStrippedNeedsAnOrigin: nobody but the caller says whose list it is.
func TestVerifyStrippedNeedsAnOrigin(t *testing.T) {
	for _, o := range []*copy.VerifyStrippedOptions{nil, {}} {
		v, err := copy.VerifyStripped(t.Context(), copytest.DockerRef(t, "example.com/app:v1"), o)
		refused, ok := errors.AsType[*copy.OptionsError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, []string{"Origin"}, refused.Options)
		assert.Nil(t, v)
	}
}

// TestVerifyStrippedCannotRead: an end that does not answer is an error of that end, and what it
// does not have is a verdict.
func TestVerifyStrippedCannotRead(t *testing.T) {
	e := copytest.NewEnv(t)
	denied := true
	_, at := cosignedOriginal(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if denied && strings.Contains(req.URL.Path, "/blobs/") {
			return registrytest.Answer{Status: http.StatusForbidden}
		}
		return registrytest.Answer{}
	}})
	verify := func() (*copy.StripVerification, error) {
		return copy.VerifyStripped(t.Context(), at.Ref("v1"), &copy.VerifyStrippedOptions{Origin: at.Ref("v1"), Policy: e.Policy, SystemContext: e.Sys})
	}
	v, err := verify()
	failed, ok := errors.AsType[*copy.Error](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, copy.DestinationSide, failed.Side)
	assert.Nil(t, v)

	denied = false
	for _, d := range at.Blobs("team/app") {
		at.DeleteBlob("team/app", d)
	}
	v, err = verify()
	refused, ok := errors.AsType[*copy.StripVerificationError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, copy.StripReason("original-unreadable"), refused.Reason)
	assert.NotNil(t, v)
}
