package mirrorcmd

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// bundleSchema names the form of a bundle's record. The number changes when a reader of the old form would go wrong.
const bundleSchema = "sparsecopy.bundle/v1"

// recordFile is the name of the record in a bundle. In an archive it is the first file.
const recordFile = "bundle.json"

// A bundleRecord says what a bundle is, beyond what its index.json says.
type bundleRecord struct {
	Schema string `json:"schema"` // bundleSchema
	// ID is the digest of the bundle's index.json.
	ID digest.Digest `json:"id"`
	// Since is the ID of the bundle that must have been loaded before; absent if none must.
	Since digest.Digest `json:"since,omitempty"`
	// SinceName is what that bundle's file or directory was called on the first side.
	SinceName string        `json:"sinceName,omitempty"`
	Images    []bundleImage `json:"images"`
	// Attached are referrers and digest tags, each after its subject.
	Attached []bundleAttached `json:"attached,omitempty"`
	// Blobs are all configs and layers that are on the other side after the bundle was loaded: those that it carries and those of the
	// bundles before. What the bundle does not carry is not in its blobs directory.
	Blobs []bundleBlob `json:"blobs"`
}

// A bundleImage is one image or list of a bundle.
type bundleImage struct {
	Name         string        `json:"name"` // full reference, as in org.opencontainers.image.ref.name
	SourceDigest digest.Digest `json:"sourceDigest"`
	Digest       digest.Digest `json:"digest"` // in the bundle; another than at the source if the list was stripped
	// Absent are the manifests that the list names and that were not selected, or were missing at the source.
	Absent []digest.Digest `json:"absent,omitempty"`
	// Changed are the lists at the source that have other digests in the bundle, if what is attached to them is carried all the same.
	Changed []digest.Digest `json:"changed,omitempty"`
}

// A bundleAttached is a manifest or list that belongs to another.
type bundleAttached struct {
	Repository string        `json:"repository"` // full name, without a tag
	Subject    digest.Digest `json:"subject"`
	Digest     digest.Digest `json:"digest"`
	Tag        string        `json:"tag,omitempty"` // "" for a referrer
	// Absent are the manifests that it names, if it is a list, and that were missing at the source.
	Absent []digest.Digest `json:"absent,omitempty"`
	depth  int             // while the bundle is made: 1 if the subject is an image or list of the bundle, 2 if it is attached to one, …
}

// A bundleBlob is a config or layer.
type bundleBlob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// Repository and Manifest are one place where it is after loading.
	Repository string        `json:"repository"`
	Manifest   digest.Digest `json:"manifest"`
}

// A brokenBundle says that a bundle is not as it was made.
type brokenBundle struct{ err error }

func (b *brokenBundle) Error() string {
	return fmt.Sprintf("the bundle is damaged: %v; carry it again", b.err)
}
func (b *brokenBundle) Unwrap() error { return b.err }

// damaged makes the error of a bundle that is not as it was made.
func damaged(format string, args ...any) error { return &brokenBundle{fmt.Errorf(format, args...)} }

// foreign makes the error of something that was never a bundle, or one for another program.
func foreign(path, format string, args ...any) error {
	return fmt.Errorf("%s is no bundle: %w", path, fmt.Errorf(format, args...))
}

// before names, for people, the bundle that must have been loaded before.
func (r *bundleRecord) before() string {
	if r.SinceName == "" {
		return shortDigest(r.Since)
	}
	return fmt.Sprintf("%s (%s)", r.SinceName, shortDigest(r.Since))
}

// nameOfBundle is what people call the bundle at path, which may be its record; "" if the path has no name for it.
func nameOfBundle(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	if filepath.Base(path) == recordFile {
		path = filepath.Dir(path)
	}
	return strings.Trim(filepath.Base(path), string(filepath.Separator))
}

// parseRecord reads a record of the bundle at path that a stranger may have written.
func parseRecord(path string, content []byte) (*bundleRecord, error) {
	var r bundleRecord
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, damaged("%s: %w", recordFile, err)
	}
	if r.Schema != bundleSchema {
		return nil, foreign(path, "its %s has the schema %q, and this program reads %s", recordFile, r.Schema, bundleSchema)
	}
	all := []digest.Digest{r.ID}
	if r.Since != "" {
		all = append(all, r.Since)
	}
	for _, i := range r.Images {
		all = append(append(append(all, i.Digest, i.SourceDigest), i.Absent...), i.Changed...)
	}
	for _, a := range r.Attached {
		all = append(append(all, a.Subject, a.Digest), a.Absent...)
	}
	for _, b := range r.Blobs {
		all = append(all, b.Digest, b.Manifest)
		if b.Size < 0 {
			return nil, damaged("%s: blob %s has a negative size", recordFile, b.Digest)
		}
	}
	for _, d := range all {
		if err := d.Validate(); err != nil {
			return nil, damaged("%s: digest %q: %w", recordFile, d, err)
		}
	}
	return &r, nil
}

// maxRecord is the size in bytes of the largest record that is read.
const maxRecord = 1 << 30

// readRecord reads the record of a bundle: a directory, an archive, or a copy of the record itself.
func readRecord(path string) (*bundleRecord, error) {
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
		return nil, foreign(path, "it is neither a directory, nor an archive whose name ends in .tar, nor a copy of a %s", recordFile)
	}
	return parseRecord(path, content)
}

// recordIn returns the record's file in a directory.
func recordIn(dir string) (string, error) {
	file := filepath.Join(dir, recordFile)
	_, err := os.Stat(file)
	if !errors.Is(err, os.ErrNotExist) {
		return file, err
	}
	if _, err := os.Stat(filepath.Join(dir, imgspecv1.ImageLayoutFile)); err == nil {
		return "", foreign(dir, "it has no %s, but is an OCI layout: mirror copy oci:%s:NAME copies an image of it", recordFile, dir)
	}
	return "", foreign(dir, "it has no %s", recordFile)
}

func readArchivedRecord(path string) (*bundleRecord, error) {
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

// firstIsRecord moves an archive to its record, with which every bundle begins.
func firstIsRecord(path string, archive *tar.Reader) error {
	header, err := archive.Next()
	switch {
	case errors.Is(err, io.EOF):
		return foreign(path, "it is empty")
	case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF):
		return foreign(path, "it is no tar archive, or a compressed one, which has to be unpacked before")
	case err != nil:
		return err
	case header.Name != recordFile:
		return foreign(path, "it begins with %q, and bundles begin with %s", header.Name, recordFile)
	}
	return nil
}

// isArchive says whether a bundle of that name is one file.
func isArchive(path string) bool { return strings.HasSuffix(path, ".tar") }

// repositoryOf is a full reference without its tag or digest.
func repositoryOf(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if before, after, found := lastCut(name, ":"); found && !strings.Contains(after, "/") {
		return before
	}
	return name
}
