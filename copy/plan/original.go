package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// An OriginalSignature is a signature of the list at the source, with all that it consists of.
type OriginalSignature = original.Signature

// An OriginalPlan says what is attached to a list that changes, so that whoever verifies it need
// not ask the source: the list as it was, and the signatures of that.
type OriginalPlan struct {
	List  digest.Digest `json:"list"`            // at the source
	Claim string        `json:"claim,omitempty"` // the repository that it is said to be from
	// Digest and Size describe the manifest of the artifact with the list and those nested in it;
	// "" and 0 if there is a Reason.
	Digest digest.Digest `json:"digest,omitempty"`
	Size   int64         `json:"size,omitempty"`
	// Signatures are those that travel along, each as an artifact of its own. None if there is a
	// Reason, or signatures are removed.
	Signatures []OriginalSignaturePlan `json:"signatures,omitempty"`
	// Present is set if the artifact is known to be at the destination, and Plain if that is the
	// one that is stored as a plain image.
	Present bool `json:"present,omitempty"`
	Plain   bool `json:"plain,omitempty"`
	// Reason is why nothing is attached, "" if it is.
	Reason string `json:"reason,omitempty"`

	artifact original.Artifact
	left     []string // signatures that do not travel along, and why
}

// An OriginalSignaturePlan says how a signature of the list at the source travels along.
type OriginalSignaturePlan struct {
	Digest digest.Digest `json:"digest"` // of the artifact's manifest
	Size   int64         `json:"size"`   // of that
	// Of is the digest of the signature's own manifest, or of the signature if it has none. Kind is
	// how it is attached at the source: "sig" and "att" by cosign's tags with these suffixes,
	// "referrer", or "lookaside".
	Of   digest.Digest `json:"of"`
	Kind original.Kind `json:"kind"`
	// Present and Plain are as in OriginalPlan.
	Present bool `json:"present,omitempty"`
	Plain   bool `json:"plain,omitempty"`

	artifact original.Artifact
}

// Artifact returns the artifact with the list; zero if there is a Reason, or the plan was read from
// JSON.
func (o *OriginalPlan) Artifact() original.Artifact { return o.artifact }

// Artifact returns the artifact with the signature; zero if the plan was read from JSON.
func (s *OriginalSignaturePlan) Artifact() original.Artifact { return s.artifact }

// planOriginal plans what is attached to the top-level list l, nil if nothing is asked for, or if
// the list stays as it is. along are the signatures that can travel along with it.
func planOriginal(in *Input, l *ListPlan, along travelers) *OriginalPlan {
	if !in.Choices.AttachOriginal || l.Result == l.Digest {
		return nil
	}
	o := &OriginalPlan{List: l.Digest, Claim: in.OriginalClaim, Reason: unattachable(l)}
	if o.Reason != "" {
		return o
	}
	stripped := imgspecv1.Descriptor{MediaType: l.ResultType, Digest: l.Result, Size: l.ResultSize}
	a := original.Of(stripped, documentsOf(l.node), in.OriginalClaim)
	o.artifact, o.Digest, o.Size = a, a.Document.Digest, int64(len(a.Document.Bytes))
	o.Present, o.Plain = artifactIsThere(in, a)
	o.left = slices.Clone(along.left)
	for _, s := range along.signatures {
		o.addSignature(in, stripped, s)
	}
	return o
}

// addSignature adds a signature, unless it has the same artifact as another one.
func (o *OriginalPlan) addSignature(in *Input, stripped imgspecv1.Descriptor, s OriginalSignature) {
	a, err := original.OfSignature(stripped, s)
	if err != nil {
		o.left = append(o.left, err.Error())
		return
	}
	sp := OriginalSignaturePlan{Digest: a.Document.Digest, Size: int64(len(a.Document.Bytes)), Of: s.Digest(), Kind: s.Kind, artifact: a}
	if slices.ContainsFunc(o.Signatures, func(other OriginalSignaturePlan) bool { return other.Digest == sp.Digest }) {
		return
	}
	sp.Present, sp.Plain = artifactIsThere(in, a)
	o.Signatures = append(o.Signatures, sp)
}

// artifactIsThere reports whether an artifact is known to be at the destination, and whether that
// is as a plain image.
func artifactIsThere(in *Input, a original.Artifact) (present, plain bool) {
	if in.IsStored(a.Document.Digest) {
		return true, false
	}
	plain = in.IsStored(original.Plain(a).Document.Digest)
	return plain, plain
}

// documentsOf returns a list and the distinct lists nested in it.
func documentsOf(n *listtree.Node) []Document {
	var documents []Document
	seen := map[digest.Digest]bool{}
	n.Walk(func(n *listtree.Node) {
		if !seen[n.Digest] {
			seen[n.Digest] = true
			documents = append(documents, Document{Digest: n.Digest, MediaType: n.List.MediaType(), Bytes: n.Bytes})
		}
	})
	return documents
}

// unattachable returns why the original of the top-level list l cannot be attached, "" if it can.
func unattachable(l *ListPlan) string {
	if n := len(documentsOf(l.node)); n > original.MaxDocuments {
		return fmt.Sprintf("the list %s consists of %d lists, more than %d", l.Digest, n, original.MaxDocuments)
	}
	return unprovable(l)
}

// unprovable returns why nobody can prove by a list at the source that the one which is written is
// what is left of it; "" if that can be proven: entries go, from it and from lists nested in it,
// and nothing else becomes of it.
func unprovable(l *ListPlan) string {
	switch {
	case slices.ContainsFunc(l.Instances, func(ip InstancePlan) bool { return ip.isImage() && ip.changes() }):
		return fmt.Sprintf("the list %s changes with its images", l.Digest)
	case l.ResultType != l.MediaType:
		return fmt.Sprintf("the list %s is converted to %s", l.Digest, l.ResultType)
	case len(l.Variants) > 0:
		return fmt.Sprintf("variants are added to the list %s", l.Digest)
	}
	for i := range l.Instances {
		if ip := &l.Instances[i]; ip.Nested != nil && ip.Entry == UpdateEntry {
			if why := unprovable(ip.Nested); why != "" {
				return why
			}
		}
	}
	return ""
}

// travelers are the signatures of the list at the source, as far as they can travel along with it.
type travelers struct {
	signatures []OriginalSignature // in an order that depends on them alone
	left       []string            // why the others cannot, sorted
}

// travelersOf looks at all that the signatures consist of: once for each plan.
func travelersOf(in *Input) travelers {
	var out travelers
	o := &in.Choices
	if !o.AttachOriginal || o.RemoveSignatures || o.RemoveListSignatures {
		return out
	}
	for _, s := range in.OriginalSignatures {
		s.Of = cmp.Or(s.Of, in.Digest)
		if err := s.Validate(); err != nil {
			out.left = append(out.left, err.Error())
		} else if s.Of == in.Digest {
			out.signatures = append(out.signatures, s)
		}
	}
	slices.SortFunc(out.signatures, func(a, b OriginalSignature) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Digest(), b.Digest()))
	})
	slices.Sort(out.left)
	out.left = slices.Compact(out.left)
	return out
}

// A loss is what becomes of the signatures of a list that changes.
type loss struct {
	signed   int            // how many of Input.SignedLists become void
	attached ListSignatures // those that are attached and become void
	why      string         // why they do although originals are attached, for people; else ""
	cure     string         // what lets the list be changed all the same, for people
}

// lossOf returns which signatures of the list l at the source become void with its change. Those in
// along can travel along.
func lossOf(in *Input, l *ListPlan, along travelers) loss {
	out := loss{signed: in.SignedLists[l.Digest], attached: in.ListSignatures[l.Digest], cure: "RemoveListSignatures removes them"}
	if !in.Choices.AttachOriginal {
		if l.Digest == in.Digest && unattachable(l) == "" {
			out.cure = "AttachOriginal lets them travel along, " + out.cure
		}
		return out
	}
	if l.Digest != in.Digest {
		out.why = ", and do not travel along as those of the top-level list do"
		return out
	}
	if why := unattachable(l); why != "" {
		out.why = ", and do not travel along: " + why
		return out
	}
	out.why = ", and were not all read"
	for _, s := range along.signatures {
		if s.Kind == original.Lookaside || s.Kind == original.TagSignature {
			out.signed = 0 // those that containers/image reads are all there
		}
		name := knownBy(l.Digest, s)
		out.attached.Found = slices.DeleteFunc(slices.Clone(out.attached.Found), func(found string) bool {
			return name != "" && strings.Contains(found, name)
		})
	}
	return out
}

// knownBy returns the tag that names a signature of a list, or, if it is no tag's, its digest.
func knownBy(list digest.Digest, s OriginalSignature) string {
	if s.Kind == original.TagSignature {
		return digesttag.Name(list, digesttag.Signatures)
	}
	return s.Digest().String()
}

// signsOriginal reports whether an attachment is a signature of the list at the source that travels
// along, and is attached to it.
func (o *OriginalPlan) signsOriginal(a Attachment) bool {
	return o != nil && a.Subject == o.List && slices.ContainsFunc(o.Signatures, func(s OriginalSignaturePlan) bool { return s.Of == a.Digest })
}

// warnings say why nothing is attached, or what does not travel along.
func (o *OriginalPlan) warnings() []string {
	if o == nil {
		return nil
	}
	if o.Reason != "" {
		return []string{"the original is not attached: " + o.Reason}
	}
	var out []string
	for _, why := range o.left {
		out = append(out, fmt.Sprintf("a signature of the list %s does not travel along: %s", o.List, why))
	}
	return out
}

// Artifacts returns what is attached, those that are at the destination already included: the list
// first, and then the signatures. None if there is a Reason, if o is nil, or if the plan was read
// from JSON.
func (o *OriginalPlan) Artifacts() []original.Artifact {
	if o == nil || o.artifact.Layers == nil {
		return nil
	}
	all := []original.Artifact{o.artifact}
	for _, s := range o.Signatures {
		all = append(all, s.artifact)
	}
	return all
}

// toWrite returns those of Artifacts that are not known to be at the destination.
func (o *OriginalPlan) toWrite() []original.Artifact {
	return slices.DeleteFunc(o.Artifacts(), func(a original.Artifact) bool {
		d := a.Document.Digest
		return d == o.Digest && o.Present || slices.ContainsFunc(o.Signatures, func(s OriginalSignaturePlan) bool { return s.Digest == d && s.Present })
	})
}
