package foreign

import (
	"path"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
)

// hasVariables reports whether a destination has variables in braces.
func hasVariables(to string) bool {
	return slices.ContainsFunc([]string{"{registry}", "{repository}", "{name}", "{tag}"}, func(v string) bool { return strings.Contains(to, v) })
}

// to is the destination of all images of formats that say nothing about where they go: --to as it
// is, or, if it has no variables and is a registry or a part of it, the repository below that.
func (r *reader) to() string {
	to := r.options.To
	if hasVariables(to) {
		return to
	}
	if !strings.HasPrefix(to, "docker://") {
		r.problem(nil, "--to %q would be the destination of all images: write which is where, with {registry}, {repository}, {name} or {tag}", to)
	}
	return strings.TrimRight(to, "/") + "/{repository}"
}

// toRepository is the destination of an image that has another name there, which n says: a
// repository, and a tag, or that of the source if tag is "". If there can be none, n is lost, and
// "" is returned.
func (r *reader) toRepository(n *node, repository, tag string) string {
	if err := checkName(repository, tag); err != nil {
		r.lost(n, "%q cannot be the name of a repository with the tag %q: %v", repository, tag, err)
		return ""
	}
	to := r.to()
	named := strings.NewReplacer("{repository}", repository, "{name}", path.Base(repository)).Replace(to)
	if named == to {
		r.lost(n, "--to has neither {repository} nor {name}, in whose place the name would stand")
		return ""
	}
	switch {
	case tag == "":
		return named
	case strings.Contains(named, "{tag}"):
		return strings.ReplaceAll(named, "{tag}", tag)
	}
	return named + ":" + tag
}

// checkName refuses what is no repository of a registry, and no tag unless it is "".
func checkName(repository, tag string) error {
	named, err := reference.WithName("registry.invalid/" + repository)
	if err == nil && tag != "" {
		_, err = reference.WithTag(named, tag)
	}
	return err
}
