package foreign

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// ImageSyncerOptions are the flags of image-syncer that say what its file means.
type ImageSyncerOptions struct {
	Auth                string   // the path of its other file, "" for none
	Registry, Namespace string   // where images go whose destination is empty; with or without the latter
	OS                  []string // OS[:VERSION]
	Architecture        []string // ARCHITECTURE[:VARIANT]
}

var imageSyncer = Format{
	Name:  "image-syncer",
	Title: "image-syncer's rules: its images or config file",
	Keys: []Key{
		{"*", "source, tags, destination", "a source without a tag is all tags, and those that are named after digests come with the image that they belong to; an expression is one that is not anchored, and one that matches nothing is an error"},
		{"*[]", "destination", "an image of its own for each; `$X` and `${X}` become `${X}`"},
		{"images.*", "source, tags, destination", "as `*`, of the file that has all"},
		{"images.*[]", "destination", "as `*[]`, of the file that has all"},
		{"auth.*.username", "mirror login", "credentials stay out of sync files"},
		{"auth.*.password", "mirror login", "credentials stay out of sync files"},
		{"auth.*.identityToken", "mirror login", "credentials stay out of sync files"},
		{"auth.*.insecure", "registries, tls-verify", "for all of the registry; auth.yaml and auth.json are read with --image-syncer-auth"},
	},
	read: readImageSyncer,
}

// An imageSyncerReader reads one of image-syncer's files.
type imageSyncerReader struct {
	*reader
}

func readImageSyncer(r *reader) {
	s := &imageSyncerReader{r}
	top := r.document()
	rules := top
	if all := top.key("images"); all != nil && all.kind == yaml.MappingNode { // and no image of that name
		s.auth(top.key("auth"))
		rules = all
	}
	if name := r.options.ImageSyncer.Auth; name != "" {
		s.authFile(name)
	}
	for _, rule := range rules.entries() {
		if rule.parent == top && (rule.name == "images" || rule.name == "auth") && rules != top {
			continue
		}
		s.rule(rule)
	}
	s.platforms()
}

// authFile reads the file with credentials, of which only what is not secret comes into a sync
// file.
func (s *imageSyncerReader) authFile(name string) {
	content, err := os.ReadFile(name)
	if err != nil {
		s.problem(nil, "%v", err)
		return
	}
	other := s.beside(name, content)
	s.auth(other.document())
	s.join(other)
}

// auth reads what is said of registries, or of parts of them.
func (s *imageSyncerReader) auth(n *node) {
	for _, e := range n.entries() {
		host, _, part := strings.Cut(e.name, "/")
		secrets := []*node{e.key("username"), e.key("password"), e.key("identityToken")}
		if i := slices.IndexFunc(secrets, func(n *node) bool { return n.text() != "" }); i >= 0 {
			n.r.login(secrets[i], e.name)
		}
		insecure := e.key("insecure")
		if value, _ := insecure.bool(); !value {
			continue
		}
		s.registry(e, host).set("tls-verify", false)
		if part {
			n.r.note(insecure, "it is so for all of %s", host)
		}
	}
}

// platforms writes what --os and --arch say, of all images.
func (s *imageSyncerReader) platforms() {
	systems, architectures := s.options.ImageSyncer.OS, s.options.ImageSyncer.Architecture
	if len(systems)+len(architectures) == 0 {
		return
	}
	any := func(list []string) []string {
		if len(list) == 0 {
			return []string{"*"}
		}
		return list
	}
	var filters []string
	for _, system := range any(systems) {
		for _, architecture := range any(architectures) {
			name, version, hasVersion := strings.Cut(system, ":")
			filter := name + "/" + strings.Replace(architecture, ":", "/", 1)
			if hasVersion {
				filter += ":" + version
			}
			filters = append(filters, filter)
		}
	}
	d := s.byDefault()
	d.set("optional", filters)
	d.set("sparse", "strip")
	d.set("single", "skip")
	d.set("attestations", "drop")
	d.set("platformless-entries", "keep")
}

// An imageSyncerURL is a side of a rule.
type imageSyncerURL struct {
	name   string   // of the repository, with its registry
	tags   []string // none if it has none
	regexp string   // of tags, as it is written, "" for none
	digest string   // "@" and the digest, "" for none
}

var imageSyncerForm = late.Regexp(`^([^@]+?)(?::/(.+)/|:([^/:@]+))?(@.+)?$`)

func parseImageSyncer(text string) (imageSyncerURL, error) {
	m := imageSyncerForm().FindStringSubmatch(text)
	if m == nil {
		return imageSyncerURL{}, fmt.Errorf("%q names no images", text)
	}
	u := imageSyncerURL{name: onDockerHub(m[1]), regexp: m[2], digest: m[4]}
	if m[3] != "" {
		u.tags = strings.Split(m[3], ",")
	}
	if _, err := reference.ParseNormalizedNamed(withoutVariables(u.name)); err != nil {
		return imageSyncerURL{}, fmt.Errorf("%q: %w", text, err)
	}
	return u, nil
}

// withoutVariables is a text with something in the place of its environment variables.
func withoutVariables(text string) string { return variable().ReplaceAllString(text, "x") }

var (
	variable    = late.Regexp(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`)
	goVariable  = late.Regexp(`\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))`)
	strayDollar = late.Regexp(`\$(?:[^{]|$)`)
)

// rule reads a rule: from where, and to where.
func (s *imageSyncerReader) rule(n *node) {
	source, err := parseImageSyncer(n.name)
	if err != nil {
		s.problem(n, "%v", err)
		return
	}
	if n.kind != yaml.SequenceNode {
		s.copies(n, source, n.text())
		return
	}
	for _, e := range n.elements() {
		s.copies(e, source, e.text())
	}
}

// copies writes what a rule wants of one destination.
func (s *imageSyncerReader) copies(n *node, source imageSyncerURL, to string) {
	if to == "" {
		s.toDefault(n, source)
		return
	}
	text := goVariable().ReplaceAllString(to, "$${$1$2}")
	if strayDollar().MatchString(text) {
		s.problem(n, "%q has a $ that begins no variable", to)
		return
	}
	target, err := parseImageSyncer(text)
	switch {
	case err != nil:
		s.problem(n, "%v", err)
	case target.regexp != "" || target.digest != "" && target.digest != source.digest:
		s.problem(n, "%q is no destination, for image-syncer either", to)
	case len(target.tags) > 0 && len(target.tags) != max(len(source.tags), len(source.digest[:min(1, len(source.digest))])):
		s.problem(n, "the destination has %d tags, and the source others: image-syncer fails here, too", len(target.tags))
	default:
		s.write(n, source, target)
	}
}

// toDefault writes what a rule without a destination wants: versions before 1.5 have flags for it.
func (s *imageSyncerReader) toDefault(n *node, source imageSyncerURL) {
	registry, namespace := s.options.ImageSyncer.Registry, s.options.ImageSyncer.Namespace
	if registry == "" {
		s.problem(n, "it has no destination: say where such images go, with --image-syncer-registry and --image-syncer-namespace")
		return
	}
	_, repository, _ := strings.Cut(source.name, "/")
	if namespace != "" {
		repository = namespace + "/" + path.Base(repository)
	}
	s.write(n, source, imageSyncerURL{name: registry + "/" + repository})
}

// write writes the images of a rule.
func (s *imageSyncerReader) write(n *node, source, target imageSyncerURL) {
	to := "docker://" + target.name
	if len(target.tags) == 0 {
		image := s.image(n)
		version := ":{tag}"
		if source.digest != "" {
			version = source.digest
		}
		image.set("destination", to+version)
		source.from(image)
		return
	}
	for i, tag := range target.tags {
		image := s.image(n)
		one := source
		if source.digest == "" {
			one.tags = source.tags[i : i+1]
		}
		one.from(image)
		image.set("destination", to+":"+tag)
	}
}

// from writes which images of the source are copied.
func (u imageSyncerURL) from(image *element) {
	source := "docker://" + u.name
	switch {
	case u.digest != "":
		source += u.digest
	case u.regexp != "":
		whole, err := anchored(u.regexp)
		if err != nil {
			image.r.problem(image.from, "%v", err)
			return
		}
		image.set("tags", []any{map[string]any{"regexp": whole}})
	case len(u.tags) == 1:
		source += ":" + u.tags[0]
	case len(u.tags) > 1:
		image.set("tags", u.tags)
	default:
		image.set("tags", []any{"*"})
		image.set("digest-tags", "all")
	}
	image.set("source", source)
}
