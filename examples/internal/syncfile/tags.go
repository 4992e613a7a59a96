package syncfile

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
)

// The keys that say, beside tags and exclude-tags, which tags are chosen.
const (
	keyPrereleases = "prereleases"
	keyNewest      = "newest"
	keyNewestBy    = "newest-by"
	keySince       = "since"
)

// choosing are keys that say which tags are copied, and nothing about how.
var choosing = []string{keyPrereleases, keyNewest, keyNewestBy, keySince}

// noBound is what newest and since say that take back what the defaults have.
const noBound = "none"

func newest(p *parser, i *Image, n *yaml.Node) {
	text, ok := p.scalar(n, keyNewest)
	if !ok || text == noBound {
		return
	}
	number, err := strconv.ParseUint(text, 10, 31)
	if err != nil || number == 0 {
		p.problem(n.Line, "%s: %q is no number from 1 on; %s takes back what the defaults say", keyNewest, text, noBound)
		return
	}
	i.bounds.Newest = int(number)
}

func since(p *parser, i *Image, n *yaml.Node) {
	text, ok := p.scalar(n, keySince)
	if !ok || text == noBound {
		return
	}
	var err error
	if i.bounds.Since, err = tagselect.ParseSince(text); err != nil {
		p.problem(n.Line, "%s: %v; %s takes back what the defaults say", keySince, err, noBound)
	}
}

// tags reads which tags of the source are wanted.
func (p *parser) tags(image *Image, node, exclude *yaml.Node) *tagselect.Selection {
	tags := &tagselect.Selection{Bounds: image.bounds}
	elements := p.sequence(node, "tags")
	if len(elements) == 0 {
		p.problem(node.Line, "tags has no elements")
	}
	for _, e := range elements {
		name, pattern := p.tag(e, image.prereleases)
		switch {
		case name != "":
			tags.Names = append(tags.Names, name)
		case pattern != nil:
			tags.Patterns = append(tags.Patterns, *pattern)
		}
	}
	if exclude == nil {
		return tags
	}
	for _, e := range p.sequence(exclude, "exclude-tags") {
		name, pattern := p.tag(e, true) // what excludes a version excludes its pre-releases
		switch {
		case name != "":
			tags.Exclude = append(tags.Exclude, tagselect.Name(name))
		case pattern != nil:
			tags.Exclude = append(tags.Exclude, *pattern)
		}
	}
	return tags
}

// tag reads a tag, or a pattern: a glob, or a mapping with a regular expression or a range. Neither
// is there if that is a problem.
func (p *parser) tag(node *yaml.Node, prereleases bool) (name string, pattern *tagselect.Pattern) {
	if resolve(node).Kind == yaml.MappingNode {
		return "", p.tagPattern(node, prereleases)
	}
	text, ok := p.scalar(node, "a tag")
	switch {
	case !ok:
	case tagselect.IsGlob(text):
		return "", p.pattern(node)(tagselect.Glob(text))
	case !tagselect.IsTag(text):
		p.problem(node.Line, "%q is neither a tag nor a glob%s", text, meantAsRange(text))
	default:
		return text, nil
	}
	return "", nil
}

// meantAsRange says how a range of versions is written, if a text looks like one.
func meantAsRange(text string) string {
	if _, err := tagselect.Range(text, tagselect.RangeOptions{}); err != nil {
		return ""
	}
	return "; a range of versions is written {semver: " + strconv.Quote(text) + "}"
}

// patternKeys are the keys of an element of tags that is a mapping; each has one of the first four.
var patternKeys = []string{"regexp", "semver", "all", "not", "suffix"}

// tagPattern reads a mapping, nil if it is none that takes tags.
func (p *parser) tagPattern(node *yaml.Node, prereleases bool) *tagselect.Pattern {
	keys := p.mapping(node, "a tag", patternKeys)
	var kinds []string
	for _, kind := range patternKeys[:4] {
		if keys[kind] != nil {
			kinds = append(kinds, kind)
		}
	}
	switch {
	case keys == nil, len(kinds) == 0 && keys["suffix"] == nil:
		if len(resolve(node).Content) == 0 {
			p.problem(node.Line, "a tag has none of regexp, semver, all and not")
		}
		return nil
	case len(kinds) > 1:
		p.problem(node.Line, "%s exclude each other in one tag: write two, or put both into all", strings.Join(kinds, " and "))
		return nil
	case keys["suffix"] != nil && keys["semver"] == nil:
		p.problem(keys["suffix"].Line, "suffix needs semver")
		return nil
	}
	switch value := keys[kinds[0]]; kinds[0] {
	case "regexp":
		if text, ok := p.scalar(value, "regexp"); ok {
			return p.pattern(node)(tagselect.Regexp(text))
		}
		return nil
	case "all":
		return p.allOf(value, prereleases)
	case "not":
		if inner := p.anyPattern(value, true); inner != nil { // as exclude-tags
			not := tagselect.Not(*inner)
			return &not
		}
		return nil
	}
	return p.versions(keys["semver"], keys["suffix"], prereleases)
}

// allOf reads a list of patterns that must all take a tag.
func (p *parser) allOf(node *yaml.Node, prereleases bool) *tagselect.Pattern {
	var patterns []tagselect.Pattern
	if node.Kind == yaml.AliasNode {
		p.problem(node.Line, "all and not take no alias")
		return nil
	}
	elements := p.sequence(node, "all")
	for _, e := range elements {
		if inner := p.anyPattern(e, prereleases); inner != nil {
			patterns = append(patterns, *inner)
		}
	}
	switch {
	case len(elements) == 0:
		p.problem(node.Line, "all has no elements")
		return nil
	case len(patterns) < len(elements):
		return nil
	}
	all := tagselect.All(patterns...)
	return &all
}

// anyPattern reads a tag or a pattern, as a pattern. An alias is none: it could lead back to where
// it stands.
func (p *parser) anyPattern(node *yaml.Node, prereleases bool) *tagselect.Pattern {
	if node.Kind == yaml.AliasNode {
		p.problem(node.Line, "all and not take no alias")
		return nil
	}
	name, pattern := p.tag(node, prereleases)
	if name != "" {
		one := tagselect.Name(name)
		return &one
	}
	return pattern
}

// versions reads a range of versions, and what comes after them in tags, nil for nothing.
func (p *parser) versions(node, suffix *yaml.Node, prereleases bool) *tagselect.Pattern {
	options := tagselect.RangeOptions{Prereleases: prereleases}
	text, ok := p.quoted(node, "semver")
	if suffix != nil && ok {
		options.Suffix, ok = p.scalar(suffix, "suffix")
	}
	if !ok {
		return nil
	}
	return p.pattern(node)(tagselect.Range(text, options))
}

// pattern notes the problem with a pattern, which is nil then.
func (p *parser) pattern(node *yaml.Node) func(tagselect.Pattern, error) *tagselect.Pattern {
	return func(pattern tagselect.Pattern, err error) *tagselect.Pattern {
		if err != nil {
			p.problem(node.Line, "%v", err)
			return nil
		}
		return &pattern
	}
}

// quoted returns the text of a value that YAML reads otherwise if it begins with certain
// characters.
func (p *parser) quoted(node *yaml.Node, what string) (string, bool) {
	n := resolve(node)
	if n.Style&(yaml.FoldedStyle|yaml.LiteralStyle|yaml.TaggedStyle) != 0 {
		p.problem(node.Line, "%s: %s", what, quoteThis)
		return "", false
	}
	return p.scalar(node, what)
}

// quoteThis says what to do about a value that YAML does not take for a text.
const quoteThis = `what begins with >, !, | or * needs quotes, such as semver: ">=3.1 <4"`

// choosesNothing refuses keys of an image, as opposed to those that it has by default, that choose
// nothing there.
func (p *parser) choosesNothing(image *Image, own map[string]*yaml.Node) {
	for _, c := range []struct {
		key   string
		has   bool
		needs string
	}{
		{keyNewest, image.Listed(), patterns},
		{keySince, image.Listed(), patterns},
		{keyNewestBy, image.bounds.Newest > 0, keyNewest},
		{keyPrereleases, hasRange(own["tags"]), "tags with semver"},
	} {
		n := own[c.key]
		if n != nil && !c.has && resolve(n).Value != noBound && resolve(n).Value != "false" {
			p.problem(n.Line, "%s needs %s", c.key, c.needs)
		}
	}
}

// patterns are what bounds need.
const patterns = "tags with a glob, a regexp or semver: what is named in full is always copied"

// hasRange reports whether there is a range among the elements of tags.
func hasRange(tags *yaml.Node) bool {
	if tags == nil {
		return false
	}
	return slices.ContainsFunc(resolve(tags).Content, func(e *yaml.Node) bool { return hasKey(resolve(e), "semver") })
}

// hasKey reports whether a mapping has a key, or something in it. Aliases are not followed.
func hasKey(node *yaml.Node, key string) bool {
	return slices.ContainsFunc(node.Content, func(n *yaml.Node) bool {
		return node.Kind == yaml.MappingNode && n.Value == key || hasKey(n, key)
	})
}

// unquoted are values that YAML reads otherwise than they are meant, most of them without a word
// that helps.
var unquoted = late.Regexp(`\b(?:semver|suffix|regexp):\s+[>!|*]|[-\[,:]\s*\*(?:[^A-Za-z0-9_]|$)`)

// unquotedLine is the line at that of a YAML error that needs quotes, 0 if there is none.
func unquotedLine(content []byte, line int) int {
	lines := strings.Split(string(content), "\n")
	for _, at := range []int{line, line - 1, line + 1} {
		if at > 0 && at <= len(lines) && unquoted().MatchString(lines[at-1]) {
			return at
		}
	}
	return 0
}
