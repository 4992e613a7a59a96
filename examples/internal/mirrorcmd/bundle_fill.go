package mirrorcmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/directory"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// bundleState is what is in a bundle so far.
type bundleState struct {
	mu        sync.Mutex // guards what follows
	record    bundleRecord
	entries   []imgspecv1.Descriptor
	blobs     map[digest.Digest]bundleBlob // that images name
	documents map[digest.Digest]bool       // in the blobs directory too
	busy      map[digest.Digest]chan struct{}

	carried, left           int // blobs, when the bundle is finished
	carriedBytes, leftBytes int64
}

// document puts a manifest or list into the bundle.
func (m *bundleMaker) document(doc endpoint.Document) error {
	m.mu.Lock()
	m.documents[doc.Digest] = true
	m.mu.Unlock()
	if m.dir.has(doc.Digest, int64(len(doc.Bytes))) {
		return nil
	}
	return m.dir.writeBytes(m.dir.blobPath(doc.Digest), doc.Bytes)
}

// manifest puts the manifest of an image, and its blobs, into the bundle, but for layers that are elsewhere.
func (t *bundleTask) manifest(ctx context.Context, doc endpoint.Document) error {
	image, all, err := blobs(doc)
	if err != nil {
		return err
	}
	if image == nil {
		return fmt.Errorf("manifest %s: Docker schema 1 cannot be carried", doc.Digest)
	}
	if err := inParallel(ctx, defaultParallel, blobsHere(image, all), func(ctx context.Context, b endpoint.Blob) error {
		return t.blob(ctx, b, doc.Digest)
	}); err != nil {
		return err
	}
	return t.m.document(doc)
}

// blob puts a config or layer into the bundle, unless it is there, or an earlier bundle brought it. One that several images share is
// read once.
func (t *bundleTask) blob(ctx context.Context, b endpoint.Blob, of digest.Digest) error {
	m := t.m
	m.mu.Lock()
	place := bundleBlob{Digest: b.Digest, Size: b.Size, Repository: t.repository, Manifest: of}
	if other, known := m.blobs[b.Digest]; !known || comparePlaces(place, other) < 0 {
		m.blobs[b.Digest] = place // which of several does not depend on who comes first
	}
	_, earlier := m.earlier[b.Digest]
	done, busy := m.busy[b.Digest]
	if !earlier && !busy {
		done = make(chan struct{})
		m.busy[b.Digest] = done
	}
	m.mu.Unlock()
	switch {
	case earlier:
		skipped(m.progress, b)
		return nil
	case busy:
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if !m.dir.has(b.Digest, b.Size) {
			return fmt.Errorf("blob %s could not be read for another image", b.Digest)
		}
		return nil
	}
	defer close(done)
	if m.dir.has(b.Digest, b.Size) {
		skipped(m.progress, b)
		return nil
	}
	if err := m.reading.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer m.reading.Release(1)
	r, err := t.src.Blob(ctx, b)
	if err != nil {
		return atEnd("src", "blob "+b.Digest.String(), err)
	}
	defer r.Close()
	err = m.dir.write(m.dir.blobPath(b.Digest), func(w io.Writer) error { return copyVerified(w, reading(m.progress, r, b), b) })
	if err != nil {
		return fmt.Errorf("blob %s: %w", b.Digest, err)
	}
	return nil
}

func comparePlaces(a, b bundleBlob) int {
	return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Manifest, b.Manifest))
}

// signatures carries the signatures of images, and of lists that stay as they are, in the form of the dir: transport.
func (t *bundleTask) signatures(ctx context.Context) error {
	options := t.options
	if options.RemoveSignatures {
		return nil
	}
	for _, d := range t.manifests {
		if options.RemoveListSignatures && t.isList(d) {
			continue
		}
		sigs, err := t.src.Signatures(ctx, d)
		if errors.Is(err, endpoint.ErrUnknown) {
			t.warn("signatures of %s: %v", d, err)
			continue
		}
		if err != nil {
			return atEnd("src", "signatures of "+d.String(), err)
		}
		if sigs.Len() == 0 {
			continue
		}
		if err := t.m.sign(ctx, d, sigs); err != nil {
			return fmt.Errorf("signatures of %s: %w", d, err)
		}
	}
	return nil
}

func (t *bundleTask) isList(d digest.Digest) bool {
	found := false
	eachList(t.plan.List, func(l *copy.ListPlan) { found = found || l.Result == d })
	return found
}

// sign stores signatures.
func (m *bundleMaker) sign(ctx context.Context, d digest.Digest, sigs endpoint.Signatures) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sigs == nil {
		if err := os.MkdirAll(m.dir.path(signatureDir), 0o755); err != nil {
			return err
		}
		ref, err := directory.NewReference(m.dir.path(signatureDir))
		if err != nil {
			return err
		}
		if m.sigs, err = ref.NewImageDestination(ctx, nil); err != nil {
			return err
		}
	}
	return sigs.Put(ctx, m.sigs, &d)
}

// add names an image in the bundle.
func (m *bundleMaker) add(image bundleImage, mediaType string, size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.record.Images = append(m.record.Images, image)
	m.entries = append(m.entries, descriptor(image.Name, image.Digest, mediaType, size))
}

func descriptor(name string, d digest.Digest, mediaType string, size int64) imgspecv1.Descriptor {
	entry := imgspecv1.Descriptor{MediaType: mediaType, Digest: d, Size: size}
	if name != "" {
		entry.Annotations = map[string]string{imgspecv1.AnnotationRefName: name}
	}
	return entry
}

// finish writes index.json, oci-layout and the record, and removes what an earlier, failed run put there for other images. The same
// images make the same files, whatever the order in which they came.
func (m *bundleMaker) finish() error {
	slices.SortFunc(m.record.Images, func(a, b bundleImage) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(m.record.Attached, func(a, b bundleAttached) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.depth, b.depth), cmp.Compare(a.Subject, b.Subject),
			cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Digest, b.Digest))
	})
	slices.SortFunc(m.entries, func(a, b imgspecv1.Descriptor) int {
		return cmp.Or(cmp.Compare(a.Annotations[imgspecv1.AnnotationRefName], b.Annotations[imgspecv1.AnnotationRefName]), cmp.Compare(a.Digest, b.Digest))
	})
	index, err := json.Marshal(imgspecv1.Index{
		Versioned: imgspec.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex, Manifests: m.entries,
	})
	if err != nil {
		return err
	}
	m.record.ID = digest.FromBytes(index)
	m.count()
	record, err := json.MarshalIndent(m.record, "", "  ")
	if err != nil {
		return err
	}
	layout, err := json.Marshal(imgspecv1.ImageLayout{Version: imgspecv1.ImageLayoutVersion})
	if err != nil {
		return err
	}
	if err := m.sweep(); err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		imgspecv1.ImageIndexFile: index, imgspecv1.ImageLayoutFile: layout, recordFile: append(record, '\n'),
	} {
		if err := m.dir.writeBytes(m.dir.path(name), content); err != nil {
			return err
		}
	}
	return nil
}

// count lists the blobs that are on the other side after loading, and counts those of this bundle.
func (m *bundleMaker) count() {
	all := map[digest.Digest]bundleBlob{}
	for d, b := range m.blobs {
		if _, earlier := m.earlier[d]; earlier {
			m.left++
			m.leftBytes += b.Size
			continue
		}
		m.carried++
		m.carriedBytes += b.Size
		all[d] = b
	}
	for d, b := range m.earlier {
		all[d] = b
	}
	m.record.Blobs = make([]bundleBlob, 0, len(all))
	for _, b := range all {
		m.record.Blobs = append(m.record.Blobs, b)
	}
	slices.SortFunc(m.record.Blobs, func(a, b bundleBlob) int { return cmp.Compare(a.Digest, b.Digest) })
}

// sweep removes files that the bundle does not name.
func (m *bundleMaker) sweep() error {
	if err := os.MkdirAll(m.dir.path(imgspecv1.ImageBlobsDir), 0o755); err != nil {
		return err
	}
	algorithms, err := os.ReadDir(m.dir.path(imgspecv1.ImageBlobsDir))
	if err != nil {
		return err
	}
	for _, algorithm := range algorithms {
		files, err := os.ReadDir(m.dir.path(imgspecv1.ImageBlobsDir, algorithm.Name()))
		if err != nil {
			return err
		}
		for _, f := range files {
			d := digest.Digest(algorithm.Name() + ":" + f.Name())
			_, blob := m.blobs[d]
			_, earlier := m.earlier[d]
			if blob && !earlier || m.documents[d] {
				continue
			}
			if err := os.Remove(m.dir.path(imgspecv1.ImageBlobsDir, algorithm.Name(), f.Name())); err != nil {
				return err
			}
		}
	}
	files, err := os.ReadDir(string(m.dir))
	if err != nil {
		return err
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".part-") {
			if err := os.Remove(m.dir.path(f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
