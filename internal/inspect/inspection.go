package inspect

import (
	"cmp"
	"context"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/internal/relation"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// InspectionSchema names the JSON form of an Inspection. The number changes when a reader of the
// old form would go wrong.
const InspectionSchema = "sparsecopy.inspection/v1"

// An Inspection says what a reference names, and what of it is there. Sizes are in bytes.
type Inspection struct {
	Schema       string        `json:"schema"` // InspectionSchema
	Reference    string        `json:"reference"`
	Digest       digest.Digest `json:"digest"`
	MediaType    string        `json:"mediaType"`
	Kind         string        `json:"kind,omitempty"` // manifest.KindArtifact, or "" for an image or a list
	ArtifactType string        `json:"artifactType,omitempty"`
	Size         int64         `json:"size"` // of the list or manifest

	// Entries are those of the list, in its order. Absent for a single image.
	Entries []Entry `json:"entries,omitempty"`
	// Image is the single image. Nil for a list.
	Image *Image `json:"image,omitempty"`

	Totals Totals `json:"totals"`
}

// An Entry is one entry of a list.
type Entry struct {
	Index         int           `json:"index"`
	Digest        digest.Digest `json:"digest"`
	MediaType     string        `json:"mediaType"` // of what is there, else as the entry states it
	ArtifactType  string        `json:"artifactType,omitempty"`
	Platform      string        `json:"platform"` // "no platform" if the entry states none
	AttestationOf digest.Digest `json:"attestationOf,omitempty"`
	// Relation is what it is to another entry of the list, "" if it stands for itself. Kind is what
	// people call it then, and Subject the other entry, "" if the list does not name that.
	Relation relation.Relation `json:"relation,omitempty"`
	Kind     string            `json:"kind,omitempty"`
	Subject  digest.Digest     `json:"subject,omitempty"`
	Size     int64             `json:"size"`    // of the manifest, or blob, as the list states it
	Missing  bool              `json:"missing"` // definitely not there
	List     bool              `json:"list"`
	Entries  []Entry           `json:"entries,omitempty"` // of a nested list that is there
	Image    *Image            `json:"image,omitempty"`   // of a manifest that is there
}

// An Image is the manifest of a single image or artifact.
type Image struct {
	Platform string `json:"platform,omitempty"` // of a single image; "" if its config has none
	Config   Blob   `json:"config"`
	Layers   []Blob `json:"layers"`
	Bytes    int64  `json:"bytes"` // of config and distinct layers
}

// A Blob is a config or a layer, as a manifest states it.
type Blob struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Size      int64         `json:"size"`
}

// Totals count what is distinct.
type Totals struct {
	Manifests     int   `json:"manifests"` // lists and manifests that are there
	ManifestBytes int64 `json:"manifestBytes"`
	Missing       int   `json:"missing"` // that lists name, and that are not there
	// Blobs are those of the manifests that are there, and those that lists name in the place of
	// manifests; whether they are there is asked of the latter only.
	Blobs     int   `json:"blobs"`
	BlobBytes int64 `json:"blobBytes"`
}

// Inspect reads all lists and manifests of src, and the config of a single image, and looks for
// blobs that lists name in the place of manifests. Reference stays empty. limit bounds what is in
// flight. An error says that something could not be read, or that it is not what its digest says;
// what is definitely not there is Missing.
func Inspect(ctx context.Context, src endpoint.SizedSource, limit *semaphore.Weighted) (*Inspection, error) {
	c, err := readContent(ctx, src, limit)
	if err != nil {
		return nil, err
	}
	found := &Inspection{
		Schema: InspectionSchema, Digest: c.top.Digest, MediaType: c.top.MediaType, Size: int64(len(c.top.Bytes)),
	}
	if c.root != nil {
		found.ArtifactType = c.root.List.ArtifactType()
		found.Entries, err = c.entries(c.root)
	} else if found.Image, found.Kind, found.ArtifactType, err = inspectImage(c.top); err == nil {
		found.Image.Platform, err = statedPlatform(ctx, src, c.top)
	}
	if err != nil {
		return nil, err
	}
	found.Totals, err = c.totals()
	return found, err
}

func (c *content) entries(n *listtree.Node) ([]Entry, error) {
	entries := make([]Entry, 0, len(n.Instances))
	ties := relation.Of(n.Instances, c.image)
	for i, in := range n.Instances {
		e := Entry{
			Index: in.Index, Digest: in.Digest, MediaType: in.MediaType, ArtifactType: in.ArtifactType,
			Platform: platform.Format(in.Platform), Size: in.Size, Missing: c.missing[in.Digest], List: in.IsList(),
		}
		e.Relation, e.Kind, e.Subject = ties[i].Relation, ties[i].Kind, ties[i].Subject
		if e.Relation == relation.Describes {
			e.AttestationOf = ties[i].Named
		}
		if in.IsBlob() {
			e.Missing = c.missingBlobs[in.Digest]
		}
		var err error
		switch doc, there := c.documents[in.Digest]; {
		case !there || in.IsBlob():
		case n.Nested[in.Index] != nil:
			e.Entries, err = c.entries(n.Nested[in.Index])
		default:
			var kind, artifactType string
			e.Image, kind, artifactType, err = inspectImage(doc)
			e.Kind, e.ArtifactType = cmp.Or(e.Kind, kind), cmp.Or(e.ArtifactType, artifactType)
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// inspectImage returns what a manifest says, its kind if it is no image's, and its artifact type.
func inspectImage(doc endpoint.Document) (found *Image, kind, artifactType string, err error) {
	image, err := parseImage(doc)
	if err != nil {
		return nil, "", "", err
	}
	if image == nil {
		return &Image{Layers: []Blob{}}, "", "", nil
	}
	of := func(d manifest.Descriptor) Blob { return Blob{d.Digest, d.MediaType, d.Size} }
	found = &Image{Config: of(image.Config), Layers: make([]Blob, len(image.Layers))}
	for i, layer := range image.Layers {
		found.Layers[i] = of(layer)
	}
	for _, b := range endpoint.BlobsOf(image) {
		found.Bytes += b.Size
	}
	if !image.IsArtifact() {
		return found, "", image.ArtifactType, nil
	}
	// The config's type is how artifacts were marked before image-spec v1.1.
	return found, manifest.KindArtifact, cmp.Or(image.ArtifactType, image.Config.MediaType), nil
}

// totals counts what is distinct.
func (c *content) totals() (Totals, error) {
	t := Totals{Missing: len(c.missing) + len(c.missingBlobs)}
	seen := map[digest.Digest]bool{}
	for d, b := range c.blobs {
		seen[d] = true
		t.Blobs++
		t.BlobBytes += b.Size
	}
	for _, doc := range c.documents {
		t.Manifests++
		t.ManifestBytes += int64(len(doc.Bytes))
		if manifest.IsListMediaType(doc.MediaType) {
			continue
		}
		image, err := parseImage(doc)
		if err != nil {
			return t, err
		}
		for _, b := range endpoint.BlobsOf(image) {
			if !seen[b.Digest] {
				seen[b.Digest] = true
				t.Blobs++
				t.BlobBytes += b.Size
			}
		}
	}
	return t, nil
}
