package sparsesupport

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Refusal is what a registry's answer to a list says about sparse lists.
type Refusal int

const (
	// Otherwise has nothing to do with absent children.
	Otherwise Refusal = iota
	// Absent names children that were left out, and nothing else.
	Absent
	// Lost names children that are supposed to be there.
	Lost
	// Unclear may be about children that were left out: the answer does not say.
	Unclear
)

// A List is a list that was put, as far as answers are about it. The zero value names nothing.
type List struct {
	Digest   digest.Digest
	children map[digest.Digest]child
}

type child struct {
	leftOut bool
	blob    bool // no manifest, by its media type
}

// Add says that the list has an entry for the child d, and whether that is absent on purpose or
// supposed to be there. mediaType is what the entry states.
func (l *List) Add(d digest.Digest, mediaType string, leftOut bool) {
	if l.children == nil {
		l.children = map[digest.Digest]child{}
	}
	l.children[d] = child{leftOut, manifest.IsBlobMediaType(mediaType)}
}

// Codes by which registries refuse a list with absent children. They, and never a status alone or
// the words of a message, decide.
var (
	// absentCodes say that something which the list names is not there. ReferencedImagesNotFound is
	// that of ECR's own API.
	absentCodes = []string{"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "ReferencedImagesNotFound", "NOT_FOUND"}
	// unclearCodes may say so, and do if a child is named: MANIFEST_INVALID (Quay, zot),
	// MANIFEST_UNKNOWN (go-containerregistry).
	unclearCodes = []string{"MANIFEST_INVALID", "MANIFEST_UNKNOWN"}
)

// Statuses are those of answers by which registries refuse a manifest or list because something
// that it names is not there: others are about access, conflicts, sizes and the like, and a server
// error is about the server, whatever their codes.
var Statuses = []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity}

// Classify says what err, the answer to the PUT of l, is about. With Lost come the children that
// the answer names and that should be there.
//
// Every error of the answer must have one of the codes by which registries refuse such lists.
// Children are named by their digests, which stand in the detail (distribution), in sentences there
// (Quay, olareg), or in the message (ECR, go-containerregistry). An error that names no child, but
// something else by its digest, is not about children.
func Classify(err error, l List) (Refusal, []digest.Digest) {
	var answer *endpoint.RegistryError
	if !errors.As(err, &answer) || answer.TokenService || !slices.Contains(Statuses, answer.Status) || len(answer.Errors) == 0 {
		return Otherwise, nil
	}
	unclear := false
	var lost []digest.Digest
	for _, e := range answer.Errors {
		if !slices.Contains(absentCodes, e.Code) && !slices.Contains(unclearCodes, e.Code) {
			return Otherwise, nil
		}
		named := slices.DeleteFunc(digestsOf(e), func(d digest.Digest) bool { return d == l.Digest })
		unclear = unclear || len(named) == 0
		for _, d := range named {
			switch c, ok := l.children[d]; {
			case !ok:
				return Otherwise, nil
			case c.blob: // registries refuse these also if they have them, with the same words
				unclear = true
			case !c.leftOut:
				lost = append(lost, d)
			}
		}
	}
	switch {
	case unclear:
		return Unclear, nil
	case len(lost) > 0:
		return Lost, lost
	}
	return Absent, nil
}

// digests finds what looks like a digest in a text.
var digests = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`sha(256|384|512):[0-9a-f]+`) })

// digestsOf returns the distinct digests in the message and the detail of a registry's error.
func digestsOf(e endpoint.RegistryErrorDetail) []digest.Digest {
	var all []digest.Digest
	for _, text := range digests().FindAllString(e.Message+"\n"+string(e.Detail), -1) {
		if d := digest.Digest(text); d.Validate() == nil && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}
