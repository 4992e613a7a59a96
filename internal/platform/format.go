package platform

import (
	"strconv"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// noPlatform is how an absent platform prints. It has a space, so that no platform prints like it.
const noPlatform = "no platform"

// Format prints what an entry says of its platform, as os/arch[/variant][:osversion][+feature…]:
// "linux/arm64/v8", "windows/amd64:10.0.17763.1+win32k", "unknown/unknown"; "no platform" if pl is
// nil or empty.
//
// Nothing is normalised, and two platforms print alike only if all their fields are equal. The
// result is printable ASCII: a part that Parse would not read back, or that is empty but needed, is
// quoted as in Go. Without such parts, Parse reads the result as a pattern that matches pl.
func Format(pl *imgspecv1.Platform) string {
	p := orZero(pl)
	return render(Pattern{
		OS:           p.OS,
		Architecture: p.Architecture,
		Variant:      p.Variant,
		OSVersion:    p.OSVersion,
		OSFeatures:   p.OSFeatures,
	}, quoteOdd)
}

// A quoter prints one part, in quotes if it is empty or check refuses it.
type quoter func(s string, check func(part, value string) error) string

func render(p Pattern, quote quoter) string {
	if p.OS == "" && p.Architecture == "" && p.Variant == "" && p.OSVersion == "" && len(p.OSFeatures) == 0 {
		return noPlatform
	}
	s := quote(p.OS, checkName) + "/" + quote(p.Architecture, checkName)
	if p.Variant != "" {
		s += "/" + quote(p.Variant, checkName)
	}
	if p.OSVersion != "" {
		s += ":" + quote(p.OSVersion, checkVersion)
	}
	for _, feature := range p.OSFeatures {
		s += "+" + quote(feature, checkName)
	}
	return s
}

// quoteOdd quotes "*" too: what an entry says is no wildcard.
func quoteOdd(s string, check func(part, value string) error) string {
	if s == Wildcard {
		return strconv.Quote(s)
	}
	return quoteOddButWildcard(s, check)
}

func quoteOddButWildcard(s string, check func(part, value string) error) string {
	if s == "" || check("", s) != nil {
		return strconv.QuoteToASCII(s)
	}
	return s
}
