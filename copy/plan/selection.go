package plan

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/internal/relation"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A verdict is what selection says of one entry of a list.
type verdict struct {
	wanted bool
	// missing is set if the entry would be wanted but is missing at the source; wanted is false
	// then.
	missing bool
	// lenient is set if the entry was selected by following, or as one of all attestations. Then it
	// may be missing, and it is no reason to copy the list that it is in.
	lenient bool
	// filtered is set if a platform filter selected the entry, something in it, or what it follows.
	filtered bool
	// follows is the subject that the entry follows, "" if it follows none.
	follows digest.Digest
	// unwritable says why the entry, and others like it, stay behind although they are selected:
	// they cannot be written as they would have to be. "" if that is not the reason.
	unwritable string
	reason     Reason
}

// A selection holds one verdict for each entry of each list of a tree. In a nested list that is not
// wanted, nothing is.
type selection struct {
	verdicts map[*listtree.Node][]verdict
	warnings []string
	// notListed are the selected digests that no list names, sorted.
	notListed []digest.Digest
	// noMatch is a *NoMatchError if a selector that must match something does not, or if none does.
	noMatch error
}

// selectInstances decides which entries of the tree of the input are wanted.
func selectInstances(in *Input) *selection {
	s := newSelector(in)
	s.node(s.root, nil)
	s.out.noMatch = s.unmatched()
	s.out.notListed = s.notListed()
	s.out.warnings = s.warnings()
	return &s.out
}

type selector struct {
	o        *Choices
	tree     *Tree
	root     *listtree.Node
	ties     map[*listtree.Node][]relation.Tie
	missing  func(manifest.Instance) bool // the source definitely does not have it
	opaque   func(digest.Digest) bool     // its layers are to be encrypted, and cannot be
	include  []*filter                    // optional ones last
	exclude  []*filter
	required int                    // include[:required] must match something
	digests  map[digest.Digest]bool // selected digest → whether it has matched
	indexes  map[int]bool           // selected position → whether it exists
	rest     bool                   // everything that is not excluded is selected
	suited   bool                   // something is wanted that no platform concerns
	out      selection
}

func newSelector(in *Input) *selector {
	o, t, root := &in.Choices, in.Tree, in.Tree.list.Root
	s := &selector{
		o: o, tree: t, root: root, ties: t.ties, missing: in.gone, opaque: func(d digest.Digest) bool { return resists(in, d) },
		digests: map[digest.Digest]bool{}, indexes: map[int]bool{},
		out: selection{verdicts: map[*listtree.Node][]verdict{}},
	}
	if o.ImageListSelection != CopySpecificImages {
		return s
	}
	for _, d := range o.Instances {
		s.digests[d] = false
	}
	for _, i := range o.InstanceIndexes {
		s.indexes[i] = i < len(root.Instances)
	}
	s.include, s.exclude = newFilters(o.InstancePlatforms)
	s.required = len(s.include)
	optional, _ := newFilters(o.OptionalPlatforms)
	s.include = append(s.include, optional...)
	if root.HasBlobs { // no platform is lacking in what has none
		for _, f := range s.include {
			f.matched = true
		}
	}
	s.rest = len(s.include)+len(s.digests)+len(s.indexes) == 0 && len(s.exclude) > 0
	return s
}

// A summary is what the entries of a list, and of the lists nested in it, amount to.
type summary struct {
	wanted   bool // one is wanted, and not just leniently
	missing  bool // one would be, but is missing
	filtered bool // one is wanted, and a platform filter selected it
}

// node decides about the entries of n and of the lists nested in it. whole is the reason if n was
// selected with all that it names, and nil otherwise.
func (s *selector) node(n *listtree.Node, whole *Reason) (sum summary) {
	verdicts := s.entries(n, whole)
	s.out.verdicts[n] = verdicts
	for _, v := range verdicts {
		sum.wanted = sum.wanted || v.counts()
		sum.missing = sum.missing || v.missing && !v.lenient
		sum.filtered = sum.filtered || v.wanted && v.filtered
	}
	return sum
}

// entry decides about one entry, but for what the subject has to say that it may follow.
func (s *selector) entry(n *listtree.Node, i int, instance manifest.Instance, whole *Reason) verdict {
	named := s.named(n, i, instance)
	if nested, ok := n.Nested[i]; ok {
		return s.nested(nested, named, whole)
	}
	tie := s.ties[n][i]
	if tie.Relation.Follows() {
		return s.settle(s.follower(instance, tie, named, whole), instance, tie)
	}
	return s.settle(s.leaf(instance, tie, named, whole), instance, tie)
}

// named returns the reason if the caller named the entry itself, by digest or by position.
func (s *selector) named(n *listtree.Node, i int, instance manifest.Instance) *Reason {
	_, byDigest := s.digests[instance.Digest]
	_, byIndex := s.indexes[i]
	byIndex = byIndex && n == s.root
	switch {
	case byDigest:
		s.digests[instance.Digest] = true
		return &Reason{ReasonDigest, "selected by digest"}
	case byIndex:
		return &Reason{ReasonIndex, "selected by position"}
	}
	return nil
}

var (
	reasonAll         = Reason{ReasonAll, "all instances are selected"}
	reasonRest        = Reason{ReasonAll, "not excluded"}
	reasonNotSelected = Reason{ReasonNotSelected, "not selected"}
)

// bySelf returns the reason to copy an entry, whatever its platform, nil if there is none.
func (s *selector) bySelf(named, whole *Reason) *Reason {
	switch {
	case s.o.ImageListSelection == CopyAllImages:
		return &reasonAll
	case named != nil:
		return named
	}
	return whole
}

// nested decides about an entry that names a list which was read: if anything in it is wanted, it
// is, and otherwise nothing in it is.
func (s *selector) nested(n *listtree.Node, named, whole *Reason) verdict {
	inherited := whole
	if named != nil {
		inherited = &Reason{ReasonWithin, "in a nested list that was " + named.Text}
	}
	sum := s.node(n, inherited)
	by, filtered := s.bySelf(named, whole), sum.filtered
	if by == nil && s.rest && len(n.Instances) == 0 {
		by, filtered = &reasonRest, true
	}
	switch {
	case by != nil && (sum.wanted || len(n.Instances) == 0):
		return verdict{wanted: true, filtered: filtered, reason: *by}
	case sum.wanted:
		return verdict{wanted: true, filtered: filtered, reason: Reason{ReasonContains, "contains selected instances"}}
	}
	s.unwant(n)
	switch {
	case sum.missing:
		return verdict{reason: Reason{ReasonMissing, "all that was selected in it is missing at the source"}}
	case by != nil:
		return verdict{reason: Reason{ReasonExcluded, by.Text + ", but nothing that it names is"}}
	}
	return verdict{reason: reasonNotSelected}
}

// unwant skips what would only be copied along with a nested list which is not copied. What is
// missing stays so: it was selected.
func (s *selector) unwant(n *listtree.Node) {
	for i, v := range s.out.verdicts[n] {
		if v.lenient {
			s.out.verdicts[n][i] = verdict{reason: Reason{ReasonNotSelected, "in a nested list that is not copied"}}
		}
	}
}

// leaf decides about an image, or about a nested list that was not read.
func (s *selector) leaf(instance manifest.Instance, tie relation.Tie, named, whole *Reason) verdict {
	by := firstMatch(s.include, instance, tie)
	if out := firstMatch(s.exclude, instance, tie); out != nil { // excludes win over everything
		return verdict{reason: *out}
	}
	if self := s.bySelf(named, whole); self != nil {
		return verdict{wanted: true, filtered: by != nil, reason: *self}
	}
	switch {
	case by != nil:
		return verdict{wanted: true, filtered: true, reason: *by}
	case s.rest:
		return verdict{wanted: true, filtered: true, reason: reasonRest}
	}
	return platformless(s.o, len(s.include) > 0, instance)
}

// follower decides about an entry that has no use without another one, by everything but that one's
// verdict. FollowSubject leaves what the caller named alone, and nothing else; so does
// DropAttestations of what describes.
func (s *selector) follower(instance manifest.Instance, tie relation.Tie, named, whole *Reason) verdict {
	by := firstMatch(s.include, instance, tie)
	if out := firstMatch(s.exclude, instance, tie); out != nil { // excludes win over everything
		return verdict{reason: *out}
	}
	describes := tie.Relation == Describes
	left := reasonNotSelected
	if tie.Subject == "" && s.o.follow(tie.Relation, len(s.include)+len(s.exclude) > 0) {
		left = untied(tie)
	}
	switch {
	case named != nil:
		return verdict{wanted: true, filtered: by != nil, reason: *named}
	case describes && s.o.Attestations == DropAttestations:
		return verdict{reason: Reason{ReasonDropped, "attestations are dropped"}}
	case s.o.Attestations == FollowSubject:
		return verdict{reason: left}
	}
	if self := s.bySelf(nil, whole); self != nil {
		return verdict{wanted: true, reason: *self}
	}
	switch {
	case by != nil:
		return verdict{wanted: true, filtered: true, reason: *by}
	case describes && s.o.Attestations == KeepAllAttestations:
		return verdict{wanted: true, lenient: true, reason: Reason{ReasonKept, "all attestations are kept"}}
	}
	return verdict{reason: left}
}

// settle returns the verdict about an entry when the source has been asked for it: what is wanted
// and not there is missing, and what cannot be written as Docker's stays behind, however it was
// selected.
func (s *selector) settle(v verdict, instance manifest.Instance, tie relation.Tie) verdict {
	switch {
	case !v.wanted:
	case s.missing(instance):
		v.wanted, v.missing = false, true
		v.reason = Reason{ReasonMissing, v.reason.Text + ", but missing at the source"}
	case tie.Relation == Describes && s.forcesDocker() && s.statesSubject(instance.Digest):
		return verdict{unwritable: s.unconverted(), reason: Reason{ReasonDropped, v.reason.Text + ", but it states a subject, for which there is no place in " + s.o.ForceManifestMIMEType}}
	case s.forcesDocker() && holdsOther(s.tree, instance.Digest):
		return verdict{unwritable: s.unconverted(), reason: Reason{ReasonDropped, v.reason.Text + ", but what it holds cannot be converted to " + s.o.ForceManifestMIMEType}}
	case s.opaque(instance.Digest):
		return verdict{unwritable: "their layers cannot be encrypted", reason: Reason{ReasonEncryption, v.reason.Text + ", but its layers cannot be encrypted"}}
	}
	return v
}

// statesSubject reports whether the manifest with digest d was read, and states a subject.
func (s *selector) statesSubject(d digest.Digest) bool {
	image, err := s.tree.Image(d)
	return err == nil && image != nil && image.Subject != ""
}

// followers selects the entries of n that follow subjects which are wanted, and what follows those.
// A list that was read is selected by what is in it, even if it claims to be an
// attestation.
func (s *selector) followers(n *listtree.Node, verdicts []verdict) {
	of := map[digest.Digest][]int{} // subject → entries that may follow it
	best := map[*int]int{}          // ties to the same images → the one that leads
	for i, tie := range s.ties[n] {
		switch {
		case !tie.Relation.Follows() || tie.Subject == "" || n.Nested[i] != nil || verdicts[i].reason.Code != ReasonNotSelected:
		case tie.Any == nil:
			of[tie.Subject] = append(of[tie.Subject], i)
		default:
			k, ok := best[&tie.Any[0]]
			if !ok {
				k = leading(tie.Any, verdicts)
				best[&tie.Any[0]] = k
			}
			if verdicts[k].wanted && s.o.follow(tie.Relation, verdicts[k].filtered) {
				verdicts[i] = s.followed(n.Instances[i], tie, n.Instances[k].Digest)
			}
		}
	}
	if len(of) == 0 {
		return
	}
	type leader struct {
		digest.Digest
		filtered bool
	}
	var leaders []leader
	seen := map[leader]bool{}
	lead := func(i int) {
		if l := (leader{n.Instances[i].Digest, verdicts[i].filtered}); verdicts[i].wanted && !seen[l] {
			seen[l] = true
			leaders = append(leaders, l)
		}
	}
	for i := range verdicts {
		lead(i)
	}
	for len(leaders) > 0 {
		subject := leaders[0]
		leaders = leaders[1:]
		for _, i := range of[subject.Digest] {
			tie := s.ties[n][i]
			if verdicts[i].reason.Code == ReasonNotSelected && s.o.follow(tie.Relation, subject.filtered) {
				verdicts[i] = s.followed(n.Instances[i], tie, subject.Digest)
				lead(i)
			}
		}
	}
	for _, i := range adrift(n, s.ties[n], verdicts, of) {
		if tie := s.ties[n][i]; verdicts[i].reason.Code == ReasonNotSelected && s.o.follow(tie.Relation, len(s.include)+len(s.exclude) > 0) {
			verdicts[i] = verdict{reason: untied(tie)}
		}
	}
}

// followed decides about an entry that follows subject.
func (s *selector) followed(instance manifest.Instance, tie relation.Tie, subject digest.Digest) verdict {
	if s.inexpressible() {
		return verdict{unwritable: s.unconverted(), reason: Reason{ReasonDropped, fmt.Sprintf("does not follow: no %s can be converted to %s", tie.Kind, s.o.ForceManifestMIMEType)}}
	}
	follows := Reason{ReasonFollows, "follows " + prose.Short(subject)}
	return s.settle(verdict{wanted: true, lenient: true, filtered: true, follows: subject, reason: follows}, instance, tie)
}

// inexpressible reports whether what would follow, although nobody asked for it, cannot: Docker's
// formats have neither manifests like those of attestations nor a place for what says whose they
// are.
func (s *selector) inexpressible() bool {
	return s.o.Attestations != FollowSubject && s.forcesDocker()
}

// unconverted says why what cannot be written in Docker's formats stays behind.
func (s *selector) unconverted() string {
	return "none can be converted to " + s.o.ForceManifestMIMEType
}

// forcesDocker reports whether everything has to be written in Docker's formats.
func (s *selector) forcesDocker() bool {
	return forcedType(s.o, imgspecv1.MediaTypeImageIndex) == manifest.MediaTypeDockerList
}

// unmatched returns a *NoMatchError if there are selectors that must match something and do not.
// Digests and optional platforms need not as long as anything else does: a list with no children at
// all is not what anybody means.
func (s *selector) unmatched() error {
	must := s.include[:s.required]
	var asked []string
	if !s.anyMatch() {
		must, asked = s.include, prose.Digests(s.notListed())
	}
	for _, f := range must {
		if !f.matched {
			asked = append(asked, f.text)
		}
	}
	if len(s.root.Instances) == 0 {
		asked = append(asked, texts(s.exclude)...) // what is not excluded is nothing
	}
	for i, exists := range s.indexes {
		if !exists {
			asked = append(asked, fmt.Sprintf("position %d of %d entries", i, len(s.root.Instances)))
		}
	}
	if len(asked) == 0 {
		return nil
	}
	slices.Sort(asked)
	return &NoMatchError{Asked: slices.Compact(asked), Offered: s.offered()}
}

// anyMatch reports whether a selector has matched anything.
func (s *selector) anyMatch() bool {
	for _, matched := range s.digests {
		if matched {
			return true
		}
	}
	for _, exists := range s.indexes {
		if exists {
			return true
		}
	}
	return s.suited || slices.ContainsFunc(s.include, func(f *filter) bool { return f.matched })
}

// notListed returns the selected digests that no list of the tree names, sorted.
func (s *selector) notListed() []digest.Digest {
	var absent []digest.Digest
	for d, matched := range s.digests {
		if !matched {
			absent = append(absent, d)
		}
	}
	slices.Sort(absent)
	return absent
}

// warnings returns, for people, which digests and optional platforms matched nothing, which nested
// lists could not be looked into, and what does not follow.
func (s *selector) warnings() []string {
	var warnings []string
	for _, d := range s.out.notListed {
		warnings = append(warnings, fmt.Sprintf("the list does not name the selected digest %s", d))
	}
	for _, f := range s.include[s.required:] {
		if !f.matched {
			warnings = append(warnings, fmt.Sprintf("no instance matches the optional platform %s", f.text))
		}
	}
	for n, verdicts := range s.out.verdicts {
		for i, instance := range n.Instances {
			if unread(n, i) && verdicts[i].reason.Code == ReasonNotSelected && s.missing(instance) {
				warnings = append(warnings, fmt.Sprintf("nothing could be selected in the nested list %s: it is missing at the source", instance.Digest))
			}
		}
	}
	if s.root.HasBlobs && len(s.digests)+len(s.indexes) > 0 {
		warnings = append(warnings, "digests and positions choose nothing in a list that names blobs: it is copied as a whole")
	}
	warnings = append(warnings, strays(s.ties, s.out.verdicts)...)
	warnings = append(warnings, s.riddles()...)
	slices.Sort(warnings)
	return slices.Compact(warnings)
}

// riddles counts, for people, what is left behind because it cannot be said what it is: nothing but
// its manifest would say that, and the source does not have it.
func (s *selector) riddles() []string {
	riddles := 0
	for n, verdicts := range s.out.verdicts {
		for i, instance := range n.Instances {
			if verdicts[i].reason.Code == ReasonNotSelected && s.ties[n][i].Relation == "" &&
				relation.Unclear(instance) && s.o.dependOnRelations() && s.missing(instance) {
				riddles++
			}
		}
	}
	if riddles == 0 {
		return nil
	}
	return []string{fmt.Sprintf("entries for unknown/unknown are left behind (%d): "+
		"the manifests that would say what they are to others are missing at the source", riddles)}
}

// unread reports whether entry i of n names a list that was not read.
func unread(n *listtree.Node, i int) bool { return n.Instances[i].IsList() && n.Nested[i] == nil }

// offered returns what the tree has to select from: the distinct platforms of its images, the
// lists that were not read, and what its blobs are, in the order of the lists.
func (s *selector) offered() []string {
	var offers []string
	seen := map[string]bool{}
	s.root.Walk(func(n *listtree.Node) {
		for i, instance := range n.Instances {
			offer := platform.Format(instance.Platform)
			if s.ties[n][i].Relation.Follows() || n.Nested[i] != nil {
				continue
			} else if instance.IsBlob() {
				offer = s.ties[n][i].Kind
			} else if unread(n, i) {
				offer = "what the missing list " + prose.Short(instance.Digest) + " names"
			}
			if !seen[offer] {
				seen[offer] = true
				offers = append(offers, offer)
			}
		}
	})
	return offers
}
