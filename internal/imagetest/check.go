package imagetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// A Store is a place where images are. It does not change while it is inspected.
type Store interface {
	// Top returns what the tag names. The error says why it names nothing, or nothing definite.
	Top(tag string) (Descriptor, error)
	// Manifest returns the manifest or list stored as d, with its media type, which is "" if the
	// store does not keep it.
	Manifest(d digest.Digest) (b []byte, mediaType string, ok bool)
	// Blob opens the blob stored as d. The reader is nil if the store kept nothing of it but its
	// size.
	Blob(d digest.Digest) (r io.ReadCloser, size int64, ok bool)
	// All returns the digests of all manifests, lists and blobs in the store, in a fixed order. One
	// may occur several times.
	All() []digest.Digest
}

// A Descriptor names a manifest, a list or a blob.
type Descriptor struct {
	MediaType string
	Digest    digest.Digest
	Size      int64 // -1 if nothing states it
}

// errNothing is wrapped by the errors of Store.Top for tags that do not exist.
var errNothing = errors.New("the tag names nothing")

// Want says what a store should look like below one tag.
//
// Where it wants names, the digest of something is as good as its name in Fixture.
type Want struct {
	Tag string
	// Digest is what the tag must name. Empty: anything.
	Digest digest.Digest
	// Fixture gives digests their names. It may be nil, if no other field uses names.
	Fixture *Fixture

	// Present must be reached from the tag. What a document names must be there in any case, unless
	// Absent or Optional say otherwise; Present says besides that the documents still name it.
	Present []string
	// Absent must not be in the store, nor may anything below it that is not reached by another way
	// and is not below something Optional (what is below it, only the fixture knows). Documents may
	// name it nevertheless.
	Absent []string
	// Optional may be absent although documents name it. If it is there, it must be whole.
	Optional []string
	// Irregular is for documents that are carried as they are although formats demand something
	// else: schemaVersion, the mediaType of a Docker document, layers and the entries of an empty
	// list may be absent, and what entries say of the media types of their children may be wrong.
	Irregular bool
	// Only demands that the store has nothing that is not reached from the tag.
	Only bool
	// Original is what the list that the tag names was stripped from, and travels along with it;
	// "" for nothing. OriginalSignatures is how many signatures of that do.
	Original           string
	OriginalSignatures int
	// OriginalOptional says that it may not travel along yet, or not with all of the signatures.
	OriginalOptional bool
	// Late, with everything below it, may have been stored after the tag was made to name what it
	// names, which only registries tell. It is for copies that add children to a sparse list.
	Late []string
}

// Inspect walks everything that a tag of the store names, and returns what is wrong with it, a line
// for each violation, beginning with the path from the tag to the place. No violations means:
//
//   - everything that is named is there, unless want allows its absence or the descriptor has URLs
//     to get it from;
//   - content matches digests, and sizes and media types match descriptors;
//   - artifacts in which an original travels along have all of it, and prove what the tag names;
//   - documents are of one kind: manifest or list, Docker or OCI, and configs of images have a diff
//     ID for each layer;
//   - the other demands of want are met.
//
// Subjects are not followed, nor other referrers.
func Inspect(store Store, want Want) []string {
	_, violations := inspect(store, want)
	return violations
}

// inspect is Inspect, and returns the digests that it reached and found.
func inspect(store Store, want Want) (reached []digest.Digest, violations []string) {
	i := &inspector{
		store: store, want: want,
		optional:  map[digest.Digest]bool{},
		documents: map[digest.Digest]bool{},
		blobs:     map[digest.Digest]int64{},
	}
	for _, name := range slices.Concat(want.Absent, want.Optional) {
		i.optional[want.digest(name)] = true
	}
	top, err := store.Top(want.Tag)
	if err != nil {
		i.report(want.Tag, "%v", err)
		return nil, i.violations
	}
	path := i.label(top.Digest)
	if want.Digest != "" && top.Digest != want.Digest {
		i.report(path, "the tag names %s, want %s", want.Fixture.Name(top.Digest), want.Fixture.Name(want.Digest))
	}
	i.document(path, top, false)
	i.original(top)
	i.demands()
	return i.order, i.violations
}

// expand returns the digest of what is called name, followed by those of everything below it that
// the fixture knows.
func (w Want) expand(name string) []digest.Digest {
	if d, err := digest.Parse(name); err == nil {
		known := w.Fixture.Name(d)
		if known == name {
			return []digest.Digest{d}
		}
		name = known
	}
	if w.Fixture == nil {
		fail("%q is no digest, and there is no fixture to know its name", name)
	}
	if _, ok := w.Fixture.blobs[name]; ok {
		return []digest.Digest{w.Fixture.Digest(name)}
	}
	return append(w.Fixture.Manifests(name), w.Fixture.Blobs(name)...)
}

// digest returns the digest of what is called name, without what is below it.
func (w Want) digest(name string) digest.Digest {
	if d, err := digest.Parse(name); err == nil {
		return d
	}
	return w.expand(name)[0]
}

// An inspector walks one store.
type inspector struct {
	store      Store
	want       Want
	optional   map[digest.Digest]bool  // may be absent
	documents  map[digest.Digest]bool  // those reached and found
	blobs      map[digest.Digest]int64 // those reached and found, with their sizes
	order      []digest.Digest         // of documents and blobs, each once
	violations []string
}

func (i *inspector) report(path, format string, args ...any) {
	i.violations = append(i.violations, path+": "+fmt.Sprintf(format, args...))
}

// label is what a digest is called in paths.
func (i *inspector) label(d digest.Digest) string {
	if name := i.want.Fixture.Name(d); name != d.String() {
		return name
	}
	if d.Validate() != nil {
		return fmt.Sprintf("%q", d)
	}
	return d.Algorithm().String() + ":" + d.Encoded()[:12]
}

func (i *inspector) reached(d digest.Digest) bool {
	_, blob := i.blobs[d]
	return blob || i.documents[d]
}

// parsed is a manifest or a list.
type parsed struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *reference   `json:"config"`
	Layers        *[]reference `json:"layers"`
	Manifests     *[]reference `json:"manifests"`
}

// reference is a descriptor in a document.
type reference struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      *int64        `json:"size"`
	URLs      []string      `json:"urls"`
	Platform  *platform     `json:"platform"`
}

func (r reference) descriptor() Descriptor {
	d := Descriptor{MediaType: r.MediaType, Digest: r.Digest, Size: -1}
	if r.Size != nil {
		d.Size = *r.Size
	}
	return d
}

// document inspects a manifest or list, and everything below it if that was not done yet. With
// strict set, desc comes from a document and must be complete.
func (i *inspector) document(path string, desc Descriptor, strict bool) {
	if !i.descriptor(path, desc, strict) {
		return
	}
	content, stored, ok := i.store.Manifest(desc.Digest)
	if !ok {
		i.missing(path, desc.Digest)
		return
	}
	i.size(path, desc, int64(len(content)))
	mediaType := desc.MediaType
	switch {
	case mediaType == "" || i.want.Irregular && strict && stored != "":
		mediaType = stored
	case stored != "" && stored != mediaType:
		i.report(path, "stored with media type %s, named with %s", stored, mediaType)
	}
	if i.documents[desc.Digest] {
		return
	}
	i.documents[desc.Digest] = true
	i.order = append(i.order, desc.Digest)
	if actual := desc.Digest.Algorithm().FromBytes(content); actual != desc.Digest {
		i.report(path, "stored as %s, but the content has digest %s", desc.Digest, actual)
		return
	}
	var doc parsed
	if err := json.Unmarshal(content, &doc); err != nil {
		i.report(path, "not a manifest: %v", err)
		return
	}
	if i.want.Irregular && strict && stored == "" && doc.MediaType != "" {
		mediaType = doc.MediaType
	}
	i.head(path, doc, mediaType)
	switch mediaType {
	case ociIndex, dockerList:
		i.list(path, doc, mediaType)
	case ociManifest, dockerManifest:
		i.image(path, doc, mediaType)
	default:
		i.report(path, "media type %q is neither that of a manifest nor that of a list", mediaType)
	}
}

func (i *inspector) head(path string, doc parsed, mediaType string) {
	if doc.SchemaVersion != 2 && (doc.SchemaVersion != 0 || !i.want.Irregular) {
		i.report(path, "schemaVersion is %d, not 2", doc.SchemaVersion)
	}
	docker := mediaType == dockerManifest || mediaType == dockerList
	if doc.MediaType != mediaType && (doc.MediaType != "" || docker && !i.want.Irregular) {
		i.report(path, "mediaType in the document is %q, outside it %q", doc.MediaType, mediaType)
	}
}

// isBlobEntry reports whether an entry of a list with this media type names a blob: a layer, or the
// config of one of BuildKit's caches.
func isBlobEntry(mediaType string) bool {
	return strings.Contains(mediaType, ".image.layer.") || strings.Contains(mediaType, ".image.rootfs.") || mediaType == cacheConfig
}

func (i *inspector) list(path string, doc parsed, mediaType string) {
	if doc.Config != nil || doc.Layers != nil {
		i.report(path, "a list with a config or layers")
	}
	switch {
	case doc.Manifests == nil && i.want.Irregular:
		return
	case doc.Manifests == nil:
		i.report(path, "a list without manifests")
		return
	}
	for n, entry := range *doc.Manifests {
		label := fmt.Sprintf("%s > [%d] %s", path, n, i.label(entry.Digest))
		if p := entry.Platform; p != nil {
			label += " (" + strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/") + ")"
		}
		if isBlobEntry(entry.MediaType) {
			i.blob(label, entry, mediaType)
		} else {
			i.document(label, entry.descriptor(), true)
		}
	}
}

func (i *inspector) image(path string, doc parsed, mediaType string) {
	if doc.Manifests != nil {
		i.report(path, "a manifest with manifests")
	}
	if doc.Layers == nil && i.want.Irregular {
		doc.Layers = &[]reference{}
	}
	if doc.Config == nil || doc.Layers == nil {
		i.report(path, "a manifest without config or layers")
		return
	}
	for n, layer := range *doc.Layers {
		i.blob(fmt.Sprintf("%s > layer[%d] %s", path, n, i.label(layer.Digest)), layer, mediaType)
	}
	configPath := path + " > config " + i.label(doc.Config.Digest)
	if i.blob(configPath, *doc.Config, mediaType) {
		i.config(configPath, *doc.Config, len(*doc.Layers))
	}
}

// blob inspects a config or layer of a manifest, or of a list, with the given media type, and
// reports whether its content can be relied on.
func (i *inspector) blob(path string, ref reference, mediaType string) bool {
	desc := ref.descriptor()
	if !i.descriptor(path, desc, true) {
		return false
	}
	if f := family(ref.MediaType); f != "" && f != family(mediaType) {
		i.report(path, "media type %s in a manifest with media type %s", ref.MediaType, mediaType)
	}
	if size, ok := i.blobs[desc.Digest]; ok {
		i.size(path, desc, size)
		return false // was inspected in its first place
	}
	r, size, ok := i.store.Blob(desc.Digest)
	if !ok {
		if len(ref.URLs) == 0 {
			i.missing(path, desc.Digest)
		}
		return false
	}
	i.blobs[desc.Digest] = size
	i.order = append(i.order, desc.Digest)
	i.size(path, desc, size)
	if r == nil {
		return false
	}
	if err := verify(r, desc.Digest); err != nil {
		i.report(path, "%v", err)
		return false
	}
	return true
}

// family is who defined a media type of images: OCI or Docker; "" for all others.
func family(mediaType string) string {
	for _, prefix := range []string{"application/vnd.oci.image.", "application/vnd.docker."} {
		if strings.HasPrefix(mediaType, prefix) {
			return prefix
		}
	}
	return ""
}

// verify reads r to its end, closes it, and compares the content with d.
func verify(r io.ReadCloser, d digest.Digest) error {
	defer r.Close()
	actual, err := d.Algorithm().FromReader(r)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	if actual != d {
		return fmt.Errorf("stored as %s, but the content has digest %s", d, actual)
	}
	return nil
}

// config inspects the config of an image with the given number of layers.
func (i *inspector) config(path string, ref reference, layers int) {
	if ref.MediaType != ociConfig && ref.MediaType != dockerConfig {
		return
	}
	r, _, ok := i.store.Blob(ref.Digest)
	if !ok || r == nil {
		return
	}
	defer r.Close()
	var config struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.NewDecoder(r).Decode(&config); err != nil {
		i.report(path, "not a config: %v", err)
		return
	}
	if n := len(config.RootFS.DiffIDs); n != layers {
		i.report(path, "%d diff IDs for %d layers", n, layers)
	}
}

// descriptor inspects a descriptor by itself and reports whether its digest can be used.
func (i *inspector) descriptor(path string, desc Descriptor, strict bool) bool {
	if err := desc.Digest.Validate(); err != nil {
		i.report(path, "invalid digest %q: %v", desc.Digest, err)
		return false
	}
	if strict && desc.MediaType == "" {
		i.report(path, "named without a media type")
	}
	if strict && desc.Size < 0 {
		i.report(path, "named without a valid size")
	}
	return true
}

func (i *inspector) size(path string, desc Descriptor, actual int64) {
	if desc.Size >= 0 && desc.Size != actual {
		i.report(path, "size is %d, the descriptor says %d", actual, desc.Size)
	}
}

func (i *inspector) missing(path string, d digest.Digest) {
	if !i.optional[d] {
		i.report(path, "dangling: %s is not in the store", d)
	}
}

// absent returns what must not be in the store.
func (i *inspector) absent() map[digest.Digest]bool {
	optional := map[digest.Digest]bool{}
	for _, name := range i.want.Optional {
		for _, d := range i.want.expand(name) {
			optional[d] = true
		}
	}
	absent := map[digest.Digest]bool{}
	for _, name := range i.want.Absent {
		for n, d := range i.want.expand(name) {
			// n is 0 for what is called name. What is below it may be there for something else.
			if n == 0 || !i.reached(d) && !optional[d] {
				absent[d] = true
			}
		}
	}
	return absent
}

// demands inspects what can be judged only after the walk.
func (i *inspector) demands() {
	for _, name := range i.want.Present {
		if d := i.want.digest(name); !i.reached(d) {
			i.report(i.label(d), "must be there, but the tag does not lead to it")
		}
	}
	absent := i.absent()
	seen := map[digest.Digest]bool{}
	for _, d := range i.store.All() {
		if seen[d] {
			continue
		}
		seen[d] = true
		if absent[d] {
			i.report(i.label(d), "must be absent, but %s is in the store", d)
		} else if i.want.Only && !i.reached(d) {
			i.report(i.label(d), "is in the store, but the tag does not lead to it")
		}
	}
}
