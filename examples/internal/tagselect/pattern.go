package tagselect

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// A Pattern takes some tags, whatever others there are. It is safe for concurrent use.
type Pattern struct {
	text   string
	takes  func(tag string) bool
	almost func(tag string) bool // what a range takes with its pre-releases; nil if that is the same
}

// Takes reports whether the pattern takes a tag.
func (p Pattern) Takes(tag string) bool { return p.takes(tag) }

// String is how people call it.
func (p Pattern) String() string { return p.text }

var tagSyntax = late.Regexp(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// IsTag reports whether a text may be a tag.
func IsTag(text string) bool { return tagSyntax().MatchString(text) }

// Name takes one tag.
func Name(tag string) Pattern {
	return Pattern{text: tag, takes: func(other string) bool { return other == tag }}
}

// IsGlob reports whether a text is meant as a glob.
func IsGlob(text string) bool { return strings.ContainsAny(text, "*?[") }

// Glob takes tags as a whole, by *, ? and [sets].
func Glob(text string) (Pattern, error) {
	pattern, err := GlobExpression(text)
	if err != nil {
		return Pattern{}, fmt.Errorf("glob %q: %w", text, err)
	}
	return Pattern{text: strconv.Quote(text), takes: pattern.MatchString}, nil
}

// Regexp takes tags that a regular expression matches as a whole.
func Regexp(text string) (Pattern, error) {
	_, err := regexp.Compile(text) // "a)|(b" is none, and would be one within parentheses
	if err != nil {
		return Pattern{}, fmt.Errorf("regexp %q: %w", text, err)
	}
	pattern, err := regexp.Compile("^(?:" + text + ")$")
	if err != nil {
		return Pattern{}, fmt.Errorf("regexp %q: %w", text, err)
	}
	return Pattern{text: "regexp " + strconv.Quote(text), takes: pattern.MatchString}, nil
}

// RangeOptions are the choices of Range. Its zero value is useful.
type RangeOptions struct {
	// Prereleases takes versions with a suffix, too: 2.0.0-rc.1, and also 1.27.3-alpine. Without
	// it, they are taken only by the parts of a range, between ||, that name a pre-release
	// themselves.
	Prereleases bool
	// Suffix is a glob of what tags must end with, such as -alpine or -debian-12-r*. What is in
	// front of it is the version. "" stands for nothing.
	Suffix string
}

// Range takes tags that are versions within a range, such as ">=3.1 <4", "^1.27", "~2.4" or
// "1.x || 2.x". Versions are what ParseVersion makes of tags, but for those whose first number has
// six digits or more: dates are no versions then. Of more than three numbers, it looks at the first
// three.
//
// The error says how to write ranges.
func Range(text string, options RangeOptions) (Pattern, error) {
	name := "semver " + strconv.Quote(text)
	constraints, err := parseRange(text)
	if err != nil {
		return Pattern{}, fmt.Errorf("%s: %w", name, err)
	}
	split := func(tag string, takes func(string) bool) bool { return takes(tag) }
	if options.Suffix != "" {
		name += " with suffix " + strconv.Quote(options.Suffix)
		suffix, err := GlobExpression(options.Suffix)
		if err != nil {
			return Pattern{}, fmt.Errorf("suffix %q: %w", options.Suffix, err)
		}
		split = func(tag string, takes func(string) bool) bool {
			for i := 1; i < len(tag); i++ {
				if suffix.MatchString(tag[i:]) && takes(tag[:i]) {
					return true
				}
			}
			return false
		}
	}
	with := func(prereleases bool) func(string) bool {
		constraints := *constraints
		constraints.IncludePrerelease = prereleases
		return func(tag string) bool {
			return split(tag, func(version string) bool {
				v, ok := semantic(version)
				return ok && constraints.Check(v)
			})
		}
	}
	p := Pattern{text: name, takes: with(options.Prereleases)}
	if !options.Prereleases {
		p.almost = with(true)
	}
	return p, nil
}

// parseRange reads a range. The library takes an empty one, and parts that are empty, for any
// version; here that is a slip.
func parseRange(text string) (*semver.Constraints, error) {
	for part := range strings.SplitSeq(text, "||") {
		if strings.TrimSpace(part) == "" {
			return nil, errors.New(`a part is empty: write "*" for all versions`)
		}
	}
	constraints, err := semver.NewConstraint(text)
	switch {
	case errors.Is(err, semver.ErrConstraintTooLong), errors.Is(err, semver.ErrTooManyConstraintGroups):
		return nil, err
	case err != nil:
		return nil, errors.New(`it is no range of versions; write one such as ">=3.1 <4", "^1.27", "~2.4", "1.x || 2.x"`)
	}
	return constraints, nil
}

// semantic is the semantic version that a tag stands for in ranges.
func semantic(tag string) (version *semver.Version, ok bool) {
	v, ok := ParseVersion(tag)
	if !ok || v.serial {
		return nil, false
	}
	var numbers [3]uint64
	for i := range min(len(v.numbers), len(numbers)) {
		n, err := strconv.ParseUint("0"+v.numbers[i], 10, 64)
		if err != nil {
			return nil, false
		}
		numbers[i] = n
	}
	return semver.New(numbers[0], numbers[1], numbers[2], v.suffix, ""), true
}

// GlobExpression returns the regular expression of a glob with *, ? and [sets]: it matches the same
// texts, and no part of others. [!a-c] is all but a set, as shells write it, and so is [^a-c].
func GlobExpression(glob string) (*regexp.Regexp, error) {
	glob = strings.ReplaceAll(glob, "[!", "[^")
	if _, err := path.Match(glob, ""); err != nil {
		return nil, errors.New("a [ has no end")
	}
	var b strings.Builder
	inSet := false
	for _, r := range glob {
		switch {
		case inSet:
			inSet = r != ']'
			b.WriteRune(r)
		case r == '*':
			b.WriteString(".*")
		case r == '?':
			b.WriteString(".")
		case r == '[':
			inSet = true
			b.WriteRune(r)
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return regexp.Compile("^" + b.String() + "$")
}
