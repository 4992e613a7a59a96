package plan

import (
	"slices"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/internal/relation"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A filter is a platform filter and whether it has matched anything.
type filter struct {
	platform.Pattern
	text    string
	reason  Reason // of what it matches
	matched bool
	attests bool // it spells unknown/unknown out, and so means attestations, too
	nydus   bool // it spells out the feature by which Nydus images were marked, and so means those
	// seen says of each platform that was met whether the filter matches it. Entries of a list
	// share theirs.
	seen map[*imgspecv1.Platform]bool
}

func newFilters(groups ...[]InstancePlatformFilter) (include, exclude []*filter) {
	for _, group := range groups {
		for _, f := range group {
			p := &filter{Pattern: platform.Pattern(f), text: f.String(), seen: map[*imgspecv1.Platform]bool{}}
			normal := p.Normalized()
			p.attests = normal.OS == unknown && normal.Architecture == unknown
			p.nydus = slices.Contains(normal.OSFeatures, relation.NydusFeature)
			if f.Exclude {
				p.reason = Reason{ReasonExcluded, "excluded by " + p.text}
				exclude = append(exclude, p)
			} else {
				p.reason = Reason{ReasonPlatform, "selected by " + p.text}
				include = append(include, p)
			}
		}
	}
	return include, exclude
}

// unknown is what attestations say for operating system and architecture.
const unknown = "unknown"

// saysPlatform reports whether an entry says which platform it, or what is in it, is for.
func saysPlatform(instance manifest.Instance) bool {
	return !platform.Absent(instance.Platform) && !platform.Unknown(instance.Platform)
}

// matches reports whether f means the instance. Lists are selected by what is in them; one that was
// not read is meant if f matches the platform that its entry says, which is that of all in it.
// Attestations are what their annotation says, whatever their platform: f means them only if it
// spells unknown/unknown out. What accelerates an image has that one's platform: it goes if that is
// excluded, and is not what a filter chooses.
func (f *filter) matches(instance manifest.Instance, tie relation.Tie) bool {
	if instance.IsList() && !saysPlatform(instance) || !f.matchesPlatform(instance.Platform) {
		return false
	}
	switch tie.Relation {
	case Describes:
		return f.attests
	case Accelerates:
		return f.Exclude || f.nydus
	}
	return true
}

// matchesPlatform is Matches, which looks at each platform once.
func (f *filter) matchesPlatform(pl *imgspecv1.Platform) bool {
	is, ok := f.seen[pl]
	if !ok {
		is = f.Matches(pl)
		f.seen[pl] = is
	}
	return is
}

// firstMatch notes which of the filters match the instance, and returns the reason of the
// alphabetically first one, nil if none does.
func firstMatch(filters []*filter, instance manifest.Instance, tie relation.Tie) *Reason {
	var first *filter
	for _, f := range filters {
		if !f.matches(instance, tie) {
			continue
		}
		f.matched = true
		if first == nil || f.text < first.text {
			first = f
		}
	}
	if first == nil {
		return nil
	}
	return &first.reason
}
