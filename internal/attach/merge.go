package attach

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Merged is what a digest tag is to name.
type Merged struct {
	Doc endpoint.Document
	// Config is that of Doc if it is neither the source's nor the destination's, nil otherwise.
	Config []byte
	// Replaced is set if something that the destination's tag names is named no longer.
	Replaced bool
	// Kept is set if something that the destination's tag names stays, and what the source's names
	// is not named.
	Kept bool
}

// kept says, for people, that the tag does not name ours, "" if it does.
func (m *Merged) kept(tag string, ours endpoint.Document) string {
	if !m.Kept {
		return ""
	}
	return fmt.Sprintf("tag %s names %s at the destination, and not %s: it stays", tag, m.Doc.Digest, ours.Digest)
}

// Merge returns what a digest tag is to name at a destination. At the source it names ours; at the
// destination it names there, the zero Document if nothing.
//
// The manifests of .sig and .att tags are lists of signatures and attestations, a layer each, to
// which cosign adds, and containers/image does: so nothing that the destination has is lost. If one
// manifest has all layers of the other, the tag names that, the source's if they are equal; else, a
// new one with the layers of both. An SBOM is one document: there, and where the manifests cannot
// be merged, the tag follows the source, and so do the tags of other tools. A tag without a suffix
// may list referrers at the destination, which nothing replaces: if it lists some on both sides,
// the destination's gets the entries that it lacks.
func Merge(tag string, there, ours endpoint.Document) Merged {
	switch {
	case there.Digest == "" || there.Digest == ours.Digest:
		return Merged{Doc: ours}
	case digesttag.Stem(tag) == tag:
		return mergeLists(there, ours)
	case !strings.HasSuffix(tag, digesttag.Signatures) && !strings.HasSuffix(tag, digesttag.Attestations):
		return Merged{Doc: ours, Replaced: true}
	}
	a, okA := readLayers(there)
	b, okB := readLayers(ours)
	switch {
	case !okA || !okB || a.image.MediaType != b.image.MediaType || a.image.Config.MediaType != b.image.Config.MediaType:
		return Merged{Doc: ours, Replaced: true}
	case len(b.without(a)) == 0 && len(a.without(b)) > 0:
		return Merged{Doc: there}
	case len(a.without(b)) == 0:
		return Merged{Doc: ours}
	}
	merged, config, err := a.with(b)
	if err != nil {
		return Merged{Doc: ours, Replaced: true}
	}
	return Merged{Doc: merged, Config: config}
}

// mergeLists returns the list that is there with the entries of ours, or what is there, whatever it
// is.
func mergeLists(there, ours endpoint.Document) Merged {
	children, err := childrenOf(ours)
	if err != nil || !endpoint.IsReferrersList(there) || !endpoint.IsReferrersList(ours) {
		return Merged{Doc: there, Kept: true}
	}
	entries := make([]imgspecv1.Descriptor, len(children))
	for i, c := range children {
		entries[i] = c.Descriptor
	}
	merged, err := endpoint.WithReferrers(there, entries)
	return Merged{Doc: merged, Kept: err != nil}
}

// layers are those of the manifest of a digest tag, as text. Signatures of one payload differ in
// their annotations only.
type layers struct {
	doc   endpoint.Document
	image *manifest.Image
	texts []json.RawMessage
	keys  []string // by which layers are compared
}

func readLayers(doc endpoint.Document) (layers, bool) {
	l := layers{doc: doc}
	image, err := manifest.ParseImage(doc.Bytes, manifest.TypeOf(doc.Bytes, doc.MediaType))
	if err != nil {
		return l, false
	}
	var parts struct {
		Layers []json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(doc.Bytes, &parts); err != nil || len(parts.Layers) != len(image.Layers) {
		return l, false
	}
	l.image, l.texts = image, parts.Layers
	for _, layer := range image.Layers {
		l.keys = append(l.keys, layerKey(layer.MediaType, layer.Digest, layer.Annotations))
	}
	return l, true
}

// layerKey is the same for two layers if and only if they are the same signature or attestation.
func layerKey(mediaType string, d digest.Digest, annotations map[string]string) string {
	key := []string{mediaType, d.String()}
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		key = append(key, name, annotations[name])
	}
	return fmt.Sprintf("%q", key)
}

// without returns the positions of the layers that other does not have.
func (l layers) without(other layers) []int {
	has := map[string]bool{}
	for _, key := range other.keys {
		has[key] = true
	}
	var rest []int
	for i, key := range l.keys {
		if !has[key] {
			rest = append(rest, i)
		}
	}
	return rest
}

// with returns the manifest with the layers of other that it lacks added. If its config is an
// image's, that has to name the layers, and is a new one.
func (l layers) with(other layers) (endpoint.Document, []byte, error) {
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(l.doc.Bytes, &members); err != nil {
		return endpoint.Document{}, nil, err
	}
	texts, all := l.texts, l.image.Layers
	for _, i := range other.without(l) {
		texts, all = append(texts, other.texts[i]), append(all, other.image.Layers[i])
	}
	var config []byte
	var err error
	if members["layers"], err = json.Marshal(texts); err != nil {
		return endpoint.Document{}, nil, err
	}
	if mt := l.image.Config.MediaType; mt == imgspecv1.MediaTypeImageConfig {
		if config, err = layersConfig(all); err != nil {
			return endpoint.Document{}, nil, err
		}
		members["config"], err = json.Marshal(imgspecv1.Descriptor{MediaType: mt, Digest: digest.FromBytes(config), Size: int64(len(config))})
		if err != nil {
			return endpoint.Document{}, nil, err
		}
	}
	merged, err := json.Marshal(members)
	return endpoint.Document{Digest: digest.FromBytes(merged), MediaType: l.image.MediaType, Bytes: merged}, config, err
}

// layersConfig is the config of an image that consists of layers which are not compressed, as
// signatures and attestations are.
func layersConfig(all []manifest.Descriptor) ([]byte, error) {
	config := imgspecv1.Image{RootFS: imgspecv1.RootFS{Type: "layers"}}
	for _, layer := range all {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
	}
	return json.Marshal(config)
}
