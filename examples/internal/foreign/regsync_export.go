package foreign

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
)

var regsyncExport = Export{
	Name:  "regsync",
	Title: "regsync's YAML",
	Keys: []Key{
		{"images[].source", "sync[].source, sync[].type", "registries and layouts; `${X}` becomes `{{env \"X\"}}`"},
		{"images[].destination", "sync[].target", "registries and layouts; without another tag than the source's, where there are `tags`"},
		{"images[].tags[]", "sync[].tags.allow", "tags and globs become regular expressions"},
		{"images[].tags[].regexp", "sync[].tags.allow", ""},
		{"images[].tags[].semver", "sync[].tags.semverRange", "with what denies pre-releases, unless `prereleases` or the range takes them; ranges that regsync reads otherwise are lost"},
		{"images[].tags[].suffix", "", "regsync has no ranges of versions with a suffix, and so the range is lost"},
		{"images[].tags[].all[]", "sync[].tags.allow", "one expression, one range, and what is in `not`"},
		{"images[].tags[].not", "sync[].tags.deny", "of an expression or a glob"},
		{"images[].exclude-tags[]", "sync[].tags.deny", "of expressions and globs"},
		{"images[].prereleases", "sync[].tags.semverRange", ""},
		{"images[].digest-tags", "sync[].digestTags", "with any suffix"},
		{"images[].referrers", "sync[].referrers", "types are `referrerFilters`"},
		{"images[].referrers-source", "sync[].referrerSource", "regsync asks nobody else"},
		{"images[].system", "sync[].platform", "`local` for `native`"},
		{"images[].platforms[]", "sync[].platforms", "platforms that are excluded, or have a `*`, are lost; one that the list lacks is no error"},
		{"images[].optional[]", "sync[].platforms", "as `platforms`"},
		{"images[].sparse", "", "regsync keeps lists"},
		{"images[].attestations", "sync[].platforms", "all of them, by `unknown/unknown`, or, with `drop`, none"},
		{"images[].platformless-entries", "sync[].platforms", "an empty one"},
		{"images[].single", nothing, "regsync copies single images, whatever they are for"},
		{"images[].every", "sync[].interval", ""},
		{"images[].cron", "sync[].schedule", ""},
		{"images[].check-blobs", "sync[].forceRecursive", ""},
		{"registries[].registry", "creds[].registry", ""},
		{"registries[].tls-verify", "creds[].tls", "`insecure`; write `disabled` where there is only HTTP"},
		{"registries[].cert-dir", "", "regsync has certificates in the file itself: `regcert`, `clientCert`, `clientKey`"},
		{"registries[].authfile", "", "regsync reads the file of Docker"},
	},
	write: writeRegsync,
}

// A regsyncWriter writes one of regsync's files.
type regsyncWriter struct {
	*exporter
}

func writeRegsync(x *exporter) *yaml.Node {
	w := regsyncWriter{x}
	sync := &yaml.Node{Kind: yaml.SequenceNode}
	for _, image := range x.images {
		if step := w.step(image); step != nil {
			sync.Content = append(sync.Content, step)
		}
	}
	tree := mapping()
	if len(sync.Content) == 0 {
		return tree
	}
	add(tree, "version", &yaml.Node{Kind: yaml.ScalarNode, Value: "1"})
	if creds := w.creds(); len(creds.Content) > 0 {
		add(tree, "creds", creds)
	}
	add(tree, "sync", sync)
	return tree
}

// creds is how registries are reached.
func (w regsyncWriter) creds() *yaml.Node {
	creds := &yaml.Node{Kind: yaml.SequenceNode}
	for _, n := range w.top.key("registries").elements() {
		one := map[string]string{"registry": asTemplate(n.key("registry").text())}
		if verify, set := n.key("tls-verify").bool(); set {
			one["tls"] = map[bool]string{true: "enabled", false: "insecure"}[verify]
		}
		creds.Content = append(creds.Content, treeOfMap(one))
	}
	return creds
}

// step is an image as a step of regsync, nil if it is lost.
func (w regsyncWriter) step(image exportedImage) *yaml.Node {
	step := map[string]any{}
	tags := image.key("tags")
	source, err := exportedReference(image.key("source").text())
	if err == nil {
		step["source"] = theirReference(source)
		err = w.target(step, image, source, tags != nil)
	}
	if err != nil {
		w.lost(image.node, "%v", err)
		return nil
	}
	step["type"] = "image"
	if tags != nil {
		step["type"] = "repository"
		w.tags(step, image)
	}
	w.attached(step, image, source)
	w.platforms(step, image)
	for key, theirs := range map[string]string{"every": "interval", "cron": "schedule"} {
		if n := image.key(key); n.text() != "" {
			step[theirs] = n.text()
		}
	}
	if check, _ := image.key("check-blobs").bool(); check {
		step["forceRecursive"] = true
	}
	return treeOfMap(step)
}

// exportedReference reads a reference with its transport.
func exportedReference(text string) (regsyncReference, error) {
	transport, rest, _ := strings.Cut(text, ":")
	if transport != "docker" && transport != "oci" {
		return regsyncReference{}, fmt.Errorf("regsync copies between registries and OCI layouts, not %s:", transport)
	}
	if transport == "oci" {
		rest = "ocidir://" + rest
	}
	return parseRegsync(strings.TrimPrefix(rest, "//"))
}

// theirReference is a reference as regsync writes it.
func theirReference(r regsyncReference) string {
	if r.layout {
		return asTemplate("ocidir://" + r.name + r.version)
	}
	return asTemplate(r.name + r.version)
}

// asTemplate writes the variables of a sync file as templates of regsync have them.
func asTemplate(text string) string {
	return strings.ReplaceAll(variable().ReplaceAllStringFunc(text, func(v string) string {
		return `{{env "` + v[2:len(v)-1] + `"}}`
	}), "$${", "${")
}

// target writes where an image goes.
func (w regsyncWriter) target(step map[string]any, image exportedImage, source regsyncReference, repository bool) error {
	destination := image.key("destination").text()
	if repository {
		destination = strings.TrimSuffix(destination, ":{tag}")
	}
	text, err := filledIn(destination, source)
	if err != nil {
		return err
	}
	to, err := exportedReference(text)
	switch {
	case err != nil:
		return err
	case !repository && to.version == "":
		to.version = source.orLatest().version
		if i := strings.Index(to.version, "@"); i > 0 { // written to the tag
			to.version = to.version[:i]
		}
	}
	step["target"] = theirReference(to)
	return nil
}

// filledIn puts what a source is called into a template of ours.
func filledIn(text string, source regsyncReference) (string, error) {
	host, repository, _ := strings.Cut(source.name, "/")
	tag, _, _ := strings.Cut(strings.TrimPrefix(source.version, ":"), "@")
	for _, field := range []struct{ name, value string }{
		{"{registry}", strings.ReplaceAll(host, ":", "-")}, {"{repository}", repository}, {"{name}", path.Base(repository)}, {"{tag}", tag},
	} {
		switch at := strings.Index(text, field.name); {
		case at < 0 || at > 0 && text[at-1] == '$':
		case field.value == "" || source.layout || field.name == "{tag}" && source.version[0] == '@':
			return "", fmt.Errorf("regsync fills in no %s of %s", field.name, text)
		default:
			text = strings.ReplaceAll(text, field.name, field.value)
		}
	}
	return text, nil
}

// attached writes what is copied of what belongs to the image.
func (w regsyncWriter) attached(step map[string]any, image exportedImage, source regsyncReference) {
	if d := image.key("digest-tags").text(); d != "" && d != "false" {
		step["digestTags"] = true
	}
	switch r := image.key("referrers"); {
	case r != nil && r.kind == yaml.SequenceNode:
		var filters []map[string]string
		for _, t := range r.elements() {
			filters = append(filters, map[string]string{"artifactType": t.text()})
		}
		step["referrers"], step["referrerFilters"] = true, filters
	case r.text() == "true":
		step["referrers"] = true
	}
	n := image.key("referrers-source")
	if n.text() == "" || n.text() == "none" {
		return
	}
	text, err := filledIn(n.text(), source)
	if err != nil {
		w.lost(n, "%v", err)
		return
	}
	step["referrerSource"] = asTemplate(strings.TrimPrefix(text, "docker://"))
}

// platforms writes which platforms are copied.
func (w regsyncWriter) platforms(step map[string]any, image exportedImage) {
	switch system := image.key("system").text(); system {
	case "":
	case "native":
		step["platform"] = "local"
	default:
		step["platform"] = system
	}
	image.key("single").takeAll()
	var platforms []string
	for _, key := range []string{"platforms", "optional"} {
		for _, e := range image.key(key).elements() {
			if strings.ContainsAny(e.text(), "!*") {
				w.lost(e, "regsync has no exclusions, and no *")
				continue
			}
			platforms = append(platforms, strings.Replace(e.text(), ":", ",osver=", 1))
		}
	}
	attestations, platformless := image.key("attestations").text(), image.key("platformless-entries").text()
	if len(platforms) == 0 {
		return
	}
	if attestations != "drop" {
		platforms = append(platforms, "unknown/unknown")
	}
	if platformless == "keep" {
		platforms = append(platforms, "")
	}
	step["platforms"] = platforms
}

// A writtenTags is one of regsync's sets of tags.
type writtenTags struct {
	Allow       []string `yaml:"allow,omitempty"`
	Deny        []string `yaml:"deny,omitempty"`
	SemverRange []string `yaml:"semverRange,omitempty"`
}

// digestTagged is an expression for tags that are named after digests, which patterns of a sync
// file never take.
const digestTagged = "sha(256|384|512)-[0-9a-fA-F]{8}.*"

// tags writes which tags are copied. What is named has a set of its own, since nothing excludes it.
func (w regsyncWriter) tags(step map[string]any, image exportedImage) {
	var names, whole writtenTags
	var sets []writtenTags
	prereleases, _ := image.key("prereleases").bool()
	exclude, _ := w.expressions(image.key("exclude-tags").elements())
	for _, e := range image.key("tags").elements() {
		set, ok := w.set(e, prereleases)
		switch {
		case !ok:
		case e.kind == yaml.ScalarNode && !tagselect.IsGlob(e.text()):
			names.Allow = append(names.Allow, set.Allow...)
		case len(set.SemverRange)+len(set.Deny) == 0:
			whole.Allow = append(whole.Allow, set.Allow...)
		default:
			set.Deny = append(set.Deny, exclude...)
			sets = append(sets, set.withoutDigestTags())
		}
	}
	if len(whole.Allow) > 0 {
		whole.Deny = exclude
		sets = append([]writtenTags{whole.withoutDigestTags()}, sets...)
	}
	if len(names.Allow) > 0 {
		sets = append([]writtenTags{names}, sets...)
	}
	switch len(sets) {
	case 0:
		step["tags"] = writtenTags{Allow: []string{noTag}}
	case 1:
		step["tags"] = sets[0]
	default:
		step["tagSets"] = sets
	}
}

// withoutDigestTags denies tags that are named after digests, if the set would take some.
func (t writtenTags) withoutDigestTags() writtenTags {
	if len(t.SemverRange) == 0 && (regsyncTags{allow: t.Allow, deny: t.Deny}).takesDigestTags() {
		t.Deny = append(t.Deny, digestTagged)
	}
	return t
}

// expressions are patterns as regular expressions for whole tags. ok is false if one is lost.
func (w regsyncWriter) expressions(patterns []*node) (all []string, ok bool) {
	ok = true
	for _, n := range patterns {
		switch {
		case n.kind == yaml.ScalarNode && tagselect.IsGlob(n.text()):
			expression, err := tagselect.GlobExpression(n.text())
			if err != nil {
				w.problem(n, "%v", err)
				return nil, false
			}
			all = append(all, strings.TrimSuffix(strings.TrimPrefix(expression.String(), "^"), "$"))
		case n.kind == yaml.ScalarNode:
			all = append(all, regexp.QuoteMeta(n.text()))
		case n.key("regexp") != nil:
			all = append(all, grouped(n.key("regexp").text()))
		default:
			w.lost(n, "regsync cannot combine patterns so")
			ok = false
		}
	}
	return all, ok
}

// grouped is an expression that means the same between ^ and $.
func grouped(expression string) string {
	if whole, err := wholeExpression(expression); err == nil && whole == expression {
		return expression
	}
	return "(?:" + expression + ")"
}

// set is an element of tags. ok is false if it is lost.
func (w regsyncWriter) set(n *node, prereleases bool) (set writtenTags, ok bool) {
	switch {
	case n.kind == yaml.ScalarNode || n.key("regexp") != nil:
		set.Allow, ok = w.expressions([]*node{n})
	case n.child("suffix") != nil:
		w.lost(n.key("suffix"), "regsync has no ranges of versions with a suffix, and so the range is lost")
		n.takeAll()
	case n.key("semver") != nil:
		return w.versions(n.key("semver"), prereleases)
	case n.key("not") != nil:
		set.Deny, ok = w.expressions([]*node{n.key("not")})
	case n.key("all") != nil:
		ok = true
		for _, e := range n.key("all").elements() {
			one, fine := w.set(e, prereleases)
			if ok = ok && fine && len(set.Allow)*len(one.Allow)+len(set.SemverRange)*len(one.SemverRange) == 0; !ok {
				w.lost(n, "regsync has one expression and one range in a set")
				return set, false
			}
			set = writtenTags{append(set.Allow, one.Allow...), append(set.Deny, one.Deny...), append(set.SemverRange, one.SemverRange...)}
		}
	}
	return set, ok
}

// versions is a range of versions.
func (w regsyncWriter) versions(n *node, prereleases bool) (set writtenTags, ok bool) {
	for part := range strings.SplitSeq(n.text(), "||") {
		var comparisons []string
		for field := range strings.FieldsSeq(strings.ReplaceAll(part, ",", " ")) {
			if !sameRange().MatchString(field) {
				w.lost(n, "regsync reads %q otherwise, or not at all", field)
				return set, false
			}
			comparisons = append(comparisons, field)
			prereleases = prereleases || strings.Contains(field, "-")
		}
		set.SemverRange = append(set.SemverRange, strings.Join(comparisons, " "))
	}
	if !prereleases {
		set.Deny = []string{".*-.*"}
	}
	return set, true
}

// sameRange is a comparison that regsync and we read in the same way: =1.2 is 1.2.0 alone there,
// and ~1 is ~1.0.
var sameRange = late.Regexp(`^(?:(?:>=|<)v?\d+(?:\.\d+){0,2}|\^v?[1-9]\d*(?:\.\d+){0,2}|~v?\d+(?:\.\d+){1,2}|(?:=|>|<=)?v?\d+\.\d+\.\d+)(?:-[0-9A-Za-z.-]+)?$`)
