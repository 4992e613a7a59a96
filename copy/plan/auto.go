package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// decideAction plans Keep or Strip, or both under Auto.
func decideAction(in *Input, t *treePlanner, root *listtree.Node) (*Plan, error) {
	switch in.Choices.SparseManifestListAction {
	case StripSparseManifestList:
		return t.plan(root, true)
	case AutoSparseManifestList:
		return decideAuto(in, t, root)
	}
	keep, err := t.plan(root, false)
	if err != nil {
		return nil, err
	}
	if refusal := foreseenRefusal(in, keep); refusal != nil {
		return nil, refusal.because("SparseManifestListAction is keep")
	}
	if in.Sparse.Known && in.Sparse.Accepts && keep.Sparse() {
		keep.ActionReason = takes(in)
	}
	return keep, nil
}

// decideAuto keeps what is not sparse, or may be; it strips what is known to be refused, and has
// the stripped list ready where nothing is known. What an earlier copy has stripped stays so,
// unless it is known that the list will be taken as it is.
func decideAuto(in *Input, t *treePlanner, root *listtree.Node) (*Plan, error) {
	keep, err := t.plan(root, false)
	if err != nil {
		return nil, err
	}
	if !keep.Sparse() {
		keep.ActionReason = "nothing that the list names will be absent"
		return keep, nil
	}
	strip, stripErr := t.plan(root, true)
	if stripErr == nil && !strip.Strips() {
		stripErr = &CannotModifyError{root.Digest, "it names blobs, and is copied as a whole"}
	}
	refusal := foreseenRefusal(in, keep)
	taken := in.Sparse.Known && in.Sparse.Accepts && refusal == nil
	switch {
	case stripErr == nil && strip.Digest != "" && strip.Digest == in.DestinationTop && !taken:
		strip.ActionReason = "the destination names the stripped list already"
		return strip, nil
	case refusal != nil && stripErr != nil:
		return nil, refusal.because(stripErr.Error())
	case refusal != nil:
		strip.ActionReason = refusal.Error()
		return strip, nil
	}
	keep.ActionReason = "no entry goes, if the destination takes the sparse list"
	if keep.List.Result == keep.List.Digest {
		keep.ActionReason = "the digest stays, if the destination takes the sparse list"
	}
	if taken {
		keep.ActionReason = takes(in)
	}
	if stripErr != nil {
		keep.IfRefusedNot = stripErr.Error()
		return keep, nil //nolint:nilerr // the plan carries it
	}
	strip.ActionReason = "the destination refused the sparse list"
	keep.IfRefused = strip
	return keep, nil
}

// takes returns why the destination, whose view is known, will take a sparse list.
func takes(in *Input) string {
	return "the destination takes sparse lists: " + in.Sparse.Basis
}

// A foreseen refusal is what is known of the destination before anything is written.
type foreseen struct {
	list *ListPlan
	why  string
}

func (f *foreseen) Error() string { return f.why }

// because returns the error of a copy that cannot avoid the refusal, and why the list is not
// stripped.
func (f *foreseen) because(notStripped string) error {
	return &SparseRefusedError{List: cmp.Or(f.list.Result, f.list.Digest), Absent: f.list.Absent, Refusal: f, NotStripped: notStripped}
}

// foreseenRefusal returns why the destination will refuse a list of the plan, nil if it is not
// known to.
func foreseenRefusal(in *Input, p *Plan) (out *foreseen) {
	if !in.Sparse.Known {
		return nil
	}
	p.List.Walk(func(l *ListPlan) {
		if why := refusalOf(in, l); why != "" && out == nil {
			out = &foreseen{l, why}
		}
	})
	return out
}

// refusalOf returns why the destination, whose view is known, will refuse a list; "" if it is not
// certain to.
func refusalOf(in *Input, l *ListPlan) string {
	demanded := demandedOf(in, l)
	i := slices.IndexFunc(demanded, func(ip InstancePlan) bool { return !in.PresenceUnknown[ip.Digest] })
	switch {
	case i < 0:
		return ""
	case !in.Sparse.Accepts:
		return "the destination refuses sparse lists: " + in.Sparse.Basis
	}
	return fmt.Sprintf("the destination requires the instance %s (%s): %s", prose.Short(demanded[i].Digest), demanded[i].Platform, in.Sparse.Basis)
}

// Demanded returns the distinct children of the plan's lists that will be absent, as far as is
// known, and without which the destination, whose view is known, refuses a list.
func Demanded(in *Input, p *Plan) []digest.Digest {
	all := map[digest.Digest]bool{}
	p.List.Walk(func(l *ListPlan) {
		for _, ip := range demandedOf(in, l) {
			all[ip.Digest] = true
		}
	})
	return slices.Sorted(maps.Keys(all))
}

// Suffices reports whether it does not matter to the plan if the destination's view is less strict
// than support, which is known: it demands no child that will be absent. Of a list that is
// stripped, children that are not, too, may be demanded.
func Suffices(in *Input, p *Plan, support SparseSupport) bool {
	if p.Strips() {
		return support.Accepts && len(support.RequiredArchitectures)+len(support.RequiredPlatforms) == 0
	}
	stricter := *in
	stricter.Sparse = support
	return len(Demanded(&stricter, p)) == 0
}

// demandedOf returns those entries of one list, by what its document says: a registry does not know
// in which other list it is. Registries that announce nothing about children without an
// architecture do as they like.
func demandedOf(in *Input, l *ListPlan) []InstancePlan {
	policy := manifest.SparsePolicy{
		Enabled: true, RequiredArchitectures: in.Sparse.RequiredArchitectures, RequiredPlatforms: in.Sparse.RequiredPlatforms,
		OptionalWithoutPlatform: !in.Sparse.RequiresWithoutPlatform,
	}
	absent, stated := setOf(l.Absent), l.node.List.Instances()
	var demanded []InstancePlan
	for i, ip := range l.Instances {
		if ip.Entry != StripEntry && absent[ip.Digest] && (!in.Sparse.Accepts || policy.Requires(stated[i])) {
			demanded = append(demanded, ip)
		}
	}
	return demanded
}

func setOf(ds []digest.Digest) map[digest.Digest]bool {
	set := map[digest.Digest]bool{}
	for _, d := range ds {
		set[d] = true
	}
	return set
}
