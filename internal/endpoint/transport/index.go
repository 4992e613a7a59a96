package transport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// emptyIndex is the index.json of a layout that does not have one yet, as upstream writes it.
const emptyIndex = `{"schemaVersion":2,"mediaType":"` + imgspecv1.MediaTypeImageIndex + `","manifests":[]}`

// layoutIndex is a layout's index.json. It does not change: add returns new content.
type layoutIndex struct {
	content   []byte // nil if the file does not exist
	text      []byte // content, or an empty index: never nil
	manifests span   // of the value of "manifests" in text
	entries   []indexEntry
}

// indexEntry is one element of "manifests".
type indexEntry struct {
	span
	imgspecv1.Descriptor
}

func (e *indexEntry) name() string { return e.Annotations[imgspecv1.AnnotationRefName] }

// span is a part of a document.
type span struct{ start, end int }

// readIndex reads the index.json at path. It may not exist.
func readIndex(path string) (*layoutIndex, error) {
	content, err := readDocument(path, maxIndexSize)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	index, err := parseIndex(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return index, nil
}

func parseIndex(content []byte) (*layoutIndex, error) {
	index := &layoutIndex{content: content, text: content}
	if content == nil {
		index.text = []byte(emptyIndex)
	}
	members, err := parseObject(index.text)
	if err != nil {
		return nil, err
	}
	manifests, err := find(members, "manifests")
	if err != nil {
		return nil, err
	}
	if manifests == nil {
		return nil, errors.New(`the index has no "manifests"`)
	}
	index.manifests = manifests.span
	value := index.text[manifests.start:manifests.end]
	if string(value) == "null" { // as Go programs write an empty list
		return index, nil
	}
	elements, err := parseArray(value)
	if err != nil {
		return nil, err
	}
	for i, element := range elements {
		entry := indexEntry{span: span{manifests.start + element.start, manifests.start + element.end}}
		if err := json.Unmarshal(value[element.start:element.end], &entry.Descriptor); err != nil {
			return nil, fmt.Errorf("manifests[%d]: %w", i, err)
		}
		index.entries = append(index.entries, entry)
	}
	return index, nil
}

// named is the digest that a reference with the given name finds: the first entry of that name, or,
// for "", the only entry.
func (x *layoutIndex) named(name string) (digest.Digest, error) {
	for _, entry := range x.entries {
		if name == "" && len(x.entries) == 1 || name != "" && entry.name() == name {
			return entry.Digest, entry.Digest.Validate()
		}
	}
	return "", fmt.Errorf("no entry of the index is the one for %q: %w", name, endpoint.ErrNotFound)
}

// add returns the index with entry added under name, or without one if name is "". It does what
// upstream does: entries that had the name lose it and stay, since others may count on their
// manifests; an entry of the same digest without name is replaced. All other entries, and
// everything around them, keep their bytes. If the only entry with name has the same digest
// already, or name is "" and there is an entry of the same digest without name, the content is
// returned as it is.
func (x *layoutIndex) add(entry imgspecv1.Descriptor, name string) ([]byte, error) {
	if x.has(entry.Digest, name) {
		return x.content, nil
	}
	added, err := namedEntry(entry, name)
	if err != nil {
		return nil, err
	}

	var edits []edit
	replaced := false
	for _, old := range x.entries {
		unnamed := old.name() == ""
		switch {
		case !replaced && old.Digest == entry.Digest && (unnamed || old.name() == name):
			edits = append(edits, edit{old.span, added})
			replaced = true
		case !unnamed && old.name() == name:
			text, err := withoutName(x.text[old.start:old.end])
			if err != nil {
				return nil, err
			}
			edits = append(edits, edit{old.span, text})
		}
	}
	if !replaced {
		edits = append(edits, x.appended(added))
	}
	return apply(x.text, edits), nil
}

// namedEntry is the text of entry with a name, or with that which it has if name is "".
func namedEntry(entry imgspecv1.Descriptor, name string) ([]byte, error) {
	entry.Annotations = maps.Clone(entry.Annotations)
	if name != "" {
		if entry.Annotations == nil {
			entry.Annotations = map[string]string{}
		}
		entry.Annotations[imgspecv1.AnnotationRefName] = name
	}
	return json.Marshal(entry)
}

// has reports whether add would change nothing.
func (x *layoutIndex) has(d digest.Digest, name string) bool {
	var same, other int
	for _, entry := range x.entries {
		switch {
		case entry.name() != name:
		case entry.Digest == d:
			same++
		default:
			other++
		}
	}
	if name == "" {
		return same > 0
	}
	return same == 1 && other == 0
}

// appended is the edit that puts added, one or more, behind the last entry, in the style of the
// first.
func (x *layoutIndex) appended(added ...[]byte) edit {
	if len(x.entries) == 0 {
		return edit{x.manifests, slices.Concat([]byte("["), bytes.Join(added, []byte(",")), []byte("]"))}
	}
	separator := append([]byte(","), x.text[x.manifests.start+len("["):x.entries[0].start]...)
	end := x.entries[len(x.entries)-1].end
	return edit{span{end, end}, append(slices.Clone(separator), bytes.Join(added, separator)...)}
}

// withoutName returns the entry without its name annotation, and without annotations if there was
// no other.
func withoutName(entry []byte) ([]byte, error) {
	members, err := parseObject(entry)
	if err != nil {
		return nil, err
	}
	annotations, err := find(members, "annotations")
	if err != nil {
		return nil, err
	}
	if annotations == nil {
		return entry, nil
	}
	value := entry[annotations.start:annotations.end]
	inner, err := parseObject(value)
	if err != nil {
		return nil, err
	}
	kept := slices.DeleteFunc(slices.Clone(inner), func(m member) bool { return m.key == imgspecv1.AnnotationRefName })
	if len(kept) == 0 {
		rest := slices.DeleteFunc(slices.Clone(members), func(m member) bool { return m == *annotations })
		return object(entry, rest), nil
	}
	return apply(entry, []edit{{annotations.span, object(value, kept)}}), nil
}

// edit replaces a part of a document.
type edit struct {
	span
	text []byte
}

// apply returns text with the edits, which do not overlap and are in ascending order, made.
func apply(text []byte, edits []edit) []byte {
	var out []byte
	done := 0
	for _, e := range edits {
		out = append(append(out, text[done:e.start]...), e.text...)
		done = e.end
	}
	return append(out, text[done:]...)
}

// member is one member of a JSON object; the span is its value's.
type member struct {
	span
	key string
}

// object is a JSON object of the members, whose values are in text.
func object(text []byte, members []member) []byte {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			out.WriteByte(',')
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			panic(err) // a string can be marshalled
		}
		out.Write(key)
		out.WriteByte(':')
		out.Write(text[m.start:m.end])
	}
	out.WriteByte('}')
	return out.Bytes()
}

// find returns the member with the given key; nil if there is none. More than one is an error, and
// so are variants in case: encoding/json takes the last of them, other parsers do not.
func find(members []member, key string) (*member, error) {
	var found *member
	for i, m := range members {
		if !strings.EqualFold(m.key, key) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("both %q and %q", found.key, m.key)
		}
		found = &members[i]
	}
	return found, nil
}

// parseObject returns the members of the JSON object that text is.
func parseObject(text []byte) ([]member, error) {
	var members []member
	err := parse(text, '{', func(decoder *json.Decoder) error {
		key, err := decoder.Token()
		if err != nil {
			return err
		}
		value, err := parseValue(decoder)
		if err != nil {
			return err
		}
		members = append(members, member{value, key.(string)}) // the decoder takes nothing else for a key
		return nil
	})
	return members, err
}

// parseArray returns where the elements of the JSON array that text is are.
func parseArray(text []byte) ([]span, error) {
	var elements []span
	err := parse(text, '[', func(decoder *json.Decoder) error {
		value, err := parseValue(decoder)
		elements = append(elements, value)
		return err
	})
	return elements, err
}

// parse calls f for each element or member of text, which must be an array or object, as open says,
// and nothing else.
func parse(text []byte, open json.Delim, f func(*json.Decoder) error) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	start, err := decoder.Token()
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty")
	}
	if err != nil {
		return err
	}
	if start != open {
		return fmt.Errorf("%v where %v was expected", start, open)
	}
	for decoder.More() {
		if err := f(decoder); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil { // the end
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more data after the end")
	}
	return nil
}

// parseValue returns where the value that comes next is.
func parseValue(decoder *json.Decoder) (span, error) {
	var value json.RawMessage
	if err := decoder.Decode(&value); err != nil {
		return span{}, err
	}
	end := int(decoder.InputOffset())
	return span{end - len(value), end}, nil
}
