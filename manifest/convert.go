package manifest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Conversion is a list in the other format.
type Conversion struct {
	List List
	// Lost are the keys of what the document stated and the result does not, sorted and distinct:
	// "annotations" of the document, "manifests[].annotations" of entries. Nil if nothing is lost.
	Lost []string
	// Assumed are the positions of the entries for images that stated no platform, and are for
	// linux/amd64 in the result: every entry of a Docker list is for one. Nil for none.
	Assumed []int
}

// Convert returns what l is, as it is now, in the format with the given media type. l is not
// changed. What the children are is not looked at: entries keep the media types that they state.
//
// The document is written anew, without white space, with the media types, digests, sizes, URLs and
// platforms of the entries, and nothing else. For lists without lists in them, containers/image
// writes the same bytes on linux/amd64; on other systems it takes those for the platform of what
// has none.
// A list that names blobs keeps all that it says but for its own media type: those who write such
// lists write the same entries in both formats.
//
// It fails for a media type that is not a list's, for a list that was not made by Parse, and with a
// *ParseError for a result that is too large.
func Convert(l List, mediaType string) (Conversion, error) {
	if !IsListMediaType(mediaType) {
		return Conversion{}, fmt.Errorf("a list cannot be converted to %s", quote(mediaType))
	}
	b, err := l.Serialize()
	if err != nil {
		return Conversion{}, err
	}
	var out Conversion
	switch instances := l.Instances(); {
	case mediaType == l.MediaType():
	case slices.ContainsFunc(instances, Instance.IsBlob):
		b = restated(string(b), mediaType)
	case mediaType == MediaTypeDockerList:
		out.Lost = unconverted(l.sealed())
		b, out.Assumed = dockerForm(instances)
	default:
		out.Lost = unconverted(l.sealed())
		b = ociForm(instances)
	}
	out.List, err = Parse(b, mediaType)
	return out, err
}

// restated returns a document that says that it has another media type.
func restated(doc, mediaType string) []byte {
	text := strings.Trim(doc, whiteSpace)
	before, after, _ := strings.Cut(doc, text)
	o := splitObject(text)
	o.set("mediaType", mediaType)
	return []byte(before + o.text() + after)
}

// A dockerDocument is a Docker list, in the order in which Docker's tools write it.
type dockerDocument struct {
	SchemaVersion int           `json:"schemaVersion"`
	MediaType     string        `json:"mediaType"`
	Manifests     []dockerEntry `json:"manifests"`
}

type dockerEntry struct {
	MediaType string             `json:"mediaType"`
	Size      int64              `json:"size"`
	Digest    digest.Digest      `json:"digest"`
	URLs      []string           `json:"urls,omitempty"`
	Platform  imgspecv1.Platform `json:"platform"`
}

// dockerForm returns a Docker list with the entries, and the positions of those for which a
// platform was assumed.
func dockerForm(instances []Instance) (doc []byte, assumed []int) {
	list := dockerDocument{SchemaVersion: 2, MediaType: MediaTypeDockerList, Manifests: make([]dockerEntry, len(instances))}
	for i, instance := range instances {
		platform := cmp.Or(instance.Platform, &imgspecv1.Platform{})
		if instance.Platform == nil && !instance.IsList() {
			platform = &imgspecv1.Platform{OS: "linux", Architecture: "amd64"}
			assumed = append(assumed, i)
		}
		list.Manifests[i] = dockerEntry{instance.MediaType, instance.Size, instance.Digest, instance.URLs, *platform}
	}
	return marshal(list), assumed
}

// ociForm returns an OCI index with the entries.
func ociForm(instances []Instance) []byte {
	index := imgspecv1.Index{MediaType: imgspecv1.MediaTypeImageIndex, Manifests: make([]imgspecv1.Descriptor, len(instances))}
	index.SchemaVersion = 2
	for i, instance := range instances {
		platform := instance.Platform
		if platform == nil && !instance.IsList() {
			platform = &imgspecv1.Platform{}
		}
		index.Manifests[i] = imgspecv1.Descriptor{
			MediaType: instance.MediaType, Digest: instance.Digest, Size: instance.Size, URLs: instance.URLs, Platform: platform,
		}
	}
	return marshal(index)
}

func marshal(document any) []byte {
	b, err := json.Marshal(document)
	if err != nil {
		panic(fmt.Sprintf("manifest: cannot write a %T: %v", document, err))
	}
	return b
}

// What a conversion takes over.
var (
	convertedTop      = []string{"schemaVersion", "mediaType", "manifests"}
	convertedEntry    = []string{"mediaType", "digest", "size", "urls", "platform"}
	convertedPlatform = []string{"architecture", "os", "os.version", "os.features", "variant"}
)

// unconverted returns the keys that a conversion does not take over, as Conversion.Lost has them.
// What is empty is no loss.
func unconverted(c *core) []string {
	var keys []string
	look := func(path string, members []rawMember, taken []string) {
		for _, m := range members {
			if !contains(taken, m.key) && !isEmptyValue(m.value) {
				keys = append(keys, path+m.key)
			}
		}
	}
	top, _ := splitMembers(strings.Trim(c.doc, whiteSpace))
	look("", top, convertedTop)
	for _, e := range c.entries {
		entry, _ := splitMembers(e.raw)
		look("manifests[].", entry, convertedEntry)
		i := slices.IndexFunc(entry, func(m rawMember) bool { return m.key == "platform" && m.value != "null" })
		if i >= 0 {
			platform, _ := splitMembers(entry[i].value)
			look("manifests[].platform.", platform, convertedPlatform)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// isEmptyValue reports whether a value says as much as its absence: null, "", {} or [].
func isEmptyValue(value string) bool {
	switch value[0] {
	case '{', '[':
		return strings.Trim(value[1:len(value)-1], whiteSpace) == ""
	}
	return value == "null" || value == `""`
}
