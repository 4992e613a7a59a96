package foreign

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// A reader is what a format has at hand while it reads a file: the file as it is, or as a tree; the
// sync file that it puts together; and places to note what is wrong, lost, or done another way.
type reader struct {
	format  *Format
	name    string // of the file
	content []byte
	options Options

	trees    []*node // that were handed out
	problems syncfile.Problems
	known    map[syncfile.Problem]bool // those in problems
	lostKeys []Note
	said     map[Note]bool // those in lostKeys
	notes    []Note

	defaults   *element
	registries []*element
	byHost     map[string]*element // those in registries
	images     []*element
}

// problem notes that a file cannot be converted, once. n is where, nil for the whole file.
func (r *reader) problem(n *node, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if path := n.path(); path != "" {
		text = path + ": " + text
	}
	found := syncfile.Problem{File: r.name, Line: n.at(), Text: text}
	if r.known == nil {
		r.known = map[syncfile.Problem]bool{}
	}
	if !r.known[found] {
		r.known[found] = true
		r.problems = append(r.problems, &found)
	}
}

// lost notes, once, that n, with all that is in it, has no counterpart, and why.
func (r *reader) lost(n *node, format string, args ...any) {
	n.takeAll()
	lost := Note{File: r.name, Line: n.at(), Key: n.path(), Text: fmt.Sprintf(format, args...)}
	if r.said == nil {
		r.said = map[Note]bool{}
	}
	if !r.said[lost] {
		r.said[lost] = true
		r.lostKeys = append(r.lostKeys, lost)
	}
}

// note notes what is done another way than n says.
func (r *reader) note(n *node, format string, args ...any) {
	r.notes = append(r.notes, Note{File: r.name, Line: n.at(), Key: n.path(), Text: fmt.Sprintf(format, args...)})
}

// login notes that n has credentials for a registry, which no sync file has.
func (r *reader) login(n *node, host string) {
	n.takeAll()
	r.note(n, "credentials stay out of sync files: type mirror login %s", host)
}

// helper notes that n has a credential helper of a registry asked.
func (r *reader) helper(n *node, host, name string) {
	r.note(n, "name the helper in the file with credentials that --authfile names, or ~/.docker/config.json: {\"credHelpers\": {%q: %q}}", host, name)
}

// runFlag notes that what n says, if it says anything, is for a flag of the run.
func (r *reader) runFlag(n *node, flag string) {
	if text := n.text(); text != "" {
		r.note(n, "it is a flag of the run: %s %s", flag, text)
	}
}

// untaken notes what of n nobody has taken. What is known, and has no value, says nothing.
func (r *reader) untaken(n *node) {
	if !n.taken {
		row := r.format.row(n.names())
		saysNothing := row.Ours == nothing || row.Path != "" && n.isEmpty()
		if !saysNothing {
			r.lost(n, "%s", row.Why)
		}
		return
	}
	for _, child := range n.children {
		r.untaken(child)
	}
}

// path is what a path in the file stands for, as a value of a key in which variables have a
// meaning.
func (r *reader) path(text string) string {
	if r.options.Dir != "" && !filepath.IsAbs(text) {
		text = filepath.Join(r.options.Dir, text)
	}
	return strings.ReplaceAll(text, "${", "$${")
}

// image begins an element of images, of what n says.
func (r *reader) image(n *node) *element {
	e := newElement(r, n)
	r.images = append(r.images, e)
	return e
}

// registry is the element of registries about a host. n is where the file speaks of it.
func (r *reader) registry(n *node, host string) *element {
	if e := r.byHost[host]; e != nil {
		return e
	}
	e := newElement(r, n)
	e.set("registry", host)
	if r.byHost == nil {
		r.byHost = map[string]*element{}
	}
	r.byHost[host], r.registries = e, append(r.registries, e)
	return e
}

// byDefault is what all images have by default.
func (r *reader) byDefault() *element {
	if r.defaults == nil {
		r.defaults = newElement(r, nil)
	}
	return r.defaults
}

// beside is a reader of another file of the same format.
func (r *reader) beside(name string, content []byte) *reader {
	return &reader{format: r.format, name: name, content: content, options: r.options}
}

// join notes what another reader has noted.
func (r *reader) join(other *reader) {
	for _, document := range other.trees {
		other.untaken(document)
	}
	r.problems = append(r.problems, other.problems...)
	r.lostKeys, r.notes = append(r.lostKeys, other.lostKeys...), append(r.notes, other.notes...)
}
