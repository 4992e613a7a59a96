package foreign

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// A Format is the form of the files of another tool. It is not changed after it was made, and may
// be used concurrently.
type Format struct {
	Name    string // as in --from
	Title   string // for help: "Skopeo's sync YAML"
	NeedsTo bool   // its files name no destination
	TakesTo bool   // its files name one, in whose place --to may name another
	Keys    []Key  // all that the tool's documents name, in their order

	read func(r *reader) // converts; what is wrong is noted in r
}

// A Key is what becomes of a key of a Format.
type Key struct {
	Path string // "sync[].tags.allow"; "[]" is each element, "*" any name
	// Ours is the key of a sync file that takes its place, or several, between commas; or the
	// command or flag; nothing for what says nothing about images; "" if it is lost.
	Ours string
	Why  string // why it is lost, or what differs
}

// nothing is the Ours of keys that say nothing about images, and are not lost.
const nothing = "nothing"

// Formats returns all formats, by name.
func Formats() []*Format {
	return []*Format{&dregsy, &hauler, &imageSyncer, &kubernetes, &list, &ocMirror, &regsync, &skopeo, &zarf, &zot}
}

// Find returns the format of a name. The error lists the names.
func Find(name string) (*Format, error) {
	var names []string
	for _, f := range Formats() {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return nil, unknown(name, names)
}

func unknown(name string, known []string) error {
	return fmt.Errorf("format %q is unknown; known are %s", name, strings.Join(known, ", "))
}

// Options say how files are converted. The zero value is good for formats that name destinations.
type Options struct {
	// To is where images go, for formats with NeedsTo: a destination as in a sync file, with
	// variables in braces, or one without, to which the format adds the images' names.
	To string
	// Dir is the directory that relative paths in the file start from, which is the one that the
	// other tool runs in. Default: they stay relative.
	Dir string
	// Parse makes references of texts. Default: that of containers/image.
	Parse syncfile.ParseReference
	// Environment has the variables that the sync file names. Default: that of the process.
	Environment syncfile.Environment

	ImageSyncer ImageSyncerOptions
	Skopeo      SkopeoOptions
	// KubernetesImagePaths are more places of images in objects of Kubernetes: KIND=.path.to.image,
	// with [] behind lists.
	KubernetesImagePaths []string
}

// AnyEnvironment is the environment of the process, and, where that has no value, one of another
// name for each variable, which can stand wherever a sync file takes a variable: a file can be
// converted on a machine that never copies its images.
func AnyEnvironment(name string) (value string, set bool) {
	if value, set = os.LookupEnv(name); set {
		return value, true
	}
	return "x" + strings.ToLower(strings.ReplaceAll(name, "_", "--")) + "x.example", true
}

// AnyDirectory is parse, except that directories need not be there, for the same reason: what names
// one that is not becomes another directory.
func AnyDirectory(parse syncfile.ParseReference) syncfile.ParseReference {
	return func(what, text string) (types.ImageReference, error) {
		ref, err := parse(what, text)
		transport, path, _ := strings.Cut(text, ":")
		if (transport == "dir" || transport == "oci") && errors.Is(err, fs.ErrNotExist) {
			return parse(what, transport+":"+filepath.Join(os.TempDir(), url.PathEscape(path)))
		}
		return ref, err
	}
}

// A Result is what has become of a file.
type Result struct {
	Sync []byte         // a sync file
	File *syncfile.File // what Sync says; its lines are those of the other tool's file
	// Lost are the keys that have no counterpart, and Notes say what is done another way. Both are
	// in the order of lines.
	Lost, Notes []Note
}

// A Note is about a key of a file.
type Note struct {
	File string
	Line int    // from 1; 0 for the whole file
	Key  string // its path, with the names and positions that the file has; "" for the whole file
	Text string
}

func (n Note) String() string {
	at := syncfile.Problem{File: n.File, Line: n.Line, Text: n.about()}
	return at.Error()
}

// about is the key and the text.
func (n Note) about() string {
	if n.Key == "" {
		return n.Text
	}
	return n.Key + ": " + n.Text
}

// Convert makes a sync file of content. name is how errors and comments call the file; paths in the
// sync file that are relative start from its directory.
//
// It does not stop at what cannot be said in our words: that is in Result.Lost. An error is of type
// syncfile.Problems, and means that content is no file of the format, or that what it says is
// refused by package syncfile.
func (f *Format) Convert(name string, content []byte, o Options) (*Result, error) {
	r := &reader{format: f, name: name, content: content, options: o}
	f.convert(r)
	result := &Result{Lost: inOrder(r.lostKeys), Notes: inOrder(r.notes)}
	if len(r.problems) == 0 {
		r.finish(result)
	}
	r.hidePasswords()
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b *syncfile.Problem) int { return a.Line - b.Line })
		return nil, r.problems
	}
	return result, nil
}

// convert reads what r has, and notes what nobody has taken.
func (f *Format) convert(r *reader) {
	switch {
	case len(r.content) > syncfile.MaxSize:
		r.problem(nil, "the file has more than %d bytes", syncfile.MaxSize)
		return
	case f.NeedsTo && r.options.To == "":
		r.problem(nil, "%s names no destinations: say where the images go, with --to", f.Title)
		return
	}
	f.read(r)
	for _, document := range r.trees {
		r.untaken(document)
	}
}

// finish writes the sync file and reads it as any other.
func (r *reader) finish(result *Result) {
	if len(r.images) == 0 {
		r.noImages()
		return
	}
	tree := r.sync()
	text, err := encode(tree)
	if err != nil {
		r.problem(nil, "%v", err)
		return
	}
	parse, environment := r.options.Parse, r.options.Environment
	if parse == nil {
		parse = func(_, text string) (types.ImageReference, error) { return alltransports.ParseImageName(text) }
	}
	if environment == nil {
		environment = os.LookupEnv
	}
	file, err := syncfile.ParseTree(environment, r.name, tree, parse)
	if problems, ok := err.(syncfile.Problems); ok { //nolint:errorlint // it is of this type
		r.problems = problems
		return
	}
	result.Sync, result.File = text, file
}

// noImages notes that the file names none, and what it says that could be the reason.
func (r *reader) noImages() {
	said := slices.Concat(inOrder(r.lostKeys), inOrder(r.notes))
	if len(said) == 0 {
		r.problem(nil, "the file names no images")
		return
	}
	r.problem(&node{line: said[0].Line}, "the file names no images that are copied: %s", said[0].about())
}

func inOrder(notes []Note) []Note {
	slices.SortStableFunc(notes, func(a, b Note) int { return cmp.Compare(a.Line, b.Line) })
	return notes
}

// row is what Keys say of a path, in the names of a file; of the first that match it.
func (f *Format) row(path []string) Key {
	names := splitPath(joinPath(path))
	for _, k := range f.Keys {
		if pattern := splitPath(k.Path); matches(pattern, names) || matches(pattern, path) {
			return k
		}
	}
	return Key{Why: f.Title + " has no such key"}
}

// splitPath returns the names in a path, and joinPath makes a path of names. A name may have dots.
func splitPath(path string) []string { return strings.Split(strings.ReplaceAll(path, "[", ".["), ".") }

func joinPath(names []string) string { return strings.ReplaceAll(strings.Join(names, "."), ".[", "[") }

// matches reports whether a path is one of a pattern.
func matches(pattern, path []string) bool {
	return slices.EqualFunc(pattern, path, func(p, name string) bool {
		prefix, any := strings.CutSuffix(p, "*")
		return p == name || any && strings.HasPrefix(name, prefix) || p == "[]" && strings.HasPrefix(name, "[")
	})
}
