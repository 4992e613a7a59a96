package foreign

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

var zarf = Format{
	Name:    "zarf",
	Title:   "Zarf's package",
	NeedsTo: true,
	Keys: []Key{
		{"components[].images[]", "source", "without a registry it is Docker Hub's, without tag and digest it has the tag `latest`. Output of `zarf dev find-images` is read, too"},
		{"components[].images[].name", "source", "the same"},
		{"metadata.architecture", "platforms, single", "`linux/` and it, for components that have none; without one, all platforms are copied. The list is kept, where Zarf has the image alone"},
		{"components[].only.cluster.architecture", "platforms, single", "the same, for this component; what several name is copied for the platforms of all"},
		{"components[].charts", "", "charts are no images; the images that they need stand in `images`"},
		{"components[].manifests", "", "manifests are no images; the images that they need stand in `images`"},
		{"components[].files", "", "files are no images"},
		{"components[].repos", "", "git repositories are no images"},
		{"components[].repositories", "", "git repositories are no images"},
		{"components[].dataInjections", "", "files are no images"},
		{"components[].imageTars", "", "archives are read by `mirror copy docker-archive:FILE`, and not by `mirror sync`"},
		{"components[].imageArchives", "", "archives are read by `mirror copy docker-archive:FILE`, and not by `mirror sync`"},
		{"components[].import", "", "no other file is read: convert the one that has the component, too"},
		{"components[].actions", "", "commands are not run"},
		{"components[].scripts", "", "commands are not run"},
		{"components[].extensions", "", "extensions are no images"},
		{"components[].only.flavor", "source", "the images of all flavors are copied"},
		{"components[].only.*", nothing, ""},
		{"components[].only.cluster.*", nothing, ""},
		{"components[].name", nothing, ""},
		{"components[].description", nothing, ""},
		{"components[].default", nothing, ""},
		{"components[].required", nothing, ""},
		{"components[].optional", nothing, ""},
		{"components[].group", nothing, ""},
		{"components[].healthChecks", nothing, ""},
		{"kind", nothing, ""},
		{"apiVersion", nothing, ""},
		{"metadata.*", nothing, ""},
		{"build", nothing, ""},
		{"constants", nothing, ""},
		{"variables", nothing, ""},
		{"values", nothing, ""},
		{"documentation", nothing, ""},
	},
	read: readZarf,
}

func readZarf(r *reader) {
	top := r.document()
	architecture := top.key("metadata").key("architecture").text()
	var all []*one
	for _, component := range top.key("components").elements() {
		all = append(all, r.packed(component, architecture)...)
	}
	r.ones(all)
}

// packed are the images of a component of a package for an architecture.
func (r *reader) packed(component *node, architecture string) []*one {
	only := component.key("only")
	if own := only.key("cluster").key("architecture").text(); own != "" {
		architecture = own
	}
	if flavor := only.key("flavor"); flavor.text() != "" {
		r.note(flavor, "%s", r.format.row(flavor.names()).Why)
	}
	var all []*one
	for _, n := range component.key("images").elements() {
		if n.kind == yaml.MappingNode {
			n = n.key("name")
		}
		text := n.text()
		if architecture != "" {
			text = strings.ReplaceAll(text, "###ZARF_PKG_ARCH###", architecture)
		}
		if strings.Contains(text, "###") {
			r.lost(n, "%q is known to Zarf alone, when it makes the package", text)
			continue
		}
		if named := r.named(n, text); named != nil {
			image := oneOf(n, named)
			if architecture != "" {
				image.platforms = []string{"linux/" + architecture}
			}
			all = append(all, image)
		}
	}
	return all
}
