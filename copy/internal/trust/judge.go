package trust

import (
	"context"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/policy"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A BundleVerifier verifies sigstore bundles (sigstore's protobuf-specs, "Bundle"), which signature
// policies cannot judge. Its method may be called concurrently.
type BundleVerifier interface {
	// VerifyBundle returns who has signed the statement in a bundle, for people: a key, or the
	// identity and the issuer of a certificate. It fails unless the signature of the statement is
	// genuine, somebody has made it whom the verifier trusts, and the statement is about subject.
	//
	// It is asked about bundles only that are signatures: the predicate of their statement is that
	// of cosign's signatures of images, and subject is among its subjects. It must not keep or
	// modify bundle.
	VerifyBundle(ctx context.Context, bundle []byte, subject digest.Digest) (signer string, err error)
}

// A Question is whether a list is signed, and by whom.
type Question struct {
	// Origin is the reference under which the publisher's list is known. Policies judge it, and it
	// is the caller's word: nothing that a registry says belongs here.
	Origin types.ImageReference
	// List is what is to be signed: the original.
	List manifest.Document
	// Signatures are those that it is said to have.
	Signatures []original.Signature
	// Policy judges simple signatures and cosign's. It is not asked if its Context is nil.
	Policy policy.Judge
	// Bundles verifies sigstore bundles. Nil verifies none.
	Bundles BundleVerifier
}

// A Verdict says who has signed a list.
type Verdict struct {
	// Signatures are all that were looked at, in an order that depends on them alone.
	Signatures []Signature
}

// Accepted returns the signatures that were accepted: at least one, if Judge has not failed.
func (v Verdict) Accepted() []Signature {
	var accepted []Signature
	for _, s := range v.Signatures {
		if s.Accepted {
			accepted = append(accepted, s)
		}
	}
	return accepted
}

// A Signature is one signature of a list, and what became of it.
type Signature struct {
	// Kind is how it is attached to the list.
	Kind original.Kind `json:"kind"`
	// Digest is that of the manifest which has it, or of a lookaside signature itself. Layer is the
	// layer of the manifest which has it, "" if the manifest is not looked into.
	Digest digest.Digest `json:"digest"`
	Layer  digest.Digest `json:"layer,omitempty"`
	// Format is what it is: see the constants.
	Format Format `json:"format"`
	// Accepted is set if it was verified, and made by somebody whom the policy or the verifier
	// accepts as signer of the list. Otherwise, Reason and Problem say why not.
	Accepted bool `json:"accepted"`
	// Signer is who made it, for people. "" unless it is accepted.
	Signer string `json:"signer,omitempty"`
	// Identity is the docker reference that it says it signs. Of one that is accepted, the policy
	// has accepted that as well. It is "" for a bundle, which binds the digest of a list to a
	// signer, and to no repository.
	Identity string `json:"identity,omitempty"`
	Reason   Reason `json:"reason,omitempty"`
	Problem  string `json:"problem,omitempty"` // for people
}

// A Format is what kind of thing a signature is.
type Format string

// The formats. Policies judge the first two, and verifiers bundles; nobody judges the others.
const (
	SimpleSigning  Format = "simple-signing"  // a GPG signature in containers/image's own form
	SigstoreLayer  Format = "sigstore"        // a layer of what cosign's tag .sig names
	SigstoreBundle Format = "sigstore-bundle" // a signature of an image in a sigstore bundle
	Attestation    Format = "attestation"     // a statement that says something about a list
	UnknownFormat  Format = "unknown"
)

// Judge answers a question. The verdict is complete also with an error, which is an *Error, one
// about temporary files, or context.Cause.
//
// The list is signed if the policy accepts it with the signatures, and would not accept it without;
// or if at least one bundle is verified, and the policy, if there is one, does not reject whatever
// is from the origin.
func Judge(ctx context.Context, q Question) (Verdict, error) {
	if err := q.check(); err != nil {
		return Verdict{}, err
	}
	candidates, err := candidatesOf(ctx, q.List.Digest, q.Signatures)
	if err != nil {
		return Verdict{}, err
	}
	said, err := askPolicy(ctx, q, candidates)
	if err != nil {
		return Verdict{}, err
	}
	verified, err := verifyBundles(ctx, q, candidates)
	if err != nil {
		return Verdict{}, err
	}
	verdict := Verdict{}
	for _, c := range candidates {
		verdict.Signatures = append(verdict.Signatures, c.Signature)
	}
	switch {
	case said == acceptsSigned, verified && said != rejectsAll:
		return verdict, nil
	}
	return verdict, q.refusal(said, verdict)
}

// check returns what is wrong with a question. Policies take for granted that a list has the digest
// of its reference.
func (q *Question) check() error {
	switch {
	case q.Policy.Context == nil && q.Bundles == nil:
		return q.fail(NobodyJudges, nil)
	case !manifest.HasDigest(q.List.Bytes, q.List.Digest):
		return q.fail(OriginalAltered, nil)
	}
	if digested, ok := q.Origin.DockerReference().(reference.Digested); ok && !manifest.HasDigest(q.List.Bytes, digested.Digest()) {
		return q.fail(OtherOrigin, nil)
	}
	return nil
}

// refusal returns why a list counts as not signed.
func (q *Question) refusal(said answer, v Verdict) error {
	has := map[Format]bool{}
	unasked := map[Format]bool{}
	refused := false // a bundle, for a reason of its own
	for _, s := range v.Signatures {
		has[s.Format] = true
		unasked[s.Format] = unasked[s.Format] || s.Reason == NotAsked
		refused = refused || s.Format == SigstoreBundle && s.Reason != NotAsked
	}
	switch {
	case len(v.Signatures) == 0:
		return q.fail(NoSignature, nil)
	case unasked[SigstoreBundle] && !has[SimpleSigning] && !has[SigstoreLayer]:
		return q.fail(BundlesOnly, nil)
	case (unasked[SimpleSigning] || unasked[SigstoreLayer]) && !has[SigstoreBundle]:
		return q.fail(PolicyOnly, nil)
	case said == acceptsAnything && !refused: // else the verifier is who was to judge
		return q.fail(PolicyDemandsNothing, nil)
	case said == rejectsAll:
		return q.fail(PolicyRejects, nil)
	case said == demandsMore:
		return q.fail(PolicyDemandsMore, nil)
	}
	return q.mostTelling(v)
}
