package plan

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Schema names the JSON form of a Plan. The number changes when a reader of the old form would go
// wrong.
const Schema = "sparsecopy.plan/v2"

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

	// Copies are the distinct manifests of images that are carried as they are, in first-seen
	// order. What is known to be at the destination is not among them, nor is what is transformed:
	// see Transforms.
	Copies []digest.Digest `json:"copies"`
	// Attached are the referrers and digest tags that are known.
	Attached []AttachedPlan `json:"attached,omitempty"`
	// Original is what is attached to a list that changes, so that it can be verified without the
	// source. Set if and only if Options.AttachOriginal is, and the top-level list changes.
	Original *OriginalPlan `json:"original,omitempty"`
	// Widened are the children that are added to lists at the destination and get tags there,
	// sorted: see Options.WidenedChildTags.
	Widened []digest.Digest `json:"widened,omitempty"`
	// Blobs and Bytes are the distinct blobs of Copies, of Transforms as they are at the source,
	// and of what is attached, the original included, and their size in bytes. Less may move: blobs
	// may be there already.
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
	// Unread is the number of these images whose manifests were not given, or are Docker schema 1:
	// Blobs and Bytes leave them out.
	Unread int `json:"unread,omitempty"`

	// PlatformlessKept and PlatformlessLeft are the numbers of entries without a platform that are
	// copied, or left behind, where platforms select: see Options.PlatformlessEntries.
	PlatformlessKept int `json:"platformlessKept,omitempty"`
	PlatformlessLeft int `json:"platformlessLeft,omitempty"`

	// NotListed are the digests in Options.Instances that no list of the source names, sorted. Each
	// has a warning, too.
	NotListed []digest.Digest `json:"notListed,omitempty"`
	// Void names what will be without effect at the destination: signatures of a list that changes,
	// attestations of one, or of an image that changes, and annotations by which images name what
	// accelerates them and is not copied.
	Void []string `json:"void,omitempty"`
	// Warnings are for people.
	Warnings []string `json:"warnings,omitempty"`

	// IfRefused is what will be done instead if the destination refuses the sparse list. Set only
	// under Auto.
	IfRefused *Plan `json:"ifRefused,omitempty"`
	// IfRefusedNot says why nothing else would be done then. Set only under Auto.
	IfRefusedNot string `json:"ifRefusedNot,omitempty"`

	contents map[digest.Digest]int64 // see ContentSize
}

// ContentSize returns the size in bytes of the config and layers of an image that is to be copied
// or attached, as its manifest states it; 0 if d is none, or its manifest was not given.
func (p *Plan) ContentSize(d digest.Digest) int64 { return p.contents[d] }

// Way is who does the work of a copy.
type Way string

// The two ways to copy.
const (
	// Native is this package's own engine.
	Native Way = "native"
	// Upstream is go.podman.io/image/v5/copy, with the instances that were planned.
	Upstream Way = "upstream"
)

// An ImagePlan says what happens to a single image.
type ImagePlan struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Kind      string        `json:"kind,omitempty"` // KindArtifact, or "" for an image
	Size      int64         `json:"size"`
	Platform  string        `json:"platform,omitempty"` // "" when unknown
	Reason    Reason        `json:"reason"`
	// Transform is why the image is transformed; "" if it is carried as it is. Became is what it
	// becomes, nil until that is known.
	Transform string  `json:"transform,omitempty"`
	Became    *Became `json:"became,omitempty"`
	// Present is set if the image, or what it becomes, is known to be at the destination.
	Present bool `json:"present,omitempty"`
}

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

// Wanted returns the distinct images that the plan wants at the destination, as they are at the
// source, those that are there already included.
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

// Lists returns the distinct digests of the lists that are written, as they are written. It leaves
// out what is not known yet.
func (p *Plan) Lists() []digest.Digest {
	switch {
	case p.List == nil:
		return nil
	case p.List.Result == "":
		return p.List.NestedLists()
	}
	return append(p.List.NestedLists(), p.List.Result)
}

// Sparse reports whether a list of the plan will name children that are absent.
func (p *Plan) Sparse() bool {
	sparse := false
	if p.List != nil {
		p.List.Walk(func(l *ListPlan) { sparse = sparse || len(l.Absent) > 0 })
	}
	return sparse
}

// ToAttach returns the attachments that are to be copied, but for signatures that go with the
// Original: whoever attaches that keeps them, too, and can do without.
func (p *Plan) ToAttach() []AttachedPlan {
	return slices.DeleteFunc(slices.Clone(p.Attached), func(a AttachedPlan) bool {
		return a.Decision != Copy || a.Present || a.Reason.Code == ReasonOriginal
	})
}

// Brings reports whether d is among what the plan wants at the destination, as it is there.
func (p *Plan) Brings(d digest.Digest) bool {
	return slices.Contains(p.Stored(), d) || slices.Contains(p.Lists(), d) ||
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

// Strips reports whether an entry is removed from a list of the plan, which is one that only a copy
// like this one makes, then.
func (p *Plan) Strips() bool {
	strips := false
	if p.List != nil {
		p.List.Walk(func(l *ListPlan) {
			strips = strips || slices.ContainsFunc(l.Instances, func(ip InstancePlan) bool { return ip.Entry == StripEntry })
		})
	}
	return strips
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

// Result returns the digest that the image has at the destination, "" until that is known.
func (i *ImagePlan) Result() digest.Digest { return resultOf(i.Digest, i.Transform, i.Became) }

// each calls f for each image that the plan wants at the destination, as often as lists name it. It
// is told the digest at the source and that at the destination, "" if that is not known; why the
// image is transformed, "" if it is carried; and whether it is known to be there.
func (p *Plan) each(f func(d, result digest.Digest, transform string, present bool)) {
	if p.Image != nil {
		f(p.Image.Digest, p.Image.Result(), p.Image.Transform, p.Image.Present)
	}
	if p.List == nil {
		return
	}
	p.List.Walk(func(l *ListPlan) {
		for i := range l.Instances {
			if ip := &l.Instances[i]; ip.Decision == Copy && ip.isImage() {
				f(ip.Digest, ip.Result(), ip.Transform, ip.Present)
			}
		}
	})
}

// eachVariant calls f for each variant that is added to a list of the plan.
func (p *Plan) eachVariant(f func(*VariantPlan)) {
	if p.List == nil {
		return
	}
	p.List.Walk(func(l *ListPlan) {
		for i := range l.Variants {
			f(&l.Variants[i])
		}
	})
}

// Transformed returns why images are transformed, by their digests at the source: those of
// Transforms, and those whose results are at the destination.
func (p *Plan) Transformed() map[digest.Digest]string {
	reasons := map[digest.Digest]string{}
	p.each(func(d, _ digest.Digest, transform string, _ bool) {
		if transform != "" {
			reasons[d] = transform
		}
	})
	return reasons
}

// Transforms returns the distinct images that have to be transformed, in first-seen order, and then
// the variants that have to be made of images: those whose results are not known to be at the
// destination.
func (p *Plan) Transforms() []Transform {
	var transforms []Transform
	seen := map[digest.Digest]bool{}
	p.each(func(d, _ digest.Digest, transform string, present bool) {
		if transform != "" && !present && !seen[d] {
			seen[d] = true
			transforms = append(transforms, Transform{Digest: d, Reason: transform})
		}
	})
	added := map[TransformKey]bool{}
	p.eachVariant(func(v *VariantPlan) {
		t := Transform{Digest: v.Of, Format: v.Format, Reason: variantsOption + " adds a variant with " + v.Format}
		if !v.Present && !added[t.Key()] {
			added[t.Key()] = true
			transforms = append(transforms, t)
		}
	})
	return transforms
}

// Stored returns the distinct manifests of the images that the plan wants at the destination, as
// they are there, those that are there already included; in first-seen order. It leaves out what is
// not known yet.
func (p *Plan) Stored() []digest.Digest {
	var stored []digest.Digest
	seen := map[digest.Digest]bool{}
	add := func(result digest.Digest) {
		if result != "" && !seen[result] {
			seen[result] = true
			stored = append(stored, result)
		}
	}
	p.each(func(_, result digest.Digest, _ string, _ bool) { add(result) })
	p.eachVariant(func(v *VariantPlan) { add(v.Result()) })
	return slices.Clip(stored)
}

// carried returns the distinct images that are carried and not known to be at the destination, in
// first-seen order.
func (p *Plan) carried() []digest.Digest {
	carried := []digest.Digest{}
	seen := map[digest.Digest]bool{}
	p.each(func(d, _ digest.Digest, transform string, present bool) {
		if transform == "" && !present && !seen[d] {
			seen[d] = true
			carried = append(carried, d)
		}
	})
	return carried
}
