package copy_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	sigstoresig "github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// The types of what a mirror attaches to a list.
const (
	bundleType         = "application/vnd.dev.sigstore.bundle.v0.3+json"
	signaturePredicate = "https://sigstore.dev/cosign/sign/v1"
	summaryPredicate   = "https://slsa.dev/verification_summary/v1"
)

// TestVouching has one key for all of its tests: to open one takes as long as many copies.
func TestVouching(t *testing.T) {
	s := newSigningTest(t)
	for name, test := range map[string]func(*testing.T, *signingTest){
		"a second run": testVouchTwice, "again for other reasons": testVouchAgain, "a policy of its own": testVouchByOriginPolicy, "nothing": testKeysSignNothing,
		"Signers": testSignersUnderAttachOriginal, "bundles": testVouchForBundles, "Auto": testVouchUnderAuto,
		"a failure": testVouchingFails, "a refusal": testBundlesAreRefused, "a tag": testBundlesByTag, "keys": testKeysAreOpened,
		"whatever fails": testVouchingIsRepaired, "an identity": testVouchForIdentity, "nested lists": testVouchForNestedLists,
		"several tags": testVouchOnce, "as before": testVouchedEarlier,
	} {
		t.Run(name, func(t *testing.T) { test(t, s) })
	}
}

// A vouchingTest strips a list that cosign has signed to two of its eight platforms.
type vouchingTest struct {
	*signingTest
	f        *imagetest.Fixture
	src, dst copytest.RegistryPlace
}

func newVouchingTest(t *testing.T, s *signingTest, at registrytest.Options, forms ...imagetest.SignedForm) *vouchingTest {
	own, env := *s, *s.Env
	env.T, own.t, own.Env = t, t, &env
	v := &vouchingTest{signingTest: &own, f: imagetest.SignedLists()}
	v.src = copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "team/app")
	v.src.Push(v.f, "v1", imagetest.Top)
	imagetest.PushSigned(v.src.Registry, v.src.Repo, forms...)
	v.dst = copytest.RegistryAt(t, registrytest.Start(t, at), "mirror/app")
	v.demand(t, "cosign.pub")
	return v
}

// demand lets the policy demand signatures of the publisher by a key.
func (v *vouchingTest) demand(t *testing.T, key string) {
	identity, err := signature.NewPRMExactRepository(imagetest.SignedRepository)
	require.NoError(t, err)
	signed, err := signature.NewPRSigstoreSigned(
		signature.PRSigstoreSignedWithKeyPath(imagetest.SignedFile(key)), signature.PRSigstoreSignedWithSignedIdentity(identity))
	require.NoError(t, err)
	v.Policy = v.NewPolicy(&signature.Policy{Default: signature.PolicyRequirements{signed}})
}

// demandNothing lets the policy accept anything.
func (v *vouchingTest) demandNothing() {
	v.Policy = v.NewPolicy(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
}

// options strip, and vouch by the test's key.
func (v *vouchingTest) options() copy.Options {
	o := v.byKey(stripTo("linux/amd64", "linux/arm64"))
	o.AttachOriginal, o.VerifierID = true, "https://mirror.example/"
	return o
}

// testVouchedEarlier: nothing is signed, and the destination is not asked what is, where an earlier
// copy has left all that is wanted.
func testVouchedEarlier(t *testing.T, s *signingTest) {
	v := newVouchingTest(t, s, registrytest.Options{}, imagetest.SignedTags)
	o := v.options()
	first := v.copies(t, o)
	require.NotEmpty(t, first.Wanted)
	v.dst.ResetLog()
	o.Earlier = left(first)
	r, err := v.Image(t.Context(), v.dst.Ref("v1"), v.src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Equal(t, copy.CheckedEarlier, r.Checked)
	assert.Len(t, v.dst.Requests(), 1)
}

func stripTo(platforms ...string) copy.Options {
	return copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms(platforms...),
		SparseManifestListAction: copy.StripSparseManifestList,
	}
}

// copies mirrors the list.
func (v *vouchingTest) copies(t *testing.T, o copy.Options) *copy.Report {
	t.Helper()
	r, err := v.Image(t.Context(), v.dst.Ref("v1"), v.src.Ref("v1"), o)
	require.NoError(t, err)
	require.Equal(t, r.DestinationDigest, v.dst.Top("v1"))
	require.NotNil(t, r.Vouched)
	return r
}

// bundles returns the statements in the bundles that are attached to d, by their predicate types,
// each of which must be genuine by the key in a file.
func (v *vouchingTest) bundles(t *testing.T, d digest.Digest, publicKey string) map[string][][]byte {
	t.Helper()
	verifier, err := sigstoresig.LoadVerifierFromPEMFile(publicKey, crypto.SHA256)
	require.NoError(t, err)
	found := map[string][][]byte{}
	for _, r := range copytest.ReferrersAt(t, v.Env, v.dst, d) {
		var doc imgspecv1.Manifest
		require.NoError(t, json.Unmarshal(copytest.ManifestAt(v.dst, r), &doc))
		if doc.ArtifactType != bundleType {
			continue
		}
		content, ok := v.dst.Blob(v.dst.Repo, doc.Layers[0].Digest)
		require.True(t, ok)
		statement, err := openBundle(content, verifier)
		require.NoError(t, err)
		predicate := doc.Annotations["dev.sigstore.bundle.predicateType"]
		found[predicate] = append(found[predicate], statement)
	}
	return found
}

// openBundle returns the statement in a bundle.
func openBundle(content []byte, key sigstoresig.Verifier) (statement []byte, err error) {
	var b struct {
		DSSEEnvelope json.RawMessage `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(content, &b); err != nil {
		return nil, err
	}
	verifier := dsse.WrapVerifier(key, dsse.WithExpectedPayloadType("application/vnd.in-toto+json"), dsse.WithDecodedPayload(&statement))
	return statement, verifier.VerifySignature(bytes.NewReader(b.DSSEEnvelope), nil)
}

// signs fails the test unless the key has signed the list and the two images for containers/image.
func (v *vouchingTest) signs(t *testing.T, list digest.Digest) {
	t.Helper()
	for _, d := range append(v.f.Digests("amd64", "arm64"), list) {
		assert.NoError(t, v.verify(t, v.dst.Ref("v1"), d, v.dst.Ref("v1").DockerReference().String()), d)
	}
}

// signsNothing fails the test if there is anything that the key has signed.
func (v *vouchingTest) signsNothing(t *testing.T, r *copy.Report) {
	t.Helper()
	assert.Zero(t, r.SignaturesMade)
	assert.Empty(t, r.Vouched.Bundles)
	assert.NotEmpty(t, r.Vouched.Reason)
	for _, d := range append(v.f.Digests("amd64", "arm64"), r.DestinationDigest) {
		assert.Error(t, v.verify(t, v.dst.Ref("v1"), d, v.dst.Ref("v1").DockerReference().String()), d)
	}
	for _, d := range v.dst.Manifests(v.dst.Repo) {
		assert.NotContains(t, string(copytest.ManifestAt(v.dst, d)), summaryPredicate)
	}
}

// testVouchTwice: what the publisher has signed the mirror signs when it is stripped, and says what
// it knows of it, before the tag. A second run finds all of that, and writes nothing.
func testVouchTwice(t *testing.T, s *signingTest) {
	for name, at := range map[string]registrytest.Options{
		"the referrers API": {},
		"a referrers tag":   {NoReferrers: true},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVouchingTest(t, s, at, imagetest.SignedTags)
			r := v.copies(t, v.options())
			assert.Empty(t, r.Vouched.Reason)
			signed, ok := v.src.Resolve(v.src.Repo, signatureTag(v.f.Digest(imagetest.Top)))
			require.True(t, ok)
			assert.Equal(t, []digest.Digest{signed}, r.Vouched.Judged)
			assert.Equal(t, 3, r.SignaturesMade)
			v.signs(t, r.DestinationDigest)
			history := v.dst.History(v.dst.Repo)
			assert.Equal(t, "v1", history[len(history)-1].Tag, "the tag comes last")

			statements := v.bundles(t, r.DestinationDigest, v.public)
			require.Len(t, statements[signaturePredicate], 1)
			require.Len(t, statements[summaryPredicate], 1)
			var summary struct {
				Subject   []struct{ Digest map[string]string }
				Predicate struct {
					Verifier, Policy   map[string]any
					ResourceURI        string
					InputAttestations  []struct{ Digest map[string]string }
					VerificationResult string
					VerifiedLevels     []string
					Subset             manifest.Removal `json:"https://github.com/sparsecopy/sparsecopy/subset/v1"`
				}
			}
			require.NoError(t, json.Unmarshal(statements[summaryPredicate][0], &summary))
			assert.Equal(t, r.DestinationDigest.Encoded(), summary.Subject[0].Digest["sha256"])
			p := summary.Predicate
			assert.Equal(t, "https://mirror.example/", p.Verifier["id"])
			assert.Contains(t, p.ResourceURI, strings.ReplaceAll(v.dst.Ref("v1").DockerReference().Name(), ":", "%3A"))
			assert.Equal(t, signed.Encoded(), p.InputAttestations[0].Digest["sha256"])
			assert.Equal(t, "PASSED", p.VerificationResult)
			assert.Equal(t, []string{"SPARSECOPY_SUBSET_OF_SIGNED_LIST"}, p.VerifiedLevels)
			assert.Equal(t, 6, len(p.Subset.Removed))

			o := v.options()
			verified, err := v.copier.Verify(t.Context(), v.Policy, v.dst.Ref("v1"), v.src.Ref("v1"), &copy.VerifyOptions{Options: v.Options(o)})
			require.NoError(t, err)
			assert.Empty(t, verified.Violations)

			before := v.dst.Snapshot(v.dst.Repo)
			v.dst.ResetLog()
			again := v.copies(t, v.options())
			assert.Equal(t, before, v.dst.Snapshot(v.dst.Repo))
			assert.Zero(t, v.dst.Count(changes))
			assert.Zero(t, again.SignaturesMade)
			assert.False(t, again.Written)
			for i, b := range again.Vouched.Bundles {
				assert.Equal(t, copy.Present, b.Outcome)
				assert.Equal(t, r.Vouched.Bundles[i].Digest, b.Digest)
				assert.Equal(t, copy.Copied, r.Vouched.Bundles[i].Outcome)
			}
		})
	}
}

// testVouchByOriginPolicy: where only the list is signed, the policy of the copy cannot demand it.
func testVouchByOriginPolicy(t *testing.T, s *signingTest) {
	v := newVouchingTest(t, s, registrytest.Options{}, imagetest.SignedTags)
	o := v.options()
	o.OriginPolicy = v.Policy
	v.demandNothing()
	r := v.copies(t, o)
	assert.Empty(t, r.Vouched.Reason)
	assert.NotEmpty(t, r.Vouched.Judged)
	statements := v.bundles(t, r.DestinationDigest, v.public)
	require.Len(t, statements[summaryPredicate], 1)
	policy, err := json.Marshal(o.OriginPolicy.Policy)
	require.NoError(t, err)
	assert.Contains(t, string(statements[summaryPredicate][0]), digest.FromBytes(policy).Encoded())
}

// testVouchAgain: what a mirror says changes with what it says it by, and what it has said stays.
func testVouchAgain(t *testing.T, s *signingTest) {
	v := newVouchingTest(t, s, registrytest.Options{}, imagetest.SignedTags)
	d := v.copies(t, v.options()).DestinationDigest
	count := func(publicKey string) (signatures, summaries int) {
		statements := v.bundles(t, d, publicKey)
		return len(statements[signaturePredicate]), len(statements[summaryPredicate])
	}

	o := v.options()
	o.PolicyURI, o.PolicyDigest = "https://mirror.example/policy", digest.FromString("another policy")
	v.copies(t, o)
	signatures, summaries := count(v.public)
	assert.Equal(t, 1, signatures)
	assert.Equal(t, 2, summaries, "of both policies")

	v.dst.ResetLog()
	o = v.options()
	o.SignBySigstorePrivateKeyFile, o.SignSigstorePrivateKeyPassphrase = imagetest.SignedFile("other.key"), []byte{}
	o.PreviousPublicKeyFiles = []string{v.public}
	r := v.copies(t, o)
	assert.Zero(t, v.dst.Count(changes), "the key is being rotated")
	assert.Len(t, r.Vouched.Bundles, 2)

	o.PreviousPublicKeyFiles = nil
	r = v.copies(t, o)
	assert.Equal(t, copy.Copied, r.Vouched.Bundles[0].Outcome)
	assert.Equal(t, 3, r.SignaturesMade)
	assert.Len(t, copytest.ReferrersAt(t, v.Env, v.dst, d), 5+len(r.Original.Signatures)+1, "those of others stay")
}

// testKeysSignNothing unless the original is judged to be signed, and something was taken out.
func testKeysSignNothing(t *testing.T, s *signingTest) {
	for name, c := range map[string]struct {
		forms   []imagetest.SignedForm
		change  func(*vouchingTest, *copy.Options)
		nothing bool // is stripped
		code    string
	}{
		"it is not signed": {
			change: func(v *vouchingTest, _ *copy.Options) { v.demandNothing() }, code: "no-signature",
		},
		"anything is accepted": {
			forms:  []imagetest.SignedForm{imagetest.SignedTags},
			change: func(v *vouchingTest, _ *copy.Options) { v.demandNothing() }, code: "policy-demands-nothing",
		},
		"the format is none of the policy's": {
			forms:  []imagetest.SignedForm{imagetest.SignedBundles},
			change: func(v *vouchingTest, _ *copy.Options) { v.demandNothing() }, code: "bundles-only",
		},
		"signatures are left behind": {
			forms: []imagetest.SignedForm{imagetest.SignedTags},
			change: func(v *vouchingTest, o *copy.Options) {
				v.demandNothing()
				o.RemoveSignatures = true
			}, code: "no-signature",
		},
		"nothing is removed": {
			forms: []imagetest.SignedForm{imagetest.SignedTags},
			change: func(_ *vouchingTest, o *copy.Options) {
				o.ImageListSelection, o.InstancePlatforms = copy.CopyAllImages, nil
			},
			code: string(copy.NothingRemoved),
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVouchingTest(t, s, registrytest.Options{}, c.forms...)
			o := v.options()
			c.change(v, &o)
			for range 2 { // also when everything is there
				r := v.copies(t, o)
				assert.Equal(t, c.code, string(r.Vouched.Code))
				v.signsNothing(t, r)
			}
		})
	}
}

// testSignersUnderAttachOriginal: whoever else signs waits for the same verdict, and makes no
// bundles.
func testSignersUnderAttachOriginal(t *testing.T, s *signingTest) {
	v := newVouchingTest(t, s, registrytest.Options{}, imagetest.SignedTags)
	by, err := copytest.Signer()
	require.NoError(t, err)
	o := stripTo("linux/amd64", "linux/arm64")
	o.AttachOriginal, o.Signers = true, []*signer.Signer{by}
	demanding := v.Policy
	v.demandNothing()
	v.signsNothing(t, v.copies(t, o))
	v.Policy = demanding
	r := v.copies(t, o)
	v.signs(t, r.DestinationDigest)
	assert.Empty(t, v.bundles(t, r.DestinationDigest, v.public))
	assert.Len(t, r.Vouched.Judged, 1)
}

// aVerifier verifies bundles by the publisher's key.
type aVerifier struct{ key sigstoresig.Verifier }

func (a aVerifier) VerifyBundle(_ context.Context, bundle []byte, subject digest.Digest) (string, error) {
	statement, err := openBundle(bundle, a.key)
	if err == nil && !bytes.Contains(statement, []byte(subject.Encoded())) {
		err = errors.New("another subject")
	}
	return "the publisher", err
}

// testVouchForBundles: what a policy cannot judge somebody else does.
func testVouchForBundles(t *testing.T, s *signingTest) {
	v := newVouchingTest(t, s, registrytest.Options{}, imagetest.SignedBundles)
	v.demandNothing()
	key, err := sigstoresig.LoadVerifierFromPEMFile(imagetest.SignedFile("cosign.pub"), crypto.SHA256)
	require.NoError(t, err)
	o := v.options()
	o.BundleVerifier = aVerifier{key}
	r := v.copies(t, o)
	assert.Empty(t, r.Vouched.Reason)
	v.signs(t, r.DestinationDigest)
	assert.Len(t, v.bundles(t, r.DestinationDigest, v.public), 2)
}

// testVouchUnderAuto: a list that was refused is signed when it has been stripped, and one that is
// kept is not.
func testVouchUnderAuto(t *testing.T, s *signingTest) {
	for name, at := range map[string]registrytest.Options{
		"refused": {Strict: true},
		"kept":    {},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVouchingTest(t, s, at, imagetest.SignedTags)
			o := v.options()
			o.SparseManifestListAction = copy.AutoSparseManifestList
			r := v.copies(t, o)
			if name == "refused" {
				v.signs(t, r.DestinationDigest)
				assert.Len(t, v.bundles(t, r.DestinationDigest, v.public), 2)
			} else {
				assert.Equal(t, copy.NothingRemoved, r.Vouched.Code)
				v.signsNothing(t, r)
			}
		})
	}
}

// refuses answers the PUT of a bundle.
func refuses(status int, code string) registrytest.TypePolicy {
	return func(types registrytest.Types) registrytest.Answer {
		if types.Artifact != bundleType {
			return registrytest.Answer{}
		}
		return registrytest.Answer{Status: status, Errors: []registrytest.Error{{Code: code, Message: "no bundles here"}}}
	}
}

// testVouchingFails: what goes wrong leaves the tag as it was.
func testVouchingFails(t *testing.T, s *signingTest) {
	v := newVouchingTest(t, s, registrytest.Options{TypePolicy: refuses(http.StatusForbidden, "DENIED")}, imagetest.SignedTags)
	v.dst.Push(v.f, "v1", "v2")
	_, err := v.Image(t.Context(), v.dst.Ref("v1"), v.src.Ref("v1"), v.options())
	assert.ErrorContains(t, err, "no bundles here")
	var failed *copy.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, copy.DestinationSide, failed.Side)
	assert.Equal(t, v.f.Digest("v2"), v.dst.Top("v1"))
}

// testVouchingIsRepaired: whichever manifest is not stored, the tag names nothing, and the next run
// adds what is lacking, once.
func testVouchingIsRepaired(t *testing.T, s *signingTest) {
	for failing := int32(1); ; failing++ {
		var puts atomic.Int32
		v := newVouchingTest(t, s, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
			if req.Method != http.MethodPut || !strings.Contains(req.URL.Path, "/manifests/") {
				return registrytest.Answer{}
			}
			if puts.Add(1) != failing {
				return registrytest.Answer{}
			}
			return registrytest.Answer{Status: http.StatusForbidden, Errors: []registrytest.Error{{Code: "DENIED"}}}
		}}, imagetest.SignedTags)
		_, err := v.Image(t.Context(), v.dst.Ref("v1"), v.src.Ref("v1"), v.options())
		if failing > puts.Load() {
			require.NoError(t, err)
			assert.Greater(t, failing, int32(12), "images, the list, what carries the original, signatures, bundles and the tag")
			return
		}
		if err != nil {
			assert.NotContains(t, v.dst.Tags(v.dst.Repo), "v1", err)
		}
		r := v.copies(t, v.options())
		v.signs(t, r.DestinationDigest)
		statements := v.bundles(t, r.DestinationDigest, v.public)
		assert.Len(t, statements[signaturePredicate], 1)
		assert.Len(t, statements[summaryPredicate], 1)
	}
}

// testKeysAreOpened before anything is written, also if nobody may sign in the end.
func testKeysAreOpened(t *testing.T, s *signingTest) {
	v := newVouchingTest(t, s, registrytest.Options{})
	v.demandNothing()
	for name, change := range map[string]func(*copy.Options){
		"no key": func(o *copy.Options) { o.SignBySigstorePrivateKeyFile = "nowhere" },
		"no place for signatures": func(o *copy.Options) {
			sys := *v.Sys
			sys.RegistriesDirPath = t.TempDir()
			o.DestinationCtx = &sys
		},
	} {
		o := v.options()
		change(&o)
		_, err := v.Image(t.Context(), v.dst.Ref("v1"), v.src.Ref("v1"), o)
		assert.ErrorContains(t, err, "copying signatures to", name)
		assert.Empty(t, v.dst.Repos(), name)
	}
}

// testBundlesAreRefused: a registry that does not know their type gets what it knows, and the
// report says so.
func testBundlesAreRefused(t *testing.T, s *signingTest) {
	v := newVouchingTest(t, s, registrytest.Options{TypePolicy: refuses(http.StatusBadRequest, "MANIFEST_INVALID")}, imagetest.SignedTags)
	r := v.copies(t, v.options())
	assert.Equal(t, copy.BundlesRefused, r.Vouched.Code)
	assert.Contains(t, r.Vouched.Reason, "no bundles here")
	assert.Empty(t, r.Vouched.Bundles)
	assert.Len(t, r.Vouched.Judged, 1)
	v.signs(t, r.DestinationDigest)
}

// testBundlesByTag: where referrers cannot be listed, bundles are found by the tag that lists what
// is attached otherwise.
func testBundlesByTag(t *testing.T, s *signingTest) {
	v := newVouchingTest(t, s, registrytest.Options{NoReferrers: true, DigestTags: true, RequireSubjects: true}, imagetest.SignedTags)
	first := v.copies(t, v.options())
	require.Len(t, first.Vouched.Bundles, 2)
	v.dst.ResetLog()
	again := v.copies(t, v.options())
	assert.Zero(t, v.dst.Count(changes))
	for i, b := range again.Vouched.Bundles {
		assert.Equal(t, copy.Present, b.Outcome)
		assert.Equal(t, first.Vouched.Bundles[i].Digest, b.Digest)
	}
}

// testVouchForIdentity: what is signed is known as what SignIdentity says.
func testVouchForIdentity(t *testing.T, s *signingTest) {
	v := newVouchingTest(t, s, registrytest.Options{}, imagetest.SignedTags)
	o := v.options()
	var err error
	o.SignIdentity, err = reference.ParseNormalizedNamed("mirror.example/app:v1")
	require.NoError(t, err)
	r := v.copies(t, o)
	assert.NoError(t, v.verify(t, v.dst.Ref("v1"), r.DestinationDigest, "mirror.example/app:v1"))
	assert.Contains(t, string(v.bundles(t, r.DestinationDigest, v.public)[summaryPredicate][0]), "?repository_url=mirror.example/app")
}

// testVouchForNestedLists: lists that are nested are signed, and told of, as well.
func testVouchForNestedLists(t *testing.T, s *signingTest) {
	v := newVouchingTest(t, s, registrytest.Options{}, imagetest.SignedTags)
	o := v.options()
	o.InstancePlatforms = copytest.Platforms("linux/arm64")
	r, err := v.Image(t.Context(), v.dst.Ref("v1"), v.src.Ref("nested"), o)
	require.NoError(t, err)
	require.Empty(t, r.Vouched.Reason)
	var nested digest.Digest
	r.Plan.List.Walk(func(l *copy.ListPlan) { nested = l.Result })
	require.NotEqual(t, r.DestinationDigest, nested)
	for _, d := range []digest.Digest{v.f.Digest("arm64"), nested, r.DestinationDigest} {
		assert.NoError(t, v.verify(t, v.dst.Ref("v1"), d, v.dst.Ref("v1").DockerReference().String()), d)
	}
	statements := v.bundles(t, r.DestinationDigest, v.public)
	assert.Len(t, statements[signaturePredicate], 1)
	assert.Contains(t, string(statements[summaryPredicate][0]), nested.String())
}

// testVouchOnce: what several tags name is signed and told of once, also if they are copied at the
// same time.
func testVouchOnce(t *testing.T, s *signingTest) {
	v := newVouchingTest(t, s, registrytest.Options{}, imagetest.SignedTags)
	var jobs []copy.Job
	for _, tag := range []string{"v1", "1", "latest"} {
		jobs = append(jobs, copy.Job{Destination: v.dst.Ref(tag), Source: v.src.Ref("v1")})
	}
	for _, r := range v.copier.Images(t.Context(), v.Policy, jobs, &copy.ImagesOptions{Options: v.Options(v.options())}) {
		require.NoError(t, r.Err)
	}
	statements := v.bundles(t, v.dst.Top("v1"), v.public)
	assert.Len(t, statements[signaturePredicate], 1)
	assert.Len(t, statements[summaryPredicate], 1)
}
