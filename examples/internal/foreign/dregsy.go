package foreign

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

var dregsy = Format{
	Name:  "dregsy",
	Title: "dregsy's YAML",
	Keys: []Key{
		{"relay", nothing, "registries are read and written directly, whatever the relay"},
		{"skopeo.binary", nothing, "no other program is run"},
		{"skopeo.certs-dir", "registries, cert-dir", "the directory below it for each registry, without the port, if that is there when the file is read"},
		{"docker", nothing, "no daemon is asked"},
		{"dockerhost", nothing, "no daemon is asked"},
		{"api-version", nothing, "no daemon is asked"},
		{"lister", "", "it is for `from: regex:…`, which has no counterpart"},
		{"watch", "mirror serve", "the server reads its file again when that changes"},
		{"tasks[].name", nothing, "the comments say from which lines images come"},
		{"tasks[].interval", "every", "with the jitter that `every` has by default; without it, as often as mirror serve says"},
		{"tasks[].verbose", "--debug", "a flag of the run"},
		{"tasks[].source.registry", "source", ""},
		{"tasks[].source.auth", "mirror login", "credentials stay out of sync files; for `none`, `--src-no-creds`"},
		{"tasks[].source.auth-refresh", "credHelpers", "in the file that mirror login writes: docker-credential-ecr-login, as for any registry of AWS"},
		{"tasks[].source.skip-tls-verify", "registries, tls-verify", "for all images of the registry"},
		{"tasks[].source.lister", "", "it is for `from: regex:…`, which has no counterpart"},
		{"tasks[].target.registry", "destination", ""},
		{"tasks[].target.auth", "mirror login", "credentials stay out of sync files; for `none`, `--dest-no-creds`"},
		{"tasks[].target.auth-refresh", "credHelpers", "as for `source`"},
		{"tasks[].target.skip-tls-verify", "registries, tls-verify", "for all images of the registry"},
		{"tasks[].mappings[].from", "source", "`regex:` is lost: no registry is asked which repositories it has"},
		{"tasks[].mappings[].to", "destination", "`regex:` is worked out"},
		{"tasks[].mappings[].tags[]", "tags, exclude-tags, newest, prereleases", "`semver:` with pre-releases; `regex:` as `regexp`, or, with `!`, in `not`; `keep:` in `all`, or, with `!`, as `exclude-tags`; `keep: latest N` as `newest`, which takes versions only; a digest as an image of its own. A pattern that matches nothing is an error"},
		{"tasks[].mappings[].platform", "system", "`native` without it, as dregsy has it; nothing for `all`"},
		{"tasks[].mappings[].digests[]", "source", "an image of its own"},
		{"tasks[].mappings[].preserve-digests", "preserve-digests", ""},
		{"tasks[].mappings_file", "", "no other file is read: put its mappings here"},
	},
	read: readDregsy,
}

// A dregsyReader reads one of dregsy's files.
type dregsyReader struct {
	*reader
	certificates string  // directory with a directory for each registry, "" for none
	listers      []*node // that say how repositories are listed
	listing      bool    // there is something for which they are
}

func readDregsy(r *reader) {
	top := r.document()
	d := &dregsyReader{reader: r, certificates: top.key("skopeo").key("certs-dir").text()}
	if w := top.key("watch"); w.text() == "true" {
		d.note(w, "mirror serve reads its file again when that changes")
	}
	d.lister(top.key("lister"))
	for _, task := range top.key("tasks").elements() {
		d.task(task)
	}
	for _, n := range d.listers {
		if !d.listing {
			n.takeAll()
			d.note(n, "it is for from: regex:…, of which there is none here")
		}
	}
}

// lister notes where it is said how repositories are listed, which is lost if any are.
func (d *dregsyReader) lister(n *node) {
	if !n.isNull() {
		n.taken = false
		d.listers = append(d.listers, n)
	}
}

// task reads what is copied from one registry to another.
func (d *dregsyReader) task(n *node) {
	if name := n.key("name"); name.text() == "" {
		d.problem(n, "a task has a name")
	}
	if verbose, _ := n.key("verbose").bool(); verbose {
		d.note(n.key("verbose"), "it is a flag of the run: --debug")
	}
	from, to := d.location(n.key("source")), d.location(n.key("target"))
	if from == "" || to == "" {
		d.problem(n, "a task has a source and a target, each with a registry")
		return
	}
	every := d.interval(n.key("interval"))
	for _, m := range n.key("mappings").elements() {
		before := len(d.images)
		d.mapping(m, from, to)
		if every != "" {
			for _, image := range d.images[before:] {
				image.set("every", every)
			}
		}
	}
}

// location reads how a registry is reached, and returns its name.
func (d *dregsyReader) location(n *node) string {
	registry := n.key("registry").text()
	d.lister(n.key("lister"))
	if i := strings.Index(registry, "@"); i >= 0 { // an account of AWS comes before
		registry = registry[i+1:]
	}
	host, _, _ := strings.Cut(registry, "/")
	if insecure, _ := n.key("skip-tls-verify").bool(); insecure {
		d.registry(n, host).set("tls-verify", false)
	}
	if dir := d.certDir(host); dir != "" {
		d.registry(n, host).set("cert-dir", dir)
	}
	switch auth := n.key("auth"); auth.text() {
	case "":
	case "none":
		d.note(auth, "no credentials are used if there are none")
	default:
		d.login(auth, host)
	}
	if refresh := n.key("auth-refresh"); refresh.text() != "" {
		d.helper(refresh, host, "ecr-login")
	}
	return registry
}

// certDir is the directory with the certificates for a registry, "" if there is none. dregsy names
// it to Skopeo in any case, which does without it.
func (d *dregsyReader) certDir(host string) string {
	name, _, _ := strings.Cut(host, ":")
	dir := d.path(filepath.Join(d.certificates, name))
	if info, err := os.Stat(dir); d.certificates == "" || host == "" || err != nil || !info.IsDir() {
		return ""
	}
	return dir
}

// interval is how often a task is done, "" for once.
func (d *dregsyReader) interval(n *node) string {
	if n.text() == "" || n.text() == "0" {
		return ""
	}
	seconds, err := strconv.ParseUint(n.text(), 10, 31)
	if err != nil || seconds < 30 {
		d.problem(n, "%q is no number of seconds, of at least 30", n.text())
		return ""
	}
	text := (time.Duration(seconds) * time.Second).String()
	for _, nothing := range []string{"0s", "0m"} {
		if rest := strings.TrimSuffix(text, nothing); strings.HasSuffix(rest, "m") || strings.HasSuffix(rest, "h") {
			text = rest
		}
	}
	return text
}

const regexPrefix = "regex:"

// mapping reads a mapping.
func (d *dregsyReader) mapping(n *node, from, to string) {
	repository := n.key("from").text()
	switch {
	case strings.HasPrefix(repository, regexPrefix):
		d.listing = true
		d.lost(n, "no registry is asked which repositories it has: write a mapping for each")
		return
	case repository == "":
		d.problem(n, "a mapping has a key from")
		return
	}
	repository = "/" + strings.TrimPrefix(repository, "/")
	target, err := dregsyTarget(n.key("to").text(), repository)
	if err != nil {
		d.problem(n.key("to"), "%v", err)
		return
	}
	m := dregsyMapping{dregsyReader: d, node: n, source: "docker://" + onDockerHub(from+repository), target: "docker://" + onDockerHub(to+target)}
	m.tags(n.key("tags"))
	for _, e := range n.key("digests").elements() {
		m.digest(e, e.text(), "@"+e.text())
	}
}

// dregsyTarget is where a repository goes. Both begin with a slash.
func dregsyTarget(to, repository string) (string, error) {
	expression, isRegex := strings.CutPrefix(to, regexPrefix)
	switch {
	case to == "":
		return repository, nil
	case !isRegex:
		return "/" + strings.TrimPrefix(to, "/"), nil
	}
	expression, replacement, ok := strings.Cut(expression, ",")
	if !ok {
		return "", fmt.Errorf("there is no comma, and what comes after it, in %q", to)
	}
	r, err := regexp.Compile(expression)
	if err != nil {
		return "", err
	}
	return "/" + strings.TrimPrefix(r.ReplaceAllString(repository, replacement), "/"), nil
}

// A dregsyMapping is what one mapping says.
type dregsyMapping struct {
	*dregsyReader
	node           *node
	source, target string // repositories

	names    []string // tags
	patterns []dregsyPattern
	keep     []dregsyPattern // what all tags must be taken by
	newest   int             // versions, 0 for all
}

// A dregsyPattern takes tags.
type dregsyPattern struct {
	ours  any                   // as in tags of a sync file
	takes func(tag string) bool // reports whether it takes a tag that is no version
	not   any                   // what takes the others, nil if ours does not turn something around
}

// image begins an image of the mapping.
func (m *dregsyMapping) image(n *node) *element {
	image := m.reader.image(n)
	switch platform := m.node.key("platform").text(); platform {
	case "":
		image.set("system", "native")
	case "all":
	default:
		parts := strings.Split(platform, "/")
		if len(parts) == 2 || len(parts) == 3 {
			parts = normalPlatform(parts)
		}
		image.set("system", strings.Join(parts, "/"))
	}
	if preserve, _ := m.node.key("preserve-digests").bool(); preserve {
		image.set("preserve-digests", true)
	}
	return image
}

// digest writes an image that is read by its digest, and becomes a version, with what stands in
// front of that: a tag or a digest.
func (m *dregsyMapping) digest(n *node, text, version string) {
	if _, err := digest.Parse(text); err != nil {
		m.problem(n, "%q: %v", text, err)
		return
	}
	image := m.image(n)
	image.set("source", m.source+"@"+text)
	image.set("destination", m.target+version)
}

// tags reads a list of tags.
func (m *dregsyMapping) tags(n *node) {
	digests := 0
	for _, e := range n.elements() {
		text := strings.TrimSpace(e.text())
		kind, rest, _ := strings.Cut(text, ":")
		tag, hash, pinned := strings.Cut(text, "@")
		switch rest = strings.TrimSpace(rest); {
		case kind == "semver":
			m.patterns = append(m.patterns, dregsyPattern{map[string]any{"semver": blangRange(rest)}, func(string) bool { return false }, nil})
		case kind == "regex":
			m.patterns = append(m.patterns, m.expression(e, rest)...)
		case kind == "keep" && keepLatest().MatchString(rest):
			m.newest, _ = strconv.Atoi(keepLatest().FindStringSubmatch(rest)[1])
		case kind == "keep":
			m.keep = append(m.keep, m.expression(e, rest)...)
		case pinned:
			m.digest(e, hash, ":"+tag)
			digests++
		case kind == "sha256":
			m.digest(e, text, "@"+text)
			digests++
		default:
			m.names = append(m.names, text)
		}
	}
	if digests == 0 || len(m.names)+len(m.patterns) > 0 {
		m.write()
	}
}

var keepLatest = late.Regexp(`^latest\s+([0-9]{1,9})$`)

// expression reads a regular expression for whole tags, behind a ! for those that it does not
// match. It is a slice of none if there is a problem.
func (m *dregsyMapping) expression(n *node, text string) []dregsyPattern {
	text, inverted := strings.CutPrefix(text, "!")
	whole, full, err := lineExpression(text)
	if err != nil {
		m.problem(n, "%v", err)
		return nil
	}
	r := regexp.MustCompile(full)
	pattern := map[string]any{"regexp": whole}
	if inverted {
		return []dregsyPattern{{map[string]any{"not": pattern}, func(tag string) bool { return !r.MatchString(tag) }, pattern}}
	}
	return []dregsyPattern{{pattern, r.MatchString, nil}}
}

// lineExpression returns what dregsy makes of an expression: it puts ^ in front and $ behind, where
// they are not; and an expression that matches, as a whole, what that matches.
func lineExpression(text string) (whole, full string, err error) {
	begun, ended := strings.HasPrefix(text, "^"), strings.HasSuffix(text, "$")
	if !begun && !ended {
		whole, err = wholeExpression(text)
		return whole, "^" + text + "$", err
	}
	full = text
	if !begun {
		full = "^" + full
	}
	if !ended {
		full += "$"
	}
	whole, err = anchored(full)
	return whole, full, err
}

// write writes the image of the tags.
func (m *dregsyMapping) write() {
	image := m.image(m.node)
	image.set("source", m.source)
	image.set("destination", m.target+":{tag}")
	if len(m.names)+len(m.patterns) == 0 {
		m.patterns = []dregsyPattern{{"*", func(string) bool { return true }, nil}}
	}
	m.names = slices.DeleteFunc(m.names, m.pruned)
	m.newestNames()
	var selected []any
	for _, name := range m.names {
		if m.newest > 0 && isBlangVersion(name) {
			selected = append(selected, map[string]any{"regexp": regexp.QuoteMeta(name)})
		} else {
			selected = append(selected, name)
		}
	}
	var exclude, keep []any
	for _, k := range m.keep {
		if k.not != nil {
			exclude = append(exclude, k.not)
		} else {
			keep = append(keep, k.ours)
		}
	}
	for _, p := range m.patterns {
		selected = append(selected, together(p.ours, keep))
		if p.takes(aSignature) && !m.pruned(aSignature) {
			image.set("digest-tags", "all")
		}
		if ours, is := p.ours.(map[string]any); is && ours["semver"] != nil {
			image.set("prereleases", true)
		}
	}
	image.set("tags", selected)
	if len(exclude) > 0 && len(m.patterns) > 0 {
		image.set("exclude-tags", exclude)
	}
	if m.newest > 0 {
		image.set("newest", m.newest)
	}
}

// pruned reports whether keep takes a tag out.
func (m *dregsyMapping) pruned(tag string) bool {
	return slices.ContainsFunc(m.keep, func(k dregsyPattern) bool { return !k.takes(tag) })
}

// newestNames chooses among names that are all that there is, and no versions: there, the newest
// are the last in the order of the alphabet.
func (m *dregsyMapping) newestNames() {
	if m.newest == 0 || len(m.patterns) > 0 || slices.ContainsFunc(m.names, isBlangVersion) {
		return
	}
	slices.Sort(m.names)
	m.names = slices.Compact(m.names)
	m.names, m.newest = m.names[max(0, len(m.names)-m.newest):], 0
}

// together is a pattern that takes what it and all of others take.
func together(pattern any, others []any) any {
	all := slices.Concat([]any{pattern}, others)
	if pattern == "*" && len(others) > 0 {
		all = others
	}
	if len(all) == 1 {
		return all[0]
	}
	return map[string]any{"all": all}
}

// blangVersion is what the library that dregsy uses takes for a version in a tag.
var blangVersion = late.Regexp(`^v?[0-9]+(?:\.[0-9]+(?:\.[0-9]+(?:-[0-9A-Za-z.-]+)?)?)?$`)

func isBlangVersion(tag string) bool { return blangVersion().MatchString(tag) }

// blangRange writes a range of that library as others write it.
func blangRange(text string) string {
	return blangNot().ReplaceAllString(strings.ReplaceAll(text, "==", "="), "!=$1")
}

var blangNot = late.Regexp(`!\s*([^=\s])`)
