package copy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// checkUnambiguous refuses to have anything of a plan written anew, for the given reason, that parsers read differently: what comes of it
// would be one of the readings.
func checkUnambiguous(in *plan.Input, p *Plan, reason string) error {
	if in.Choices.PreserveDigests || in.DestinationDigest != "" {
		return nil // nothing is
	}
	remarks := map[digest.Digest][]manifest.Remark{}
	if p.List != nil {
		p.List.Walk(func(l *ListPlan) { remarks[l.Digest] = l.List().Remarks() })
	}
	for _, d := range p.Copies {
		if image, err := in.Tree.Image(d); err == nil && image != nil {
			remarks[d] = image.Remarks
		}
	}
	for _, d := range slices.Sorted(maps.Keys(remarks)) {
		for _, r := range remarks[d] {
			if r.Kind == manifest.Duplicate {
				return &Error{"converting", SourceSide, d.String(), fmt.Errorf("parsers read it differently (%s), and it cannot be left as it is: %s", r, reason)}
			}
		}
	}
	return nil
}
