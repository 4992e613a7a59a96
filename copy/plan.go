package copy

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Document is a manifest or a list as bytes.
type Document struct {
	MediaType string // as whoever has it declares it; "" to go by the document
	Bytes     []byte // not modified
}

// PlanInput is all that a plan depends on. Maps and slices are not modified.
type PlanInput struct {
	// Source and Destination are names for people.
	Source, Destination string

	// Top is what the source reference names, and Digest its digest; "" means the SHA-256 of its bytes.
	Top    Document
	Digest digest.Digest
	// Documents are the nested lists and manifests that have been read, by digest. Every nested list must be here or in Missing.
	// Manifests may be left out: then their blobs are not counted.
	Documents map[digest.Digest]Document
	// Missing are the instances that the source definitely does not have.
	Missing map[digest.Digest]bool
	// Present are the manifests that are known to be at the destination, with everything that they name.
	Present map[digest.Digest]bool
	// Platform is what the config of a single image says. It is needed if Options filter or require platforms.
	Platform *imgspecv1.Platform
	// SignedLists are the numbers of signatures that the lists of the tree have at the source.
	SignedLists map[digest.Digest]int
	// DestinationDigest is the digest in the destination reference, "" if it has none.
	DestinationDigest digest.Digest
	// Sparse is what is known about the destination's view of sparse lists.
	Sparse SparseSupport
	// System is the instance that CopySystemImage copies.
	System digest.Digest

	// Options are those of the copy; nil means the defaults.
	Options *Options
}

// SparseSupport says whether a destination accepts sparse lists, as far as that is known. The zero value knows nothing.
type SparseSupport struct {
	Known bool
	// Accepts is meaningful only if Known.
	Accepts bool
	// RequiredArchitectures must be there all the same. Only if Accepts.
	RequiredArchitectures []string
	// Basis says how that is known.
	Basis string
}

// PlanSchema names the JSON form of a Plan. The number changes when a reader of the old form would go wrong.
const PlanSchema = "sparsecopy.plan/v1"

// A Plan says what a copy will do, before anything is written. It is a value: it does nothing, and whoever has it must not change it.
type Plan struct {
	Schema      string `json:"schema"` // PlanSchema
	Source      string `json:"source"`
	Destination string `json:"destination"`

	// Way is who does the work, and WayReason why it is not done natively.
	Way       Way    `json:"way"`
	WayReason string `json:"wayReason,omitempty"`

	// Asked is the action in the options, Action what this plan does: Keep or Strip. ActionReason says why they differ.
	Asked        SparseManifestListAction `json:"asked"`
	Action       SparseManifestListAction `json:"action"`
	ActionReason string                   `json:"actionReason,omitempty"`

	// Digest is what the destination will name; "" when children will change.
	Digest digest.Digest `json:"digest,omitempty"`
	// List is set if and only if a list is copied, Image if and only if a single image is.
	List  *ListPlan  `json:"list,omitempty"`
	Image *ImagePlan `json:"image,omitempty"`

	// Copies are the distinct manifests of images that are copied, in first-seen order. What is known to be at the destination is
	// not among them.
	Copies []digest.Digest `json:"copies"`
	// Blobs and Bytes are the distinct blobs of Copies, and their size in bytes. Less may move: blobs may be there already.
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
	// Unread is the number of Copies whose manifests were not given, or are Docker schema 1: Blobs and Bytes leave them out.
	Unread int `json:"unread,omitempty"`

	// Void names what will be without effect at the destination, such as signatures of a list that changes.
	Void []string `json:"void,omitempty"`
	// Warnings are for people.
	Warnings []string `json:"warnings,omitempty"`

	// IfRefused is what will be done instead if the destination refuses the sparse list. Set only under Auto.
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
	// Edits make the list that is written out of the one at the source. Empty if and only if it stays as it is.
	Edits []manifest.ListEdit `json:"-"`
	// Result and ResultSize describe the list that is written.
	Result     digest.Digest `json:"result"`
	ResultSize int64         `json:"resultSize"`
	// Absent are the distinct children that the written list names and that will not be at the destination.
	Absent []digest.Digest `json:"absent,omitempty"`

	result []byte
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

	Decision Decision      `json:"decision"`
	Entry    EntryDecision `json:"entry"`
	Reason   Reason        `json:"reason"`
	// Present is set if the instance is known to be at the destination.
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
	Size      int64         `json:"size"`
	Platform  string        `json:"platform,omitempty"` // "" when unknown
	Reason    Reason        `json:"reason"`
	Present   bool          `json:"present,omitempty"`
}

// NewPlan decides what a copy will do. It does no I/O, and the same input gives the same plan, whatever the order of selectors.
//
// Errors are those of the documents (*manifest.ParseError, *LimitError, *UnreadError) and of the decisions: *OptionsError,
// *NoMatchError, *RequiredError, *MissingError, *EmptyError, *CannotModifyError, *SparseRefusedError.
func NewPlan(in PlanInput) (*Plan, error) {
	if in.Options == nil {
		in.Options = &Options{}
	}
	if err := in.Options.validate(); err != nil {
		return nil, err
	}
	if in.Digest == "" {
		in.Digest = digest.FromBytes(in.Top.Bytes)
	}
	if !isList(in.Top) {
		return planSingle(in)
	}
	if in.Options.ImageListSelection == CopySystemImage {
		return planSystem(in)
	}
	return planMulti(in)
}

// UnreadError says that nested lists were not given to NewPlan.
type UnreadError struct {
	Lists []digest.Digest
}

func (e *UnreadError) Error() string {
	return fmt.Sprintf("nested lists were not read: %s", someOf(digestStrings(e.Lists)))
}

// newPlan returns the part of a plan that every kind of copy has.
func (in *PlanInput) newPlan() *Plan {
	return &Plan{
		Schema: PlanSchema, Source: in.Source, Destination: in.Destination,
		Way: Native, Asked: in.Options.SparseManifestListAction, Action: KeepSparseManifestList, Copies: []digest.Digest{},
	}
}

// planSingle plans the copy of a source that is a single image.
func planSingle(in PlanInput) (*Plan, error) {
	if in.Options.RemoveListSignatures && in.Options.ImageListSelection == CopySystemImage {
		return nil, &OptionsError{[]string{"RemoveListSignatures"}, "not applicable when copying a single instance"}
	}
	if err := checkSinglePlatform(in); err != nil {
		return nil, err
	}
	reason := Reason{ReasonSingle, "the source is a single image"}
	return in.imagePlan(in.Digest, in.Top, reason, platform.Format(in.Platform))
}

// planSystem plans the copy of the one instance of a list that suits the running system.
func planSystem(in PlanInput) (*Plan, error) {
	if in.Options.RemoveListSignatures {
		return nil, &OptionsError{[]string{"RemoveListSignatures"}, "not applicable when copying a single instance"}
	}
	list, err := manifest.Parse(in.Top.Bytes, in.Top.MediaType)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", in.Digest, err)
	}
	for _, instance := range list.Instances() {
		if instance.Digest != in.System {
			continue
		}
		if in.Missing[instance.Digest] && !in.Present[instance.Digest] {
			return nil, &MissingError{[]MissingInstance{{instance.Digest, platform.Format(instance.Platform)}}}
		}
		if err := in.checkSystemRequired(instance); err != nil {
			return nil, err
		}
		doc := in.Documents[instance.Digest]
		if doc.MediaType == "" {
			doc.MediaType = instance.MediaType
		}
		return in.imagePlan(instance.Digest, doc, Reason{ReasonSystem, "suits this system"}, platform.Format(instance.Platform))
	}
	return nil, fmt.Errorf("list %s has no instance %s", in.Digest, in.System)
}

func (in *PlanInput) checkSystemRequired(instance manifest.Instance) error {
	var failed []RequiredPlatform
	for _, f := range in.Options.RequiredPlatforms {
		if !platform.Pattern(f).Matches(instance.Platform) {
			failed = append(failed, RequiredPlatform{Platform: f.String(), Reason: "not selected"})
		}
	}
	return in.requiredError(failed)
}

func (in *PlanInput) imagePlan(d digest.Digest, doc Document, reason Reason, platform string) (*Plan, error) {
	if want := in.DestinationDigest; want != "" && want != d {
		return nil, &CannotModifyError{d, fmt.Sprintf("the destination names the digest %s", want)}
	}
	p := in.newPlan()
	p.Digest = d
	p.Image = &ImagePlan{
		Digest: d, MediaType: doc.MediaType, Size: int64(len(doc.Bytes)), Platform: platform, Reason: reason, Present: in.Present[d],
	}
	if !p.Image.Present {
		p.Copies = []digest.Digest{d}
	}
	docs := map[digest.Digest]Document{}
	if len(doc.Bytes) > 0 {
		docs[d] = doc
	}
	return p, p.count(docs)
}

// checkSinglePlatform holds the platform of a single image against filters and requirements.
func checkSinglePlatform(in PlanInput) error {
	var failed []RequiredPlatform
	for _, f := range in.Options.RequiredPlatforms {
		if !platform.Pattern(f).Matches(in.Platform) {
			failed = append(failed, RequiredPlatform{Platform: f.String(), Reason: "the source is a single image for " + platform.Format(in.Platform)})
		}
	}
	if len(failed) > 0 {
		return in.requiredError(failed)
	}
	if in.Options.ImageListSelection != CopySpecificImages {
		return nil
	}
	include, exclude := newFilters(in.Options.InstancePlatforms, in.Options.OptionalPlatforms)
	matches := func(f *filter) bool { return f.Matches(in.Platform) }
	if slices.ContainsFunc(exclude, matches) || len(include) > 0 && !slices.ContainsFunc(include, matches) {
		asked := make([]string, 0, len(include)+len(exclude))
		for _, f := range append(include, exclude...) {
			asked = append(asked, f.text)
		}
		return &NoMatchError{Asked: sorted(asked), Offered: []string{platform.Format(in.Platform)}}
	}
	return nil
}

// needsPlatform says whether the plan of a single image needs PlanInput.Platform.
func (o *Options) needsPlatform() bool {
	return len(o.RequiredPlatforms) > 0 ||
		o.ImageListSelection == CopySpecificImages && len(o.InstancePlatforms)+len(o.OptionalPlatforms) > 0
}

// planMulti plans the copy of a list.
func planMulti(in PlanInput) (*Plan, error) {
	tree, err := in.tree()
	if err != nil {
		return nil, err
	}
	gone := func(d digest.Digest) bool { return in.Missing[d] && !in.Present[d] }
	sel, err := selectInstances(tree.Root, in.Options, gone)
	if err != nil {
		return nil, err
	}
	if err := in.checkRequired(tree.Root, sel); err != nil {
		return nil, err
	}
	if err := in.checkMissing(tree.Root, sel); err != nil {
		return nil, err
	}
	return in.decideAction(&treePlanner{in: &in, sel: sel}, tree.Root)
}

// tree arranges the documents of the input.
func (in *PlanInput) tree() (*listtree.Tree, error) {
	var b listtree.Builder
	if err := b.Add(in.Digest, listtree.Document(in.Top)); err != nil {
		return nil, err
	}
	for {
		tree, err := b.Build(in.Digest)
		if err != nil {
			return nil, err
		}
		var unread []digest.Digest
		added := false
		for _, d := range tree.Unread {
			if doc, ok := in.Documents[d]; ok {
				if err := b.Add(d, listtree.Document(doc)); err != nil {
					return nil, err
				}
				added = true
			} else if !in.Missing[d] {
				unread = append(unread, d)
			}
		}
		if !added {
			if len(unread) > 0 {
				return nil, &UnreadError{unread}
			}
			return tree, nil
		}
	}
}

// checkRequired holds the selection against the required platforms.
func (in *PlanInput) checkRequired(root *listtree.Node, sel *selection) error {
	var failed []RequiredPlatform
	for _, f := range in.Options.RequiredPlatforms {
		if r := requirement(root, sel, platform.Pattern(f)); r.Reason != "" {
			r.Platform = f.String()
			failed = append(failed, r)
		}
	}
	return in.requiredError(failed)
}

func (in *PlanInput) requiredError(failed []RequiredPlatform) error {
	if len(failed) == 0 {
		return nil
	}
	all := make([]string, len(in.Options.RequiredPlatforms))
	for i, f := range in.Options.RequiredPlatforms {
		all[i] = f.String()
	}
	slices.SortFunc(failed, func(a, b RequiredPlatform) int { return cmp.Compare(a.Platform, b.Platform) })
	return &RequiredError{Failed: failed, Required: sorted(all)}
}

// requirement says why no selected instance meets p, or why one that was selected does not; the Reason is "" if p is met.
func requirement(root *listtree.Node, sel *selection, p platform.Pattern) RequiredPlatform {
	var listed, missing digest.Digest
	met := false
	root.Walk(func(n *listtree.Node) {
		for i, instance := range n.Instances {
			if _, ok := instance.AttestationOf(); ok || instance.IsList() || !p.Matches(instance.Platform) {
				continue
			}
			v := sel.verdicts[n][i]
			met = met || v.wanted
			if listed == "" {
				listed = instance.Digest
			}
			if v.missing && missing == "" {
				missing = instance.Digest
			}
		}
	})
	switch {
	case missing != "":
		return RequiredPlatform{Digest: missing, Reason: "missing at the source"}
	case listed == "":
		return RequiredPlatform{Reason: "not in the list"}
	case !met:
		return RequiredPlatform{Digest: listed, Reason: "not selected"}
	}
	return RequiredPlatform{}
}

// checkMissing applies Options.MissingInstances.
func (in *PlanInput) checkMissing(root *listtree.Node, sel *selection) error {
	var missing []MissingInstance
	seen := map[digest.Digest]bool{}
	skipped, wanted := 0, 0
	root.Walk(func(n *listtree.Node) {
		for i, v := range sel.verdicts[n] {
			instance := n.Instances[i]
			if v.wanted {
				wanted++
			}
			if !v.missing || v.lenient {
				continue
			}
			skipped++
			if !seen[instance.Digest] {
				seen[instance.Digest] = true
				missing = append(missing, MissingInstance{instance.Digest, platform.Format(instance.Platform)})
			}
		}
	})
	if len(missing) == 0 {
		return nil
	}
	if in.Options.MissingInstances == FailOnMissing {
		return &MissingError{missing}
	}
	if wanted == 0 {
		return &EmptyError{Entries: len(root.Instances), Missing: skipped}
	}
	return nil
}

// decideAction plans Keep or Strip, or both under Auto.
func (in *PlanInput) decideAction(t *treePlanner, root *listtree.Node) (*Plan, error) {
	switch in.Options.SparseManifestListAction {
	case StripSparseManifestList:
		return t.plan(root, true)
	case AutoSparseManifestList:
		return in.decideAuto(t, root)
	}
	keep, err := t.plan(root, false)
	if err != nil {
		return nil, err
	}
	if refusal := in.foreseenRefusal(t, keep); refusal != nil {
		return nil, &SparseRefusedError{
			List: refusal.list, Absent: refusal.absent, Refusal: refusal, NotStripped: "SparseManifestListAction is keep",
		}
	}
	return keep, nil
}

func (in *PlanInput) decideAuto(t *treePlanner, root *listtree.Node) (*Plan, error) {
	keep, err := t.plan(root, false)
	if err != nil {
		return nil, err
	}
	if !keep.sparse() {
		keep.ActionReason = "nothing that the list names will be absent"
		return keep, nil
	}
	strip, stripErr := t.plan(root, true)
	refusal := in.foreseenRefusal(t, keep)
	switch {
	case refusal != nil && stripErr == nil:
		strip.ActionReason = refusal.Error()
		return strip, nil
	case refusal != nil:
		return nil, &SparseRefusedError{
			List: refusal.list, Absent: refusal.absent, Refusal: refusal, NotStripped: stripErr.Error(),
		}
	case stripErr != nil:
		keep.IfRefusedNot = stripErr.Error()
	default:
		strip.ActionReason = "the destination refused the sparse list"
		keep.IfRefused = strip
	}
	keep.ActionReason = "the digest stays, if the destination takes the sparse list"
	if in.Sparse.Known {
		keep.ActionReason = "the destination takes sparse lists: " + in.Sparse.Basis
	}
	return keep, nil
}

// A foreseen refusal is what is known of the destination before anything is written.
type foreseen struct {
	list   digest.Digest
	absent []digest.Digest
	why    string
}

func (f *foreseen) Error() string { return f.why }

// foreseenRefusal says why the destination will refuse a list of the plan, and returns nil if that is not known.
func (in *PlanInput) foreseenRefusal(t *treePlanner, p *Plan) (out *foreseen) {
	if !in.Sparse.Known {
		return nil
	}
	p.List.walk(func(l *ListPlan) {
		if out != nil || len(l.Absent) == 0 {
			return
		}
		if !in.Sparse.Accepts {
			out = &foreseen{l.Result, l.Absent, "the destination refuses sparse lists: " + in.Sparse.Basis}
			return
		}
		if lacking := in.requiredByDestination(t, l); lacking != "" {
			out = &foreseen{l.Result, l.Absent, fmt.Sprintf("the destination requires %s: %s", lacking, in.Sparse.Basis)}
		}
	})
	return out
}

// requiredByDestination returns the platform of an absent child of l that the destination requires, "" if there is none.
func (in *PlanInput) requiredByDestination(t *treePlanner, l *ListPlan) string {
	policy := manifest.SparsePolicy{Enabled: true, RequiredArchitectures: in.Sparse.RequiredArchitectures}
	for _, instance := range t.nodes[l].Instances {
		if policy.Requires(instance) && slices.Contains(l.Absent, instance.Digest) {
			return platform.Format(instance.Platform)
		}
	}
	return ""
}

// A treePlanner plans what happens to a selected tree.
type treePlanner struct {
	in    *PlanInput
	sel   *selection
	nodes map[*ListPlan]*listtree.Node
}

// plan plans the whole tree, kept or stripped.
func (t *treePlanner) plan(root *listtree.Node, strip bool) (*Plan, error) {
	t.nodes = map[*ListPlan]*listtree.Node{}
	list, err := t.list(root, strip)
	if err != nil {
		return nil, err
	}
	p := t.in.newPlan()
	p.List = list
	p.Digest = list.Result
	p.Warnings = t.sel.warnings
	if strip {
		p.Action = StripSparseManifestList
		if len(list.Edits) == 0 {
			p.ActionReason = "nothing to strip"
		}
	}
	if want := t.in.DestinationDigest; want != "" && want != p.Digest {
		return nil, &CannotModifyError{root.Digest, fmt.Sprintf("the destination names the digest %s", want)}
	}
	p.Copies = t.copies(root)
	t.void(p)
	return p, p.count(t.in.Documents)
}

// copies returns the distinct images of the tree that are copied and not known to be at the destination.
func (t *treePlanner) copies(root *listtree.Node) []digest.Digest {
	copies := []digest.Digest{}
	seen := map[digest.Digest]bool{}
	root.Walk(func(n *listtree.Node) {
		for i, instance := range n.Instances {
			nested := n.Nested[i] != nil
			if t.sel.verdicts[n][i].wanted && !nested && !t.in.Present[instance.Digest] && !seen[instance.Digest] {
				seen[instance.Digest] = true
				copies = append(copies, instance.Digest)
			}
		}
	})
	return copies
}

// list plans one list, and the lists nested in it first: an entry that names a changed list is updated.
func (t *treePlanner) list(n *listtree.Node, strip bool) (*ListPlan, error) {
	l := &ListPlan{Digest: n.Digest, MediaType: n.List.MediaType(), Size: int64(len(n.Bytes))}
	t.nodes[l] = n
	copied := make([]bool, len(n.Instances))
	var updates []manifest.ListEdit
	for i, instance := range n.Instances {
		ip := t.instance(n, i, instance)
		copied[i] = ip.Decision == Copy
		if nested := n.Nested[i]; nested != nil {
			inner, err := t.list(nested, strip && copied[i])
			if err != nil {
				return nil, err
			}
			ip.Nested = inner
			if inner.Result != inner.Digest {
				ip.Entry = UpdateEntry
				updates = append(updates, manifest.ListEdit{
					ListOperation: manifest.ListOpUpdate, UpdateIndex: i, UpdateDigest: inner.Result, UpdateSize: inner.ResultSize,
				})
			}
		}
		l.Instances = append(l.Instances, ip)
	}
	decided, err := prepareInstanceCopies(n.Instances, copied, strip)
	if err != nil {
		return nil, err
	}
	for _, e := range decided.deletes {
		l.Instances[e.DeleteIndex].Entry = StripEntry
	}
	l.Edits = append(updates, decided.deletes...)
	l.Absent = t.absent(l, copied)
	return l, t.edit(n, l)
}

func (t *treePlanner) instance(n *listtree.Node, i int, instance manifest.Instance) InstancePlan {
	v := t.sel.verdicts[n][i]
	ip := InstancePlan{
		Index: i, Digest: instance.Digest, Size: instance.Size, MediaType: instance.MediaType, ArtifactType: instance.ArtifactType,
		Platform: platform.Format(instance.Platform),
		Decision: Skip, Entry: KeepEntry, Reason: v.reason, Missing: v.missing, Present: t.in.Present[instance.Digest],
	}
	ip.AttestationOf, _ = instance.AttestationOf()
	if v.wanted {
		ip.Decision = Copy
	}
	return ip
}

// absent returns the children that stay in the list and will not be at the destination.
func (t *treePlanner) absent(l *ListPlan, copied []bool) []digest.Digest {
	there := map[digest.Digest]bool{}
	for i, ip := range l.Instances {
		if copied[i] || ip.Present {
			there[ip.Digest] = true
		}
	}
	var absent []digest.Digest
	for _, ip := range l.Instances {
		if ip.Entry != StripEntry && !there[ip.Digest] {
			there[ip.Digest] = true // name it once
			absent = append(absent, ip.Digest)
		}
	}
	return absent
}

// edit applies the edits of l and fills in its result.
func (t *treePlanner) edit(n *listtree.Node, l *ListPlan) error {
	l.result, l.Result, l.ResultSize = n.Bytes, n.Digest, l.Size
	if len(l.Edits) == 0 {
		return nil
	}
	if reason := t.cannotModify(n.Digest); reason != "" {
		return &CannotModifyError{n.Digest, reason}
	}
	edited := n.List.Clone()
	if err := edited.EditInstances(l.Edits); err != nil {
		return fmt.Errorf("list %s: %w", n.Digest, err)
	}
	result, err := edited.Serialize()
	if err != nil {
		return fmt.Errorf("list %s: %w", n.Digest, err)
	}
	l.result, l.Result, l.ResultSize = result, n.Digest.Algorithm().FromBytes(result), int64(len(result))
	return nil
}

// cannotModify says why the list with digest d must not change, "" if it may.
func (t *treePlanner) cannotModify(d digest.Digest) string {
	o := t.in.Options
	switch {
	case o.PreserveDigests:
		return "PreserveDigests is set"
	case t.in.DestinationDigest != "":
		return fmt.Sprintf("the destination names the digest %s", t.in.DestinationDigest)
	case t.in.SignedLists[d] > 0 && !o.RemoveSignatures && !o.RemoveListSignatures:
		return fmt.Sprintf("it is signed, and its signatures (%d) would become invalid; RemoveListSignatures removes them", t.in.SignedLists[d])
	}
	return ""
}

// void notes signatures that lose their object.
func (t *treePlanner) void(p *Plan) {
	p.List.walk(func(l *ListPlan) {
		if n := t.in.SignedLists[l.Digest]; n > 0 && l.Result != l.Digest {
			p.Void = append(p.Void, fmt.Sprintf("signatures of the list %s (%d)", l.Digest, n))
		}
	})
}

// wantedImages returns the distinct images that the plan wants at the destination, those that are there included.
func (p *Plan) wantedImages() []digest.Digest {
	if p.Image != nil {
		return []digest.Digest{p.Image.Digest}
	}
	var wanted []digest.Digest
	seen := map[digest.Digest]bool{}
	p.List.walk(func(l *ListPlan) {
		for _, ip := range l.Instances {
			if ip.Decision == Copy && ip.Nested == nil && !seen[ip.Digest] {
				seen[ip.Digest] = true
				wanted = append(wanted, ip.Digest)
			}
		}
	})
	return wanted
}

// walk calls f for l and for every list nested in it that is copied.
func (l *ListPlan) walk(f func(*ListPlan)) {
	f(l)
	for _, ip := range l.Instances {
		if ip.Nested != nil && ip.Decision == Copy {
			ip.Nested.walk(f)
		}
	}
}

// sparse says whether a list of the plan will name children that are absent.
func (p *Plan) sparse() bool {
	sparse := false
	if p.List != nil {
		p.List.walk(func(l *ListPlan) { sparse = sparse || len(l.Absent) > 0 })
	}
	return sparse
}

// count fills in what the copies of the plan need to move at most.
func (p *Plan) count(docs map[digest.Digest]Document) error {
	seen := map[digest.Digest]bool{}
	for _, d := range p.Copies {
		doc, ok := docs[d]
		if !ok {
			p.Unread++
			continue
		}
		image, err := parseImage(doc)
		if err != nil {
			return fmt.Errorf("manifest %s: %w", d, err)
		}
		if image == nil {
			p.Unread++
			continue
		}
		for _, b := range blobsOf(image) {
			if seen[b.Digest] {
				continue
			}
			seen[b.Digest] = true
			p.Blobs++
			p.Bytes = addSize(p.Bytes, b.Size)
		}
	}
	return nil
}

// addSize adds sizes that strangers state.
func addSize(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func digestStrings(ds []digest.Digest) []string {
	s := make([]string, len(ds))
	for i, d := range ds {
		s[i] = d.String()
	}
	return s
}
