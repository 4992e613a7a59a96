package plan

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Schema names the JSON form of a Plan. The number changes when a reader of the old form would go
// wrong.
const Schema = "sparsecopy.plan/v1"

// A Plan says what a copy will do, before anything is written. It is a value: it does nothing, and
// whoever has it must not change it.
type Plan struct {
	Schema      string `json:"schema"` // Schema
	Source      string `json:"source"`
	Destination string `json:"destination"`

	// Way is who does the work, and WayReason why it is not done natively.
	Way       Way    `json:"way"`
	WayReason string `json:"wayReason,omitempty"`

	// Asked is the action in the options, Action what this plan does: Keep or Strip. ActionReason
	// says why they differ.
	Asked        SparseManifestListAction `json:"asked"`
	Action       SparseManifestListAction `json:"action"`
	ActionReason string                   `json:"actionReason,omitempty"`

	// Digest is what the destination will name; "" when children will change.
	Digest digest.Digest `json:"digest,omitempty"`
	// List is set if and only if a list is copied, Image if and only if a single image is.
	List  *ListPlan  `json:"list,omitempty"`
	Image *ImagePlan `json:"image,omitempty"`

	// Copies are the distinct manifests of images that are copied, in first-seen order. What is
	// known to be at the destination is not among them.
	Copies []digest.Digest `json:"copies"`
	// Attached are the referrers and digest tags that are known.
	Attached []AttachedPlan `json:"attached,omitempty"`
	// Widened are the children that are added to lists at the destination and get tags there,
	// sorted: see Options.WidenedChildTags.
	Widened []digest.Digest `json:"widened,omitempty"`
	// Blobs and Bytes are the distinct blobs of Copies and of what is attached, and their size in
	// bytes. Less may move: blobs may be there already.
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
	// Unread is the number of Copies whose manifests were not given, or are Docker schema 1: Blobs
	// and Bytes leave them out.
	Unread int `json:"unread,omitempty"`

	// PlatformlessKept and PlatformlessLeft are the numbers of entries without a platform that are
	// copied, or left behind, where platforms select: see Options.PlatformlessEntries.
	PlatformlessKept int `json:"platformlessKept,omitempty"`
	PlatformlessLeft int `json:"platformlessLeft,omitempty"`

	// NotListed are the digests in Options.Instances that no list of the source names, sorted. Each
	// has a warning, too.
	NotListed []digest.Digest `json:"notListed,omitempty"`
	// Void names what will be without effect at the destination: signatures of a list that changes,
	// attestations of one, and annotations by which images name what accelerates them and is not
	// copied.
	Void []string `json:"void,omitempty"`
	// Warnings are for people.
	Warnings []string `json:"warnings,omitempty"`

	// IfRefused is what will be done instead if the destination refuses the sparse list. Set only
	// under Auto.
	IfRefused *Plan `json:"ifRefused,omitempty"`
	// IfRefusedNot says why nothing else would be done then. Set only under Auto.
	IfRefusedNot string `json:"ifRefusedNot,omitempty"`
}

// Way is who does the work of a copy.
type Way string

// The two ways to copy.
const (
	// Native is this package's own engine.
	Native Way = "native"
	// Upstream is go.podman.io/image/v5/copy, with the instances that were planned.
	Upstream Way = "upstream"
)

// A ListPlan says what happens to one list.
type ListPlan struct {
	Digest    digest.Digest  `json:"digest"` // at the source
	MediaType string         `json:"mediaType"`
	Size      int64          `json:"size"`
	Instances []InstancePlan `json:"instances"`
	// Edits make the list that is written out of the one at the source. Empty if and only if it
	// stays as it is.
	Edits []manifest.ListEdit `json:"-"`
	// Result and ResultSize describe the list that is written.
	Result     digest.Digest `json:"result"`
	ResultSize int64         `json:"resultSize"`
	// Absent are the distinct children that the written list names and that will not be at the
	// destination.
	Absent []digest.Digest `json:"absent,omitempty"`

	// A plan that was read from JSON has none of these.
	node   *listtree.Node
	copies []digest.Digest
	result []byte
}

// List returns the list at the source, which is not to be edited; nil if the plan was read from
// JSON.
func (l *ListPlan) List() manifest.List {
	if l.node == nil {
		return nil
	}
	return l.node.List
}

// Copies returns the distinct images of this list that are copied, in first-seen order, those that
// are at the destination already included; nil if the plan was read from JSON.
func (l *ListPlan) Copies() []digest.Digest { return l.copies }

// Written returns the list that is written, which is not to be modified; nil if the plan was read
// from JSON.
func (l *ListPlan) Written() []byte { return l.result }

// Everything reports whether every entry of the list is copied. It does not look into nested lists.
func (l *ListPlan) Everything() bool {
	return !slices.ContainsFunc(l.Instances, func(ip InstancePlan) bool { return ip.Decision != Copy })
}

// Decision says what happens to an instance.
type Decision string

// The decisions about an instance.
const (
	// Copy copies the instance. What is at the destination already is not copied again.
	Copy Decision = "copy"
	// Skip does not.
	Skip Decision = "skip"
)

// EntryDecision says what happens to an entry of a list.
type EntryDecision string

// The decisions about an entry.
const (
	// KeepEntry leaves the entry as it is.
	KeepEntry EntryDecision = "keep"
	// StripEntry removes it.
	StripEntry EntryDecision = "strip"
	// UpdateEntry gives it the digest and size of the nested list that changed.
	UpdateEntry EntryDecision = "update"
)

// An InstancePlan says what happens to one instance of a list, and to its entry.
type InstancePlan struct {
	Index         int           `json:"index"`
	Digest        digest.Digest `json:"digest"`
	Size          int64         `json:"size"`
	MediaType     string        `json:"mediaType"`
	ArtifactType  string        `json:"artifactType,omitempty"`
	Platform      string        `json:"platform"`
	AttestationOf digest.Digest `json:"attestationOf,omitempty"`

	// Relation is what the entry is to another one, the Subject; "" if it stands for itself. Kind
	// is what people call it then: "attestation", "SOCI index", "Nydus image" or "zstd twin". An
	// entry that is no manifest has the Kind "cache layer", "cache config" or "layer", and one that
	// is known to be no image KindArtifact. Subject is "" if this list does not name it.
	Relation Relation      `json:"relation,omitempty"`
	Kind     string        `json:"kind,omitempty"`
	Subject  digest.Digest `json:"subject,omitempty"`

	Decision Decision      `json:"decision"`
	Entry    EntryDecision `json:"entry"`
	Reason   Reason        `json:"reason"`
	// Present is set if the instance, or the list that a nested one becomes, is known to be at the
	// destination.
	Present bool `json:"present,omitempty"`
	// Missing is set if the instance was selected and is missing at the source.
	Missing bool `json:"missing,omitempty"`
	// Nested is set if the entry names a list that was read.
	Nested *ListPlan `json:"nested,omitempty"`
}

// An ImagePlan says what happens to a single image.
type ImagePlan struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Kind      string        `json:"kind,omitempty"` // KindArtifact, or "" for an image
	Size      int64         `json:"size"`
	Platform  string        `json:"platform,omitempty"` // "" when unknown
	Reason    Reason        `json:"reason"`
	Present   bool          `json:"present,omitempty"`
}

// ReasonCode says why an instance is copied, or why not, for programs.
type ReasonCode string

// The reasons to copy an instance, and then the reasons not to.
const (
	ReasonAll      ReasonCode = "all"      // CopyAllImages, or everything that is not excluded
	ReasonDigest   ReasonCode = "digest"   // named by Instances
	ReasonIndex    ReasonCode = "index"    // named by InstanceIndexes
	ReasonPlatform ReasonCode = "platform" // matched by a platform filter
	ReasonWithin   ReasonCode = "within"   // in a nested list that was selected as a whole
	ReasonContains ReasonCode = "contains" // a nested list with something selected in it
	ReasonFollows  ReasonCode = "follows"  // an attestation or accelerator whose subject is copied
	ReasonKept     ReasonCode = "kept"     // an attestation, by KeepAllAttestations
	// ReasonPlatformless is a reason to copy an entry, and not to: it has no platform.
	ReasonPlatformless ReasonCode = "platformless"

	ReasonSystem ReasonCode = "system" // suits the running system
	ReasonSingle ReasonCode = "single" // the source is a single image
	ReasonEntire ReasonCode = "entire" // in a list that names blobs

	ReasonNotSelected ReasonCode = "not-selected"
	ReasonExcluded    ReasonCode = "excluded"  // by an excluding filter
	ReasonDropped     ReasonCode = "dropped"   // an attestation, by DropAttestations or ForceManifestMIMEType
	ReasonMissing     ReasonCode = "missing"   // selected, but it is missing, or all that was selected in it
	ReasonOrphaned    ReasonCode = "orphaned"  // it would follow a list that changes, or an image that is missing
	ReasonUntied      ReasonCode = "untied"    // it might follow, and nothing ties it to what could be selected
	ReasonElsewhere   ReasonCode = "elsewhere" // a blob with URLs, which stays there
)

// A Reason says why an instance is copied or not.
type Reason struct {
	Code ReasonCode `json:"code"`
	Text string     `json:"text"` // for people; never decide by it
}

// The reasons of attached manifests, beside ReasonFollows.
const (
	ReasonSubject ReasonCode = "subject" // its subject is not copied
	ReasonVoid    ReasonCode = "void"    // its subject is a list that changes
	ReasonType    ReasonCode = "type"    // not among ReferrerTypes
	ReasonEntry   ReasonCode = "entry"   // an entry of the list, too, and not copied as that
)

// An AttachedPlan says what happens to an attachment.
type AttachedPlan struct {
	Subject      digest.Digest `json:"subject"`
	Digest       digest.Digest `json:"digest"`
	Size         int64         `json:"size"`
	MediaType    string        `json:"mediaType"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Tag          string        `json:"tag,omitempty"`
	Child        bool          `json:"child,omitempty"`
	Elsewhere    bool          `json:"elsewhere,omitempty"` // Options.ReferrersFrom has it, and not the source
	Decision     Decision      `json:"decision"`
	Reason       Reason        `json:"reason"`
	// Present is set if it is known to be at the destination, and known there as what it is.
	Present bool `json:"present,omitempty"`

	annotations map[string]string
}

// Annotations returns those that the attachment is listed with; nil if the plan was read from JSON.
func (a *AttachedPlan) Annotations() map[string]string { return a.annotations }

// Wanted returns the distinct images that the plan wants at the destination, those that are there
// included.
func (p *Plan) Wanted() []digest.Digest {
	if p.Image != nil {
		return []digest.Digest{p.Image.Digest}
	}
	most := 0
	p.List.Walk(func(l *ListPlan) { most += len(l.copies) })
	wanted := slices.Grow([]digest.Digest(nil), most)
	seen := make(map[digest.Digest]bool, most)
	p.List.Walk(func(l *ListPlan) {
		for _, d := range l.copies {
			if !seen[d] {
				seen[d] = true
				wanted = append(wanted, d)
			}
		}
	})
	return wanted
}

// Lists returns the distinct digests of the lists that are written, as they are written.
func (p *Plan) Lists() []digest.Digest {
	if p.List == nil {
		return nil
	}
	return append(p.List.NestedLists(), p.List.Result)
}

// Walk calls f for l and for every list nested in it that is copied.
func (l *ListPlan) Walk(f func(*ListPlan)) {
	f(l)
	for i := range l.Instances {
		if ip := &l.Instances[i]; ip.Nested != nil && ip.Decision == Copy {
			ip.Nested.Walk(f)
		}
	}
}

// Sparse reports whether a list of the plan will name children that are absent.
func (p *Plan) Sparse() bool {
	sparse := false
	if p.List != nil {
		p.List.Walk(func(l *ListPlan) { sparse = sparse || len(l.Absent) > 0 })
	}
	return sparse
}

// NestedLists returns the distinct digests of the nested lists that are written, as they are
// written.
func (l *ListPlan) NestedLists() []digest.Digest {
	var nested []digest.Digest
	seen := map[digest.Digest]bool{}
	l.Walk(func(below *ListPlan) {
		if below != l && !seen[below.Result] {
			seen[below.Result] = true
			nested = append(nested, below.Result)
		}
	})
	return nested
}

// ToAttach returns the attachments that are to be copied.
func (p *Plan) ToAttach() []AttachedPlan {
	return slices.DeleteFunc(slices.Clone(p.Attached), func(a AttachedPlan) bool { return a.Decision != Copy || a.Present })
}

// Brings reports whether d is among what the plan wants at the destination as it is at the source.
func (p *Plan) Brings(d digest.Digest) bool {
	return slices.Contains(p.Wanted(), d) || slices.Contains(p.Lists(), d) ||
		slices.ContainsFunc(p.Attached, func(a AttachedPlan) bool { return a.Digest == d && a.Decision == Copy })
}

// Attests reports whether d is an attestation in one of the plan's lists.
func (p *Plan) Attests(d digest.Digest) bool {
	is := false
	if p.List != nil {
		p.List.Walk(func(l *ListPlan) {
			is = is || slices.ContainsFunc(l.Instances, func(ip InstancePlan) bool { return ip.Digest == d && ip.AttestationOf != "" })
		})
	}
	return is
}

// Strips reports whether the plan's list is one that only a copy like this one makes.
func (p *Plan) Strips() bool {
	return p.List != nil && p.Action == StripSparseManifestList && len(p.List.Edits) > 0
}

// WithWarnings returns the plan with more warnings, which what is done instead has, too.
func (p *Plan) WithWarnings(warnings []string) *Plan {
	if p == nil || len(warnings) == 0 {
		return p
	}
	out := *p
	out.Warnings = slices.Concat(p.Warnings, warnings)
	out.IfRefused = p.IfRefused.WithWarnings(warnings)
	return &out
}

// Subjects returns the lists and images that are copied, and of each whether it is a list that
// changes.
func (p *Plan) Subjects() map[digest.Digest]bool {
	changes := map[digest.Digest]bool{}
	for d, fate := range fates(p) {
		changes[d] = fate == subjectChanged
	}
	return changes
}

// Unselected returns the entries of the source's lists that the plan leaves behind, but for what
// was selected and is missing.
func (p *Plan) Unselected() map[digest.Digest]bool {
	entries, fate := map[digest.Digest]bool{}, fates(p)
	var look func(*ListPlan)
	look = func(l *ListPlan) {
		for i := range l.Instances {
			ip := &l.Instances[i]
			if fate[ip.Digest] == subjectAbsent && !ip.Missing {
				entries[ip.Digest] = true
			}
			if ip.Nested != nil {
				look(ip.Nested)
			}
		}
	}
	if p.List != nil {
		look(p.List)
	}
	return entries
}

// Changing returns the distinct lists that change under the plan, or under what is done instead if
// the destination refuses.
func (p *Plan) Changing() []digest.Digest {
	changes := map[digest.Digest]bool{}
	for _, plan := range []*Plan{p, p.IfRefused} {
		if plan == nil || plan.List == nil {
			continue
		}
		plan.List.Walk(func(l *ListPlan) {
			if l.Result != l.Digest {
				changes[l.Digest] = true
			}
		})
	}
	return slices.Sorted(maps.Keys(changes))
}

// Needs returns what has to be stored before l, if it is copied: its subject and its children, but
// for blobs.
func (l *ListPlan) Needs() []digest.Digest {
	needs := []digest.Digest{l.node.List.Subject()}
	for _, ip := range l.Instances {
		switch {
		case ip.Decision != Copy || ip.IsBlob():
		case ip.Nested != nil:
			needs = append(needs, ip.Nested.Result)
		default:
			needs = append(needs, ip.Digest)
		}
	}
	return needs
}

// IsBlob reports whether the instance is no manifest but a blob, which is copied as such.
func (ip *InstancePlan) IsBlob() bool { return manifest.IsBlobMediaType(ip.MediaType) }

// NamesBlobs reports whether an entry of the list names a blob in the place of a manifest. Nothing
// is stripped from such a list.
func (l *ListPlan) NamesBlobs() bool {
	for i := range l.Instances {
		if l.Instances[i].IsBlob() {
			return true
		}
	}
	return false
}

// BlobEntries returns the distinct blobs that the plan wants at the destination because its lists
// name them in the place of manifests, in first-seen order; those that are there included.
func (p *Plan) BlobEntries() []InstancePlan {
	if p.List == nil {
		return nil
	}
	var blobs []InstancePlan
	seen := map[digest.Digest]bool{}
	p.List.Walk(func(l *ListPlan) {
		for _, ip := range l.Instances {
			if ip.IsBlob() && ip.Decision == Copy && !seen[ip.Digest] {
				seen[ip.Digest] = true
				blobs = append(blobs, ip)
			}
		}
	})
	return blobs
}

// Judged returns what a signature policy has to allow: the distinct images that the plan wants at
// the destination, and the lists that name blobs, as they are at the source. Nothing but its list
// speaks for such a blob.
func (p *Plan) Judged() []digest.Digest {
	judged := p.Wanted()
	if p.List == nil {
		return judged
	}
	seen := map[digest.Digest]bool{}
	p.List.Walk(func(l *ListPlan) {
		if l.NamesBlobs() && !seen[l.Digest] {
			seen[l.Digest] = true
			judged = append(judged, l.Digest)
		}
	})
	return judged
}
