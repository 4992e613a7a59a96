package foreign

import (
	"cmp"
	"regexp"
	"strings"

	"go.podman.io/image/v5/docker/reference"
)

var ocMirror = Format{
	Name:    "oc-mirror",
	Title:   "oc-mirror's ImageSetConfiguration",
	NeedsTo: true,
	Keys: []Key{
		{"kind", nothing, ""},
		{"apiVersion", nothing, ""},
		{"mirror.additionalImages[].name", "source", "without tag and digest it has the tag `latest`, where oc-mirror v2 passes it over; one by digest alone gets no tag, where oc-mirror makes one of the digest"},
		{"mirror.additionalImages[].targetRepo", "destination", "in place of `{repository}` and `{name}`"},
		{"mirror.additionalImages[].targetTag", "destination", "in place of the tag"},
		{"mirror.additionalImages[].platforms[].os", "platforms, single", "the list is kept"},
		{"mirror.additionalImages[].platforms[].architecture", "platforms, single", "the list is kept"},
		{"mirror.blockedImages[].name", "source", "images in which the regular expression matches are left out. What it says of operators, charts and releases is lost with these"},
		{"mirror.platform", "", "releases are not resolved: `oc adm release info` names their images"},
		{"mirror.operators", "", "catalogs are not read: `oc-mirror list operators` and the bundles name their images"},
		{"mirror.helm", "", "charts are not rendered: `helm template CHART | mirror import kubernetes -` does"},
		{"mirror.samples", "", "oc-mirror does nothing with it either"},
		{"archiveSize", "", "no archives are written: `mirror bundle create` does"},
		{"storageConfig", "", "what was copied is remembered by `mirror sync --state`"},
	},
	read: readOCMirror,
}

func readOCMirror(r *reader) {
	top := r.document()
	if top == nil {
		return
	}
	top.fold()
	if kind := top.key("kind"); kind.text() != "ImageSetConfiguration" {
		r.problem(kind, "%q is not ImageSetConfiguration", kind.text())
		return
	}
	mirror := top.key("mirror")
	blocked := r.blocked(mirror.key("blockedImages"))
	var all []*one
	for _, n := range mirror.key("additionalImages").elements() {
		if image := r.additional(n, blocked); image != nil {
			all = append(all, image)
		}
	}
	r.ones(all)
}

// A block is what keeps images from being copied.
type block struct {
	from    *node
	pattern *regexp.Regexp
}

func (r *reader) blocked(n *node) []block {
	var all []block
	for _, e := range n.elements() {
		name := e.key("name")
		if name.text() == "" {
			r.lost(e, "it has no name")
			continue
		}
		pattern, err := regexp.Compile(name.text())
		if err != nil {
			r.note(name, "this is no regular expression, and blocks the image of this name alone: %v", err)
			pattern = regexp.MustCompile("^" + regexp.QuoteMeta(name.text()) + "$")
		}
		all = append(all, block{name, pattern})
	}
	return all
}

// additional is the image that n names, nil if it names none that is to be copied.
func (r *reader) additional(n *node, blocked []block) *one {
	name := n.key("name")
	text := strings.TrimPrefix(name.text(), "docker://")
	for _, b := range blocked {
		if b.pattern.MatchString(strings.TrimPrefix(text, "oci://")) {
			n.takeAll()
			r.note(name, "it is left out: line %d blocks it", b.from.line)
			return nil
		}
	}
	image := r.additionalImage(n, name, text)
	if image == nil {
		n.takeAll()
		return nil
	}
	for _, p := range n.key("platforms").elements() {
		image.platforms = append(image.platforms, p.key("os").text()+"/"+p.key("architecture").text())
	}
	return image
}

// additionalImage is what n has copied of an image, and where to, nil if that means nothing.
func (r *reader) additionalImage(n, name *node, text string) *one {
	repository, tag := n.key("targetRepo").text(), n.key("targetTag").text()
	if layout, ok := strings.CutPrefix(text, "oci://"); ok {
		image := &one{from: name, source: "oci:" + r.path(layout)}
		image.destination = r.toRepository(n, cmp.Or(repository, strings.Trim(layout, "/")), cmp.Or(tag, "latest"))
		return image.ifGoing()
	}
	named := r.named(name, text)
	if named == nil {
		return nil
	}
	image := oneOf(name, named)
	if repository == "" && tag == "" {
		return image
	}
	image.destination = r.toRepository(n, cmp.Or(repository, reference.Path(named)), cmp.Or(tag, tagOf(named)))
	return image.ifGoing()
}

// tagOf is the tag of a name, "" if it has none.
func tagOf(named reference.Named) string {
	if tagged, ok := named.(reference.NamedTagged); ok {
		return tagged.Tag()
	}
	return ""
}
