package bundle

import (
	"cmp"
	"encoding/json"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/internal/relation"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Content says what a bundle has of an image. Sizes are in bytes, of configs and layers, each
// counted once.
type Content struct {
	MediaType string
	// Platform is that of a single image: "" if its config states none, or is not in this bundle.
	Platform string
	// Entries are those of the list, and those of lists in it, after the entry that names them.
	// None for a single image.
	Entries []ContentEntry
	// Bytes is the size of all that is on the other side after the bundle was loaded, and Carried
	// that of what the bundle itself has of it.
	Bytes, Carried int64
	// Attached is what the bundle has that belongs to the image, to its entries, or to that.
	Attached []ContentAttached
}

// A ContentEntry is an entry of a list.
type ContentEntry struct {
	Digest   digest.Digest
	Platform string // "no platform" if the entry states none
	// Kind is what people call an entry that belongs to another one, or is no image; "" for an
	// image. Subject is the other one, "" if the list does not name it.
	Kind    string
	Subject digest.Digest
	List    bool
	Absent  bool // the bundle does not have it
}

// A ContentAttached is a referrer, or what a digest tag names.
type ContentAttached struct {
	Attached
	// ArtifactType says what it is; "" if nothing does.
	ArtifactType string
}

// Content says what the bundle has of an image, by its name as in Record.Images. It reads manifests
// and lists, and of blobs no more than the config of a single image; a bundle that was opened for
// Listing can tell. The error is a *DamagedError, or one of the file system.
func (b *Bundle) Content(name string) (*Content, error) {
	image, ok := b.images[name]
	if !ok {
		return nil, damaged("it has no image %q", name)
	}
	c := &contentReader{Bundle: b, blobs: map[digest.Digest]bool{}, absent: map[digest.Digest]bool{}}
	for _, d := range image.Absent {
		c.absent[d] = true
	}
	top, err := b.dir.document(image.Digest, b.types[image.Digest])
	if err != nil {
		return nil, err
	}
	c.MediaType = top.MediaType
	if err := c.addTree(image.Digest); err != nil {
		return nil, err
	}
	if manifest.IsListMediaType(top.MediaType) {
		err = c.addEntries(top, map[digest.Digest]bool{})
	} else {
		c.Platform, err = b.statedPlatform(top)
	}
	if err != nil {
		return nil, err
	}
	return &c.Content, c.addAttached(name, image)
}

// A contentReader fills in a Content.
type contentReader struct {
	*Bundle
	Content
	blobs  map[digest.Digest]bool // that were counted
	absent map[digest.Digest]bool // what the bundle is to lack
}

// addTree counts the blobs of a manifest, or of all that a list names.
func (c *contentReader) addTree(top digest.Digest) error {
	documents, err := c.tree(top)
	if err != nil {
		return err
	}
	for _, d := range documents {
		doc, err := c.dir.document(d, c.types[d])
		if err != nil {
			return err
		}
		blobs, err := blobsIn(doc)
		if err != nil {
			return err
		}
		for _, blob := range blobs {
			if c.blobs[blob.Digest] {
				continue
			}
			c.blobs[blob.Digest] = true
			c.Bytes += max(blob.Size, 0)
			if c.carries(blob) {
				c.Carried += max(blob.Size, 0)
			}
		}
	}
	return nil
}

// carries reports whether a blob is in this bundle, and did not come with an earlier one.
func (b *Bundle) carries(blob endpoint.Blob) bool {
	if size, packed := b.packed[blob.Digest]; packed {
		return size == blob.Size
	}
	return b.dir.has(blob.Digest, blob.Size)
}

// addEntries adds the entries of a list, and those of nested ones that are not in above.
func (c *contentReader) addEntries(list endpoint.Document, above map[digest.Digest]bool) error {
	all := instances(list)
	ties := relation.Of(all, nil)
	for i, in := range all {
		e := ContentEntry{
			Digest: in.Digest, Platform: platform.Format(in.Platform), Kind: ties[i].Kind, Subject: ties[i].Subject,
			List: in.IsList(), Absent: c.absent[in.Digest],
		}
		if !e.Absent && !in.IsBlob() && !c.dir.has(in.Digest, -1) {
			return damaged("it lacks the manifest %s", in.Digest)
		}
		c.Entries = append(c.Entries, e)
		if !e.List || e.Absent || above[in.Digest] {
			continue
		}
		nested, err := c.dir.document(in.Digest, in.MediaType)
		if err != nil {
			return err
		}
		above[in.Digest] = true
		if err := c.addEntries(nested, above); err != nil {
			return err
		}
	}
	return nil
}

// addAttached adds what belongs to an image of that name, or to its entries, or to that.
func (c *contentReader) addAttached(name string, image Image) error {
	named, err := parseName(name)
	if err != nil {
		return damaged("it names %q: %w", name, err)
	}
	subjects := map[digest.Digest]bool{image.Digest: true}
	for _, d := range image.Changed {
		subjects[d] = true
	}
	for _, e := range c.Entries {
		subjects[e.Digest] = true
	}
	for _, a := range c.attached[named.Name()] { // each after its subject
		if !subjects[a.Subject] {
			continue
		}
		subjects[a.Digest] = true
		doc, err := c.dir.document(a.Digest, c.types[a.Digest])
		if err != nil {
			return err
		}
		if err := c.addTree(a.Digest); err != nil {
			return err
		}
		c.Attached = append(c.Attached, ContentAttached{Attached: a, ArtifactType: artifactType(doc)})
	}
	return nil
}

// artifactType is what a manifest or list says that it is, "" if it is no artifact.
func artifactType(doc endpoint.Document) string {
	if manifest.IsListMediaType(doc.MediaType) {
		list, err := manifest.Parse(doc.Bytes, doc.MediaType)
		if err != nil {
			return ""
		}
		return list.ArtifactType()
	}
	image, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
	if err != nil || !image.IsArtifact() {
		return ""
	}
	return cmp.Or(image.ArtifactType, image.Config.MediaType)
}

// statedPlatform is the platform of a single image for people, "" if it states none, or if its
// config is not in this bundle.
func (b *Bundle) statedPlatform(doc endpoint.Document) (string, error) {
	image, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
	if err != nil || image.IsArtifact() || !b.dir.has(image.Config.Digest, image.Config.Size) {
		return "", err
	}
	f, err := os.Open(b.dir.blobPath(image.Config.Digest))
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, manifest.MaxSize))
	if err != nil {
		return "", err
	}
	var stated imgspecv1.Platform
	if json.Unmarshal(content, &stated) != nil || stated.OS == "" {
		return "", nil
	}
	return platform.Format(&stated), nil
}
