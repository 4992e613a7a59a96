package platform

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Parse reads a pattern from
//
//	[!]os/arch[/variant][:osversion][+feature…]
//
// where os, arch, variant and osversion may be "*". A leading "!" sets Exclude. The way in which
// containerd writes OS versions and features, "windows(10.0.17763+win32k)/amd64", is read too. The
// result is normalised and valid.
//
// An OS or an architecture alone is refused, because other tools complete it from the host. No text
// stands for the pattern that matches what has no platform. Errors quote s, name the part that is
// wrong and say what to write instead.
func Parse(s string) (Pattern, error) {
	p, err := parse(s)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return Pattern{}, fmt.Errorf("platform %q: %w", s, err)
	}
	return p.Normalized(), nil
}

// Validate says what is wrong with a pattern that was not made by Parse; nil if nothing is. Each
// part must be "*" or consist of ASCII letters, digits, dots, underscores and hyphens (an OS
// version may have spaces inside); an entry whose platform has other characters can only be
// selected by wildcards, digest or position. A part that qualifies an empty one, or "*" next to an
// empty OS or Architecture, is refused as a likely mistake: "" does not stand for "any" there.
func (p Pattern) Validate() error {
	if err := p.check(); err != nil {
		return fmt.Errorf("platform %s: %w", p, err)
	}
	return nil
}

func (p Pattern) check() error {
	return cmp.Or(
		checkName("OS", p.OS),
		checkName("architecture", p.Architecture),
		checkName("variant", p.Variant),
		checkVersion("OS version", p.OSVersion),
		checkFeatures(p.OSFeatures),
		p.checkEmpty(),
	)
}

// checkEmpty refuses empty parts next to parts that make sense only if "" stood for "any".
func (p Pattern) checkEmpty() error {
	const hint = `"" matches only an entry without one, "*" matches any`
	switch {
	case p.OS == "" && (p.Architecture == Wildcard || p.OSVersion != "" || len(p.OSFeatures) > 0):
		return errors.New("OS is empty: " + hint)
	case p.Architecture == "" && (p.OS == Wildcard || p.Variant != ""):
		return errors.New("architecture is empty: " + hint)
	}
	return nil
}

func checkName(part, value string) error {
	if value == Wildcard {
		return nil
	}
	if strings.Contains(value, Wildcard) {
		return fmt.Errorf(`%s %q: "*" stands for a whole part, as in "linux/*"`, part, value)
	}
	return checkCharacters(part, value, isNameRune)
}

func checkVersion(part, version string) error {
	switch {
	case version == Wildcard:
		return nil
	case strings.Contains(version, Wildcard), strings.HasPrefix(version, "."), strings.HasSuffix(version, "."):
		return fmt.Errorf(`%s %q: write its beginning up to a dot, as in "10.0.17763", which matches 10.0.17763.1 too`, part, version)
	case version != strings.TrimSpace(version):
		return fmt.Errorf("%s %q begins or ends with a space", part, version)
	}
	return checkCharacters(part, version, isVersionRune)
}

func checkFeatures(features []string) error {
	for _, feature := range features {
		switch {
		case feature == "":
			return errors.New(`OS feature is empty; write it as in "windows/amd64+win32k"`)
		case strings.Contains(feature, Wildcard):
			return fmt.Errorf("OS feature %q: there are no wildcards; leave it out to match any", feature)
		}
		if err := checkName("OS feature", feature); err != nil {
			return err
		}
	}
	return nil
}

func checkCharacters(part, value string, allowed func(rune) bool) error {
	for _, r := range value {
		switch {
		case allowed(r):
		case r == ',':
			return fmt.Errorf("%s %q contains ',': give each platform on its own", part, value)
		default:
			return fmt.Errorf(`%s %q contains %q; write it as in "linux/arm/v7" or "windows/amd64:10.0.17763"`, part, value, r)
		}
	}
	return nil
}

func isNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
}

// isVersionRune allows spaces: os.version is free text, and there are lists that say "macOS 14" in
// it.
func isVersionRune(r rune) bool {
	return isNameRune(r) || r == ' '
}

// parse splits s. It refuses what Validate cannot see: parts that are absent or empty in the text.
func parse(s string) (Pattern, error) {
	var p Pattern
	s, p.Exclude = strings.CutPrefix(s, "!")
	if s == "" {
		return p, errors.New(`empty; write it as in "linux/amd64", "linux/*" or "!windows/*"`)
	}
	head, rest, found := strings.Cut(s, "/")
	if !found {
		return p, bareError(s)
	}
	head, inner, err := cutParentheses(head)
	if err != nil {
		return p, err
	}
	names, outer := cutQualifiers(rest)
	if inner != "" && outer != "" {
		return p, fmt.Errorf("OS version is given twice, as %q and as %q", inner, outer)
	}
	if err := p.setNames(head, names); err != nil {
		return p, err
	}
	return p, p.setQualifiers(inner + outer)
}

func (p *Pattern) setNames(os, names string) error {
	var hasVariant bool
	p.OS = os
	p.Architecture, p.Variant, hasVariant = strings.Cut(names, "/")
	switch {
	case p.OS == "":
		return errors.New(`OS is empty; write it as in "linux/amd64", or "*" for any`)
	case p.Architecture == "":
		return errors.New(`architecture is empty; write it as in "linux/amd64", or "*" for any`)
	case hasVariant && p.Variant == "":
		return errors.New(`variant is empty; write it as in "linux/arm/v7", or leave out the last "/" for any`)
	}
	return nil
}

// setQualifiers reads [:osversion][+feature…].
func (p *Pattern) setQualifiers(s string) error {
	version, features, hasFeatures := strings.Cut(s, "+")
	if version, ok := strings.CutPrefix(version, ":"); ok {
		if version == "" {
			return errors.New(`OS version is empty; write it as in "windows/amd64:10.0.17763", or leave out the ":" for any`)
		}
		p.OSVersion = version
	}
	if hasFeatures {
		p.OSFeatures = strings.Split(features, "+")
	}
	return nil
}

// cutQualifiers cuts s before the first ":" or "+".
func cutQualifiers(s string) (names, qualifiers string) {
	if i := strings.IndexAny(s, ":+"); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// cutParentheses splits containerd's os(osversion+feature) into the OS and qualifiers as they would
// stand at the end.
func cutParentheses(s string) (os, qualifiers string, err error) {
	os, inner, found := strings.Cut(s, "(")
	if !found {
		return s, "", nil
	}
	inner, closed := strings.CutSuffix(inner, ")")
	if !closed {
		return "", "", fmt.Errorf(`OS %q: no ")" after the OS version, as in "windows(10.0.17763)/amd64"`, s)
	}
	if strings.HasPrefix(inner, "+") {
		return os, inner, nil
	}
	return os, ":" + inner, nil
}

// commonOSes and commonArchitectures only make hints precise; any name may be used in a pattern.
var (
	commonOSes          = []string{"aix", "android", "darwin", "freebsd", "illumos", "ios", "linux", "netbsd", "openbsd", "solaris", "windows"}
	commonArchitectures = []string{"386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x", "wasm"}
)

// bareError explains that a single name is no platform.
func bareError(name string) error {
	architecture, _ := normalSpelling(name, "")
	asOS, asArchitecture := fmt.Sprintf("%q", name+"/*"), fmt.Sprintf("%q", "*/"+name)
	switch {
	case name == noPlatform:
		return errors.New("no text stands for it; select an entry without a platform by its digest or position")
	case slices.Contains(commonOSes, normalOS(name)):
		return fmt.Errorf("architecture is absent; write %s for every architecture", asOS)
	case slices.Contains(commonArchitectures, architecture):
		return fmt.Errorf("OS is absent; write %s for every OS", asArchitecture)
	}
	return fmt.Errorf(`OS or architecture is absent; write both, as in "linux/amd64", or %s or %s`, asOS, asArchitecture)
}
