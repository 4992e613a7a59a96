package syncfile

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

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

// tagPattern reads a mapping, nil if it is none that takes tags.
func (p *parser) tagPattern(node *yaml.Node, prereleases bool) *tagselect.Pattern {
	keys := p.mapping(node, "a tag", []string{"regexp", "semver", "suffix"})
	expression, versions, suffix := keys["regexp"], keys["semver"], keys["suffix"]
	switch {
	case keys == nil, expression == nil && versions == nil && suffix == nil:
		if len(resolve(node).Content) == 0 {
			p.problem(node.Line, "a tag has neither regexp nor semver")
		}
		return nil
	case expression != nil && versions != nil:
		p.problem(node.Line, "regexp and semver exclude each other in one tag: write two")
		return nil
	case versions == nil && suffix != nil:
		p.problem(suffix.Line, "suffix needs semver")
		return nil
	case expression != nil:
		if text, ok := p.scalar(expression, "regexp"); ok {
			return p.pattern(node)(tagselect.Regexp(text))
		}
		return nil
	}
	options := tagselect.RangeOptions{Prereleases: prereleases}
	text, ok := p.quoted(versions, "semver")
	if suffix != nil && ok {
		options.Suffix, ok = p.scalar(suffix, "suffix")
	}
	if !ok {
		return nil
	}
	return p.pattern(versions)(tagselect.Range(text, options))
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
	return slices.ContainsFunc(resolve(tags).Content, func(e *yaml.Node) bool {
		return slices.ContainsFunc(resolve(e).Content, func(n *yaml.Node) bool { return n.Value == "semver" })
	})
}

// unquoted are values that YAML reads otherwise than they are meant, most of them without a word
// that helps.
var unquoted = regexp.MustCompile(`\b(?:semver|suffix|regexp):\s+[>!|*]|[-\[,:]\s*\*(?:[^A-Za-z0-9_]|$)`)

// unquotedLine is the line at that of a YAML error that needs quotes, 0 if there is none.
func unquotedLine(content []byte, line int) int {
	lines := strings.Split(string(content), "\n")
	for _, at := range []int{line, line - 1, line + 1} {
		if at > 0 && at <= len(lines) && unquoted.MatchString(lines[at-1]) {
			return at
		}
	}
	return 0
}
