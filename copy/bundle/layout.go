package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/regular"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// signatureDir is where a bundle has the signatures that OCI layouts have no place for, in the form
// of the dir: transport.
const signatureDir = "signatures"

// files are the directory of a bundle, or of one that is being made.
type files string

func (dir files) path(elements ...string) string {
	return filepath.Join(append([]string{string(dir)}, elements...)...)
}

// blobPath is the file of a blob or document. The digest must be valid.
func (dir files) blobPath(d digest.Digest) string {
	return dir.path(imgspecv1.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// has reports whether a blob is there with its size; -1 is any.
func (dir files) has(d digest.Digest, size int64) bool {
	info, err := os.Stat(dir.blobPath(d))
	return err == nil && info.Mode().IsRegular() && (size < 0 || info.Size() == size)
}

// unfinished begins the names of files that are being written.
const unfinished = ".part-"

// write makes a file with what fill writes, at once or not at all.
func (dir files) write(path string, fill func(io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(string(dir), unfinished+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	err = fill(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (dir files) writeBytes(path string, content []byte) error {
	return dir.write(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// document reads a manifest or list, and verifies it. mediaType is for one that does not say what
// it is: bundles declare nothing. An error that wraps fs.ErrNotExist says that it is not there.
func (dir files) document(d digest.Digest, mediaType string) (endpoint.Document, error) {
	f, _, err := regular.Open(dir.blobPath(d))
	if err != nil {
		return endpoint.Document{}, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, manifest.MaxSize+1))
	switch {
	case err != nil:
		return endpoint.Document{}, err
	case len(content) > manifest.MaxSize:
		return endpoint.Document{}, damaged("manifest %s has more than %d bytes", d, manifest.MaxSize)
	case d.Algorithm().FromBytes(content) != d:
		return endpoint.Document{}, damaged("manifest %s: its content does not match the digest", d)
	}
	doc := endpoint.NewDocument(d, mediaType, content)
	doc.Misdeclared = "" // what an entry says of it, nobody has declared
	return doc, nil
}

// index reads index.json.
func (dir files) index() (content []byte, entries []imgspecv1.Descriptor, err error) {
	if content, err = os.ReadFile(dir.path(imgspecv1.ImageIndexFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, damaged("it has no %s", imgspecv1.ImageIndexFile)
	} else if err != nil {
		return nil, nil, err
	}
	var index imgspecv1.Index
	if err := json.Unmarshal(content, &index); err != nil {
		return nil, nil, damaged("%s: %w", imgspecv1.ImageIndexFile, err)
	}
	for _, e := range index.Manifests {
		if err := e.Digest.Validate(); err != nil {
			return nil, nil, damaged("%s: digest %q: %w", imgspecv1.ImageIndexFile, e.Digest, err)
		}
	}
	return content, index.Manifests, nil
}

// descriptor is an entry of index.json, without a name if that is "".
func descriptor(name string, doc endpoint.Document) imgspecv1.Descriptor {
	entry := imgspecv1.Descriptor{MediaType: doc.MediaType, Digest: doc.Digest, Size: int64(len(doc.Bytes))}
	if name != "" {
		entry.Annotations = map[string]string{imgspecv1.AnnotationRefName: name}
	}
	return entry
}

// blobsIn returns the distinct blobs of an image that have to be where its manifest is, or those
// that a list names in the place of manifests.
func blobsIn(doc endpoint.Document) ([]endpoint.Blob, error) {
	if manifest.IsListMediaType(doc.MediaType) {
		var blobs []endpoint.Blob
		for _, in := range instances(doc) {
			if in.IsBlob() && len(in.URLs) == 0 {
				blobs = append(blobs, endpoint.Blob{Digest: in.Digest, Size: in.Size, MediaType: in.MediaType})
			}
		}
		return blobs, nil
	}
	image, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", doc.Digest, err)
	}
	here, _ := endpoint.PlacesOf(image)
	return here, nil
}
