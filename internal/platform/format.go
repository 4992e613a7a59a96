package platform

import (
	"strconv"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// noPlatform is how an absent platform prints. It has a space, so that no platform prints like it.
const noPlatform = "no platform"

// Format prints what an entry says of its platform, as os/arch[/variant][:osversion][+feature…]: "linux/arm64/v8",
// "windows/amd64:10.0.17763.1+win32k", "unknown/unknown"; "no platform" if pl is nil or empty.
//
// Nothing is normalised, and two platforms print alike only if all their fields are equal. A part that is empty but needed, or
// has characters that would not be read back, is quoted as in Go, so that the result has no control characters. Otherwise Parse
// reads the result as a pattern that matches pl.
func Format(pl *imgspecv1.Platform) string {
	p := orZero(pl)
	return render(p.OS, p.Architecture, p.Variant, p.OSVersion, p.OSFeatures, quoteUnlessPlain)
}

// String is p as Parse reads it: Parse(p.String()) is p.Normalized() for every valid p with an OS and an Architecture. Without
// both it is "no platform", which Parse does not read.
func (p Pattern) String() string {
	s := render(p.OS, p.Architecture, p.Variant, p.OSVersion, p.OSFeatures, quoteUnlessPlainOrWildcard)
	if p.Exclude {
		return "!" + s
	}
	return s
}

func render(os, arch, variant, version string, features []string, quote func(s string, plain func(byte) bool) string) string {
	if os == "" && arch == "" && variant == "" && version == "" && len(features) == 0 {
		return noPlatform
	}
	var b strings.Builder
	b.WriteString(quote(os, isNameByte))
	b.WriteString("/" + quote(arch, isNameByte))
	if variant != "" {
		b.WriteString("/" + quote(variant, isNameByte))
	}
	if version != "" {
		b.WriteString(":" + quote(version, isVersionByte))
	}
	for _, feature := range features {
		b.WriteString("+" + quote(feature, isNameByte))
	}
	return b.String()
}

func quoteUnlessPlain(s string, plain func(byte) bool) string {
	if s == "" || s != strings.TrimSpace(s) || firstOther(s, plain) >= 0 {
		return strconv.QuoteToASCII(s)
	}
	return s
}

func quoteUnlessPlainOrWildcard(s string, plain func(byte) bool) string {
	if s == Wildcard {
		return s
	}
	return quoteUnlessPlain(s, plain)
}

// firstOther is the position of the first byte of s that is not plain, -1 if there is none.
func firstOther(s string, plain func(byte) bool) int {
	for i := range len(s) {
		if !plain(s[i]) {
			return i
		}
	}
	return -1
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// isVersionByte allows spaces: os.version is free text, and there are lists that say "macOS 14" in it.
func isVersionByte(c byte) bool {
	return isNameByte(c) || c == ' '
}
