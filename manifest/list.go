package manifest

import (
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A List is an OCI index or a Docker list. The only implementations are *OCI1Index and
// *Schema2List, and only Parse makes them.
//
// Methods that do not change the list may run concurrently.
type List interface {
	// MediaType is the media type of the document: imgspecv1.MediaTypeImageIndex or
	// MediaTypeDockerList.
	MediaType() string

	// ArtifactType is the type of the artifact that an OCI index is, "" if it states none. Docker
	// lists have none.
	ArtifactType() string

	// Subject is the digest of the manifest that an OCI index refers to, valid, "" if there is
	// none. Docker lists have none.
	Subject() digest.Digest

	// Annotations are those of the document, nil if it has none. They must not be changed. Docker
	// lists have none.
	Annotations() map[string]string

	// Instances returns the entries of the list as it is now, in a fresh slice. The Index of each
	// is its position in it.
	Instances() []Instance

	// Remarks are on what Parse let through in the document, whatever was edited since; a few of
	// each kind.
	Remarks() []Remark

	// Clone returns a list that can be edited independently.
	Clone() List

	// EditInstances applies edits in the order given. It edits in place: call it on a Clone, so
	// that the list as parsed remains to compare with.
	//
	// Updates, deletes and moves name a position in the list as it is when EditInstances is called.
	// Updates come first; deletes run from the highest position to the lowest; adds and moves come
	// last, in the order in which the entries are to be, and nothing else is re-sorted. No position
	// is named twice, but that what is updated may be moved, too. All edits are checked before any
	// is applied: on error, an *EditError with the offending edit, the list is unchanged. Instances
	// that no edit touches are written back byte for byte.
	//
	// The list that results is one that Parse accepts; it may be empty.
	//
	// It must not run concurrently with any other method of the same list.
	EditInstances(edits []ListEdit) error

	// Serialize returns the document, in a fresh slice. Without edits these are the bytes given to
	// Parse. With edits, everything outside the array of entries, and every entry that was not
	// updated, still has its bytes. White space in the array goes by a rule, so that a digest can
	// be known beforehand: each entry keeps the white space and the comma before it; the first one
	// that remains takes the place of the first; what comes after the last entry stays; brackets
	// with nothing left enclose nothing. Entries that were added are laid out as the one before
	// them, or as the document if the list was empty, and so is what is before the first one if it
	// was moved.
	// It fails only for a list that was not made by Parse.
	Serialize() ([]byte, error)

	// sealed returns the list without what differs between the formats.
	sealed() *core
}

// errNotParsed is returned by methods of the zero value of a list.
var errNotParsed = errors.New("list was not made by manifest.Parse")

// Parse reads a list. mediaType is the media type that came with it, without parameters; "" stands
// for the one that the document states itself. A document that states none is what came with it
// says, else an OCI index. Where what came with a document may be wrong, as at registries, TypeOf
// says which media type to give. b is not retained.
//
// What the document says must be what every parser reads. Parse refuses, with a *ParseError that
// says where: more than MaxSize bytes (ErrTooLarge), anything that is not strict JSON in UTF-8,
// keys of the formats that occur twice or that others differ from in case only, more than 64 levels
// of nesting, another schemaVersion than 2, a media type that is not the declared one or no list's,
// contents of other formats (config, layers, fsLayers, history, signatures), no manifests, known
// fields with values of the wrong type, entries without digest or size, digests that do not
// validate, sizes that are negative, no integer, or above 2⁵³-1, and two values of an annotation by
// which something is decided (BuildKit's of attestations, SOCI's, and that of zstd twins).
//
// Accepted are: null for optional arrays and objects, an empty list, and fields that no
// specification names, with whatever is in them. Accepted with a Remark are: no schemaVersion, no
// mediaType in a Docker list, null for a string that may be absent, for the value of an annotation,
// or for the entries of an empty list, and other keys that occur twice or differ in case only.
func Parse(b []byte, mediaType string) (List, error) {
	s, err := newScanner(b)
	if err != nil {
		return nil, err
	}
	c := core{doc: s.src}
	f := format{
		name:     "a list",
		oci:      imgspecv1.MediaTypeImageIndex,
		docker:   MediaTypeDockerList,
		required: []string{"manifests"},
		contents: map[string]func() error{"manifests": func() error { return c.readEntries(s) }},
	}
	err = s.document(func() (err error) {
		c.header, err = readHeader(s, f, mediaType)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case c.mediaType == MediaTypeDockerList:
		return &Schema2List{c}, nil
	}
	return &OCI1Index{c}, nil
}

// A core is a list without what differs between the formats. Copying it clones the list: edits
// replace entries, and nothing that a core points to is ever modified.
type core struct {
	header
	doc string // as parsed

	head, tail string // of doc, before and after the entries; brackets included
	// open and close are the white space after the opening and before the closing bracket, while
	// there are entries.
	open, close string
	entries     []entry
	edited      bool
}

// An entry is an instance with the bytes that it was read from.
type entry struct {
	gap  string // comma and white space before it; not used for the first entry
	raw  string // the object
	desc *Descriptor
}

// readEntries reads the array of entries, or null, which encoding/json writes for an empty one.
func (c *core) readEntries(s *scanner) error {
	start := s.pos
	if s.null() {
		s.remark(start, "null for an array", Irregular)
		c.head, c.tail = s.src[:start]+"[", "]"+s.src[s.pos:]
		return nil
	}
	done := start + 1
	err := s.array(func(int) error {
		start := s.pos
		desc, err := readDescriptor(s)
		c.entries = append(c.entries, entry{gap: s.src[done:start], raw: s.src[start:s.pos], desc: &desc})
		done = s.pos
		return err
	})
	if err != nil {
		return err
	}
	c.head, c.tail = s.src[:start+1], s.src[s.pos-1:]
	if len(c.entries) > 0 {
		c.open, c.close = c.entries[0].gap, s.src[done:s.pos-1]
	}
	return nil
}

// Instances returns the entries of the list as it is now; see List.
func (c *core) Instances() []Instance {
	instances := make([]Instance, len(c.entries))
	for i, e := range c.entries {
		instances[i] = e.instance(i)
	}
	return instances
}

// instance is the view of the entry, which is at index.
func (e entry) instance(index int) Instance {
	return Instance{
		Index:        index,
		Digest:       e.desc.Digest,
		Size:         e.desc.Size,
		MediaType:    e.desc.MediaType,
		ArtifactType: e.desc.ArtifactType,
		Platform:     e.desc.Platform,
		Annotations:  e.desc.Annotations,
		URLs:         e.desc.URLs,
	}
}

// Remarks are on what Parse let through; see List.
func (c *core) Remarks() []Remark { return slices.Clone(c.remarks) }

// Serialize returns the document; see List.
func (c *core) Serialize() ([]byte, error) {
	if c.doc == "" {
		return nil, errNotParsed
	}
	if !c.edited {
		return []byte(c.doc), nil
	}
	b := make([]byte, 0, c.size())
	b = append(b, c.head...)
	for i, e := range c.entries {
		if i == 0 {
			b = append(b, c.open...)
		} else {
			b = append(b, e.gap...)
		}
		b = append(b, e.raw...)
	}
	if len(c.entries) > 0 {
		b = append(b, c.close...)
	}
	return append(b, c.tail...), nil
}

// size is the number of bytes that an edited list has.
func (c *core) size() int {
	n := len(c.head) + len(c.tail)
	if len(c.entries) > 0 {
		n += len(c.open) + len(c.close) - len(c.entries[0].gap)
	}
	for _, e := range c.entries {
		n += len(e.gap) + len(e.raw)
	}
	return n
}
