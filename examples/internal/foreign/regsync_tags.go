package foreign

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// A regsyncTags is what one of regsync's sets of tags says. A tag must be within one of the ranges,
// match one of allow, and none of deny; what is empty asks for nothing.
type regsyncTags struct {
	allow, deny []string // regular expressions that match whole tags
	ranges      []string // of semantic versions, as tagselect reads them
}

// tags writes which tags of a repository are copied.
func (s *regsyncReader) tags(image *element, step *node) {
	sets := []regsyncTags{}
	for _, n := range step.key("tagSets").elements() {
		sets = append(sets, s.tagSet(n))
	}
	if one := s.tagSet(step.key("tags")); !one.isEmpty() {
		sets = append(sets, one)
	}
	if len(sets) == 0 {
		sets = append(sets, regsyncTags{})
	}
	sameDeny := !slices.ContainsFunc(sets, func(t regsyncTags) bool { return !slices.Equal(t.deny, sets[0].deny) })
	var selected []any
	for _, t := range sets {
		selected = append(selected, t.pattern(!sameDeny))
		if len(t.ranges) > 0 {
			image.set("prereleases", true)
		}
		if t.takesDigestTags() {
			image.set("digest-tags", "all")
		}
	}
	image.set("tags", selected)
	if sameDeny && len(sets[0].deny) > 0 {
		image.set("exclude-tags", []any{anyOf(sets[0].deny)})
	}
}

// tagSet reads a set of tags.
func (s *regsyncReader) tagSet(n *node) regsyncTags {
	var t regsyncTags
	t.allow, t.deny = s.expressions(n.key("allow")), s.expressions(n.key("deny"))
	for _, e := range n.key("semverRange").elements() {
		if e.text() == "" {
			continue
		}
		written, err := regsyncRange(e.text())
		if err != nil {
			s.lost(n, "%q: %v", e.text(), err)
			continue
		}
		t.ranges = append(t.ranges, written)
	}
	return t
}

// expressions are regular expressions that match whole tags. One that is empty matches none.
func (s *regsyncReader) expressions(n *node) []string {
	var all []string
	for _, e := range n.elements() {
		whole, err := wholeExpression(e.text())
		if err != nil {
			s.problem(e, "%v", err)
			continue
		}
		all = append(all, whole)
		if e.tag == "!!float" && strings.HasSuffix(e.value, "0") {
			s.note(e, "regsync takes it for a number, without the 0 at its end; here it is %s", e.value)
		}
	}
	if some := slices.DeleteFunc(slices.Clone(all), func(e string) bool { return e == noTag }); len(some) > 0 {
		return some
	}
	return all
}

// noTag is what becomes of an empty expression.
const noTag = "^$"

// wholeExpression returns a regular expression that matches, as a whole, what regsync has an
// expression match: it puts ^ in front of it and $ behind it, so that of a|b, ^ is for a, and $ for
// b.
func wholeExpression(expression string) (string, error) {
	between, err := syntax.Parse("^"+expression+"$", syntax.Perl)
	if err != nil {
		return "", err
	}
	if grouped, err := syntax.Parse("^(?:"+expression+")$", syntax.Perl); err == nil && grouped.String() == between.String() {
		return expression, nil
	}
	return anchored("^" + expression + "$")
}

func (t regsyncTags) isEmpty() bool { return len(t.allow)+len(t.deny)+len(t.ranges) == 0 }

// pattern is the set as an element of tags; deny is in it only if withDeny.
func (t regsyncTags) pattern(withDeny bool) any {
	var all []any
	if len(t.ranges) > 0 {
		all = append(all, map[string]any{"semver": strings.Join(t.ranges, " || ")})
	}
	if len(t.allow) > 0 {
		all = append(all, anyOf(t.allow))
	}
	if len(all) == 0 {
		all = append(all, "*")
	}
	if withDeny && len(t.deny) > 0 {
		all = append(all, map[string]any{"not": anyOf(t.deny)})
	}
	return together(all[0], all[1:])
}

// anyOf is a pattern that takes what one of some expressions matches.
func anyOf(expressions []string) map[string]any {
	var parts []string
	for _, e := range expressions {
		if parsed, err := syntax.Parse(e, syntax.Perl); len(expressions) > 1 && (err != nil || parsed.Op == syntax.OpAlternate || strings.Contains(e, `\Q`) || strings.Contains(e, "(?")) {
			e = "(?:" + e + ")"
		}
		parts = append(parts, e)
	}
	return map[string]any{"regexp": strings.Join(parts, "|")}
}

// takesDigestTags reports whether the set selects tags that are named after digests.
func (t regsyncTags) takesDigestTags() bool {
	takes := func(expressions []string) bool {
		return regexp.MustCompile("^(?:" + anyOf(expressions)["regexp"].(string) + ")$").MatchString(aSignature)
	}
	return len(t.ranges) == 0 && (len(t.allow) == 0 || takes(t.allow)) && (len(t.deny) == 0 || !takes(t.deny))
}

// regsyncRange writes one of regsync's ranges out in full: there, =1.2 is 1.2.0 alone, and ~1 is
// ~1.0.
func regsyncRange(text string) (string, error) {
	var parts []string
	for field := range strings.FieldsSeq(text) {
		version := strings.TrimLeft(field, "^~=<>")
		operator := field[:len(field)-len(version)]
		v, err := parseRegsyncVersion(version)
		if err != nil {
			return "", err
		}
		switch operator {
		case "", "=", ">", ">=", "<", "<=":
			parts = append(parts, operator+v.String())
		case "^":
			parts = append(parts, ">="+v.String(), "<"+v.nextIncompatible().String())
		case "~":
			parts = append(parts, ">="+v.String(), "<"+regsyncVersion{numbers: [3]int{v.numbers[0], v.numbers[1] + 1}}.String())
		default:
			return "", fmt.Errorf("%q is no operator", operator)
		}
	}
	return strings.Join(parts, " "), nil
}

// A regsyncVersion is a version in a range.
type regsyncVersion struct {
	numbers    [3]int
	prerelease string
}

func parseRegsyncVersion(text string) (regsyncVersion, error) {
	text, _, _ = strings.Cut(strings.TrimPrefix(text, "v"), "+")
	text, prerelease, _ := strings.Cut(text, "-")
	v := regsyncVersion{prerelease: prerelease}
	numbers := strings.Split(text, ".")
	if len(numbers) > len(v.numbers) {
		return v, errors.New("a version with more than three numbers bounds nothing here")
	}
	for i, number := range numbers {
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 {
			return v, fmt.Errorf("%q is no version", text)
		}
		v.numbers[i] = n
	}
	return v, nil
}

func (v regsyncVersion) String() string {
	text := fmt.Sprintf("%d.%d.%d", v.numbers[0], v.numbers[1], v.numbers[2])
	if v.prerelease != "" {
		text += "-" + v.prerelease
	}
	return text
}

// nextIncompatible is the least version that ^v does not take.
func (v regsyncVersion) nextIncompatible() regsyncVersion {
	for i, n := range v.numbers {
		if n > 0 || i == len(v.numbers)-1 {
			next := regsyncVersion{}
			copy(next.numbers[:i], v.numbers[:i])
			next.numbers[i] = n + 1
			return next
		}
	}
	panic("unreachable")
}
