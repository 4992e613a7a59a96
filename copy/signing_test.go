package copy_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/signature/sigstore"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/transport"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// A signingTest signs copies with one key.
type signingTest struct {
	*copytest.Env
	t               *testing.T
	private, public string       // paths of keys
	copier          *copy.Copier // opens the key once, which takes a second under the race detector
}

func newSigningTest(t *testing.T) *signingTest {
	e, private, public := copytest.NewSigningEnv(t)
	return &signingTest{e, t, private, public, e.Copier(copy.Options{})}
}

// Image copies with the test's own Copier.
func (s *signingTest) Image(ctx context.Context, dest, src types.ImageReference, o copy.Options) (*copy.Report, error) {
	s.T.Helper()
	return s.ImageWith(ctx, s.copier, dest, src, o)
}

// byKey returns o with the key's file.
func (s *signingTest) byKey(o copy.Options) copy.Options {
	o.SignBySigstorePrivateKeyFile, o.SignSigstorePrivateKeyPassphrase = s.private, []byte("passphrase")
	return o
}

// verify lets upstream's policy engine judge what a reference has under a digest, for an identity,
// and returns why it is refused.
func (s *signingTest) verify(t *testing.T, ref types.ImageReference, d digest.Digest, identity string) error {
	exactly, err := signature.NewPRMExactReference(identity)
	require.NoError(t, err)
	signed, err := signature.NewPRSigstoreSigned(
		signature.PRSigstoreSignedWithKeyPath(s.public), signature.PRSigstoreSignedWithSignedIdentity(exactly))
	require.NoError(t, err)
	src, err := transport.OpenSource(t.Context(), ref, s.Sys)
	require.NoError(t, err)
	defer func() { require.NoError(t, src.Close()) }()
	doc, err := src.Manifest(t.Context(), d)
	require.NoError(t, err)
	policy := s.NewPolicy(&signature.Policy{Default: signature.PolicyRequirements{signed}})
	allowed, err := policy.IsRunningImageAllowed(t.Context(), src.Unparsed(doc))
	assert.Equal(t, err == nil, allowed)
	return err
}

// signedOnce fails the test unless each of digests has one signature, for what dst is called.
func (s *signingTest) signedOnce(t *testing.T, dst copytest.RegistryPlace, tag string, digests ...digest.Digest) {
	t.Helper()
	for _, d := range digests {
		assert.Equal(t, 1, copytest.SignaturesAt(t, s.Env, dst.Ref(tag), d).Len(), d)
		assert.NoError(t, s.verify(t, dst.Ref(tag), d, dst.Ref(tag).DockerReference().String()), d)
	}
}

// changes matches requests that may change something.
func changes(q registrytest.Request) bool {
	return q.Method != http.MethodGet && q.Method != http.MethodHead
}

// signatureTag is the tag of a sigstore attachment.
func signatureTag(d digest.Digest) string { return strings.Replace(d.String(), ":", "-", 1) + ".sig" }

// TestSigning signs lists and images, and verifies what was made of them. A second run signs
// nothing, and writes nothing.
func TestSigning(t *testing.T) {
	s := newSigningTest(t)
	arm := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64")}
	strip, all := arm, copy.Options{ImageListSelection: copy.CopyAllImages}
	strip.SparseManifestListAction = copy.StripSparseManifestList
	preserve := all
	preserve.PreserveDigests = true
	for name, c := range map[string]struct {
		fixture *imagetest.Fixture
		options copy.Options
		images  []string // that are signed
	}{
		"a list":                  {imagetest.Platforms(3, 2, 100), all, []string{"amd64", "arm64", "arm/v7"}},
		"a list of Docker's":      {imagetest.DockerList(), all, []string{"amd64", "arm64", "arm/v7", "s390x"}},
		"digests are preserved":   {imagetest.Platforms(3, 2, 100), preserve, []string{"amd64", "arm64", "arm/v7"}},
		"a list that is kept":     {imagetest.Platforms(3, 2, 100), arm, []string{"arm64"}},
		"a list that is stripped": {imagetest.Platforms(3, 2, 100), strip, []string{"arm64"}},
		"attestations":            {imagetest.WithAttestations(), strip, []string{"arm64", "att-arm64"}},
		"one image":               {imagetest.Platforms(3, 2, 100), copy.Options{}, []string{"amd64"}},
	} {
		t.Run(name, func(t *testing.T) {
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			src.Push(c.fixture, "v1", imagetest.Top)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "mirror/app")
			r, err := s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), s.byKey(c.options))
			require.NoError(t, err)
			assert.Equal(t, copy.Native, r.Plan.Way)
			signed := slices.Compact(slices.Sorted(slices.Values(append(c.fixture.Digests(c.images...), r.DestinationDigest))))
			s.signedOnce(t, dst, "v1", signed...)
			assert.Equal(t, len(signed), r.SignaturesMade)
			assert.Zero(t, r.SignaturesCopied)
			assert.Len(t, dst.Tags(dst.Repo), len(signed)+1, "nothing else is signed")
			s.inOrder(t, dst, "v1")

			before := dst.Snapshot(dst.Repo)
			dst.ResetLog()
			r, err = s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), s.byKey(c.options))
			require.NoError(t, err)
			assert.Equal(t, before, dst.Snapshot(dst.Repo))
			assert.Zero(t, dst.Count(changes))
			assert.Zero(t, r.SignaturesMade)
			assert.False(t, r.Written)
		})
	}
}

// inOrder fails the test unless signatures came after what they sign, and before the tag.
func (s *signingTest) inOrder(t *testing.T, dst copytest.RegistryPlace, tag string) {
	t.Helper()
	stored := map[string]bool{}
	for _, event := range dst.History(dst.Repo) {
		switch {
		case event.Kind == registrytest.EventManifest:
			stored[signatureTag(event.Digest)] = true
		case event.Kind == registrytest.EventTag && event.Tag != tag:
			assert.True(t, stored[event.Tag], "%s signs what is not there yet", event.Tag)
		}
	}
	last := dst.History(dst.Repo)[len(dst.History(dst.Repo))-1]
	assert.Equal(t, tag, last.Tag, "the tag is last")
}

// TestSigningNestedLists signs every list of a tree.
func TestSigningNestedLists(t *testing.T) {
	s := newSigningTest(t)
	f := imagetest.Nested()
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "mirror/app")
	for range 2 {
		r, err := s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), s.byKey(copy.Options{ImageListSelection: copy.CopyAllImages}))
		require.NoError(t, err)
		s.signedOnce(t, dst, "v1", slices.Concat(f.Manifests(imagetest.Top), r.Plan.Lists())...)
	}
	assert.Zero(t, dst.Count(func(q registrytest.Request) bool { return changes(q) && q.Status >= 300 }))
}

// TestSigningUnderAuto signs the list that was written in the end, and not the one that was
// refused.
func TestSigningUnderAuto(t *testing.T) {
	s := newSigningTest(t)
	f := imagetest.Platforms(3, 1, 100)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	for name, policy := range map[string]registrytest.ListPolicy{"refused": registrytest.Distribution3, "taken": nil} {
		t.Run(name, func(t *testing.T) {
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: policy}), "mirror/app")
			r, err := s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), s.byKey(copytest.Auto("linux/amd64")))
			require.NoError(t, err)
			assert.Equal(t, policy != nil, r.DestinationDigest != f.Digest(imagetest.Top))
			s.signedOnce(t, dst, "v1", r.DestinationDigest, f.Digest("amd64"))
			assert.ElementsMatch(t, []string{"v1", signatureTag(f.Digest("amd64")), signatureTag(r.DestinationDigest)}, dst.Tags(dst.Repo))
		})
	}
}

// TestSigningWhatIsThere signs images that were mirrored before without, and only those.
func TestSigningWhatIsThere(t *testing.T) {
	s := newSigningTest(t)
	f := imagetest.Platforms(3, 1, 100)
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{PutAgain: registrytest.HarborTagImmutable}), "mirror/app")
	dst.Push(f, "v1", imagetest.Top)
	made := []int{4, 0, 1, 0}
	for i, want := range made {
		if want == 1 {
			require.True(t, dst.DeleteTag(dst.Repo, signatureTag(f.Digest("arm64"))))
		}
		r, err := s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), s.byKey(all))
		require.NoError(t, err)
		assert.Equal(t, want, r.SignaturesMade, i)
		assert.Zero(t, r.BlobsCopied)
		assert.False(t, r.Written, "the tag names the list already")
		s.signedOnce(t, dst, "v1", append(f.Digests("amd64", "arm64", "arm/v7"), f.Digest(imagetest.Top))...)
	}
}

// TestSigningBesideOthers keeps signatures of other keys, and of the same for other names, and
// those that are carried.
func TestSigningBesideOthers(t *testing.T) {
	s := newSigningTest(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.SignedSource(t, s.Env, f, registrytest.Options{})
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "mirror/app")
	all := s.byKey(copy.Options{ImageListSelection: copy.CopyAllImages})
	carries := src.Ref("v1").DockerReference().String()
	c := copytest.NewCopier(t, copy.CopierOptions{})
	for range 2 {
		var group errgroup.Group
		for i := range 5 { // which update the same tags
			group.Go(func() error {
				_, err := s.ImageWith(t.Context(), c, dst.Ref(fmt.Sprintf("v%d", i)), src.Ref("v1"), all)
				return err
			})
		}
		require.NoError(t, group.Wait())
	}
	for _, d := range append(f.Digests("amd64", "arm64"), f.Digest(imagetest.Top)) {
		assert.Equal(t, 6, copytest.SignaturesAt(t, s.Env, dst.Ref("v0"), d).Len(), f.Name(d))
		for i := range 5 {
			assert.NoError(t, s.verify(t, dst.Ref("v0"), d, dst.Ref(fmt.Sprintf("v%d", i)).DockerReference().String()))
		}
		assert.NoError(t, s.verify(t, dst.Ref("v0"), d, carries), "what was carried")
	}
}

// TestSigningForAnotherIdentity signs for the name that is asked for, once: what is carried has it
// already, if the source is signed for that.
func TestSigningForAnotherIdentity(t *testing.T) {
	s := newSigningTest(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.SignedSource(t, s.Env, f, registrytest.Options{})
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "mirror/app")
	o := s.byKey(copy.Options{ImageListSelection: copy.CopyAllImages, SignIdentity: src.Ref("v1").DockerReference()})
	r, err := s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Equal(t, 3, r.SignaturesCopied)
	assert.Zero(t, r.SignaturesMade, "the key has signed it for that identity")
	o.RemoveSignatures = true
	r, err = s.Image(t.Context(), dst.Ref("v2"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Zero(t, r.SignaturesCopied+r.SignaturesMade, "the destination has it by now")

	o.SignIdentity = nil
	other := copytest.RegistryAt(t, dst.Registry, "other")
	_, err = s.Image(t.Context(), other.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	s.signedOnce(t, other, "v1", append(f.Digests("amd64", "arm64"), f.Digest(imagetest.Top))...)
}

// TestSigningByDigest signs for a reference that names a digest.
func TestSigningByDigest(t *testing.T) {
	s := newSigningTest(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "mirror/app")
	ref := copytest.DockerRef(t, dst.Host()+"/mirror/app@"+f.Digest(imagetest.Top).String())
	for _, want := range []int{3, 0} {
		r, err := s.Image(t.Context(), ref, src.Ref("v1"), s.byKey(copy.Options{ImageListSelection: copy.CopyAllImages}))
		require.NoError(t, err)
		assert.Equal(t, want, r.SignaturesMade)
		for _, d := range append(f.Digests("amd64", "arm64"), f.Digest(imagetest.Top)) {
			assert.NoError(t, s.verify(t, ref, d, ref.DockerReference().String()))
			assert.Equal(t, 1, copytest.SignaturesAt(t, s.Env, ref, d).Len())
		}
	}
}

// TestSigners lets a Signer of which nothing is known sign, for several copies of a Copier at a
// time.
func TestSigners(t *testing.T) {
	s := newSigningTest(t)
	by, err := sigstore.NewSigner(sigstore.WithPrivateKeyFile(s.private, []byte("passphrase")))
	require.NoError(t, err)
	defer func() { require.NoError(t, by.Close()) }()
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	o := copy.Options{ImageListSelection: copy.CopyAllImages, Signers: []*signer.Signer{by}}
	c := copytest.NewCopier(t, copy.CopierOptions{})
	registry := registrytest.Start(t, registrytest.Options{})
	for round := range 2 {
		var group errgroup.Group
		for i := range 4 {
			dst := copytest.RegistryAt(t, registry, fmt.Sprintf("mirror/%d", i))
			if round == 0 && i == 0 {
				dst.Push(f, "v1", imagetest.Top)
			}
			group.Go(func() error {
				r, err := s.ImageWith(t.Context(), c, dst.Ref("v1"), src.Ref("v1"), o)
				assert.Equal(t, 3*(1-round), r.SignaturesMade, "round %d", round)
				return err
			})
		}
		require.NoError(t, group.Wait())
	}
	for i := range 4 {
		s.signedOnce(t, copytest.RegistryAt(t, registry, fmt.Sprintf("mirror/%d", i)), "v1", append(f.Digests("amd64", "arm64"), f.Digest(imagetest.Top))...)
	}
}

// TestSigningIntoDirectories: they have a place for signatures, and no name of their own.
func TestSigningIntoDirectories(t *testing.T) {
	s := newSigningTest(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.SignedSource(t, s.Env, f, registrytest.Options{})
	dir := filepath.Join(t.TempDir(), "dir")
	o := s.byKey(copy.Options{ImageListSelection: copy.CopyAllImages})
	_, err := s.Image(t.Context(), copytest.DirRef(t, dir), src.Ref("v1"), o)
	var refused *copy.OptionsError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, []string{"SignIdentity"}, refused.Options)
	assert.NoDirExists(t, dir)

	identity, err := reference.ParseNormalizedNamed("example.com/app:v1")
	require.NoError(t, err)
	o.SignIdentity = identity
	r, err := s.Image(t.Context(), copytest.DirRef(t, dir), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Equal(t, 3, r.SignaturesMade)
	for _, name := range []string{"amd64", "arm64", imagetest.Top} {
		d := f.Digest(name)
		assert.NoError(t, s.verify(t, copytest.DirRef(t, dir), d, "example.com/app:v1"), name)
		assert.NoError(t, s.verify(t, copytest.DirRef(t, dir), d, src.Ref("v1").DockerReference().String()), name)
	}
}

// TestSigningRefused: where nothing can be signed, or no signature stored, nothing is written, and
// the error says what to do.
func TestSigningRefused(t *testing.T) {
	s := newSigningTest(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	identity, err := reference.ParseNormalizedNamed("example.com/app:v1")
	require.NoError(t, err)
	repository := reference.TrimNamed(identity)
	without := *s.Sys
	without.RegistriesDirPath = t.TempDir()
	set := func(change func(*copy.Options)) copy.Options {
		o := s.byKey(copy.Options{ImageListSelection: copy.CopyAllImages})
		change(&o)
		return o
	}
	for name, c := range map[string]struct {
		place   string
		options copy.Options
		says    []string
	}{
		"attachments are disabled": {"registry", set(func(o *copy.Options) { o.DestinationCtx = &without }), []string{
			"writing sigstore attachments is disabled by configuration", "use-sigstore-attachments", "registries.d",
		}},
		"no tag in the identity": {"registry", set(func(o *copy.Options) { o.SignIdentity = repository }), []string{"Sign identity must be a fully specified reference"}},
		"no such file":           {"registry", set(func(o *copy.Options) { o.SignBySigstorePrivateKeyFile = "nowhere" }), []string{"nowhere", "no such file"}},
		"another passphrase":     {"registry", set(func(o *copy.Options) { o.SignSigstorePrivateKeyPassphrase = []byte("other") }), []string{"initializing private key"}},
		"no passphrase":          {"registry", set(func(o *copy.Options) { o.SignSigstorePrivateKeyPassphrase = nil }), []string{"passphrase not provided"}},
		"no GPG": {"registry", copy.Options{SignBy: "somebody"}, []string{
			"signing is not supported", "containers_image_openpgp", "build with cgo and the GPGME library",
		}},
		"a layout": {"layout", set(func(o *copy.Options) { o.SignIdentity = identity }), []string{"signatures", "not supported"}},
	} {
		t.Run(name, func(t *testing.T) {
			dst := copytest.Places[c.place](t)
			_, err := s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), c.options)
			for _, text := range c.says {
				assert.ErrorContains(t, err, text)
			}
			assert.Empty(t, dst.Top("v1"))
			if registry, ok := dst.(copytest.RegistryPlace); ok {
				assert.Empty(t, registry.Snapshot(registry.Repo))
			}
		})
	}
}

// TestSignaturesThatAreNotStored: whatever goes wrong with a signature, the tag stays what it was.
// A web page is no success; what passes is tried again.
func TestSignaturesThatAreNotStored(t *testing.T) {
	s := newSigningTest(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	attachments := func(req *http.Request) bool {
		return req.Method == http.MethodPut && strings.HasSuffix(req.URL.Path, ".sig")
	}
	for name, c := range map[string]struct {
		script registrytest.Script
		fails  bool
	}{
		"refused":        {registrytest.Only(attachments, registrytest.EveryNth(1, registrytest.Fail(403, "DENIED", "no"))), true},
		"a web page":     {registrytest.Only(attachments, registrytest.EveryNth(1, registrytest.FailHTML(200))), true},
		"the list's":     {registrytest.Only(attachments, registrytest.OnNth(3, registrytest.Fail(403, "DENIED", "no"))), true},
		"for a moment":   {registrytest.Only(attachments, registrytest.FirstN(2, registrytest.Fail(503, "UNAVAILABLE", "later"))), false},
		"lost an answer": {registrytest.Only(attachments, registrytest.FirstN(1, registrytest.LostAnswer())), false},
	} {
		t.Run(name, func(t *testing.T) {
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: c.script}), "mirror/app")
			old := imagetest.Platforms(1, 1, 50)
			dst.Push(old, "v1", imagetest.Top)
			before := dst.Top("v1")
			_, err := s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), s.byKey(copy.Options{ImageListSelection: copy.CopyAllImages}))
			if !c.fails {
				require.NoError(t, err)
				s.signedOnce(t, dst, "v1", append(f.Digests("amd64", "arm64"), f.Digest(imagetest.Top))...)
				return
			}
			var at *copy.Error
			require.ErrorAs(t, err, &at)
			assert.Equal(t, copy.DestinationSide, at.Side)
			assert.Contains(t, at.Op, "signatures")
			assert.Equal(t, before, dst.Top("v1"))
		})
	}
}

// TestSignaturesOfWhatIsRefused are never visible: neither those of an image that is not stored,
// nor those of a list.
func TestSignaturesOfWhatIsRefused(t *testing.T) {
	s := newSigningTest(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	for _, name := range []string{"amd64", imagetest.Top} {
		put := func(req *http.Request) bool {
			return req.Method == http.MethodPut && strings.HasSuffix(req.URL.Path, "/manifests/"+f.Digest(name).String())
		}
		refuse := registrytest.Only(put, registrytest.EveryNth(1, registrytest.Fail(403, "DENIED", "no")))
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: refuse}), "mirror/app")
		_, err := s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), s.byKey(copy.Options{ImageListSelection: copy.CopyAllImages}))
		var at *copy.Error
		require.ErrorAs(t, err, &at)
		assert.Contains(t, at.Op, "writing", "of the manifest or list, not of signatures")
		assert.NotContains(t, at.Op, "signatures")
		assert.NotContains(t, dst.Tags(dst.Repo), signatureTag(f.Digest(name)))
		assert.NotContains(t, dst.Tags(dst.Repo), "v1")
	}
}

// TestSigningReadsConfigsAfterTheVerdict: what the policy rejects is neither read nor signed.
func TestSigningReadsConfigsAfterTheVerdict(t *testing.T) {
	s := newSigningTest(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
	s.Policy = copytest.SigstorePolicy(t, s.Env, s.public, src.Host()+"/app")
	_, err := s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), s.byKey(copy.Options{ImageListSelection: copy.CopyAllImages}))
	var rejected *copy.RejectedError
	require.ErrorAs(t, err, &rejected)
	assert.Zero(t, src.Count(registrytest.Is(http.MethodGet, registrytest.KindBlob)))
	assert.Empty(t, dst.Snapshot(dst.Repo))
}

// TestSigningLeavesNothingBehind in the directory for temporary files.
func TestSigningLeavesNothingBehind(t *testing.T) {
	s := newSigningTest(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "mirror/app")
	_, err := s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), s.byKey(copy.Options{ImageListSelection: copy.CopyAllImages}))
	require.NoError(t, err)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// TestSigningWhatIsTransformed signs images as they are at the destination, also those that an
// earlier copy has made, and the list that names them.
func TestSigningWhatIsTransformed(t *testing.T) {
	s := newSigningTest(t)
	sys := *s.Sys
	sys.CompressionFormat = &compression.Zstd
	converted := copy.Options{ImageListSelection: copy.CopyAllImages, ForceManifestMIMEType: imgspecv1.MediaTypeImageManifest}
	for name, c := range map[string]struct {
		fixture *imagetest.Fixture
		options copy.Options
	}{
		"one is compressed":       {partlyPlain(4), copy.Options{ImageListSelection: copy.CopyAllImages}},
		"all are compressed":      {imagetest.Platforms(3, 2, 100), copy.Options{ImageListSelection: copy.CopyAllImages, DestinationCtx: &sys}},
		"converted, configs, too": {imagetest.DockerList(), converted},
		"one image":               {partlyPlain(2), copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64"), SparseManifestListAction: copy.StripSparseManifestList}},
	} {
		for _, before := range []string{"nothing", "unsigned", "signed"} {
			t.Run(name+", after "+before, func(t *testing.T) {
				src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
				src.Push(c.fixture, "v1", imagetest.Top)
				dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "mirror/app")
				for _, o := range map[string][]copy.Options{
					"nothing": nil, "unsigned": {c.options}, "signed": {s.byKey(c.options)},
				}[before] {
					_, err := s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
					require.NoError(t, err)
				}
				r, err := s.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), s.byKey(c.options))
				require.NoError(t, err)
				assert.Equal(t, copy.Native, r.Plan.Way)
				signed := append(r.Plan.Stored(), r.DestinationDigest)
				s.signedOnce(t, dst, "v1", signed...)
				assert.Len(t, dst.Tags(dst.Repo), len(signed)+1, "nothing else is signed")
				if before == "nothing" {
					s.inOrder(t, dst, "v1")
				}
			})
		}
	}
}
