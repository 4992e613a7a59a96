package syncfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/late"
	"go.podman.io/image/v5/docker/reference"
	"go.yaml.in/yaml/v3"
)

// MaxSize is the largest file that Parse reads, in bytes.
const MaxSize = 16 << 20

// A Problem is something that is wrong with a file.
type Problem struct {
	File string
	Line int // from 1; 0 if the whole file is meant
	Text string
}

func (p *Problem) Error() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Problems are all that is wrong with a file, in the order of its lines.
type Problems []*Problem

// shownProblems is how many problems the text of an error has.
const shownProblems = 5

func (ps Problems) Error() string {
	var texts []string
	for i, p := range ps {
		if i == shownProblems {
			texts = append(texts, fmt.Sprintf("and %d problems more", len(ps)-i))
			break
		}
		texts = append(texts, p.Error())
	}
	return strings.Join(texts, "; ")
}

// Parse reads a file, with the environment of the process. name is how errors call it; parse is
// what makes references of texts. The error is of type Problems.
func Parse(name string, content []byte, parse ParseReference) (*File, error) {
	return ParseIn(os.LookupEnv, name, content, parse)
}

// ParseIn is Parse with another environment.
func ParseIn(environment Environment, name string, content []byte, parse ParseReference) (*File, error) {
	p := &parser{name: name, parse: parse, environment: environment}
	return p.result(p.file(content))
}

// ParseTree is ParseIn of a file that was read, or made, before. Lines are those that its nodes
// have.
func ParseTree(environment Environment, name string, top *yaml.Node, parse ParseReference) (*File, error) {
	p := &parser{name: name, parse: parse, environment: environment}
	return p.result(p.top(top))
}

// result returns file, or the problems if there are any.
func (p *parser) result(file *File) (*File, error) {
	if len(p.problems) > 0 {
		slices.SortStableFunc(p.problems, func(a, b *Problem) int { return a.Line - b.Line })
		return nil, p.problems
	}
	return file, nil
}

type parser struct {
	name        string
	parse       ParseReference
	environment Environment
	problems    Problems
	known       map[Problem]bool // those in problems
	files       []string         // paths that the image names that is read
}

// problem notes a problem, once: defaults are looked at for every image.
func (p *parser) problem(line int, format string, args ...any) {
	found := Problem{p.name, line, fmt.Sprintf(format, args...)}
	if p.known == nil {
		p.known = map[Problem]bool{}
	}
	if !p.known[found] {
		p.known[found] = true
		p.problems = append(p.problems, &found)
	}
}

var yamlLine = late.Regexp(`^yaml: (?:line (\d+): )?`)

func (p *parser) file(content []byte) *File {
	if len(content) > MaxSize {
		p.problem(0, "the file has more than %d bytes", MaxSize)
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var doc, more yaml.Node
	err := decoder.Decode(&doc)
	if err == nil && !errors.Is(decoder.Decode(&more), io.EOF) {
		p.problem(more.Line, "there is more than one document")
		return nil
	}
	switch {
	case errors.Is(err, io.EOF):
		p.problem(0, "the file is empty")
		return nil
	case err != nil:
		p.noYAML(content, err)
		return nil
	}
	return p.top(doc.Content[0])
}

// unknownAnchor is what the YAML library says, without a line, of a glob such as *-alpine.
var unknownAnchor = late.Regexp(`unknown anchor '(.*)' referenced`)

// noYAML notes what the YAML library says, and what to do where that is known.
func (p *parser) noYAML(content []byte, err error) {
	line, fix := 1, "" // which it leaves out
	if at := yamlLine().FindStringSubmatch(err.Error()); at != nil && at[1] != "" {
		line, _ = strconv.Atoi(at[1])
	}
	if anchor := unknownAnchor().FindStringSubmatch(err.Error()); anchor != nil {
		before, _, _ := bytes.Cut(content, []byte("*"+anchor[1]))
		line, fix = bytes.Count(before, []byte("\n"))+1, "; "+quoteThis
	} else if at := unquotedLine(content, line); at > 0 {
		line, fix = at, "; "+quoteThis
	}
	p.problem(line, "no valid YAML: %s%s", yamlLine().ReplaceAllString(err.Error(), ""), fix)
}

// topKeys are the keys of the top level.
var topKeys = []string{"version", "registries", "defaults", "images", "notify"}

func (p *parser) top(node *yaml.Node) *File {
	keys := p.mapping(node, "the file", topKeys)
	if keys == nil {
		return nil
	}
	if v := keys["version"]; v != nil && v.Value != "1" {
		p.problem(v.Line, "version %q is unknown; this program knows version 1", v.Value)
	}
	defaults := map[string]*yaml.Node{}
	if d := keys["defaults"]; d != nil {
		defaults = p.mapping(d, "defaults", keysOf(settings))
		image := &Image{}
		p.apply(image, defaults) // also where every image has its own
		p.schedule(image, defaults)
	}
	if keys["images"] == nil {
		p.problem(node.Line, "there is no key images")
		return nil
	}
	file := &File{}
	if n := keys["registries"]; n != nil {
		file.Registries = p.reachedRegistries(n)
	}
	elements := p.sequence(keys["images"], "images")
	if len(elements) == 0 {
		p.problem(keys["images"].Line, "images has no elements")
	}
	for _, element := range elements {
		if image := p.image(element, defaults); image != nil {
			file.Images = append(file.Images, image)
		}
	}
	p.distinct(file)
	if n := keys["notify"]; n != nil {
		file.Notify = p.senders(n, file)
	}
	return file
}

// imageKeys are the keys that only images have.
var imageKeys = []string{"source", "tags", "exclude-tags"}

func (p *parser) image(node *yaml.Node, defaults map[string]*yaml.Node) *Image {
	before := len(p.problems)
	own := p.mapping(node, "an image", append(keysOf(settings), imageKeys...))
	if own == nil {
		return nil
	}
	keys := maps.Clone(defaults)
	if keys == nil {
		keys = map[string]*yaml.Node{}
	}
	ownTiming(keys, own)
	single := p.ownSystem(keys, own)
	maps.Copy(keys, own)
	image := &Image{Line: node.Line, parse: p.parse}
	p.files = nil
	image.Options.ImageListSelection, image.Options.ListSignatures = copy.CopyAllImages, copy.GuardListSignatures
	p.apply(image, keys)
	if single {
		image.Options.ImageListSelection = copy.CopySystemImage
	}
	p.schedule(image, keys)
	image.Files = p.files
	p.consistent(node, keys, defaults)
	switch {
	case keys["source"] == nil:
		p.problem(node.Line, "the image has no source")
	case keys["destination"] == nil:
		p.problem(node.Line, "the image has no destination, and neither have the defaults")
	default:
		p.source(image, keys)
		p.transform(image, keys)
		if len(p.problems) == before {
			p.choosesNothing(image, own)
		}
	}
	if len(p.problems) > before {
		return nil
	}
	keys = image.system.fingerprinted(keys)
	image.Settings, image.Whole = fingerprint(keys), whole(keys)
	c, err := image.copy(anyTag(image))
	if err != nil {
		wrong := keys["destination"]
		if c.Destination != nil {
			wrong = keys[keyReferrersSource]
		}
		p.problem(wrong.Line, "%v", err)
		return nil
	}
	if err := image.changes.CheckDestination(c.Destination); err != nil {
		p.problem(keys["destination"].Line, "%v", err)
		return nil
	}
	if image.Tags != nil && !strings.Contains(image.destination, "{tag}") {
		one, _ := image.copy("a")
		other, _ := image.copy("b")
		if one.Destination.StringWithinTransport() == other.Destination.StringWithinTransport() {
			p.problem(keys["destination"].Line, "all tags would go to one destination, %q: it needs {tag}", image.destination)
		}
	}
	return image
}

// anyTag stands for the tags that are known only after listing.
func anyTag(image *Image) string {
	if image.Tags == nil {
		return ""
	}
	return "tag"
}

// source sets what the image is copied from.
func (p *parser) source(image *Image, keys map[string]*yaml.Node) {
	node := keys["source"]
	text, ok := p.environed(node, "source", nil)
	if !ok {
		return
	}
	image.Source = text
	rest, isDocker := strings.CutPrefix(text, "docker://")
	pinned := PinnedIn(text)
	if pinned != nil {
		text = ByDigest(pinned)
	}
	ref, err := p.parse("source", text)
	if err != nil {
		p.problem(node.Line, "%v", err)
		return
	}
	switch {
	case pinned != nil:
		image.named = pinned
	case isDocker:
		image.named = ref.DockerReference()
	}
	if keys["tags"] == nil {
		if keys["exclude-tags"] != nil {
			p.problem(keys["exclude-tags"].Line, "exclude-tags needs tags")
		}
		return
	}
	named, err := reference.ParseNormalizedNamed(rest)
	if !isDocker || err != nil || !reference.IsNameOnly(named) {
		p.problem(node.Line, "tags needs a source that is a repository of a registry, without a tag: docker://HOST/NAME, not %q", text)
		return
	}
	image.named = named
	image.Tags = p.tags(image, keys["tags"], keys["exclude-tags"])
}

// distinct refuses two copies to one destination, as far as they are known without listing tags.
func (p *parser) distinct(file *File) {
	lines := map[string]int{}
	for _, image := range file.Images {
		var copies []Copy
		if !image.Listed() {
			copies, _ = image.Copies(nil)
		}
		for _, c := range copies {
			to := c.Destination.Transport().Name() + ":" + c.Destination.StringWithinTransport()
			if line, twice := lines[to]; twice {
				p.problem(image.Line, "%s is the destination of the image in line %d too", to, line)
			}
			lines[to] = image.Line
		}
	}
}
