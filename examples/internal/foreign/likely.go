package foreign

import (
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// Likely returns the format that a file seems to have, nil if it looks like none. Only names of
// keys and kinds count: whether the file is a good one is for Convert.
func Likely(content []byte) *Format {
	switch {
	case len(content) > syncfile.MaxSize:
		return nil
	case isList(string(content)):
		return &list
	}
	r := &reader{content: content}
	for _, top := range r.documents() {
		if f := looksLike(top); f != nil {
			return f
		}
	}
	return nil
}

// looksLike is the format that a document seems to have, nil for none.
func looksLike(top *node) *Format {
	if f := ofKind(top); f != nil {
		return f
	}
	switch {
	case top.child("components") != nil:
		return &zarf
	case top.child("sync") != nil:
		return &regsync
	case top.child("tasks") != nil:
		return &dregsy
	case top.child("extensions") != nil:
		return &zot
	case top.child("auth") != nil && top.child("images") != nil, top.kind == yaml.MappingNode && slices.ContainsFunc(top.children, isRule):
		return &imageSyncer
	case top.kind == yaml.MappingNode && slices.ContainsFunc(top.children, isSkopeos):
		return &skopeo
	}
	return nil
}

// ofKind is the format of a document that says of what kind it is, nil if it does not.
func ofKind(top *node) *Format {
	kind, group := top.child("kind"), top.child("apiVersion")
	if kind == nil {
		return nil
	}
	switch {
	case kind.value == "ImageSetConfiguration":
		return &ocMirror
	case kind.value == "ZarfPackageConfig", kind.value == "ZarfInitConfig":
		return &zarf
	case group == nil:
		return nil
	case strings.HasPrefix(group.value, "content.hauler.cattle.io/"):
		return &hauler
	}
	return &kubernetes
}

// isList reports whether each line begins with the name of an image, but for comments.
func isList(content string) bool {
	names := 0
	for line := range strings.Lines(content) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(words[0], "docker://"), "=")
		if _, err := reference.ParseNormalizedNamed(name); err != nil {
			return false
		}
		names++
	}
	return names > 0
}

// isRule reports whether a key is a rule of image-syncer: an image, and where it goes.
func isRule(n *node) bool {
	return strings.Contains(n.name, "/") && (n.kind == yaml.ScalarNode || n.kind == yaml.SequenceNode)
}

// isSkopeos reports whether a key is a registry of Skopeo's, with what is copied from it.
func isSkopeos(n *node) bool {
	return n.child("images") != nil || n.child("images-by-tag-regex") != nil || n.child("images-by-semver") != nil
}
