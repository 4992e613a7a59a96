package platform

import (
	"cmp"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Absent reports whether pl says nothing at all: an entry that has no platform, or an empty one.
func Absent(pl *imgspecv1.Platform) bool {
	p := orZero(pl)
	return p.OS == "" && p.Architecture == "" && p.Variant == "" && p.OSVersion == "" && len(p.OSFeatures) == 0
}

// unknown is what attestations say for operating system and architecture.
const unknown = "unknown"

// Unknown reports whether pl says that what it is about is for no platform, as attestations do.
func Unknown(pl *imgspecv1.Platform) bool {
	n := Normalize(pl)
	return n.OS == unknown && n.Architecture == unknown
}

// Within returns the platform of an entry that says inner, in a list whose own entry in another
// list says outer. The outer one selects and the inner one refines:
//
//   - one that says nothing gets the other, so that a child inherits its entry's platform;
//   - what the outer one says stands, and what it leaves open the inner one fills in: linux/arm64
//     and linux/arm64/v8 are linux/arm64/v8; an OS version may be continued;
//   - where they contradict each other in operating system or architecture, the inner one counts
//     for nothing;
//   - unknown/unknown is no platform to inherit, and what says it of itself stays that.
//
// The result may be one of the arguments. Neither is modified.
func Within(outer, inner *imgspecv1.Platform) *imgspecv1.Platform {
	switch {
	case Absent(outer) || Unknown(outer) || Unknown(inner):
		return inner
	case Absent(inner) || contradict(outer, inner):
		return outer
	}
	p := *outer
	p.OS = cmp.Or(outer.OS, inner.OS)
	p.Architecture = cmp.Or(outer.Architecture, inner.Architecture)
	if _, variant := normalSpelling(outer.Architecture, outer.Variant); variant == "" {
		p.Variant = inner.Variant
	}
	if versionMatches(strings.ToLower(outer.OSVersion), strings.ToLower(inner.OSVersion)) {
		p.OSVersion = inner.OSVersion
	}
	if len(p.OSFeatures) == 0 {
		p.OSFeatures = inner.OSFeatures
	}
	return &p
}

// contradict reports whether two platforms have no operating system or no architecture in common.
func contradict(a, b *imgspecv1.Platform) bool {
	n, m := Normalize(a), Normalize(b)
	differ := func(x, y string) bool { return x != "" && y != "" && x != y }
	return differ(n.OS, m.OS) || differ(n.Architecture, m.Architecture)
}
