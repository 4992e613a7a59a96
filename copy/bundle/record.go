package bundle

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Schema names the form of a Record. The number changes when a reader of the old form would go
// wrong.
const Schema = "sparsecopy.bundle/v1"

// RecordFile is the name of the record in a bundle. In an archive it is the first file.
const RecordFile = "bundle.json"

// A Record says what a bundle is, beyond what its index.json says.
type Record struct {
	Schema string `json:"schema"` // Schema
	// ID is the digest of the bundle's index.json.
	ID digest.Digest `json:"id"`
	// Since is the ID of the bundle that must have been loaded before; "" if none must.
	Since digest.Digest `json:"since,omitempty"`
	// SinceName is what that bundle's file or directory was called where this one was made.
	SinceName string  `json:"sinceName,omitempty"`
	Images    []Image `json:"images"` // sorted by name
	// Attached are referrers and digest tags, each after its subject.
	Attached []Attached `json:"attached,omitempty"`
	// Blobs are all configs and layers that are on the other side after the bundle was loaded,
	// sorted by digest: those that it carries and those of the bundles before. What the bundle does
	// not carry is not in its blobs directory.
	Blobs []Blob `json:"blobs"`
}

// An Image is one image or list of a bundle.
type Image struct {
	Name         string        `json:"name"` // full reference, as in org.opencontainers.image.ref.name
	SourceDigest digest.Digest `json:"sourceDigest"`
	Digest       digest.Digest `json:"digest"` // in the bundle; another than at the source if the list was stripped
	// Absent are the manifests that the list names and that were not selected, or were missing at
	// the source, and the blobs that it names in their place and that were missing.
	Absent []digest.Digest `json:"absent,omitempty"`
	// Changed are the lists at the source that have other digests in the bundle, if what is
	// attached to them is carried all the same.
	Changed []digest.Digest `json:"changed,omitempty"`
}

// An Attached is a manifest or list that belongs to another.
type Attached struct {
	Repository string        `json:"repository"` // full name, without a tag
	Subject    digest.Digest `json:"subject"`
	Digest     digest.Digest `json:"digest"`
	Tag        string        `json:"tag,omitempty"` // "" for a referrer
	// Absent are the manifests that it names, if it is a list, and that were missing at the source.
	Absent []digest.Digest `json:"absent,omitempty"`
}

// A Blob is a config or layer.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// Repository and Manifest are one place where it is after loading, as the repository is called
	// where the bundle was made.
	Repository string        `json:"repository"`
	Manifest   digest.Digest `json:"manifest"`
}

// A DamagedError says that a bundle is not as it was made.
type DamagedError struct{ Err error }

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the bundle is damaged: %v; carry it again", e.Err)
}
func (e *DamagedError) Unwrap() error { return e.Err }

func damaged(format string, args ...any) error { return &DamagedError{fmt.Errorf(format, args...)} }

// A ForeignError says that what is at a path was never a bundle, or is one for another program.
type ForeignError struct {
	Path string
	Err  error
}

func (e *ForeignError) Error() string { return fmt.Sprintf("%s is no bundle: %v", e.Path, e.Err) }
func (e *ForeignError) Unwrap() error { return e.Err }

func foreign(path, format string, args ...any) error {
	return &ForeignError{path, fmt.Errorf(format, args...)}
}

// An EarlierError says that a bundle needs a blob that an earlier one brought, which cannot be had
// any more.
type EarlierError struct {
	Blob  digest.Digest
	Since string // the earlier bundle, for people
	Err   error  // why it cannot be had
}

func (e *EarlierError) Error() string {
	return fmt.Sprintf("blob %s came with an earlier bundle, and is not there (%v): load the bundle %s first", e.Blob, e.Err, e.Since)
}
func (e *EarlierError) Unwrap() error { return e.Err }

// before names, for people, the bundle that must have been loaded before.
func (r *Record) before() string {
	const shown = len("sha256:") + 12
	short := r.Since.String()[:min(shown, len(r.Since))]
	if r.SinceName == "" {
		return short
	}
	return fmt.Sprintf("%s (%s)", r.SinceName, short)
}

// nameOf is what people call the bundle at path, which may be its record; "" if the path has no
// name for it.
func nameOf(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	if filepath.Base(path) == RecordFile {
		path = filepath.Dir(path)
	}
	return strings.Trim(filepath.Base(path), string(filepath.Separator))
}

// parseRecord reads a record of the bundle at path that a stranger may have written.
func parseRecord(path string, content []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, damaged("%s: %w", RecordFile, err)
	}
	if r.Schema != Schema {
		return nil, foreign(path, "its %s has the schema %q, and this program reads %s", RecordFile, r.Schema, Schema)
	}
	for _, d := range r.digests() {
		if err := d.Validate(); err != nil {
			return nil, damaged("%s: digest %q: %w", RecordFile, d, err)
		}
	}
	for _, b := range r.Blobs {
		if b.Size < 0 {
			return nil, damaged("%s: blob %s has a negative size", RecordFile, b.Digest)
		}
	}
	return &r, nil
}

// digests returns all digests in the record.
func (r *Record) digests() []digest.Digest {
	all := []digest.Digest{r.ID}
	if r.Since != "" {
		all = append(all, r.Since)
	}
	for _, i := range r.Images {
		all = slices.Concat(all, []digest.Digest{i.Digest, i.SourceDigest}, i.Absent, i.Changed)
	}
	for _, a := range r.Attached {
		all = slices.Concat(all, []digest.Digest{a.Subject, a.Digest}, a.Absent)
	}
	for _, b := range r.Blobs {
		all = append(all, b.Digest, b.Manifest)
	}
	return all
}

// maxRecord is the size in bytes of the largest record that is read.
const maxRecord = 1 << 30

// ReadRecord reads the record of a bundle: a directory, an archive, or a copy of the record itself.
// Errors are *ForeignError, *DamagedError, and those of the file system.
func ReadRecord(path string) (*Record, error) {
	info, err := os.Stat(path)
	file := path
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		if file, err = recordIn(path); err != nil {
			return nil, err
		}
	case isArchive(path):
		return readArchivedRecord(path)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return nil, err
	}
	if !info.IsDir() && !json.Valid(content) {
		return nil, foreign(path, "it is neither a directory, nor an archive whose name ends in .tar, nor a copy of a %s", RecordFile)
	}
	return parseRecord(path, content)
}

// recordIn returns the record's file in a directory.
func recordIn(dir string) (string, error) {
	file := filepath.Join(dir, RecordFile)
	_, err := os.Stat(file)
	if !errors.Is(err, os.ErrNotExist) {
		return file, err
	}
	if _, err := os.Stat(filepath.Join(dir, imgspecv1.ImageLayoutFile)); err == nil {
		return "", foreign(dir, "it has no %s, but is an OCI layout: its images are oci:%s:NAME", RecordFile, dir)
	}
	return "", foreign(dir, "it has no %s", RecordFile)
}

func readArchivedRecord(path string) (*Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	archive := tar.NewReader(f)
	if err := firstIsRecord(path, archive); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(archive, maxRecord))
	if err != nil {
		return nil, damaged("%s: %w", path, err)
	}
	return parseRecord(path, content)
}
