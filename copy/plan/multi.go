package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// planMulti plans the copy of a list.
func planMulti(in *Input) (*Plan, error) {
	root, err := root(in)
	if err != nil {
		return nil, err
	}
	if err := checkCaches(in); err != nil {
		return nil, err
	}
	sel := selectInstances(in)
	if err := checkRequired(in, sel); err != nil {
		return nil, err
	}
	if sel.noMatch != nil {
		return nil, sel.noMatch
	}
	if err := checkMissing(in, root, sel); err != nil {
		return nil, err
	}
	p, err := decideAction(in, &treePlanner{in: in, sel: sel, platforms: map[*imgspecv1.Platform]string{}, along: travelersOf(in)}, root)
	if err != nil {
		return nil, err
	}
	return p, decideWidening(in, p)
}

// checkRequired holds the selection against the required platforms, which are about images: a list
// that names blobs is nothing that anybody runs.
func checkRequired(in *Input, sel *selection) error {
	if in.Tree.HasBlobs() {
		return nil
	}
	var failed []RequiredPlatform
	for _, f := range in.Choices.RequiredPlatforms {
		if r := requirement(in.Tree, sel, platform.Pattern(f)); r.Reason != "" {
			r.Platform = f.String()
			failed = append(failed, r)
		}
	}
	return requiredError(in, failed)
}

func requiredError(in *Input, failed []RequiredPlatform) error {
	if len(failed) == 0 {
		return nil
	}
	all := make([]string, len(in.Choices.RequiredPlatforms))
	for i, f := range in.Choices.RequiredPlatforms {
		all[i] = f.String()
	}
	slices.SortFunc(failed, func(a, b RequiredPlatform) int { return cmp.Compare(a.Platform, b.Platform) })
	return &RequiredError{Failed: slices.Compact(failed), Required: slices.Compact(slices.Sorted(slices.Values(all)))}
}

// requirement returns why p is not met; the Reason is "" if it is. It is met if an image that
// matches is wanted, and none that matches was selected and is missing.
func requirement(t *Tree, sel *selection, p platform.Pattern) RequiredPlatform {
	var listed, missing digest.Digest
	met := false
	t.list.Root.Walk(func(n *listtree.Node) {
		for i, instance := range n.Instances {
			if t.ties[n][i].Relation.Follows() || n.Nested[i] != nil || instance.IsList() && !saysPlatform(instance) || instance.IsBlob() || !p.Matches(instance.Platform) {
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
func checkMissing(in *Input, root *listtree.Node, sel *selection) error {
	wanted, opaque, unconverted, missing := false, false, false, []MissingInstance(nil)
	seen := map[digest.Digest]bool{}
	root.Walk(func(n *listtree.Node) {
		for i, v := range sel.verdicts[n] {
			instance := n.Instances[i]
			wanted = wanted || v.counts()
			opaque = opaque || v.reason.Code == ReasonEncryption
			unconverted = unconverted || v.unwritable != "" && v.reason.Code == ReasonDropped
			if v.missing && !v.lenient && !seen[instance.Digest] {
				seen[instance.Digest] = true
				missing = append(missing, missingInstance(n, i, in.Tree.ties[n][i]))
			}
		}
	})
	switch {
	case len(missing) > 0 && in.Choices.MissingInstances == FailOnMissing:
		return &MissingError{Missing: missing}
	case wanted:
		return nil
	case opaque:
		return &OptionsError{[]string{"OciEncryptConfig"}, "nothing that is selected has layers that can be encrypted"}
	case unconverted:
		return &OptionsError{[]string{"ForceManifestMIMEType"}, "nothing that is selected can be converted to " + in.Choices.ForceManifestMIMEType}
	case len(missing) == 0 && len(root.Instances) > 0 && listOnly(in):
		return nil
	case len(root.Instances) == 0 && in.Choices.ImageListSelection == CopyAllImages:
		return nil // nobody has taken anything away
	}
	return &EmptyError{Entries: len(root.Instances), Missing: len(missing)}
}

// listOnly reports whether the options ask for the list and none of its instances.
func listOnly(in *Input) bool {
	return in.Choices.ImageListSelection == CopySpecificImages && !in.Choices.selects()
}

// A treePlanner plans what happens to a selected tree.
type treePlanner struct {
	in  *Input
	sel *selection
	// platforms are the texts of platforms, which many entries share.
	platforms map[*imgspecv1.Platform]string
	along     travelers
}

// plan plans the whole tree, kept or stripped.
func (t *treePlanner) plan(root *listtree.Node, strip bool) (*Plan, error) {
	list, err := t.list(root, true, strip)
	if err != nil {
		return nil, err
	}
	if err := t.in.CheckDestination(list.Result, list.result); err != nil {
		return nil, err
	}
	p := newPlan(t.in)
	p.List = list
	p.Digest = list.Result
	p.NotListed = t.sel.notListed
	p.Warnings = slices.Concat(t.sel.warnings, t.in.Tree.warnings)
	t.sel.countPlatformless(p)
	if strip {
		p.Action = StripSparseManifestList
		if !p.Strips() {
			p.ActionReason = "nothing to strip"
		}
	}
	p.Copies = p.carried()
	list.Walk(func(l *ListPlan) {
		p.Warnings = append(p.Warnings, l.notes...)
		warnOfRemarks(p, l.Result, remarksOn(l))
	})
	if !strip { // a stripped list names what is copied, and nothing else
		t.absent(p)
	}
	p.Original = planOriginal(t.in, list, t.along)
	p.Warnings = append(p.Warnings, p.Original.warnings()...)
	t.void(p)
	attach(t.in, p)
	return p, tally(t.in, p)
}

// list plans one list, and the lists nested in it first: an entry that names a changed list is
// updated. One that is not written stays as it is.
func (t *treePlanner) list(n *listtree.Node, written, strip bool) (*ListPlan, error) {
	l := &ListPlan{
		Digest: n.Digest, MediaType: n.List.MediaType(), ResultType: n.List.MediaType(), Size: int64(len(n.Bytes)),
		Instances: make([]InstancePlan, len(n.Instances)), node: n,
	}
	for i, instance := range n.Instances {
		l.Instances[i] = t.instance(n, i, instance)
		if err := t.nested(n, &l.Instances[i], strip); err != nil {
			return nil, err
		}
		if err := t.transform(&l.Instances[i]); err != nil {
			return nil, err
		}
	}
	t.dropVoid(l)
	t.dropOrphans(l)
	decided, err := prepareInstanceCopies(n.Instances, copied(l), strip && !n.HasBlobs)
	if err != nil {
		return nil, err
	}
	l.copies = decided.copies
	for _, e := range decided.deletes {
		l.Instances[e.DeleteIndex].Entry = StripEntry
	}
	if written {
		if err := convert(t.in, l); err != nil {
			return nil, err
		}
	}
	if err := addVariants(t, n, l); err != nil {
		return nil, err
	}
	l.notes = append(l.notes, originless(t.in, l)...)
	return l, t.edit(n, l, decided.deletes)
}

// nested plans the list that ip names, if that was read.
func (t *treePlanner) nested(n *listtree.Node, ip *InstancePlan, strip bool) error {
	node := n.Nested[ip.Index]
	if node == nil {
		return nil
	}
	written := ip.Decision == Copy
	nested, err := t.list(node, written, strip && written)
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

// copied says of each entry of a list whether it is copied.
func copied(l *ListPlan) []bool {
	copied := make([]bool, len(l.Instances))
	for i := range l.Instances {
		copied[i] = l.Instances[i].Decision == Copy
	}
	return copied
}

// dropOrphans skips what follows a nested list which may get another digest, and what follows that
// in turn: their subjects would not be in the list. What was selected itself stays.
func (t *treePlanner) dropOrphans(l *ListPlan) {
	follows := func(ip *InstancePlan) bool { return ip.Decision == Copy && ip.Reason.Code == ReasonFollows }
	followers := map[digest.Digest][]int{}
	for i := range l.Instances {
		if ip := &l.Instances[i]; follows(ip) {
			followers[ip.Subject] = append(followers[ip.Subject], i)
		}
	}
	if len(followers) == 0 {
		return
	}
	var stay []digest.Digest // those whose followers are still to be looked at
	for i := range l.Instances {
		if ip := &l.Instances[i]; ip.Decision == Copy && (ip.Nested == nil || !ip.mayChange()) && !follows(ip) {
			stay = append(stay, ip.Digest)
		}
	}
	for len(stay) > 0 {
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
			t.leave(ip, Reason{ReasonOrphaned, ip.Reason.Text + ", which changes"})
		}
	}
}

// leave skips what was to be copied.
func (t *treePlanner) leave(ip *InstancePlan, why Reason) {
	ip.Decision, ip.Entry, ip.Reason = Skip, KeepEntry, why
	ip.Transform, ip.Became, ip.Present = "", nil, t.in.Present[ip.Digest]
}

// platform returns p for people.
func (t *treePlanner) platform(p *imgspecv1.Platform) string {
	text, ok := t.platforms[p]
	if !ok {
		text = platform.Format(p)
		t.platforms[p] = text
	}
	return text
}

func (t *treePlanner) instance(n *listtree.Node, i int, instance manifest.Instance) InstancePlan {
	v := t.sel.verdicts[n][i]
	ip := InstancePlan{
		Index: i, Digest: instance.Digest, Size: instance.Size, MediaType: instance.MediaType, ArtifactType: instance.ArtifactType,
		Platform: t.platform(instance.Platform),
		Decision: Skip, Entry: KeepEntry, Reason: v.reason, Missing: v.missing, Present: t.in.Present[instance.Digest],
	}
	tie := t.in.Tree.ties[n][i]
	ip.Relation, ip.Kind, ip.Subject = tie.Relation, tie.Kind, cmp.Or(v.follows, tie.Subject)
	if tie.Relation == Describes {
		ip.AttestationOf = tie.Named
	}
	if instance.IsBlob() {
		ip.Present = t.in.PresentBlobs[instance.Digest]
	} else if ip.Kind == "" && t.in.Tree.entersArtifact(instance) {
		ip.Kind = KindArtifact
	}
	if v.wanted {
		ip.Decision = Copy
	}
	return ip
}

// absent fills in which children the written lists name that will not be at the destination. What
// is copied because of one list, or comes of that, is there for all of them. Blobs are no children:
// no list is sparse for want of one.
func (t *treePlanner) absent(p *Plan) {
	there := setOf(slices.Concat(p.Stored(), p.Lists()))
	p.List.Walk(func(l *ListPlan) {
		for i := range l.Instances {
			switch ip := &l.Instances[i]; {
			case ip.IsBlob():
			case ip.Decision == Copy && !ip.changes(), ip.Decision == Skip && ip.Present:
				there[ip.Digest] = true
			}
		}
	})
	p.List.Walk(func(l *ListPlan) {
		named := map[digest.Digest]bool{}
		for i := range l.Instances {
			ip := &l.Instances[i]
			if ip.Entry != StripEntry && !ip.IsBlob() && !ip.changes() && !there[ip.Digest] && !named[ip.Digest] {
				named[ip.Digest] = true
				l.Absent = append(l.Absent, ip.Digest)
			}
		}
	})
}

// edit makes the edits of l, of which it has the deletes, applies them, and fills in its result.
func (t *treePlanner) edit(n *listtree.Node, l *ListPlan, deletes []manifest.ListEdit) error {
	l.result, l.Result, l.ResultSize = n.Bytes, n.Digest, l.Size
	updates, known := t.updates(l)
	updates, err := markZstd(t, n, l, updates)
	if err != nil {
		return err
	}
	known = known && variantsKnown(l)
	l.Edits = slices.Concat(updates, deletes, additions(t.in, n, l))
	if len(l.Edits) == 0 && known && l.ResultType == l.MediaType {
		return nil
	}
	if reason := cmp.Or(t.cannotModify(l), ambiguous(l)); reason != "" {
		if l.Transform != "" {
			reason += ", and it " + l.Transform
		}
		return &CannotModifyError{n.Digest, reason}
	}
	if !known {
		l.Edits, l.result, l.Result, l.ResultSize = nil, nil, "", 0
		return nil
	}
	list, err := edited(n, l)
	if err != nil {
		return fmt.Errorf("list %s: %w", n.Digest, err)
	}
	result, err := list.Serialize()
	if err != nil {
		return fmt.Errorf("list %s: %w", n.Digest, err)
	}
	l.result, l.Result, l.ResultSize = result, n.Digest.Algorithm().FromBytes(result), int64(len(result))
	return nil
}

// cannotModify returns why the list l must not change as it is to, "" if it may.
func (t *treePlanner) cannotModify(l *ListPlan) string {
	o := t.in.Choices
	lost := lossOf(t.in, l, t.along)
	switch {
	case o.PreserveDigests:
		// The second half is for programs that look for upstream's words.
		return "PreserveDigests is set (Instructed to preserve digests)"
	case t.in.DestinationDigest != "":
		return fmt.Sprintf("the destination names the digest %s", t.in.DestinationDigest)
	case lost.signed > 0 && !o.RemoveSignatures && !o.RemoveListSignatures:
		return fmt.Sprintf("it is signed, and its signatures (%d) would become invalid%s; %s", lost.signed, lost.why, lost.cure)
	case t.in.SignaturesUnknown[l.Digest] && !o.RemoveSignatures && !o.RemoveListSignatures:
		return "whether it is signed could not be asked, and signatures would become invalid; RemoveListSignatures removes them"
	case o.ListSignatures == GuardListSignatures && !o.RemoveSignatures && !o.RemoveListSignatures:
		return lost.guarded()
	}
	return ""
}

// void notes signatures and attestations that lose what they are about, and annotations that name
// what is not copied, each once, wherever lists are the same.
func (t *treePlanner) void(p *Plan) {
	fate, seen := fates(p), map[digest.Digest]bool{}
	p.List.Walk(func(l *ListPlan) {
		if fate[l.Digest] == subjectChanged && !seen[l.Digest] {
			seen[l.Digest] = true
			lost := lossOf(t.in, l, t.along)
			if lost.signed > 0 {
				p.Void = append(p.Void, fmt.Sprintf("signatures of the list %s (%d)", l.Digest, lost.signed))
			}
			noteSignatures(p, l.Digest, lost.attached)
		}
		p.Void = append(p.Void, danglingAccelerators(l)...)
		p.Void = append(p.Void, voidFollowers(l)...)
	})
	named := map[string]bool{}
	p.Void = slices.DeleteFunc(p.Void, func(text string) bool {
		was := named[text]
		named[text] = true
		return was
	})
}

// voidFollowers returns, for people, what is copied with l and is about something in it that will
// be another one.
func voidFollowers(l *ListPlan) []string {
	changed, stays := map[digest.Digest]*InstancePlan{}, map[digest.Digest]bool{}
	for i := range l.Instances {
		switch ip := &l.Instances[i]; {
		case ip.Entry == StripEntry:
		case ip.Entry == UpdateEntry && ip.Result() != ip.Digest:
			changed[ip.Digest] = ip
		case ip.Nested != nil || ip.Present:
			stays[ip.Digest] = true
		}
	}
	var void []string
	for _, ip := range l.Instances {
		subject := changed[ip.Subject]
		if ip.Decision != Copy || !ip.Relation.Follows() || subject == nil || stays[ip.Subject] {
			continue
		}
		what := "image"
		if subject.Nested != nil {
			what = "list"
		}
		void = append(void, fmt.Sprintf("the %s %s of the %s %s, which changes", ip.Kind, ip.Digest, what, ip.Subject))
	}
	return void
}

// guarded returns why a list that would lose these signatures must not be stripped under
// GuardListSignatures, "" if it may.
func (l loss) guarded() string {
	s := l.attached
	switch {
	case len(s.Found) > 0:
		return fmt.Sprintf("it is signed (%s), and its signatures would become invalid%s; %s", prose.Some(s.Found), l.why, l.cure)
	case s.Unanswered:
		return fmt.Sprintf("whether it is signed could not be asked (%s); RemoveListSignatures strips it all the same", s.Unknown)
	}
	return ""
}

// noteSignatures says in the plan what becomes of the signatures attached to a list that changes.
func noteSignatures(p *Plan, list digest.Digest, s ListSignatures) {
	if len(s.Found) > 0 {
		p.Void = append(p.Void, fmt.Sprintf("signatures of the list %s: %s", list, prose.Some(s.Found)))
		p.Warnings = append(p.Warnings, fmt.Sprintf("the list %s is signed, and changes: void at the destination: %s", list, prose.Some(s.Found)))
	}
	if s.Unknown != "" {
		p.Warnings = append(p.Warnings, fmt.Sprintf("not all could be asked about signatures of the list %s, which changes: %s", list, s.Unknown))
	}
}
