package imagetest

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// original inspects the artifacts in which an original travels along with the list that the tag
// names, and counts them as reached. They must be whole, and prove that the list is what is left of
// the original that is wanted; if none is wanted, there must be none.
func (i *inspector) original(top Descriptor) {
	var originals, signatures int
	for _, d := range slices.Compact(slices.Sorted(slices.Values(i.store.All()))) {
		content, mediaType, ok := i.store.Manifest(d)
		if !ok || !bytes.Contains(content, []byte("sparsecopy.original")) {
			continue
		}
		image, err := manifest.ParseImage(content, mediaType)
		if err != nil || image.Subject != top.Digest {
			continue
		}
		doc := manifest.Document{Digest: d, MediaType: mediaType, Bytes: content}
		switch original.KindOf(image.ArtifactType, image.Annotations) {
		case original.RoleOriginal:
			originals++
			err = i.proves(doc, top)
		case original.RoleSignature:
			signatures++
			err = i.signs(doc)
		default:
			continue
		}
		path := "artifact " + i.label(d)
		if err != nil {
			i.report(path, "%v", err)
		}
		i.document(path, Descriptor{MediaType: imgspecv1.MediaTypeImageManifest, Digest: d, Size: int64(len(content))}, true)
	}
	wanted := 0
	if i.want.Original != "" {
		wanted = 1
	}
	lacking := originals < wanted || signatures < i.want.OriginalSignatures
	if originals > wanted || signatures > i.want.OriginalSignatures || lacking && !i.want.OriginalOptional {
		i.report(i.label(top.Digest), "the original travels along %d times, with %d signatures; want %d and %d", originals, signatures, wanted, i.want.OriginalSignatures)
	}
}

// proves returns nil if an artifact has the original that is wanted, and that proves the list.
func (i *inspector) proves(doc manifest.Document, top Descriptor) error {
	o, err := original.Read(doc, i.part)
	if err != nil {
		return err
	}
	if i.otherOriginal(o.Top().Digest) {
		return fmt.Errorf("it has the original %s", i.label(o.Top().Digest))
	}
	stripped, _, _ := i.store.Manifest(top.Digest)
	_, err = manifest.StrippedFrom(stripped, o.Top().Bytes, func(d digest.Digest) ([]byte, error) {
		if doc, ok := o.Document(d); ok {
			return doc.Bytes, nil
		}
		if content, _, ok := i.store.Manifest(d); ok {
			return content, nil
		}
		return nil, fmt.Errorf("%s is not in the store", d)
	})
	return err
}

// signs returns nil if an artifact has a signature of the original that is wanted.
func (i *inspector) signs(doc manifest.Document) error {
	s, err := original.ReadSignature(doc, i.part)
	if err == nil && i.otherOriginal(s.Of) {
		err = fmt.Errorf("it has a signature of %s", i.label(s.Of))
	}
	return err
}

// otherOriginal reports whether d is not the original that is wanted.
func (i *inspector) otherOriginal(d digest.Digest) bool {
	return i.want.Original != "" && d != i.want.digest(i.want.Original)
}

// part reads a blob of an artifact.
func (i *inspector) part(d imgspecv1.Descriptor) ([]byte, error) {
	r, _, ok := i.store.Blob(d.Digest)
	if !ok || r == nil {
		return nil, fmt.Errorf("%s is not in the store", d.Digest)
	}
	defer r.Close()
	return io.ReadAll(r)
}
