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
	MediaType string // as whoever has it declares it, "" for not at all; the document's own word goes before it
	Bytes     []byte // not modified

	misdeclared string // what it was declared to be, once MediaType is what it is; "" if that was right
}

// PlanInput is all that a plan depends on. Maps and slices are not modified. That documents match their digests is assumed, not
// checked.
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
	// Stored are manifests and lists that are known to be at the destination, beside Present, whatever they lack there. Nil for none.
	Stored map[digest.Digest]bool
	// PresenceUnknown are manifests of which the destination did not tell whether it has them: no plan is made as if they were absent there,
	// nor as if they were not. Nil for none.
	PresenceUnknown map[digest.Digest]bool
	// Platform is what the config of a single image says. It is needed if Options filter or require platforms.
	Platform *imgspecv1.Platform
	// Attachments are the referrers and digest tags that are known, of whatever subjects, and theirs in turn.
	Attachments []Attachment
	// SignedLists are the numbers of signatures that the lists of the tree have at the source.
	SignedLists map[digest.Digest]int
	// ListSignatures are the signatures that are known to be attached to lists of the tree, beside SignedLists.
	ListSignatures map[digest.Digest]ListSignatures
	// SignaturesUnknown are the lists and images of which the source does not tell whether they are signed. Nil for none.
	SignaturesUnknown map[digest.Digest]bool
	// DestinationDigest is the digest in the destination reference, "" if it has none.
	DestinationDigest digest.Digest
	// DestinationTop is what the destination reference names, "" if nothing, or if that is not known. Under Auto, a list that was stripped
	// stays so.
	DestinationTop digest.Digest
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
	// Widens says that children stay which are added to a list that is there. Only if Accepts.
	Widens bool
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
	// Attached are the referrers and digest tags that are known.
	Attached []AttachedPlan `json:"attached,omitempty"`
	// Widened are the children that are added to lists at the destination and get tags there, sorted: see Options.WidenedChildTags.
	Widened []digest.Digest `json:"widened,omitempty"`
	// Blobs and Bytes are the distinct blobs of Copies and of what is attached, and their size in bytes. Less may move: blobs may be
	// there already.
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
	// Unread is the number of Copies whose manifests were not given, or are Docker schema 1: Blobs and Bytes leave them out.
	Unread int `json:"unread,omitempty"`

	// NotListed are the digests in Options.Instances that no list of the source names, sorted. Each has a warning, too.
	NotListed []digest.Digest `json:"notListed,omitempty"`
	// Void names what will be without effect at the destination: signatures of a list that changes, and attestations of one.
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

	// A plan that was read from JSON has none of these.
	node   *listtree.Node  // the list at the source
	copies []digest.Digest // the distinct images of this list that are copied, in first-seen order
	result []byte          // the list that is written
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
	// Present is set if the instance, or the list that a nested one becomes, is known to be at the destination.
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
// *RequiredError, *NoMatchError, *MissingError, *EmptyError, *CannotModifyError, *SparseRefusedError, *WidenError; the first of these that
// applies, in this order.
func NewPlan(in PlanInput) (*Plan, error) {
	if in.Options == nil {
		in.Options = &Options{}
	}
	if err := in.Options.validate(); err != nil {
		return nil, err
	}
	if err := in.normalize(); err != nil {
		return nil, err
	}
	if !isList(in.Top) {
		return planSingle(in)
	}
	if in.Options.ImageListSelection == CopySystemImage {
		return planSystem(in)
	}
	return planMulti(in)
}

// normalize fills in what may be left out, and refuses digests that nothing could be compared with.
func (in *PlanInput) normalize() error {
	if in.Digest == "" {
		in.Digest = digest.FromBytes(in.Top.Bytes)
	}
	if err := in.Digest.Validate(); err != nil {
		return fmt.Errorf("digest of the source %q: %w", in.Digest, err)
	}
	if d := in.DestinationDigest; d != "" {
		if err := d.Validate(); err != nil {
			return fmt.Errorf("digest of the destination %q: %w", d, err)
		}
	}
	in.Top = in.Top.read()
	return nil
}

// gone says whether nobody has what d names.
func (in *PlanInput) gone(d digest.Digest) bool { return in.Missing[d] && !in.Present[d] }

// checkDestinationDigest refuses to give a destination that names a digest something else. d is the digest of content.
func (in *PlanInput) checkDestinationDigest(d digest.Digest, content []byte) error {
	want := in.DestinationDigest
	if want == "" || want == d || len(content) > 0 && want == want.Algorithm().FromBytes(content) {
		return nil
	}
	return &CannotModifyError{d, fmt.Sprintf("the destination names the digest %s", want)}
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
	if err := in.checkSingleOptions(); err != nil {
		return nil, err
	}
	if err := in.checkSingleRequired(in.Platform); err != nil {
		return nil, err
	}
	warnings, err := in.checkSinglePlatform()
	if err != nil {
		return nil, err
	}
	image := ImagePlan{
		Digest: in.Digest, MediaType: in.Top.MediaType, Size: int64(len(in.Top.Bytes)),
		Reason: Reason{ReasonSingle, "the source is a single image"},
	}
	if in.Platform != nil {
		image.Platform = platform.Format(in.Platform)
	}
	p, err := in.imagePlan(image, &in.Top)
	if err != nil {
		return nil, err
	}
	p.Warnings = slices.Concat(p.Warnings, warnings, in.bodyWarnings(nil))
	return p, nil
}

// planSystem plans the copy of the one instance of a list that suits the running system.
func planSystem(in PlanInput) (*Plan, error) {
	if err := in.checkSingleOptions(); err != nil {
		return nil, err
	}
	list, err := manifest.Parse(in.Top.Bytes, in.Top.MediaType)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", in.Digest, err)
	}
	instances := list.Instances()
	i := slices.IndexFunc(instances, func(instance manifest.Instance) bool { return instance.Digest == in.System })
	if i < 0 {
		return nil, fmt.Errorf("list %s does not name %q, which was chosen for this system", in.Digest, in.System)
	}
	instance := instances[i]
	if err := in.checkSingleRequired(instance.Platform); err != nil {
		return nil, err
	}
	if in.gone(instance.Digest) {
		return nil, &MissingError{Missing: []MissingInstance{missingInstance(instance, instances)}}
	}
	var read *Document
	if doc, ok := in.Documents[instance.Digest]; ok {
		doc.MediaType = cmp.Or(doc.MediaType, instance.MediaType)
		read = &doc
	}
	p, err := in.imagePlan(ImagePlan{
		Digest: instance.Digest, MediaType: instance.MediaType, Size: instance.Size, Platform: platform.Format(instance.Platform),
		Reason: Reason{ReasonSystem, "suits this system"},
	}, read)
	if err != nil {
		return nil, err
	}
	p.Warnings = append(p.Warnings, in.bodyWarnings(map[digest.Digest]manifest.List{in.Digest: list})...)
	return p, nil
}

// checkSingleOptions refuses options that make sense only where a list is copied.
func (in *PlanInput) checkSingleOptions() error {
	if in.Options.RemoveListSignatures {
		return &OptionsError{[]string{"RemoveListSignatures"}, "not applicable when copying a single instance"}
	}
	return nil
}

// imagePlan plans the copy of one image. doc is its manifest, nil if that was not read.
func (in *PlanInput) imagePlan(image ImagePlan, doc *Document) (*Plan, error) {
	docs := map[digest.Digest]Document{}
	if doc != nil {
		docs[image.Digest] = *doc
	}
	if err := in.checkDestinationDigest(image.Digest, docs[image.Digest].Bytes); err != nil {
		return nil, err
	}
	image.Present = in.Present[image.Digest]
	p := in.newPlan()
	p.Digest = image.Digest
	p.Image = &image
	if !image.Present {
		p.Copies = []digest.Digest{image.Digest}
	}
	p.attach(in)
	for d, doc := range in.Documents {
		if d != image.Digest {
			docs[d] = doc
		}
	}
	if err := p.count(docs); err != nil {
		return nil, err
	}
	return p, nil
}

// checkSingleRequired holds the platform of the only image that is copied against the requirements.
func (in *PlanInput) checkSingleRequired(is *imgspecv1.Platform) error {
	var failed []RequiredPlatform
	for _, f := range in.Options.RequiredPlatforms {
		if !platform.Pattern(f).Matches(is) {
			failed = append(failed, RequiredPlatform{
				Platform: f.String(), Reason: "the only image that is copied is for " + platform.Format(is),
			})
		}
	}
	return in.requiredError(failed)
}

// checkSinglePlatform holds the platform of a single image against the filters. One of them must match; the others are warned of.
func (in *PlanInput) checkSinglePlatform() (warnings []string, err error) {
	o := in.Options
	if o.ImageListSelection != CopySpecificImages {
		return nil, nil
	}
	include, exclude := newFilters(o.InstancePlatforms, o.OptionalPlatforms)
	matches := func(f *filter) bool { return f.Matches(in.Platform) }
	selected := len(include) == 0 || slices.ContainsFunc(include, matches) || slices.Contains(o.Instances, in.Digest)
	if !selected || slices.ContainsFunc(exclude, matches) {
		return nil, &NoMatchError{Asked: texts(append(include, exclude...)), Offered: []string{platform.Format(in.Platform)}, Single: true}
	}
	for _, text := range texts(slices.DeleteFunc(include, matches)) {
		warnings = append(warnings, fmt.Sprintf("the source is a single image for %s: nothing matches %s", platform.Format(in.Platform), text))
	}
	for _, d := range o.Instances {
		if d != in.Digest {
			warnings = append(warnings, fmt.Sprintf("the source is a single image: the selected digest %s is not its own", d))
		}
	}
	return warnings, nil
}

// texts returns the distinct texts of filters, sorted.
func texts(filters []*filter) []string {
	texts := make([]string, len(filters))
	for i, f := range filters {
		texts[i] = f.text
	}
	slices.Sort(texts)
	return slices.Compact(texts)
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
	sel := selectInstances(tree.Root, in.Options, in.gone)
	if err := in.checkRequired(tree.Root, sel); err != nil {
		return nil, err
	}
	if sel.noMatch != nil {
		return nil, sel.noMatch
	}
	if err := in.checkMissing(tree.Root, sel); err != nil {
		return nil, err
	}
	p, err := in.decideAction(&treePlanner{in: &in, sel: sel}, tree.Root)
	if err != nil {
		return nil, err
	}
	return p, in.decideWidening(p)
}

// tree arranges the documents of the input.
func (in *PlanInput) tree() (*listtree.Tree, error) {
	b := listtree.Builder{Read: in.document}
	tree, err := b.Build(in.Digest)
	if err != nil {
		return nil, err
	}
	unread := slices.DeleteFunc(tree.Unread, func(d digest.Digest) bool { return in.Missing[d] })
	if len(unread) > 0 {
		return nil, &UnreadError{unread}
	}
	return tree, nil
}

// document returns what was read for d, and false if nothing was.
func (in *PlanInput) document(d digest.Digest) (listtree.Document, bool) {
	doc, ok := in.Documents[d]
	if d == in.Digest {
		doc, ok = in.Top, true
	}
	return listtree.Document{MediaType: doc.MediaType, Bytes: doc.Bytes}, ok
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
	return &RequiredError{Failed: slices.Compact(failed), Required: slices.Compact(sorted(all))}
}

// requirement says why p is not met; the Reason is "" if it is. It is met if an image that matches is wanted, and none that
// matches was selected and is missing.
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

// checkMissing applies Options.MissingInstances, and makes sure that something is left.
func (in *PlanInput) checkMissing(root *listtree.Node, sel *selection) error {
	wanted, missing := false, []MissingInstance(nil)
	seen := map[digest.Digest]bool{}
	root.Walk(func(n *listtree.Node) {
		for i, v := range sel.verdicts[n] {
			instance := n.Instances[i]
			wanted = wanted || v.wanted && !v.lenient
			if v.missing && !v.lenient && !seen[instance.Digest] {
				seen[instance.Digest] = true
				missing = append(missing, missingInstance(instance, n.Instances))
			}
		}
	})
	switch {
	case len(missing) > 0 && in.Options.MissingInstances == FailOnMissing:
		return &MissingError{Missing: missing}
	case wanted:
		return nil
	case len(missing) == 0 && len(root.Instances) > 0 && in.listOnly():
		return nil
	case len(root.Instances) == 0 && in.Options.ImageListSelection == CopyAllImages:
		return nil // nobody has taken anything away
	}
	return &EmptyError{Entries: len(root.Instances), Missing: len(missing)}
}

// listOnly says whether the options ask for the list and none of its instances.
func (in *PlanInput) listOnly() bool {
	return in.Options.ImageListSelection == CopySpecificImages && !in.Options.selects()
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
	if refusal := in.foreseenRefusal(keep); refusal != nil {
		return nil, refusal.because("SparseManifestListAction is keep")
	}
	if in.Sparse.Known && in.Sparse.Accepts && keep.sparse() {
		keep.ActionReason = in.takes()
	}
	return keep, nil
}

// decideAuto keeps what is not sparse, or may be; it strips what is known to be refused, and has the stripped list ready where
// nothing is known. What an earlier copy has stripped stays so.
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
	refusal := in.foreseenRefusal(keep)
	switch {
	case stripErr == nil && strip.Digest == in.DestinationTop:
		strip.ActionReason = "the destination names the stripped list already"
		return strip, nil
	case refusal != nil && stripErr != nil:
		return nil, refusal.because(stripErr.Error())
	case refusal != nil:
		strip.ActionReason = refusal.Error()
		return strip, nil
	}
	keep.ActionReason = "the digest stays, if the destination takes the sparse list"
	if in.Sparse.Known && in.Sparse.Accepts {
		keep.ActionReason = in.takes()
	}
	if stripErr != nil {
		keep.IfRefusedNot = stripErr.Error()
		return keep, nil //nolint:nilerr // the plan carries it
	}
	strip.ActionReason = "the destination refused the sparse list"
	keep.IfRefused = strip
	return keep, nil
}

// takes says why a destination, whose view is known, will take a sparse list.
func (in *PlanInput) takes() string {
	return "the destination takes sparse lists: " + in.Sparse.Basis
}

// A foreseen refusal is what is known of the destination before anything is written.
type foreseen struct {
	list *ListPlan
	why  string
}

func (f *foreseen) Error() string { return f.why }

// because returns the error of a copy that cannot avoid the refusal, and why the list is not stripped.
func (f *foreseen) because(notStripped string) error {
	return &SparseRefusedError{List: f.list.Result, Absent: f.list.Absent, Refusal: f, NotStripped: notStripped}
}

// foreseenRefusal says why the destination will refuse a list of the plan, and returns nil if that is not known.
func (in *PlanInput) foreseenRefusal(p *Plan) (out *foreseen) {
	if !in.Sparse.Known {
		return nil
	}
	p.List.walk(func(l *ListPlan) {
		if why := in.refusalOf(l); why != "" && out == nil {
			out = &foreseen{l, why}
		}
	})
	return out
}

// refusalOf says why the destination, whose view is known, will refuse a list, "" if it will not, or may not.
func (in *PlanInput) refusalOf(l *ListPlan) string {
	demanded := in.demandedOf(l)
	i := slices.IndexFunc(demanded, func(ip InstancePlan) bool { return !in.PresenceUnknown[ip.Digest] })
	switch {
	case i < 0:
		return ""
	case !in.Sparse.Accepts:
		return "the destination refuses sparse lists: " + in.Sparse.Basis
	}
	return fmt.Sprintf("the destination requires the instance %s (%s): %s", short(demanded[i].Digest), demanded[i].Platform, in.Sparse.Basis)
}

// demanded returns the distinct children of the plan's lists that will be absent, as far as is known, and without which the destination,
// whose view is known, refuses a list.
func (in *PlanInput) demanded(p *Plan) []digest.Digest {
	all := map[digest.Digest]bool{}
	p.List.walk(func(l *ListPlan) {
		for _, ip := range in.demandedOf(l) {
			all[ip.Digest] = true
		}
	})
	return sortedKeys(all)
}

// demandedOf returns those entries of one list. Registries announce nothing about children without an architecture, and do as they like.
func (in *PlanInput) demandedOf(l *ListPlan) []InstancePlan {
	policy := manifest.SparsePolicy{
		Enabled: true, RequiredArchitectures: in.Sparse.RequiredArchitectures, OptionalWithoutPlatform: true,
	}
	absent := setOf(l.Absent)
	var demanded []InstancePlan
	for i, ip := range l.Instances {
		if ip.Entry != StripEntry && absent[ip.Digest] && (!in.Sparse.Accepts || policy.Requires(l.node.Instances[i])) {
			demanded = append(demanded, ip)
		}
	}
	return demanded
}

// A treePlanner plans what happens to a selected tree.
type treePlanner struct {
	in  *PlanInput
	sel *selection
}

// plan plans the whole tree, kept or stripped.
func (t *treePlanner) plan(root *listtree.Node, strip bool) (*Plan, error) {
	list, err := t.list(root, strip)
	if err != nil {
		return nil, err
	}
	if err := t.in.checkDestinationDigest(list.Result, list.result); err != nil {
		return nil, err
	}
	p := t.in.newPlan()
	p.List = list
	p.Digest = list.Result
	p.NotListed = t.sel.notListed
	p.Warnings = slices.Concat(t.sel.warnings, t.in.bodyWarnings(listsOf(root)))
	if strip {
		p.Action = StripSparseManifestList
		if len(list.Edits) == 0 {
			p.ActionReason = "nothing to strip"
		}
	}
	for _, d := range p.wantedImages() {
		if !t.in.Present[d] {
			p.Copies = append(p.Copies, d)
		}
	}
	list.walk(func(l *ListPlan) { p.warnOfRemarks(l.Result, l.remarks()) })
	t.absent(p)
	t.void(p)
	p.attach(t.in)
	if err := p.count(t.in.Documents); err != nil {
		return nil, err
	}
	return p, nil
}

// list plans one list, and the lists nested in it first: an entry that names a changed list is updated.
func (t *treePlanner) list(n *listtree.Node, strip bool) (*ListPlan, error) {
	l := &ListPlan{
		Digest: n.Digest, MediaType: n.List.MediaType(), Size: int64(len(n.Bytes)), Instances: make([]InstancePlan, len(n.Instances)),
		node: n,
	}
	for i, instance := range n.Instances {
		l.Instances[i] = t.instance(n, i, instance)
		if err := t.nested(n, &l.Instances[i], strip); err != nil {
			return nil, err
		}
	}
	dropOrphans(l)
	decided, err := prepareInstanceCopies(n.Instances, l.copied(), strip)
	if err != nil {
		return nil, err
	}
	l.copies = decided.copies
	for _, e := range decided.deletes {
		l.Instances[e.DeleteIndex].Entry = StripEntry
	}
	l.Edits = append(l.updates(), decided.deletes...)
	return l, t.edit(n, l)
}

// nested plans the list that ip names, if that was read.
func (t *treePlanner) nested(n *listtree.Node, ip *InstancePlan, strip bool) error {
	node := n.Nested[ip.Index]
	if node == nil {
		return nil
	}
	nested, err := t.list(node, strip && ip.Decision == Copy)
	if err != nil {
		return err
	}
	ip.Nested = nested
	ip.Present = t.in.Present[nested.Result]
	if nested.Result != nested.Digest {
		ip.Entry = UpdateEntry
	}
	return nil
}

// copied says of each entry whether it is copied.
func (l *ListPlan) copied() []bool {
	copied := make([]bool, len(l.Instances))
	for i, ip := range l.Instances {
		copied[i] = ip.Decision == Copy
	}
	return copied
}

// updates returns the edits of the entries that are updated.
func (l *ListPlan) updates() []manifest.ListEdit {
	var updates []manifest.ListEdit
	for _, ip := range l.Instances {
		if ip.Entry == UpdateEntry {
			updates = append(updates, manifest.ListEdit{
				ListOperation: manifest.ListOpUpdate, UpdateIndex: ip.Index, UpdateDigest: ip.Nested.Result, UpdateSize: ip.Nested.ResultSize,
			})
		}
	}
	return updates
}

// dropOrphans takes back attestations that follow a nested list which gets another digest, and those that follow them: what they
// describe would not be in the list. Attestations that were selected in their own right stay.
func dropOrphans(l *ListPlan) {
	follows := func(ip InstancePlan) bool { return ip.Decision == Copy && ip.Reason.Code == ReasonFollows }
	var stay []digest.Digest // those whose followers are still to be looked at
	followers := map[digest.Digest][]int{}
	for i, ip := range l.Instances {
		switch {
		case follows(ip):
			followers[ip.AttestationOf] = append(followers[ip.AttestationOf], i)
		case ip.Decision == Copy && ip.Entry == KeepEntry:
			stay = append(stay, ip.Digest)
		}
	}
	for len(stay) > 0 && len(followers) > 0 {
		subject := stay[0]
		stay = stay[1:]
		for _, i := range followers[subject] {
			stay = append(stay, l.Instances[i].Digest)
		}
		delete(followers, subject)
	}
	for _, orphans := range followers {
		for _, i := range orphans {
			ip := &l.Instances[i]
			ip.Decision = Skip
			ip.Reason = Reason{ReasonOrphaned, ip.Reason.Text + ", which changes"}
		}
	}
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

// absent fills in the children that the written lists name and that will not be at the destination. What is copied for the sake of
// one list is there for all.
func (t *treePlanner) absent(p *Plan) {
	there := map[digest.Digest]bool{}
	p.List.walk(func(l *ListPlan) {
		for _, ip := range l.Instances {
			if ip.Decision == Copy || ip.Present {
				there[ip.Digest] = true
			}
		}
	})
	p.List.walk(func(l *ListPlan) {
		named := map[digest.Digest]bool{}
		for _, ip := range l.Instances {
			if ip.Entry != StripEntry && !there[ip.Digest] && !named[ip.Digest] {
				named[ip.Digest] = true
				l.Absent = append(l.Absent, ip.Digest)
			}
		}
	})
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
		return "PreserveDigests is set (Instructed to preserve digests)" // the second half is for programs that look for upstream's words
	case t.in.DestinationDigest != "":
		return fmt.Sprintf("the destination names the digest %s", t.in.DestinationDigest)
	case t.in.SignedLists[d] > 0 && !o.RemoveSignatures && !o.RemoveListSignatures:
		return fmt.Sprintf("it is signed, and its signatures (%d) would become invalid; RemoveListSignatures removes them", t.in.SignedLists[d])
	case t.in.SignaturesUnknown[d] && !o.RemoveSignatures && !o.RemoveListSignatures:
		return "whether it is signed could not be asked, and signatures would become invalid; RemoveListSignatures removes them"
	case o.ListSignatures == GuardListSignatures && !o.RemoveSignatures && !o.RemoveListSignatures:
		return t.in.ListSignatures[d].guarded()
	}
	return ""
}

// void notes signatures and attestations that lose what they are about.
func (t *treePlanner) void(p *Plan) {
	p.List.walk(func(l *ListPlan) {
		if n := t.in.SignedLists[l.Digest]; n > 0 && l.Result != l.Digest {
			p.Void = append(p.Void, fmt.Sprintf("signatures of the list %s (%d)", l.Digest, n))
		}
		if l.Result != l.Digest {
			p.noteSignatures(l.Digest, t.in.ListSignatures[l.Digest])
		}
		updated, stays := map[digest.Digest]bool{}, map[digest.Digest]bool{}
		for _, ip := range l.Instances {
			updated[ip.Digest] = updated[ip.Digest] || ip.Entry == UpdateEntry
			stays[ip.Digest] = stays[ip.Digest] || ip.Entry == KeepEntry
		}
		for _, ip := range l.Instances {
			if ip.Decision == Copy && updated[ip.AttestationOf] && !stays[ip.AttestationOf] {
				p.Void = append(p.Void, fmt.Sprintf("the attestation %s of the list %s, which changes", ip.Digest, ip.AttestationOf))
			}
		}
	})
}

// warn adds warnings to the plan, and to what is done instead.
func (p *Plan) warn(warnings []string) {
	p.Warnings = append(p.Warnings, warnings...)
	if p.IfRefused != nil {
		p.IfRefused.Warnings = append(p.IfRefused.Warnings, warnings...)
	}
}

// wantedImages returns the distinct images that the plan wants at the destination, those that are there included.
func (p *Plan) wantedImages() []digest.Digest {
	if p.Image != nil {
		return []digest.Digest{p.Image.Digest}
	}
	var wanted []digest.Digest
	seen := map[digest.Digest]bool{}
	p.List.walk(func(l *ListPlan) {
		for _, d := range l.copies {
			if !seen[d] {
				seen[d] = true
				wanted = append(wanted, d)
			}
		}
	})
	return wanted
}

// lists returns the distinct digests of the lists that are written, as they are written.
func (p *Plan) lists() []digest.Digest {
	if p.List == nil {
		return nil
	}
	return append(nestedLists(p.List), p.List.Result)
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
	counted := slices.Clone(p.Copies)
	for _, a := range p.toAttach() {
		doc, ok := docs[a.Digest]
		if !ok || !isList(doc) {
			counted = append(counted, a.Digest)
			continue
		}
		list, err := manifest.Parse(doc.Bytes, mediaTypeOf(doc))
		if err != nil {
			return fmt.Errorf("list %s: %w", a.Digest, err)
		}
		p.warnOfRemarks(a.Digest, list.Remarks())
	}
	for _, d := range counted {
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
		p.warnOfRemarks(d, image.Remarks)
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

func setOf(ds []digest.Digest) map[digest.Digest]bool {
	set := map[digest.Digest]bool{}
	for _, d := range ds {
		set[d] = true
	}
	return set
}

func digestStrings(ds []digest.Digest) []string {
	s := make([]string, len(ds))
	for i, d := range ds {
		s[i] = d.String()
	}
	return s
}
