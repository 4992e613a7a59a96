package platform

import (
	"slices"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Wildcard is the part of a Pattern that stands for any value.
const Wildcard = "*"

// Pattern says which platforms are meant. Its fields are those of the public filter in package
// copy, in the same order, so that one converts to the other.
//
// The zero value matches what has no platform.
type Pattern struct {
	// OS and Architecture are exact after normalisation. "*" matches every value but an absent one,
	// hence "*" in both matches every entry that has a platform. "" matches only an absent value.
	OS, Architecture string
	// Variant is exact after normalisation: "v8" matches an arm64 entry that says v8 or nothing,
	// "v7" only an arm entry that says v7. "" and "*" match every variant and none. An Architecture
	// whose spelling names a variant, such as armhf, implies that one when Variant is "".
	Variant string
	// OSVersion matches itself and what continues it after a dot: "10.0.17763" matches 10.0.17763
	// and 10.0.17763.5122, not 10.0.177631. "" and "*" match every version and none.
	OSVersion string
	// OSFeatures must all be among the entry's features, in any order. Empty matches everything.
	OSFeatures []string
	// Exclude marks what is not wanted ("!windows/*"). Matches ignores it.
	Exclude bool
}

// Matches reports whether p means the platform pl of an entry; nil is an entry without a platform.
// It ignores Exclude.
func (p Pattern) Matches(pl *imgspecv1.Platform) bool {
	want, have := p.Normalized(), Normalize(pl)
	return partMatches(want.OS, have.OS) &&
		partMatches(want.Architecture, have.Architecture) &&
		variantMatches(want.Variant, have) &&
		versionMatches(want.OSVersion, have.OSVersion) &&
		containsAll(have.OSFeatures, want.OSFeatures)
}

// Literal says that neither OS nor Architecture is a wildcard.
func (p Pattern) Literal() bool {
	return p.OS != Wildcard && p.Architecture != Wildcard
}

// Normalized is p in its usual spelling; it matches exactly what p matches. OS features are in
// ascending order without repetitions, and a Variant or OSVersion that matches everything is "". A
// variant stays even where every entry without one would match it: "arm64/v8" excludes v9, "arm64"
// does not.
func (p Pattern) Normalized() Pattern {
	p.OS = normalOS(p.OS)
	p.Architecture, p.Variant = normalSpelling(p.Architecture, p.Variant)
	p.OSVersion = strings.ToLower(p.OSVersion)
	p.OSFeatures = normalFeatures(p.OSFeatures)
	if p.Variant == Wildcard {
		p.Variant = ""
	}
	if p.OSVersion == Wildcard {
		p.OSVersion = ""
	}
	return p
}

// String is p as Parse reads it: Parse(p.String()) is p.Normalized() for every valid p that has an
// OS and an Architecture. The zero value prints as "no platform", and a single empty part in
// quotes; neither can be parsed.
func (p Pattern) String() string {
	s := render(p, quoteOddButWildcard)
	if p.Exclude {
		return "!" + s
	}
	return s
}

func partMatches(want, have string) bool {
	if want == Wildcard {
		return have != ""
	}
	return want == have
}

// variantMatches compares by the rules of the entry's architecture, because the pattern's may be a
// wildcard.
func variantMatches(want string, have imgspecv1.Platform) bool {
	if want == "" {
		return true
	}
	_, want = normalSpelling(have.Architecture, want)
	return withoutBaseline(have.Architecture, want) == have.Variant
}

func versionMatches(want, have string) bool {
	return want == "" || want == have || strings.HasPrefix(have, want+".")
}

func containsAll(have, want []string) bool {
	for _, feature := range want {
		if !slices.Contains(have, feature) {
			return false
		}
	}
	return true
}
