package copy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// checkUnambiguous refuses to have anything written anew, for the given reason, that parsers read differently: what comes of it would be one
// of the readings.
func (j *job) checkUnambiguous(reason string) error {
	if j.o.PreserveDigests || j.in.DestinationDigest != "" {
		return nil // nothing is
	}
	remarks := map[digest.Digest][]manifest.Remark{}
	if j.plan.List != nil {
		j.plan.List.Walk(func(l *ListPlan) { remarks[l.Digest] = l.List().Remarks() })
	}
	for _, d := range j.plan.Copies {
		doc, err := j.document(d)
		if err != nil {
			return err
		}
		if image, err := parseImage(doc); err == nil && image != nil {
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
