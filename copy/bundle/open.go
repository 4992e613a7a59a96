package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	dirtransport "go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// OpenOptions are the choices of Open. The zero value is useful, and so is a nil *OpenOptions.
type OpenOptions struct {
	// Loaded returns to which repository images were loaded that were in another, as
	// Blob.Repository calls it. Blobs that an earlier bundle brought are mounted from there, or
	// read, with Options.SourceCtx of the copy. Nil means that nothing was loaded: then a copy
	// fails whose destination lacks such a blob, with an *EarlierError. It may be called
	// concurrently.
	Loaded func(repository string) (reference.Named, error)
	// Listing leaves the large files of an archive where they are: what is opened so can tell what
	// is in it, and images of it cannot be copied.
	Listing bool
}

// A Bundle is a bundle that is read. Its methods may be called concurrently, but for Close.
type Bundle struct {
	path     string
	dir      files
	temp     bool // dir is removed by Close
	record   *Record
	images   map[string]Image                // by name
	entries  map[string]imgspecv1.Descriptor // of index.json, by name
	types    map[digest.Digest]string        // media types that index.json states
	blobs    map[digest.Digest]Blob
	attached map[string][]Attached                            // by repository
	sigs     types.ImageSource                                // nil if there are no signatures
	loaded   func(repository string) (reference.Named, error) // may be nil
	packed   map[digest.Digest]int64                          // the sizes of blobs that were left in an archive
}

// Open opens the bundle at path: a directory, or an archive, which is unpacked below os.TempDir
// until Close. What it says of its content is checked when that is read.
//
// Errors are *ForeignError, *DamagedError, context.Cause of ctx, and those of the file system. The
// caller must Close what is returned, once all copies from it have ended.
func Open(ctx context.Context, path string, options *OpenOptions) (*Bundle, error) {
	record, err := ReadRecord(path)
	if err != nil {
		return nil, err
	}
	b := &Bundle{path: path, dir: files(path), record: record}
	if options != nil {
		b.loaded = options.Loaded
	}
	if err := b.open(ctx, options != nil && options.Listing); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Bundle) open(ctx context.Context, listing bool) error {
	info, err := os.Stat(b.path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
	case !isArchive(b.path):
		return foreign(b.path, "it is neither a directory nor an archive whose name ends in .tar")
	default:
		temp, err := os.MkdirTemp("", "sparsecopy-bundle-*")
		if err != nil {
			return err
		}
		b.dir, b.temp = files(temp), true
		most := int64(math.MaxInt64)
		if listing {
			most = manifest.MaxSize
		}
		if b.packed, err = b.dir.unpack(ctx, b.path, most); err != nil {
			return err
		}
	}
	if err := b.readIndex(); err != nil {
		return err
	}
	return b.openSignatures(ctx)
}

func (b *Bundle) readIndex() error {
	content, entries, err := b.dir.index()
	if err == nil && digest.FromBytes(content) != b.record.ID {
		err = damaged("%s does not belong to %s", imgspecv1.ImageIndexFile, RecordFile)
	}
	if err != nil {
		return err
	}
	b.images, b.entries = map[string]Image{}, map[string]imgspecv1.Descriptor{}
	b.types, b.blobs = map[digest.Digest]string{}, map[digest.Digest]Blob{}
	for _, e := range entries {
		b.types[e.Digest] = e.MediaType
		if name := e.Annotations[imgspecv1.AnnotationRefName]; name != "" {
			b.entries[name] = e
		}
	}
	for _, i := range b.record.Images {
		b.images[i.Name] = i
	}
	b.attached = map[string][]Attached{}
	for _, a := range b.record.Attached {
		b.attached[a.Repository] = append(b.attached[a.Repository], a)
	}
	for _, blob := range b.record.Blobs {
		b.blobs[blob.Digest] = blob
	}
	return nil
}

func (b *Bundle) openSignatures(ctx context.Context) error {
	path := b.dir.path(signatureDir)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ref, err := dirtransport.NewReference(path)
	if err != nil {
		return err
	}
	b.sigs, err = ref.NewImageSource(ctx, nil)
	return err
}

// Record returns what the bundle says of itself. It must not be modified.
func (b *Bundle) Record() *Record { return b.record }

// Reference returns a reference to the image with a name, as in Record.Images, which can be read
// until Close. The error is a *DamagedError if the name is no full reference with a tag or digest.
func (b *Bundle) Reference(name string) (types.ImageReference, error) {
	named, err := parseName(name)
	if err != nil {
		return nil, damaged("it names %q: %w", name, err)
	}
	return &bundleReference{path: b.path, named: named, bundle: b}, nil
}

// parseName parses the name of an image in a bundle.
func parseName(name string) (reference.Named, error) {
	named, err := reference.ParseNamed(name)
	if err == nil && reference.IsNameOnly(named) {
		err = errors.New("it has neither tag nor digest")
	}
	return named, err
}

// Signatures returns how many signatures the bundle has for an image with that name and what
// belongs to its list. What is attached is not counted.
func (b *Bundle) Signatures(ctx context.Context, name string) (int, error) {
	image, ok := b.images[name]
	if !ok || b.sigs == nil {
		return 0, nil
	}
	total := 0
	documents, err := b.tree(image.Digest)
	if err != nil {
		return 0, err
	}
	for _, d := range documents {
		sigs, err := b.signatures(ctx, d)
		if err != nil {
			return 0, err
		}
		total += sigs.Len()
	}
	return total, nil
}

// signatures are those that the bundle has for a manifest or list.
func (b *Bundle) signatures(ctx context.Context, d digest.Digest) (endpoint.Signatures, error) {
	if b.sigs == nil {
		return endpoint.NoSignatures(), nil
	}
	sigs, err := endpoint.ReadSignatures(ctx, b.sigs, &d)
	if err != nil {
		return nil, fmt.Errorf("signatures of %s: %w", d, err)
	}
	return sigs, nil
}

// Close removes what Open has unpacked.
func (b *Bundle) Close() error {
	var errs []error
	if b.sigs != nil {
		errs = append(errs, b.sigs.Close())
	}
	if b.temp {
		errs = append(errs, os.RemoveAll(string(b.dir)))
	}
	return errors.Join(errs...)
}
