package foreign

import (
	"strings"

	"go.podman.io/image/v5/docker/reference"
)

var hauler = Format{
	Name:    "hauler",
	Title:   "Hauler's manifest",
	NeedsTo: true,
	Keys: []Key{
		{"kind", "source", "`Images`; documents of other kinds, such as `Charts` and `Files`, are lost"},
		{"apiVersion", "source", "`content.hauler.cattle.io`, whatever the version; documents of others are lost"},
		{"spec.images[].name", "source", "without a registry it is Docker Hub's, without tag and digest it has the tag `latest`"},
		{"spec.images[].platform", "platforms, single", "the list is kept, where Hauler has the image for the platform alone"},
		{"spec.images[].rewrite", "destination", "in place of `{repository}` and `{name}`, and of the tag if it has one"},
		{"spec.images[].exclude-extras", "referrers, digest-tags", "without it, what is attached to the image is copied, too"},
		{"spec.images[].local", "source", "`docker-daemon:`"},
		{"spec.images[].key", "", judged},
		{"spec.images[].use-tlog-verify", "", judged},
		{"spec.images[].certificate-identity", "", judged},
		{"spec.images[].certificate-identity-regexp", "", judged},
		{"spec.images[].certificate-oidc-issuer", "", judged},
		{"spec.images[].certificate-oidc-issuer-regexp", "", judged},
		{"spec.images[].certificate-github-workflow-repository", "", judged},
		{"metadata.annotations.hauler.dev/platform", "platforms, single", "for images that have none"},
		{"metadata.annotations.hauler.dev/registry", "source", "for names without a registry"},
		{"metadata.annotations.hauler.dev/exclude-extras", "referrers, digest-tags", "for all images"},
		{"metadata.annotations.hauler.dev/key", "", judged},
		{"metadata.annotations.hauler.dev/use-tlog-verify", "", judged},
		{"metadata.annotations.hauler.dev/certificate-identity", "", judged},
		{"metadata.annotations.hauler.dev/certificate-identity-regexp", "", judged},
		{"metadata.annotations.hauler.dev/certificate-oidc-issuer", "", judged},
		{"metadata.annotations.hauler.dev/certificate-oidc-issuer-regexp", "", judged},
		{"metadata.annotations.hauler.dev/certificate-github-workflow-repository", "", judged},
		{"metadata.annotations.hauler.dev/ca-file", "", "put it into a directory, DIR/ca.crt, and write `cert-dir: DIR` under `registries` of the sync file"},
		{"metadata.annotations.hauler.dev/insecure-skip-tls-verify", "", "write `tls-verify: false` under `registries` of the sync file"},
		{"metadata.annotations.hauler.dev/rewrite", "", "Hauler does not rename images by it either"},
		{"metadata.annotations.*", nothing, ""},
		{"metadata.*", nothing, ""},
	},
	read: readHauler,
}

const judged = "signatures are judged by policy.json"

// A haul is what a document of Hauler's says about all of its images.
type haul struct {
	registry, platform string
	bare               bool // nothing that is attached to them
}

func readHauler(r *reader) {
	var all []*one
	for _, document := range r.documents() {
		kind := document.key("kind").text()
		group, _, _ := strings.Cut(document.key("apiVersion").text(), "/")
		if kind != "Images" || group != "content.hauler.cattle.io" {
			r.lost(document, "a document of %s and of the kind %q names no images to copy", group, kind)
			continue
		}
		annotations := document.key("metadata").key("annotations")
		h := haul{
			registry: annotations.key("hauler.dev/registry").text(),
			platform: annotations.key("hauler.dev/platform").text(),
			bare:     annotations.key("hauler.dev/exclude-extras").text() == "true",
		}
		for _, n := range document.key("spec").key("images").elements() {
			if i := r.hauled(n, h); i != nil {
				all = append(all, i)
			}
		}
	}
	r.ones(all)
}

// hauled is the image that n names, nil if it names none.
func (r *reader) hauled(n *node, h haul) *one {
	name := n.key("name")
	text := name.text()
	local, _ := n.key("local").bool()
	if h.registry != "" && !hasRegistry(text) && !local {
		text = h.registry + "/" + text
	}
	named := r.named(name, text)
	if named == nil {
		n.takeAll()
		return nil
	}
	image := oneOf(n, named)
	if local {
		image.source, image.destination = "docker-daemon:"+named.String(), r.toRepository(n, reference.Path(named), tagOf(named))
	}
	platform := n.key("platform").text()
	if platform == "" {
		platform = h.platform
	}
	if platform != "" && !local {
		image.platforms = []string{platform}
	}
	bare, _ := n.key("exclude-extras").bool()
	image.attached = !bare && !h.bare && !local
	if rewrite := n.key("rewrite"); rewrite.text() != "" {
		image.destination = r.rewritten(rewrite, named)
		return image.ifGoing()
	}
	return image
}

// hasRegistry reports whether the name of an image begins with a registry.
func hasRegistry(text string) bool {
	first, _, more := strings.Cut(text, "/")
	return more && (strings.ContainsAny(first, ".:") || first == "localhost")
}

// rewritten is the destination of an image that has another name there: n.
func (r *reader) rewritten(n *node, source reference.Named) string {
	named := r.named(n, strings.TrimPrefix(n.text(), "/"))
	if named == nil {
		return ""
	}
	tag := tagOf(named)
	if !strings.Contains(n.text(), ":") {
		tag = tagOf(source)
	}
	return r.toRepository(n, reference.Path(named), tag)
}
