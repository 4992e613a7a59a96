package trust

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/policy"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const origin = "example.com/app:v1"

// listOf is the list of a fixture with so many platforms.
func listOf(platforms int) manifest.Document {
	f := imagetest.Platforms(platforms, 1, 10)
	content, mediaType := f.Document(imagetest.Top)
	return endpoint.NewDocument(f.Digest(imagetest.Top), mediaType, content)
}

func TestJudgeAccepts(t *testing.T) {
	p, stranger := newPublisher(t), newStranger(t)
	list := listOf(8)
	sig := p.sign(list, origin)
	attachable, _ := sig.Split()
	for name, c := range map[string]struct {
		origin string // "" is origin
		q      Question
		want   []Signature // those that are accepted, without their digests
	}{
		"cosign's tag": {q: Question{
			Signatures: []original.Signature{p.tagged(list, origin)}, Policy: judged(t, sigstoreKey(t, p.public)),
		}, want: []Signature{{Kind: original.TagSignature, Format: SigstoreLayer, Signer: "key " + p.public, Identity: origin}}},
		"cosign's tag with the layers of others": {q: Question{
			Signatures: []original.Signature{tagged(t, list, stranger.sign(list, origin).With(sig))}, Policy: judged(t, sigstoreKey(t, p.public)),
		}, want: []Signature{{Kind: original.TagSignature, Format: SigstoreLayer, Signer: "key " + p.public, Identity: origin}}},
		"cosign's referrer": {q: Question{
			Signatures: []original.Signature{referring(t, list, "application/vnd.dev.cosign.artifact.sig.v1+json", attachable...)},
			Policy:     judged(t, sigstoreKey(t, p.public)),
		}, want: []Signature{{Kind: original.Referrer, Format: SigstoreLayer, Signer: "key " + p.public, Identity: origin}}},
		"simple": {q: Question{
			Signatures: []original.Signature{p.simple(list, origin)}, Policy: judged(t, gpgKeys(t, p.keyring)),
		}, want: []Signature{{
			Kind: original.Lookaside, Format: SimpleSigning, Identity: origin,
			Signer: fmt.Sprintf("GPG key %016X, of %s", p.gpg.PrimaryKey.KeyId, p.keyring),
		}}},
		"sigstore's in containers/image's own form": {q: Question{
			Signatures: lookasides(t, list, sig), Policy: judged(t, sigstoreKey(t, p.public)),
		}, want: []Signature{{Kind: original.Lookaside, Format: SigstoreLayer, Signer: "key " + p.public, Identity: origin}}},
		"a bundle": {q: Question{
			Signatures: []original.Signature{p.signedByBundle(list)}, Bundles: p.verifier(),
		}, want: []Signature{{Kind: original.Referrer, Format: SigstoreBundle, Signer: "key of the publisher"}}},
		"a bundle, whatever the policy accepts": {q: Question{
			Signatures: []original.Signature{p.signedByBundle(list)}, Bundles: p.verifier(),
			Policy: judged(t, signature.NewPRInsecureAcceptAnything()),
		}, want: []Signature{{Kind: original.Referrer, Format: SigstoreBundle, Signer: "key of the publisher"}}},
		"beside a crowd": {q: Question{
			Signatures: []original.Signature{crowd(t, list, maxLayers+1, 0), p.tagged(list, origin)}, Policy: judged(t, sigstoreKey(t, p.public)),
		}, want: []Signature{{Kind: original.TagSignature, Format: SigstoreLayer, Signer: "key " + p.public, Identity: origin}}},
		"two requirements": {q: Question{
			Signatures: []original.Signature{p.simple(list, origin), p.tagged(list, origin)},
			Policy:     judged(t, sigstoreKey(t, p.public), gpgKeys(t, p.keyring)),
		}, want: []Signature{
			{
				Kind: original.Lookaside, Format: SimpleSigning, Identity: origin,
				Signer: fmt.Sprintf("GPG key %016X, of %s", p.gpg.PrimaryKey.KeyId, p.keyring),
			},
			{Kind: original.TagSignature, Format: SigstoreLayer, Signer: "key " + p.public, Identity: origin},
		}},
		"the digest as the origin": {origin: "example.com/app@" + list.Digest.String(), q: Question{
			Signatures: []original.Signature{p.tagged(list, "example.com/app:another")}, Policy: judged(t, sigstoreKey(t, p.public)),
		}, want: []Signature{{Kind: original.TagSignature, Format: SigstoreLayer, Signer: "key " + p.public, Identity: "example.com/app:another"}}},
		"one signature twice": {q: Question{
			Signatures: slices.Repeat([]original.Signature{p.signedByBundle(list)}, 2), Bundles: p.verifier(),
		}, want: []Signature{{Kind: original.Referrer, Format: SigstoreBundle, Signer: "key of the publisher"}}},
	} {
		t.Run(name, func(t *testing.T) {
			q := c.q
			q.List, q.Origin = list, dockerRef(t, origin)
			if c.origin != "" {
				q.Origin = dockerRef(t, c.origin)
			}
			verdict, err := Judge(t.Context(), q)
			require.NoError(t, err)
			accepted := verdict.Accepted()
			for i := range accepted {
				accepted[i].Digest, accepted[i].Layer, accepted[i].Accepted = "", "", false
			}
			assert.Equal(t, c.want, accepted)

			slices.Reverse(q.Signatures)
			again, err := Judge(t.Context(), q)
			require.NoError(t, err)
			assert.Equal(t, verdict, again)
		})
	}
}

// A refusal is a question about a list, and why the list counts as not signed.
type refusal struct {
	name   string
	reason Reason
	q      Question
}

func refusals(t *testing.T) []refusal {
	p, stranger := newPublisher(t), newStranger(t)
	list, other := listOf(8), listOf(7)
	right := judged(t, sigstoreKey(t, p.public))
	sig := p.tagged(list, origin)
	named := func(name string) Question { return Question{Origin: dockerRef(t, name), List: list, Policy: right} }
	with := func(signatures ...original.Signature) Question {
		q := named(origin)
		q.Signatures = signatures
		return q
	}
	under := func(j policy.Judge, signatures ...original.Signature) Question {
		q := with(signatures...)
		q.Policy = j
		return q
	}
	bundles := func(v BundleVerifier, signatures ...original.Signature) Question {
		q := under(policy.Judge{}, signatures...)
		q.Bundles = v
		return q
	}
	altered := with(sig)
	altered.List.Bytes = append(slices.Clone(list.Bytes), '\n')
	elsewhere := named("example.com/app@" + other.Digest.String())
	elsewhere.Signatures = []original.Signature{p.tagged(list, "example.com/app:v1")}
	var many []original.Signature
	for i := range maxCandidates/maxLayers + 1 {
		many = append(many, crowd(t, list, maxLayers, i))
	}
	swapped := p.signedByBundle(list)
	swapped.Blobs[layersOf(t, swapped)[0]] = p.bundle(statementOf(other.Digest, SignaturePredicate))
	missing := judged(t, sigstoreKey(t, p.public+".none"))
	attestation := referring(t, list, "application/vnd.in-toto+json", layer("application/vnd.in-toto+json", "{}"))
	attestation.Kind = original.TagAttestation
	foreign := tagged(t, list, p.sign(list, origin))
	for d := range foreign.Blobs {
		foreign.Blobs[d] = []byte("{} ")
	}
	undigested := p.tagged(list, origin)
	undigested.Document.Digest = other.Digest
	rejecting := bundles(p.verifier(), p.signedByBundle(list))
	rejecting.Policy = judged(t, signature.NewPRReject())
	accepting := bundles(stranger.verifier(), p.signedByBundle(list))
	accepting.Policy = judged(t, signature.NewPRInsecureAcceptAnything())
	elsewhereBundled := bundles(p.verifier(), referringBundle(t, list, p.bundle(statementOf(other.Digest, SignaturePredicate))), sig)
	elsewhereBundled.Policy = accepting.Policy
	attachable, _ := p.sign(list, origin).Split()
	return []refusal{
		{"neither policy nor verifier", NobodyJudges, under(policy.Judge{}, sig)},
		{"the digest of another list as the origin", OtherOrigin, elsewhere},
		{"bytes without their digest", OriginalAltered, altered},
		{"nothing", NoSignature, with()},
		{"too many", TooManySignatures, with(append(many, sig)...)},
		{"too many in one manifest", TooManySignatures, with(crowd(t, list, maxLayers+1, 0))},
		{"a bundle without a verifier", BundlesOnly, with(p.signedByBundle(list))},
		{"a bundle without a verifier, whatever is accepted", BundlesOnly, under(judged(t, signature.NewPRInsecureAcceptAnything()), p.signedByBundle(list))},
		{"cosign's tag without a policy", PolicyOnly, bundles(p.verifier(), sig)},
		{"anything is accepted", PolicyDemandsNothing, under(judged(t, signature.NewPRInsecureAcceptAnything()), sig)},
		{"anything is accepted, but no bundle", BundleRefused, accepting},
		{"anything is accepted, but no bundle of another list", OtherDigest, elsewhereBundled},
		{"everything is rejected", PolicyRejects, under(judged(t, sigstoreKey(t, p.public), signature.NewPRReject()), sig)},
		{"everything is rejected, but a bundle verifies", PolicyRejects, rejecting},
		{"a policy of two keys", PolicyDemandsMore, under(judged(t, sigstoreKey(t, p.public), sigstoreKey(t, stranger.public)), sig)},
		{"another name, and a stranger", WrongIdentity, with(p.tagged(list, "example.com/other:v1"), stranger.tagged(list, origin))},
		{"another tag", WrongIdentity, with(p.tagged(list, "example.com/app:v2"))},
		{"another name, simple", WrongIdentity, under(judged(t, gpgKeys(t, p.keyring)), p.simple(list, "example.com/other:v1"))},
		{"a signature of another list", OtherDigest, with(tagged(t, list, p.sign(other, origin)))},
		{"a simple signature of another list", OtherDigest, under(judged(t, gpgKeys(t, p.keyring)), p.simple(other, origin))},
		{"a referrer of another list", OtherDigest, with(referring(t, other, "application/vnd.dev.cosign.artifact.sig.v1+json", attachable...))},
		{"a bundle of another list", OtherDigest, bundles(p.verifier(), referringBundle(t, list, p.bundle(statementOf(other.Digest, SignaturePredicate))))},
		{"a stranger", WrongKey, with(stranger.tagged(list, origin))},
		{"a stranger's bundle", BundleRefused, bundles(p.verifier(), stranger.signedByBundle(list))},
		{"no file of the key", NotJudged, under(missing, sig)},
		{"the policy is about another format", NoRequirement, with(p.simple(list, origin))},
		{"attestations", AttestationOnly, with(referringBundle(t, list, p.bundle(statementOf(list.Digest, "https://slsa.dev/provenance/v1"))), attestation)},
		{"a manifest without its digest", Malformed, with(undigested)},
		{"another bundle than its manifest's", Malformed, with(swapped)},
		{"another payload than its manifest's", Malformed, with(foreign)},
		{"notation", NobodyKnows, with(referring(t, list, "application/vnd.cncf.notary.signature", layer("application/jose+json", "{}")))},
		{"no form of containers/image", NobodyKnows, with(original.Signature{Of: list.Digest, Kind: original.Lookaside, Blob: []byte("{}")})},
		{"nobody who judges, beside what is broken", NotAsked, bundles(p.verifier(), sig, swapped)},
	}
}

// crowd is what a tag of cosign's names, with so many signatures that are none.
func crowd(t *testing.T, list manifest.Document, number, seed int) original.Signature {
	var layers []endpoint.AttachableSignature
	for i := range number {
		layers = append(layers, layer(simpleSigningLayer, fmt.Sprint(seed, i)))
	}
	s := artifact(t, list, manifestOfSignatures, layers...)
	s.Kind = original.TagSignature
	return s
}

func TestJudgeRefuses(t *testing.T) {
	for _, c := range refusals(t) {
		t.Run(c.name, func(t *testing.T) {
			verdict, err := Judge(t.Context(), c.q)
			refused, ok := errors.AsType[*Error](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, c.reason, refused.Reason, "%v", err)
			if c.reason != PolicyDemandsMore && c.reason != PolicyRejects {
				assert.Empty(t, verdict.Accepted())
			}
			for _, s := range verdict.Signatures {
				assert.NotEqual(t, s.Accepted, s.Reason != "", "%+v", s)
			}
			assert.ErrorContains(t, err, words[c.reason].what)
		})
	}
}

// TestEveryReasonHasWords: each has its own, which say what is wrong and what to do.
func TestEveryReasonHasWords(t *testing.T) {
	said := map[string]Reason{}
	for reason, w := range words {
		for _, s := range []string{w.what, w.do} {
			assert.NotEmpty(t, s, reason)
			assert.False(t, strings.HasSuffix(s, "."), "%s: %s", reason, s)
		}
		assert.NotContains(t, said, w.what, "%s and %s", reason, said[w.what])
		said[w.what] = reason
	}
	for _, reason := range nearest {
		assert.Contains(t, words, reason)
	}
	for _, c := range refusals(t) {
		if c.reason != NobodyJudges { // is found out before
			assert.Contains(t, nearest, c.reason)
		}
	}
}

// TestReasonsAreDocumented: the page about reports has each of them, in the order of the more
// telling where there is one, and no others.
func TestReasonsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/report-schema.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## StripReason\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	var listed []Reason
	for _, row := range regexp.MustCompile("(?m)^\\* `([^`]+)`: .").FindAllStringSubmatch(section, -1) {
		listed = append(listed, Reason(row[1]))
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(words)), listed)
	assert.Equal(t, telling, listed[len(listed)-len(telling):])
}

// TestBundlesAreReadInOneWay: whatever a verifier could read as another statement is refused before
// it is asked.
func TestBundlesAreReadInOneWay(t *testing.T) {
	p := newPublisher(t)
	list, other := listOf(8), listOf(7)
	statement := statementOf(list.Digest, SignaturePredicate)
	good := string(p.bundle(statement))
	replaced := func(old, by string) string {
		require.Contains(t, good, old)
		return strings.Replace(good, old, by, 1)
	}
	stated := func(old, by string) string {
		require.Contains(t, statement, old)
		return string(p.bundle(strings.Replace(statement, old, by, 1)))
	}
	for name, c := range map[string]struct {
		bundle string
		want   Reason
	}{
		"as it should be":          {good, ""},
		"no JSON":                  {good[1:], Malformed},
		"cut off":                  {good[:len(good)-1], Malformed},
		"followed by something":    {good + "{}", Malformed},
		"an array":                 {"[" + good + "]", Malformed},
		"two envelopes":            {replaced(`"dsseEnvelope":`, `"dsseEnvelope":{},"dsseEnvelope":`), Malformed},
		"another name":             {replaced(`"dsseEnvelope":`, `"dsse_envelope":{},"dsseEnvelope":`), Malformed},
		"another case":             {replaced(`"dsseEnvelope":`, `"DsseEnvelope":{},"dsseEnvelope":`), Malformed},
		"a message beside it":      {replaced(`"dsseEnvelope":`, `"messageSignature":{},"dsseEnvelope":`), Malformed},
		"a message only":           {replaced(`"dsseEnvelope":`, `"messageSignature":`), Malformed},
		"two payloads":             {replaced(`"payload":`, `"payload":"e30=","payload":`), Malformed},
		"payload of another type":  {replaced(StatementPayload, "text/plain"), Malformed},
		"payload no text":          {replaced(`"payload":"`, `"payload":1,"signatures":"`), Malformed},
		"payload not encoded":      {replaced(`"payload":"`, `"payload":"*`), Malformed},
		"no statement":             {string(p.bundle("{}")), Malformed},
		"a statement of a version": {stated("Statement/v1", "Statement/v7"), Malformed},
		"no predicate":             {stated(`"predicateType":"`+SignaturePredicate+`",`, ""), Malformed},
		"two predicates":           {stated(`"predicateType":`, `"predicateType":"x","predicateType":`), Malformed},
		"a predicate's other name": {stated(`"predicateType":`, `"predicate_type":"x","predicateType":`), Malformed},
		"another predicate":        {stated(SignaturePredicate, SignaturePredicate+"/"), AttestationOnly},
		"no subject":               {stated(`"subject":[{"name":"","digest":{"sha256":"`+list.Digest.Encoded()+`"}}],`, `"subject":[],`), OtherDigest},
		"subjects null":            {stated(`{"sha256":"`+list.Digest.Encoded()+`"}`, "null"), Malformed},
		"another subject":          {stated(list.Digest.Encoded(), other.Digest.Encoded()), OtherDigest},
		"another algorithm":        {stated(`"sha256"`, `"sha512"`), OtherDigest},
		"upper case":               {stated(list.Digest.Encoded(), strings.ToUpper(list.Digest.Encoded())), OtherDigest},
		"two digests":              {stated(`"sha256":`, `"sha256":"x","sha256":`), Malformed},
		"a subject's other digest": {stated(`}}],`, `},"Digest":{"sha256":"`+other.Digest.Encoded()+`"}}],`), Malformed},
		"two subjects":             {stated(`[{"name"`, `[{"digest":{"sha256":"`+other.Digest.Encoded()+`"}},{"name"`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			v := verifierFunc(func(context.Context, []byte, digest.Digest) (string, error) {
				asked++
				return "somebody", nil
			})
			verdict, err := Judge(t.Context(), Question{
				Origin: dockerRef(t, origin), List: list, Bundles: v, Signatures: []original.Signature{referringBundle(t, list, []byte(c.bundle))},
			})
			require.Len(t, verdict.Signatures, 1, "%v", err)
			assert.Equal(t, c.want, verdict.Signatures[0].Reason, "%+v", verdict.Signatures[0])
			if c.want == "" {
				assert.NoError(t, err)
				assert.Equal(t, 1, asked)
				return
			}
			assert.Error(t, err)
			assert.Zero(t, asked, "a verifier need not know")
		})
	}
}

// TestVerifiersAreNotTrustedAlone: one that does not say who has signed has accepted nothing, and
// what it does to a bundle stays with it.
func TestVerifiersAreNotTrustedAlone(t *testing.T) {
	p := newPublisher(t)
	list := listOf(8)
	s := p.signedByBundle(list)
	before := maps.Clone(s.Blobs)
	for d, b := range before {
		before[d] = slices.Clone(b)
	}
	q := Question{Origin: dockerRef(t, origin), List: list, Signatures: []original.Signature{s}}
	q.Bundles = verifierFunc(func(_ context.Context, bundle []byte, _ digest.Digest) (string, error) {
		clear(bundle)
		return "", nil
	})
	verdict, err := Judge(t.Context(), q)
	require.Error(t, err)
	assert.Equal(t, BundleRefused, verdict.Signatures[0].Reason)
	assert.Equal(t, before, s.Blobs)

	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("called off")
	q.Bundles = verifierFunc(func(context.Context, []byte, digest.Digest) (string, error) {
		cancel(reason)
		return "somebody", nil
	})
	_, err = Judge(ctx, q)
	assert.ErrorIs(t, err, reason)
}

type verifierFunc func(context.Context, []byte, digest.Digest) (string, error)

func (f verifierFunc) VerifyBundle(ctx context.Context, bundle []byte, subject digest.Digest) (string, error) {
	return f(ctx, bundle, subject)
}

// TestJudgeSignedAgain: a publisher who signs a list each night adds a layer to one manifest, and
// each state of that which came along has all that were there before.
func TestJudgeSignedAgain(t *testing.T) {
	p, list := newPublisher(t), document(imagetest.SignedLists(), imagetest.Top)
	first, _ := p.sign(list, origin).Split()
	var layers []endpoint.AttachableSignature
	var signatures []original.Signature
	for night := range 70 { // with 1 + 2 + 3 + … layers
		again := first[0]
		if night > 0 {
			again.Layer.Annotations = map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(fmt.Append(nil, night))}
		}
		layers = append(layers, again)
		s := artifact(t, list, manifestOfSignatures, layers...)
		s.Kind = original.TagSignature
		signatures = append(signatures, s)
	}
	v, err := Judge(t.Context(), Question{
		Origin: dockerRef(t, origin), List: list, Signatures: signatures, Policy: judged(t, sigstoreKey(t, p.public)),
	})
	require.NoError(t, err)
	assert.Len(t, v.Signatures, 70)
	assert.Len(t, v.Accepted(), 1)
}
