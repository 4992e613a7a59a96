package copy

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// ReasonCode says why an instance is copied, or why not, for programs.
type ReasonCode string

// The reasons to copy an instance, and then the reasons not to.
const (
	ReasonAll      ReasonCode = "all"      // CopyAllImages, or everything that is not excluded
	ReasonDigest   ReasonCode = "digest"   // named by Instances
	ReasonIndex    ReasonCode = "index"    // named by InstanceIndexes
	ReasonPlatform ReasonCode = "platform" // matched by a platform filter
	ReasonWithin   ReasonCode = "within"   // in a nested list that was selected with all that it names
	ReasonContains ReasonCode = "contains" // a nested list with something selected in it
	ReasonFollows  ReasonCode = "follows"  // an attestation whose subject is copied
	ReasonKept     ReasonCode = "kept"     // an attestation, by KeepAllAttestations
	ReasonSystem   ReasonCode = "system"   // suits the running system
	ReasonSingle   ReasonCode = "single"   // the source is a single image

	ReasonNotSelected ReasonCode = "not-selected"
	ReasonExcluded    ReasonCode = "excluded" // by an excluding filter
	ReasonDropped     ReasonCode = "dropped"  // an attestation, by DropAttestations
	ReasonMissing     ReasonCode = "missing"  // selected, but missing at the source
)

// A Reason says why an instance is copied or not.
type Reason struct {
	Code ReasonCode `json:"code"`
	Text string     `json:"text"` // for people; never decide by it
}

// A verdict is what selection says of one entry of a list.
type verdict struct {
	wanted bool
	// missing is set if the entry would be wanted but is missing at the source; wanted is false then.
	missing bool
	// lenient is set if the entry was selected by following, or as one of all attestations: missing is no failure then.
	lenient bool
	// leads is set if attestations of the entry follow it.
	leads  bool
	reason Reason
}

// A selection holds one verdict for each entry of each list of a tree.
type selection struct {
	verdicts map[*listtree.Node][]verdict
	warnings []string
}

// selectInstances decides which entries of the tree below root are wanted. missing says which digests the source definitely does
// not have. The error is a *NoMatchError.
func selectInstances(root *listtree.Node, o *Options, missing func(digest.Digest) bool) (*selection, error) {
	s := newSelector(root, o, missing)
	s.node(root, nil)
	if err := s.unmatched(root); err != nil {
		return nil, err
	}
	return &s.out, nil
}

// A filter is a platform filter and whether it has matched anything.
type filter struct {
	platform.Pattern
	text    string
	matched bool
}

func newFilters(groups ...[]InstancePlatformFilter) (include, exclude []*filter) {
	for _, group := range groups {
		for _, f := range group {
			p := &filter{Pattern: platform.Pattern(f), text: f.String()}
			if f.Exclude {
				exclude = append(exclude, p)
			} else {
				include = append(include, p)
			}
		}
	}
	return include, exclude
}

type selector struct {
	o        *Options
	root     *listtree.Node
	missing  func(digest.Digest) bool
	include  []*filter // optional ones last
	exclude  []*filter
	required int                    // include[:required] must match something
	digests  map[digest.Digest]bool // selected digest → whether it has matched
	indexes  map[int]bool           // selected position → whether it exists
	rest     bool                   // everything that is not excluded is selected
	out      selection
}

func newSelector(root *listtree.Node, o *Options, missing func(digest.Digest) bool) *selector {
	s := &selector{
		o: o, root: root, missing: missing,
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
	s.rest = len(s.include)+len(s.digests)+len(s.indexes) == 0 && len(s.exclude) > 0
	return s
}

// node decides about the entries of n and of the lists nested in it, and says whether any is wanted. whole is the reason
// if n was selected with all that it names, and nil otherwise.
func (s *selector) node(n *listtree.Node, whole *Reason) (any bool) {
	verdicts := make([]verdict, len(n.Instances))
	for i, instance := range n.Instances {
		verdicts[i] = s.entry(n, i, instance, whole)
	}
	s.follow(n, verdicts)
	s.out.verdicts[n] = verdicts
	return slices.ContainsFunc(verdicts, func(v verdict) bool { return v.wanted })
}

// entry decides about one entry, but for what an attestation's subject has to say.
func (s *selector) entry(n *listtree.Node, i int, instance manifest.Instance, whole *Reason) verdict {
	named := s.named(n, i, instance)
	if nested, ok := n.Nested[i]; ok {
		return s.nested(nested, named, whole)
	}
	if _, ok := instance.AttestationOf(); ok {
		return s.settle(s.attestation(instance, named, whole), instance)
	}
	return s.settle(s.leaf(instance, named, whole), instance)
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

// nested decides about an entry that names a list which was read.
func (s *selector) nested(n *listtree.Node, named, whole *Reason) verdict {
	inherited := whole
	if named != nil {
		inherited = &Reason{ReasonWithin, "in a nested list that was " + named.Text}
	}
	any := s.node(n, inherited)
	switch {
	case named != nil:
		return verdict{wanted: true, leads: s.o.Attestations == FollowSubject, reason: *named}
	case s.o.ImageListSelection == CopyAllImages:
		return verdict{wanted: true, leads: true, reason: reasonAll}
	case whole != nil:
		return verdict{wanted: true, leads: true, reason: *whole}
	case any:
		return verdict{wanted: true, leads: true, reason: Reason{ReasonContains, "contains selected instances"}}
	}
	return verdict{reason: reasonNotSelected}
}

var (
	reasonAll         = Reason{ReasonAll, "all instances are selected"}
	reasonNotSelected = Reason{ReasonNotSelected, "not selected"}
)

// leaf decides about an image, or about a nested list that was not read.
func (s *selector) leaf(instance manifest.Instance, named, whole *Reason) verdict {
	follow := s.o.Attestations == FollowSubject || s.o.Attestations == DefaultAttestations
	literal := s.o.Attestations == FollowSubject
	by := s.match(instance)
	if out := s.excluded(instance); out != nil {
		return verdict{reason: *out}
	}
	switch {
	case s.o.ImageListSelection == CopyAllImages:
		return verdict{wanted: true, leads: literal, reason: reasonAll}
	case named != nil:
		return verdict{wanted: true, leads: literal || (follow && by != ""), reason: *named}
	case whole != nil:
		return verdict{wanted: true, leads: literal || (follow && by != ""), reason: *whole}
	case by != "":
		return verdict{wanted: true, leads: follow, reason: Reason{ReasonPlatform, "selected by " + by}}
	case s.rest && !instance.IsList():
		return verdict{wanted: true, leads: follow, reason: Reason{ReasonAll, "not excluded"}}
	}
	return verdict{reason: reasonNotSelected}
}

// attestation decides about an entry that describes another one, by everything but that one's verdict.
func (s *selector) attestation(instance manifest.Instance, named, whole *Reason) verdict {
	by := s.match(instance)
	if out := s.excluded(instance); out != nil {
		return verdict{reason: *out}
	}
	switch {
	case named != nil:
		return verdict{wanted: true, reason: *named}
	case s.o.Attestations == DropAttestations:
		return verdict{reason: Reason{ReasonDropped, "attestations are dropped"}}
	case by != "":
		return verdict{wanted: true, reason: Reason{ReasonPlatform, "selected by " + by}}
	case s.o.Attestations == FollowSubject:
		return verdict{reason: reasonNotSelected}
	case s.o.ImageListSelection == CopyAllImages:
		return verdict{wanted: true, reason: reasonAll}
	case whole != nil:
		return verdict{wanted: true, reason: *whole}
	case s.o.Attestations == KeepAllAttestations:
		return verdict{wanted: true, lenient: true, reason: Reason{ReasonKept, "all attestations are kept"}}
	}
	return verdict{reason: reasonNotSelected}
}

// match returns the first, in alphabetical order, of the filters that match the instance, "" if there is none, and notes all that do.
// Wildcards do not match attestations: those follow.
func (s *selector) match(instance manifest.Instance) string {
	if instance.IsList() {
		return ""
	}
	_, attestation := instance.AttestationOf()
	first := ""
	for _, f := range s.include {
		if attestation && !f.Literal() || !f.Matches(instance.Platform) {
			continue
		}
		f.matched = true
		if first == "" || f.text < first {
			first = f.text
		}
	}
	return first
}

func (s *selector) excluded(instance manifest.Instance) *Reason {
	if instance.IsList() {
		return nil
	}
	_, attestation := instance.AttestationOf()
	first := ""
	for _, f := range s.exclude {
		if attestation && !f.Literal() || !f.Matches(instance.Platform) {
			continue
		}
		if first == "" || f.text < first {
			first = f.text
		}
	}
	if first == "" {
		return nil
	}
	return &Reason{ReasonExcluded, "excluded by " + first}
}

// settle turns a wanted verdict about something that the source does not have around.
func (s *selector) settle(v verdict, instance manifest.Instance) verdict {
	if v.wanted && s.missing(instance.Digest) {
		v.wanted, v.missing = false, true
		v.reason = Reason{ReasonMissing, v.reason.Text + ", but missing at the source"}
	}
	return v
}

// follow selects the attestations in n whose subjects are wanted and lead, and those of attestations selected so.
func (s *selector) follow(n *listtree.Node, verdicts []verdict) {
	of := map[digest.Digest][]int{} // subject → attestations that may follow it
	for i, instance := range n.Instances {
		subject, ok := instance.AttestationOf()
		if ok && verdicts[i].reason.Code == ReasonNotSelected {
			of[subject] = append(of[subject], i)
		}
	}
	if len(of) == 0 {
		return
	}
	var leaders []digest.Digest
	for i, v := range verdicts {
		if v.wanted && v.leads {
			leaders = append(leaders, n.Instances[i].Digest)
		}
	}
	for len(leaders) > 0 {
		subject := leaders[0]
		leaders = leaders[1:]
		for _, i := range of[subject] {
			v := verdict{wanted: true, lenient: true, leads: true, reason: Reason{ReasonFollows, "follows " + short(subject)}}
			verdicts[i] = s.settle(v, n.Instances[i])
			if verdicts[i].wanted {
				leaders = append(leaders, n.Instances[i].Digest)
			}
		}
		delete(of, subject)
	}
}

// unmatched reports the selectors that matched nothing: required ones as an error, optional ones as warnings.
func (s *selector) unmatched(root *listtree.Node) error {
	var asked []string
	for _, f := range s.include[:s.required] {
		if !f.matched {
			asked = append(asked, f.text)
		}
	}
	for d, matched := range s.digests {
		if !matched {
			asked = append(asked, d.String())
		}
	}
	for i, exists := range s.indexes {
		if !exists {
			asked = append(asked, fmt.Sprintf("position %d", i))
		}
	}
	for _, f := range s.include[s.required:] {
		if !f.matched {
			s.out.warnings = append(s.out.warnings, fmt.Sprintf("no instance matches the optional platform %s", f.text))
		}
	}
	slices.Sort(s.out.warnings)
	if len(asked) > 0 {
		return &NoMatchError{Asked: sorted(asked), Offered: offered(root)}
	}
	return nil
}

// offered returns what the tree has to select from: the distinct platforms of its images, in the order of the lists.
func offered(root *listtree.Node) []string {
	var offers []string
	seen := map[string]bool{}
	root.Walk(func(n *listtree.Node) {
		for _, instance := range n.Instances {
			if _, ok := instance.AttestationOf(); ok || instance.IsList() {
				continue
			}
			if p := platform.Format(instance.Platform); !seen[p] {
				seen[p] = true
				offers = append(offers, p)
			}
		}
	})
	return offers
}

// short abbreviates a digest for people.
func short(d digest.Digest) string {
	s := d.String()
	if i := len(d.Algorithm()) + 1; len(s) > i+12 {
		return s[:i+12]
	}
	return s
}
