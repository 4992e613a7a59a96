package foreign

import (
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

var list = Format{
	Name:    "list",
	Title:   "a list of images",
	NeedsTo: true,
	Keys: []Key{
		{"IMAGE", "source", "without a registry it is Docker Hub's, without tag and digest it has the tag `latest`"},
		{"IMAGE => DESTINATION", "source, destination", "a destination as in a sync file; `docker://` may be left out. `IMAGE=DESTINATION`, as `oc image mirror` has it, is the same"},
		{"IMAGE DIGEST", "source", "as Rancher's lists of digests have it: `IMAGE@DIGEST`"},
		{"IMAGE WORD", "source", "the word is passed over: in Rancher's lists of sources it says what needs the image"},
		{"--platform=PLATFORM IMAGE", "platforms, single", "as `docker pull` has it; the list is kept"},
		{"# COMMENT", nothing, ""},
	},
	read: readList,
}

// A listReader reads a list, one image in a line.
type listReader struct {
	*reader
	all   []*one
	words int // lines with a word behind the image that is no digest
}

func readList(r *reader) {
	if !utf8.Valid(r.content) {
		r.problem(nil, "this is no text in UTF-8")
		return
	}
	l := &listReader{reader: r}
	for i, line := range strings.Split(strings.TrimPrefix(string(r.content), "\ufeff"), "\n") {
		line, _, _ = strings.Cut(" "+strings.ReplaceAll(line, "\t", " "), " #")
		if line = strings.TrimSpace(line); line != "" {
			l.line(&node{r: r, line: i + 1}, line)
		}
	}
	r.ones(l.all)
}

// platformFlag is what may stand in front of an image.
var platformFlag = late.Regexp(`^--platform[= ]\s*(\S+)\s+`)

// line reads what stands in the line n.
func (l *listReader) line(n *node, line string) {
	var platforms []string
	if flag := platformFlag().FindStringSubmatch(line); flag != nil {
		platforms, line = []string{flag[1]}, line[len(flag[0]):]
	}
	source, destination, mapped := strings.Cut(line, "=>")
	if !mapped {
		source, destination, mapped = strings.Cut(line, "=")
	}
	fields, destination := strings.Fields(source), strings.TrimSpace(destination)
	if len(fields) == 0 || len(fields) > 2 || mapped && destination == "" {
		l.problem(n, "%q is no image: write one in a line, and => before its destination", line)
		return
	}
	named := l.named(n, fields[0])
	if named == nil {
		return
	}
	if len(fields) == 2 {
		named = l.pinned(n, named, fields[0], fields[1])
	}
	image := oneOf(n, named)
	image.platforms = platforms
	if mapped {
		image.destination = withTransport(destination)
	}
	l.all = append(l.all, image)
}

// pinned is the image, as it is read and as it is written, with the digest that stands behind it in
// the line n, if text is one.
func (l *listReader) pinned(n *node, named reference.Named, image, text string) reference.Named {
	if d, err := digest.Parse(text); err == nil {
		if pinned, err := reference.WithDigest(named, d); err == nil {
			return pinned
		}
	}
	if strings.HasSuffix(named.String(), ":latest") && !strings.HasSuffix(image, ":latest") {
		l.problem(n, "%q has no tag: if that is %q, write %s:%s", image, text, image, text)
	} else if l.words++; l.words == 1 {
		l.note(n, "%q behind the image is no digest, and is passed over, as all words behind images are", text)
	}
	return named
}

// withTransport is a destination that may lack docker://.
func withTransport(text string) string {
	if name, _, ok := strings.Cut(text, ":"); ok && transports.Get(name) != nil {
		return text
	}
	return "docker://" + text
}
