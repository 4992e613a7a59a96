package tagselect

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sparsecopy/sparsecopy/copy"
)

// A Selection says which tags of a repository are wanted. Its zero value wants none. Its methods
// are safe for concurrent use.
type Selection struct {
	Names    []string  // wanted, listed or not, whatever Exclude and Bounds say
	Patterns []Pattern // what they take of what is listed is wanted
	Exclude  []Pattern // but for what these take
	Bounds   Bounds    // and for what is beyond these
}

// Matched is what a Selection makes of a list of tags before its Bounds. All are in the order of
// Compare, and each is there once.
type Matched struct {
	Names []string // of the Selection
	Taken []string // by its patterns, and not named
	// PassedOver are tags that are named after digests (copy.IsDigestTag), which patterns would
	// have taken otherwise. They never do.
	PassedOver []string
}

// Listed reports whether the repository's tags must be listed to know which are wanted.
func (s *Selection) Listed() bool { return len(s.Patterns) > 0 }

// Takes reports whether a pattern takes a tag. Bounds are not looked at.
func (s *Selection) Takes(tag string) bool {
	return anyTakes(s.Patterns, tag) && !anyTakes(s.Exclude, tag) && !copy.IsDigestTag(tag)
}

// Match returns what is wanted of the tags that a repository lists, in any order, duplicates or
// not, and before the bounds. The error is a *NothingError for a pattern that takes nothing.
func (s *Selection) Match(listed []string) (Matched, error) {
	m := Matched{Names: Sorted(s.Names)}
	for _, p := range s.Patterns {
		taken, digestTags := s.matched(p, listed)
		if len(taken) == 0 {
			return Matched{}, s.nothing(p, listed, len(digestTags))
		}
		m.Taken, m.PassedOver = append(m.Taken, taken...), append(m.PassedOver, digestTags...)
	}
	named := func(tag string) bool { return slices.Contains(s.Names, tag) }
	m.Taken, m.PassedOver = Sorted(slices.DeleteFunc(m.Taken, named)), Sorted(m.PassedOver)
	return m, nil
}

// matched returns what one pattern takes, and the tags named after digests that it would take
// otherwise, and that nobody names.
func (s *Selection) matched(p Pattern, listed []string) (taken, digestTags []string) {
	for _, tag := range listed {
		switch {
		case !p.Takes(tag) || anyTakes(s.Exclude, tag):
		case !copy.IsDigestTag(tag):
			taken = append(taken, tag)
		case !slices.Contains(s.Names, tag):
			digestTags = append(digestTags, tag)
		}
	}
	return taken, digestTags
}

// A NothingError says that a pattern takes none of a repository's tags.
type NothingError struct {
	Pattern     string // as people call it
	Listed      int    // how many tags there are
	DigestTags  int    // those that it would have taken were they not named after digests
	Excluded    int    // those that it takes and that are excluded
	Prereleases int    // those that it would have taken with pre-releases
}

func (e *NothingError) Error() string {
	var but []string
	if e.DigestTags > 0 {
		but = append(but, fmt.Sprintf("but for %d that are named after digests, which patterns do not take", e.DigestTags))
	}
	if e.Excluded > 0 {
		but = append(but, fmt.Sprintf("but for %d that are excluded", e.Excluded))
	}
	if e.Prereleases > 0 {
		but = append(but, fmt.Sprintf("but for %d with a suffix, as pre-releases have: prereleases takes all of them, and suffix those with a certain one", e.Prereleases))
	}
	return strings.Join(append([]string{"no tag of the repository matches " + e.Pattern}, but...), ", ")
}

// nothing counts what p nearly takes.
func (s *Selection) nothing(p Pattern, listed []string, digestTags int) error {
	e := &NothingError{Pattern: p.String(), Listed: len(listed), DigestTags: digestTags}
	for _, tag := range listed {
		switch {
		case copy.IsDigestTag(tag):
		case p.Takes(tag):
			e.Excluded++
		case p.almost != nil && p.almost(tag) && !anyTakes(s.Exclude, tag):
			e.Prereleases++
		}
	}
	return e
}

func anyTakes(patterns []Pattern, tag string) bool {
	return slices.ContainsFunc(patterns, func(p Pattern) bool { return p.Takes(tag) })
}
