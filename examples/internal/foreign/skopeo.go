package foreign

import (
	"errors"
	"path"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
)

// SkopeoOptions are the flags of skopeo sync that say what its file means.
type SkopeoOptions struct {
	Scoped           bool
	All              bool
	PreserveDigests  bool
	RemoveSignatures bool
	AppendSuffix     string
}

var skopeo = Format{
	Name:    "skopeo",
	Title:   "Skopeo's sync YAML",
	NeedsTo: true,
	Keys: []Key{
		{"*", "source", "the registry, or a part of it"},
		{"*.images.*", "source, tags", "an empty list is all tags; those that are named after digests come with the image that they belong to"},
		{"*.images.*[]", "source, tags", "a digest becomes an image of its own"},
		{"*.images-by-tag-regex.*", "tags", "`regexp`, with `.*` where Skopeo's expression is not anchored; one that matches nothing is an error"},
		{"*.images-by-semver.*", "tags", "`semver`; a range that matches nothing is an error. A number of six digits or more, such as a date, is no version here; `1.2.3.4` is one, in the place of `1.2.3`"},
		{"*.credentials", "mirror login", "credentials stay out of sync files"},
		{"*.tls-verify", "registries, tls-verify", "for destinations at that host, too"},
		{"*.cert-dir", "registries, cert-dir", "for destinations at that host, too; the path is made absolute"},
	},
	read: readSkopeo,
}

// A skopeoReader reads one of Skopeo's files.
type skopeoReader struct {
	*reader
	repositories []*skopeoRepository          // in the order of the file
	byName       map[string]*skopeoRepository // those in repositories
}

// A skopeoRepository is all that a file says of a repository, which may be in several places.
type skopeoRepository struct {
	from    *node
	named   reference.Named
	all     bool  // its list of tags is empty somewhere
	tags    []any // as in a sync file
	digests []*node
	known   map[string]bool // those in digests
	signed  bool            // what it selects may be tags that are named after digests
}

func readSkopeo(r *reader) {
	s := &skopeoReader{reader: r, byName: map[string]*skopeoRepository{}}
	s.settings()
	for _, registry := range r.document().entries() {
		s.registry(registry)
	}
	for _, repository := range s.repositories {
		s.write(repository)
	}
}

// settings are what Skopeo's flags say about all images.
func (s *skopeoReader) settings() {
	o := s.options.Skopeo
	if o.PreserveDigests {
		s.byDefault().set("preserve-digests", true)
	}
	if o.RemoveSignatures {
		s.byDefault().set("remove-signatures", true)
	}
	if !o.All {
		s.byDefault().set("system", "native")
	}
	if hasVariables(s.options.To) && (o.Scoped || o.AppendSuffix != "") {
		s.problem(nil, "--to has variables, so that --skopeo-scoped and --skopeo-append-suffix have no effect: put what they say into it")
	}
}

// registry reads what is said of a registry.
func (s *skopeoReader) registry(n *node) {
	for _, e := range n.key("images").entries() {
		s.listed(s.repository(n, e), e)
	}
	for _, e := range n.key("images-by-tag-regex").entries() {
		s.byRegexp(s.repository(n, e), e)
	}
	for _, e := range n.key("images-by-semver").entries() {
		s.byRange(s.repository(n, e), e)
	}
	if n.key("images") == nil && n.key("images-by-tag-regex") == nil && n.key("images-by-semver") == nil {
		n.takeAll()
		s.note(n, "it names no images, and so nothing else of it means anything")
		return
	}
	if s.options.Skopeo.Scoped && strings.Contains(n.name, ":") && strings.HasPrefix(s.options.To, "docker:") {
		s.note(n, "the colon becomes - in the names of destinations: Skopeo fails there")
	}
	s.access(n)
}

// access reads how a registry is reached.
func (s *skopeoReader) access(n *node) {
	host := n.name
	if named, err := reference.ParseNormalizedNamed(n.name + "/any"); err == nil {
		host = reference.Domain(named)
	}
	if verify := n.key("tls-verify"); !verify.isNull() {
		if value, set := verify.bool(); set {
			s.reader.registry(n, host).set("tls-verify", value)
		}
	}
	if dir := n.key("cert-dir"); dir.text() != "" {
		s.reader.registry(n, host).set("cert-dir", s.path(dir.text()))
	}
	if credentials := n.key("credentials"); !credentials.isNull() {
		s.login(credentials, host)
	}
}

// repository is what is said of the repository that n names, nil if it names none.
func (s *skopeoReader) repository(registry, n *node) *skopeoRepository {
	named, err := reference.ParseNormalizedNamed(registry.name + "/" + n.name)
	if err == nil && !reference.IsNameOnly(named) {
		err = errors.New("it has a tag or digest")
	}
	if err != nil {
		s.lost(n, "this is no repository, and Skopeo passes it over, too: %v", err)
		return nil
	}
	if known := s.byName[named.Name()]; known != nil {
		return known
	}
	one := &skopeoRepository{from: n, named: named, known: map[string]bool{}}
	s.byName[named.Name()], s.repositories = one, append(s.repositories, one)
	return one
}

// listed reads a list of tags and digests.
func (s *skopeoReader) listed(to *skopeoRepository, n *node) {
	if to == nil {
		return
	}
	elements := n.elements()
	if len(elements) == 0 {
		to.all, to.signed = true, true
	}
	for _, e := range elements {
		text := e.text()
		if _, err := digest.Parse(text); err == nil {
			if !to.known[text] {
				to.known[text], to.digests = true, append(to.digests, e)
			}
		} else if _, err := reference.WithTag(to.named, text); err == nil {
			to.tags = append(to.tags, text)
		} else {
			s.lost(e, "%q is neither a tag nor a digest, and Skopeo passes it over, too", text)
		}
	}
}

// aSignature is a tag that is named after a digest.
var aSignature = digest.Canonical.String() + "-" + strings.Repeat("0", 64) + ".sig"

// byRegexp reads a regular expression for tags.
func (s *skopeoReader) byRegexp(to *skopeoRepository, n *node) {
	if to == nil {
		return
	}
	whole, err := anchored(n.text())
	if err != nil {
		s.problem(n, "%v", err)
		return
	}
	to.tags = append(to.tags, map[string]string{"regexp": whole})
	to.signed = to.signed || regexp.MustCompile(n.text()).MatchString(aSignature)
}

// byRange reads a range of versions.
func (s *skopeoReader) byRange(to *skopeoRepository, n *node) {
	if to == nil {
		return
	}
	to.tags = append(to.tags, map[string]string{"semver": n.text()})
	if constraint, err := semver.NewConstraint(n.text()); err == nil && constraint.Check(semver.New(20240101, 0, 0, "", "")) {
		s.note(n, "dates such as 20240101, which Skopeo takes for versions in this range, are none here")
	}
}

// anchored returns a regular expression that matches, as a whole, the tags in which another one
// matches somewhere.
func anchored(expression string) (string, error) {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return "", err
	}
	if strings.Contains(expression, `\Q`) { // which may have no end
		expression = parsed.String()
	}
	parts := []*syntax.Regexp{parsed}
	if parsed.Op == syntax.OpConcat {
		parts = parsed.Sub
	} else {
		expression = "(?:" + expression + ")"
	}
	if parts[0].Op != syntax.OpBeginText {
		expression = ".*" + expression
	}
	if parts[len(parts)-1].Op != syntax.OpEndText {
		expression += ".*"
	}
	return expression, nil
}

// write writes what is said of a repository: an image for its tags, and one for each digest.
func (s *skopeoReader) write(repository *skopeoRepository) {
	source := "docker://" + repository.named.Name()
	tags := repository.tags
	if repository.all {
		tags = []any{"*"}
	}
	if len(tags) > 0 {
		image := s.image(repository.from)
		image.set("source", source)
		image.set("tags", tags)
		image.set("destination", s.destination(repository.named, ":{tag}"))
		if repository.signed {
			image.set("digest-tags", "all")
		}
	}
	for _, n := range repository.digests {
		if s.options.Skopeo.AppendSuffix != "" {
			s.lost(n, "a digest takes no suffix, and Skopeo fails here")
			continue
		}
		image := s.image(n)
		image.set("source", source+"@"+n.text())
		image.set("destination", s.destination(repository.named, "@"+n.text()))
	}
}

// destination is where Skopeo copies something in a repository to: below what the command line
// names, the last part of the repository's name, or, scoped, all of it.
func (s *skopeoReader) destination(repository reference.Named, version string) string {
	to := s.options.To
	if hasVariables(to) {
		return to
	}
	name := path.Base(repository.Name())
	if s.options.Skopeo.Scoped {
		name = repository.Name()
		if strings.HasPrefix(to, "docker:") { // whose names have no colon
			name = strings.ReplaceAll(name, ":", "-")
		}
	}
	return strings.TrimRight(to, "/") + "/" + name + version + s.options.Skopeo.AppendSuffix
}
