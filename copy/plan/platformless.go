package plan

import (
	"fmt"

	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// PlatformlessAction says what platform filters mean for the entries of a list that have no
// platform: charts, policies and other artifacts, and images of which nobody says what they are
// for. Entries that describe or accelerate another one are not meant, nor nested lists, and a child
// of a nested list has the platform of the list's entry.
type PlatformlessAction int

const (
	// StripPlatformlessEntries, the default, leaves them behind when platforms select, unless
	// another selector names them. The plan and the report count them.
	// Use it when platforms are all that is wanted.
	StripPlatformlessEntries PlatformlessAction = iota
	// KeepPlatformlessEntries copies them whatever platforms select, unless a filter excludes them.
	// Use it for lists that bring charts or other artifacts along with their images.
	KeepPlatformlessEntries
)

// platformless decides about an image or artifact that nothing selects: what has no platform cannot
// match a filter. filtered is set if there are filters.
func platformless(o *Choices, filtered bool, instance manifest.Instance) verdict {
	switch {
	case !filtered || instance.IsList() || !platform.Absent(instance.Platform):
		return verdict{reason: reasonNotSelected}
	case o.PlatformlessEntries == KeepPlatformlessEntries:
		return verdict{wanted: true, filtered: true, reason: Reason{ReasonPlatformless, "has no platform, and such entries are kept"}}
	}
	return verdict{reason: Reason{ReasonPlatformless, "has no platform that could be selected"}}
}

// countPlatformless counts in p the entries without a platform that platform filters concern, and
// warns of those that are left behind.
func (s *selection) countPlatformless(p *Plan) {
	for _, verdicts := range s.verdicts {
		for _, v := range verdicts {
			switch {
			case v.reason.Code != ReasonPlatformless:
			case v.wanted:
				p.PlatformlessKept++
			default:
				p.PlatformlessLeft++
			}
		}
	}
	if p.PlatformlessLeft > 0 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("entries without a platform are left behind (%d)", p.PlatformlessLeft))
	}
}
