package trust

import (
	"cmp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// A Reason is why nothing is proven, or why a signature is not accepted, for programs. There are no
// others than the constants; "" is none.
type Reason string

// Why a question cannot be answered.
const (
	// NobodyJudges says that neither a policy nor a verifier was given.
	NobodyJudges Reason = "nobody-judges"
	// OtherOrigin says that the origin's reference has another digest than the original.
	OtherOrigin Reason = "other-origin"
	// OriginalAltered says that the original does not have its digest.
	OriginalAltered Reason = "original-altered"
)

// Why a stripped list cannot be held against its original.
const (
	// Absent says that the destination names nothing.
	Absent Reason = "absent"
	// NotAList says that it names a single image.
	NotAList Reason = "not-a-list"
	// NoOriginal says that nothing that carries an original is attached to the list.
	NoOriginal Reason = "no-original"
	// OriginalUnknown says that the registry did not tell what is attached to the list.
	OriginalUnknown Reason = "original-unknown"
	// OriginalOfAnother says that the original is that of another list.
	OriginalOfAnother Reason = "original-of-another"
	// OriginalUnreadable says that the original is damaged, or was altered.
	OriginalUnreadable Reason = "original-unreadable"
	// TooMuch says that there is more to read than this package is willing to.
	TooMuch Reason = "too-much"
)

// Why a list is not its original with entries removed.
const (
	// EntryDigest says that an entry names another manifest than the original's.
	EntryDigest Reason = "entry-digest"
	// EntryPlatform says that an entry is for another platform than the original's.
	EntryPlatform Reason = "entry-platform"
	// EntryAltered says that an entry differs from the original's in something else.
	EntryAltered Reason = "entry-altered"
	// EntryAdded says that the original has no such entry.
	EntryAdded Reason = "entry-added"
	// OrderChanged says that entries are in another order.
	OrderChanged Reason = "order-changed"
	// NestedUnproven says that a nested list is not the original's with entries removed.
	NestedUnproven Reason = "nested-unproven"
	// NestedMissing says that a nested list is not there.
	NestedMissing Reason = "nested-missing"
	// LayoutChanged says that white space differs.
	LayoutChanged Reason = "layout-changed"
	// RestChanged says that something outside the entries differs.
	RestChanged Reason = "rest-changed"
	// ListUnreadable says that the list is no list that can be read.
	ListUnreadable Reason = "list-unreadable"
)

// Why a list counts as not signed, although its signatures were looked at.
const (
	// NoSignature says that there is none.
	NoSignature Reason = "no-signature"
	// SignatureUnreadable says that what came along as a signature is damaged, or was altered. A
	// list is not signed for that reason if there is no other.
	SignatureUnreadable Reason = "signature-unreadable"
	// TooManySignatures says that there are more than are judged: of the list in all, or in the
	// manifest of one.
	TooManySignatures Reason = "too-many-signatures"
	// BundlesOnly says that all are sigstore bundles, and that no verifier was given.
	BundlesOnly Reason = "bundles-only"
	// PolicyOnly says that there are signatures for a policy only, and that none was given.
	PolicyOnly Reason = "policy-only"
	// PolicyDemandsNothing says that the policy accepts the list without any signature.
	PolicyDemandsNothing Reason = "policy-demands-nothing"
	// PolicyRejects says that the policy rejects whatever is from the origin.
	PolicyRejects Reason = "policy-rejects"
	// PolicyDemandsMore says that the policy accepts signatures, but demands others beside them.
	PolicyDemandsMore Reason = "policy-demands-more"
)

// Why a single signature is not accepted. If none is, the list is not signed for the most telling
// of these.
const (
	// WrongIdentity says that the key is right, and that it signs something of another name.
	WrongIdentity Reason = "wrong-identity"
	// OtherDigest says that it signs another list or image. Of a bundle, nobody has looked at the
	// signature then.
	OtherDigest Reason = "other-digest"
	// WrongKey says that no accepted key or certificate has made it, or that it was altered.
	WrongKey Reason = "wrong-key"
	// BundleRefused says that the verifier does not accept a bundle.
	BundleRefused Reason = "bundle-refused"
	// NotJudged says that the policy could not judge it: a file of the policy cannot be read, or
	// the signature lacks what the policy wants.
	NotJudged Reason = "not-judged"
	// NoRequirement says that no requirement of the policy is about signatures of its format.
	NoRequirement Reason = "no-requirement"
	// NothingDemanded says that it was not looked at, because the policy accepts anything.
	NothingDemanded Reason = "nothing-demanded"
	// NotAsked says that nobody was given who judges its format.
	NotAsked Reason = "not-asked"
	// AttestationOnly says that it is a statement about the list, and does not sign it.
	AttestationOnly Reason = "attestation-only"
	// Malformed says that it is not as such signatures are.
	Malformed Reason = "malformed-signature"
	// NobodyKnows says that its format is one that nothing here judges.
	NobodyKnows Reason = "unknown-format"
)

// telling has the reasons for single signatures, the most telling first: the further a signature
// came, the nearer it is to what was wanted.
var telling = []Reason{
	WrongIdentity, WrongKey, BundleRefused, OtherDigest, NotJudged, NoRequirement, NotAsked, TooManySignatures, Malformed, NothingDemanded, AttestationOnly, NobodyKnows,
}

func moreTelling(a, b Reason) bool { return slices.Index(telling, a) < slices.Index(telling, b) }

// nearest has the reasons for which an original counts as not signed, those first with which it
// came nearest to being signed.
var nearest = slices.Concat(
	[]Reason{PolicyDemandsMore, PolicyDemandsNothing, PolicyRejects}, telling,
	[]Reason{BundlesOnly, PolicyOnly, TooMuch, SignatureUnreadable, NoSignature, OtherOrigin, OriginalAltered},
)

// words says for people what each reason means, and what to do about it.
var words = map[Reason]struct{ what, do string }{
	NobodyJudges: {
		"neither a signature policy nor a verifier of sigstore bundles was given: nothing can be judged",
		"give a policy that demands signatures, or the publisher's key",
	},
	OtherOrigin: {
		"the origin's reference names another digest than that of the original that came along",
		"verify with the reference of the list that was mirrored, or mirror the other one",
	},
	OriginalAltered: {
		"the original does not have the digest that it is said to have",
		"mirror the image again; whoever can write to the repository may have tampered with it",
	},
	Absent: {
		"the destination names nothing",
		"check the destination's reference, or mirror the image",
	},
	NotAList: {
		"the destination names a single image, and no list",
		"verify the signatures of the image itself, which strip leaves alone",
	},
	NoOriginal: {
		"no original is attached to the list",
		"mirror the image again with AttachOriginal; the signatures of a list that was not stripped are verified as ever",
	},
	OriginalUnknown: {
		"the destination does not tell what is attached to the list",
		"ask who runs it, or log in to it",
	},
	OriginalOfAnother: {
		"the original that is attached to the list is that of another list",
		"mirror the image again; whoever can write to the repository may have tampered with it",
	},
	OriginalUnreadable: {
		"the original that is attached to the list is damaged, or was altered",
		"mirror the image again; whoever can write to the repository may have tampered with it",
	},
	TooMuch: {
		"there is more to read than a verification is willing to",
		"find out who has attached it: an original and its signatures are small",
	},
	EntryDigest: {
		"the list names another image than its original",
		"do not use it; find out who has written it, and mirror the image again",
	},
	EntryPlatform: {
		"the list has an image of its original for another platform",
		"do not use it; find out who has written it, and mirror the image again",
	},
	EntryAltered: {
		"an entry of the list differs from that of its original",
		"do not use it; find out who has written it, and mirror the image again",
	},
	EntryAdded: {
		"the list has an entry that its original does not have",
		"do not use it; find out who has written it, and mirror the image again",
	},
	OrderChanged: {
		"the entries of the list are in another order than those of its original",
		"do not use it: clients take the first entry that suits them; mirror the image again",
	},
	NestedUnproven: {
		"a list in the list is not that of its original with entries removed",
		"do not use it; find out who has written it, and mirror the image again",
	},
	NestedMissing: {
		"a list in the list is missing, or so is what it was made of",
		"mirror the image again",
	},
	LayoutChanged: {
		"the list has other white space than its original: something has written it anew",
		"mirror the image again, by a tool that keeps the bytes",
	},
	RestChanged: {
		"something in the list that belongs to none of its entries differs from its original",
		"mirror the image again; lists with annotations of their own cannot be proven",
	},
	ListUnreadable: {
		"the list cannot be read",
		"mirror the image again; whoever can write to the repository may have tampered with it",
	},
	SignatureUnreadable: {
		"what is attached as a signature of the original is damaged, or was altered",
		"mirror the image again; whoever can write to the repository may have tampered with it",
	},
	NoSignature: {
		"the original came along without any signature",
		"mirror the image again once its publisher has signed it, without leaving signatures out, and from the publisher if another mirror had stripped it",
	},
	TooManySignatures: {
		"the original came along with more signatures than are judged",
		"find out who has added them: a publisher does not sign so often",
	},
	BundlesOnly: {
		"the original is signed in a format that policy.json cannot judge: its signatures are sigstore bundles",
		"give the publisher's key, or a trusted root with the identity and the issuer of the certificate",
	},
	PolicyOnly: {
		"the original is signed in a format that is judged by a signature policy only, and none was given",
		"give a policy that demands signatures of the origin",
	},
	PolicyDemandsNothing: {
		"the policy demands no signature: nothing is proven",
		"give a policy that demands signatures of the origin (sigstoreSigned or signedBy)",
	},
	PolicyRejects: {
		"the policy rejects everything from the origin",
		"give a policy that demands signatures of the origin, if it is to be trusted at all",
	},
	PolicyDemandsMore: {
		"the policy accepts signatures of the original, and demands others as well that it does not have",
		"see which requirement of the policy no signature meets",
	},
	WrongIdentity: {
		"the original is signed by a key that the policy accepts, as something else than the origin",
		"check the origin's reference, and signedIdentity in the policy",
	},
	OtherDigest: {
		"what came along as a signature of the original signs something else",
		"mirror the image again; whoever can write to the repository may have swapped signatures",
	},
	WrongKey: {
		"no signature of the original is by a key or certificate that the policy accepts",
		"check which key the publisher signs with; it may have been replaced, or somebody else has signed",
	},
	BundleRefused: {
		"no sigstore bundle of the original is accepted",
		"check which key or identity the publisher signs with; it may have been replaced, or somebody else has signed",
	},
	NotJudged: {
		"the policy cannot judge the signatures of the original",
		"check the files that the policy names, and what it wants signatures to have",
	},
	NoRequirement: {
		"the original is signed in a format that no requirement of the policy is about",
		"the policy needs sigstoreSigned for cosign's signatures, and signedBy for simple ones",
	},
	NothingDemanded: {
		"it was not looked at, because the policy demands no signature",
		"give a policy that demands signatures of the origin",
	},
	NotAsked: {
		"nobody was given who judges signatures of this format",
		"give a signature policy, the publisher's key, or both",
	},
	AttestationOnly: {
		"what came along says something about the original, and does not sign it: attestations are no signatures",
		"mirror the image again once its publisher has signed it",
	},
	Malformed: {
		"what came along as a signature of the original is not as signatures are",
		"mirror the image again; whoever can write to the repository may have tampered with it",
	},
	NobodyKnows: {
		"the original is signed in a format that neither policies nor sigstore's verifiers judge",
		"verify it with the tool that signs so",
	},
}

// An Error says why nothing is proven.
type Error struct {
	Reason Reason
	// List is the list that could not be proven to be its original's, or the original that counts
	// as not signed; "" if there is none.
	List digest.Digest
	// Object is what Reason is about: a signature, or what carries the original. "" if it is about
	// none alone.
	Object digest.Digest
	// Detail says more, for people; "" if there is no more.
	Detail string
	Err    error // the cause; nil if there is none
}

func (e *Error) Error() string {
	w := words[e.Reason]
	var more []string
	for _, s := range []string{string(e.Object), e.Detail} {
		if s != "" {
			more = append(more, s)
		}
	}
	if e.Err != nil {
		more = append(more, e.Err.Error())
	}
	text := w.what
	if len(more) > 0 {
		text += " (" + strings.Join(more, ": ") + ")"
	}
	if e.List != "" {
		text = e.List.String() + ": " + text
	}
	return text + "; " + w.do
}

func (e *Error) Unwrap() error { return e.Err }

func (q *Question) fail(r Reason, err error) *Error {
	return &Error{Reason: r, List: q.List.Digest, Err: err}
}

// mostTelling returns the error for signatures none of which is accepted, of which there are some.
func (q *Question) mostTelling(v Verdict) *Error {
	best := slices.MinFunc(v.Signatures, func(a, b Signature) int {
		return cmp.Compare(slices.Index(telling, a.Reason), slices.Index(telling, b.Reason))
	})
	e := q.fail(best.Reason, nil)
	e.Object, e.Detail = best.Digest, best.Problem
	return e
}
