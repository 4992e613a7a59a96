package foreign

import "strings"

// hasVariables reports whether a destination has variables in braces.
func hasVariables(to string) bool { return strings.Contains(to, "{") }

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
