package bundle

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// CreateOptions are the choices of Create. The zero value is useful, and so is a nil
// *CreateOptions.
type CreateOptions struct {
	// Since is the path of an earlier bundle, or of a copy of its record. The blobs that it
	// brought, or those before it, are left out. "" means that nothing is.
	Since string
}

// A Writer makes one bundle. Its methods may be called concurrently, but for Publish and Close. Two
// writers must not make the same one.
type Writer struct {
	path    string
	dir     files                  // path.partial
	earlier map[digest.Digest]Blob // what earlier bundles brought
	begin   func() error           // makes the directory, once

	mu       sync.Mutex // guards what follows
	record   Record
	entries  []imgspecv1.Descriptor // of index.json
	attached map[attachedKey]bool   // those of record.Attached
	depths   map[attachedKey]int    // how far they are from an image, at most
	blobs    map[digest.Digest]Blob // that images name
	known    map[digest.Digest]bool // manifests and lists

	writing turns.Turns[digest.Digest] // of blobs: each is written once

	signing sync.Mutex             // guards sigs
	sigs    types.ImageDestination // nil until there is a signature to store
}

// An attachedKey is what two of Record.Attached do not share.
type attachedKey struct {
	repository, tag string
	subject, digest digest.Digest
}

func (a Attached) key() attachedKey { return attachedKey{a.Repository, a.Tag, a.Subject, a.Digest} }

// A Summary says what a bundle has.
type Summary struct {
	Record *Record
	// Carried blobs are in the bundle, and Left ones came with those before it.
	Carried, Left           int
	CarriedBytes, LeftBytes int64
}

// Create begins the bundle at path: a directory, or an archive if the path ends in .tar. Nothing is
// there before Publish. Until then the work is in the directory path.partial; what an earlier
// Writer has left there is used.
//
// The error wraps fs.ErrExist if something is at path. Errors about Since are those of ReadRecord.
// The caller must Close what is returned.
func Create(path string, options *CreateOptions) (*Writer, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, &fs.PathError{Op: "making a bundle", Path: path, Err: fs.ErrExist}
	}
	w := &Writer{
		path: path, dir: files(filepath.Clean(path) + ".partial"), earlier: map[digest.Digest]Blob{},
		record: Record{Schema: Schema, Images: []Image{}}, attached: map[attachedKey]bool{}, depths: map[attachedKey]int{},
		blobs: map[digest.Digest]Blob{}, known: map[digest.Digest]bool{},
	}
	w.begin = sync.OnceValue(func() error {
		if err := os.MkdirAll(string(w.dir), 0o755); err != nil {
			return err
		}
		return os.RemoveAll(w.dir.path(signatureDir)) // each run reads all signatures again
	})
	if options == nil || options.Since == "" {
		return w, nil
	}
	before, err := ReadRecord(options.Since)
	if err != nil {
		return nil, err
	}
	w.record.Since, w.record.SinceName = before.ID, nameOf(options.Since)
	for _, b := range before.Blobs {
		w.earlier[b.Digest] = b
	}
	return w, nil
}

// Reference returns a destination: the image is in the bundle under that name, a full reference
// with a tag or a digest, once a copy to it has ended without an error.
func (w *Writer) Reference(name reference.Named) (types.ImageReference, error) {
	named, err := parseName(name.String())
	if err != nil {
		return nil, fmt.Errorf("%s cannot be the name of an image in a bundle: %w", name, err)
	}
	if err := w.begin(); err != nil {
		return nil, err
	}
	return &bundleReference{path: w.path, named: named, writer: w}, nil
}

// Publish makes the bundle appear, with the images that have been copied into it. It is called
// once, when all copies have ended.
func (w *Writer) Publish(ctx context.Context) (*Summary, error) {
	if err := w.begin(); err != nil {
		return nil, err
	}
	summary, err := w.finish()
	if err != nil {
		return nil, err
	}
	if !isArchive(w.path) {
		return summary, os.Rename(string(w.dir), w.path)
	}
	if err := w.dir.pack(ctx, w.path); err != nil {
		return nil, err
	}
	return summary, os.RemoveAll(string(w.dir))
}

// Close releases what the Writer holds. What was not published stays in path.partial.
func (w *Writer) Close() error {
	w.signing.Lock()
	defer w.signing.Unlock()
	if w.sigs == nil {
		return nil
	}
	return w.sigs.Close()
}

// finish writes index.json, oci-layout and the record, and removes what an earlier, failed run put
// there for other images. The same images make the same files, whatever the order in which they
// came.
func (w *Writer) finish() (*Summary, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sort()
	index, err := json.Marshal(imgspecv1.Index{
		Versioned: imgspec.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex, Manifests: w.entries,
	})
	if err != nil {
		return nil, err
	}
	w.record.ID = digest.FromBytes(index)
	summary := w.count()
	record, err := json.MarshalIndent(w.record, "", "  ")
	if err != nil {
		return nil, err
	}
	layout, err := json.Marshal(imgspecv1.ImageLayout{Version: imgspecv1.ImageLayoutVersion})
	if err != nil {
		return nil, err
	}
	if err := w.sweep(); err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{
		imgspecv1.ImageIndexFile: index, imgspecv1.ImageLayoutFile: layout, RecordFile: append(record, '\n'),
	} {
		if err := w.dir.writeBytes(w.dir.path(name), content); err != nil {
			return nil, err
		}
	}
	return summary, nil
}

// sort puts everything into the order of bundles. What is attached comes after its subject. w.mu is
// held.
func (w *Writer) sort() {
	slices.SortFunc(w.record.Images, func(a, b Image) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(w.record.Attached, func(a, b Attached) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(w.depths[a.key()], w.depths[b.key()]),
			cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Digest, b.Digest))
	})
	name := func(e imgspecv1.Descriptor) string { return e.Annotations[imgspecv1.AnnotationRefName] }
	slices.SortFunc(w.entries, func(a, b imgspecv1.Descriptor) int {
		return cmp.Or(cmp.Compare(name(a), name(b)), cmp.Compare(a.Digest, b.Digest))
	})
}

// count lists the blobs that are on the other side after loading, and counts those of this bundle.
// w.mu is held.
func (w *Writer) count() *Summary {
	summary := &Summary{Record: &w.record}
	w.record.Blobs = make([]Blob, 0, len(w.blobs)+len(w.earlier))
	for d, b := range w.blobs {
		if _, earlier := w.earlier[d]; earlier {
			summary.Left++
			summary.LeftBytes += b.Size
			continue
		}
		summary.Carried++
		summary.CarriedBytes += b.Size
		w.record.Blobs = append(w.record.Blobs, b)
	}
	for _, b := range w.earlier {
		w.record.Blobs = append(w.record.Blobs, b)
	}
	slices.SortFunc(w.record.Blobs, func(a, b Blob) int { return cmp.Compare(a.Digest, b.Digest) })
	return summary
}

// sweep removes files that the bundle does not name. w.mu is held.
func (w *Writer) sweep() error {
	if err := os.MkdirAll(w.dir.path(imgspecv1.ImageBlobsDir), 0o755); err != nil {
		return err
	}
	algorithms, err := os.ReadDir(w.dir.path(imgspecv1.ImageBlobsDir))
	if err != nil {
		return err
	}
	for _, algorithm := range algorithms {
		err := removeFrom(w.dir.path(imgspecv1.ImageBlobsDir, algorithm.Name()), func(name string) bool {
			d := digest.Digest(algorithm.Name() + ":" + name)
			_, blob := w.blobs[d]
			_, earlier := w.earlier[d]
			return !w.known[d] && (!blob || earlier)
		})
		if err != nil {
			return err
		}
	}
	return removeFrom(string(w.dir), func(name string) bool { return strings.HasPrefix(name, unfinished) })
}

// removeFrom removes the files of a directory that are superfluous.
func removeFrom(dir string, superfluous func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if superfluous(e.Name()) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
