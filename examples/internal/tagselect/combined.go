package tagselect

import (
	"slices"
	"strings"
)

// All takes the tags that each of some patterns takes. There must be one at least.
func All(patterns ...Pattern) Pattern {
	var texts []string
	var almost bool
	for _, p := range patterns {
		texts = append(texts, p.text)
		almost = almost || p.almost != nil
	}
	each := func(takes func(Pattern, string) bool) func(string) bool {
		return func(tag string) bool {
			return !slices.ContainsFunc(patterns, func(p Pattern) bool { return !takes(p, tag) })
		}
	}
	all := Pattern{text: "all of " + strings.Join(texts, " and "), takes: each(Pattern.Takes)}
	if almost {
		all.almost = each(func(p Pattern, tag string) bool { return p.takes(tag) || p.almost != nil && p.almost(tag) })
	}
	return all
}

// Not takes the tags that a pattern does not take.
func Not(p Pattern) Pattern {
	return Pattern{text: "not " + p.text, takes: func(tag string) bool { return !p.takes(tag) }}
}
