package imagetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// TB is the part of testing.TB that reports what a check found.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
}

// LayoutStore is the OCI layout at dir as a Store.
func LayoutStore(dir string) Store { return layoutStore(dir) }

// CheckLayout fails the test unless the OCI layout at dir is as want says. See Inspect; besides,
// every file of the layout must be what its name says, whether the tag leads to it or not.
func CheckLayout(tb TB, dir string, want Want) {
	tb.Helper()
	report(tb, fmt.Sprintf("layout %s, tag %q", dir, want.Tag), inspectLayout(dir, want))
}

// CheckLayoutUnchanged fails the test unless the tag of the OCI layout at dir names d; with an
// empty d, unless it names nothing, which is so too if there is no layout.
func CheckLayoutUnchanged(tb TB, dir, tag string, d digest.Digest) {
	tb.Helper()
	top, err := layoutStore(dir).Top(tag)
	if d == "" && (errors.Is(err, errNothing) || errors.Is(err, fs.ErrNotExist)) {
		return
	}
	if err != nil || top.Digest != d {
		tb.Errorf("layout %s: tag %q names %q (%v), want %q", dir, tag, top.Digest, err, d)
	}
}

// report fails the test if there are violations.
func report(tb TB, where string, violations []string) {
	tb.Helper()
	if len(violations) > 0 {
		tb.Errorf("%s: %d violations\n\t%s", where, len(violations), strings.Join(violations, "\n\t"))
	}
}

func inspectLayout(dir string, want Want) []string {
	violations := layoutFiles(dir)
	reached, more := inspect(layoutStore(dir), want)
	violations = append(violations, more...)
	return append(violations, layoutContent(dir, reached)...)
}

// layoutFiles inspects what the OCI image specification v1.1, image-layout.md, says about the two
// files besides the blobs.
func layoutFiles(dir string) (violations []string) {
	var version struct {
		ImageLayoutVersion string `json:"imageLayoutVersion"`
	}
	data, err := os.ReadFile(filepath.Join(dir, "oci-layout"))
	if err == nil {
		err = json.Unmarshal(data, &version)
	}
	if err != nil {
		violations = append(violations, fmt.Sprintf("oci-layout: %v", err))
	} else if version.ImageLayoutVersion != "1.0.0" {
		violations = append(violations, fmt.Sprintf("oci-layout: version %q", version.ImageLayoutVersion))
	}
	index, err := readLayoutIndex(dir)
	if err != nil {
		return append(violations, fmt.Sprintf("index.json: %v", err))
	}
	if index.SchemaVersion != 2 || (index.MediaType != "" && index.MediaType != ociIndex) {
		violations = append(violations,
			fmt.Sprintf("index.json: schemaVersion %d, mediaType %q", index.SchemaVersion, index.MediaType))
	}
	return violations
}

// layoutContent inspects the files below blobs, except those that were reached already.
func layoutContent(dir string, reached []digest.Digest) (violations []string) {
	err := walkLayout(dir, func(path string, d digest.Digest) {
		if d == "" {
			violations = append(violations, path+": no valid digest")
			return
		}
		if slices.Contains(reached, d) {
			return
		}
		r, _, ok := layoutStore(dir).Blob(d)
		if !ok {
			violations = append(violations, path+": cannot be opened")
			return
		}
		if err := verify(r, d); err != nil {
			violations = append(violations, fmt.Sprintf("%s: %v", path, err))
		}
	})
	if err != nil {
		violations = append(violations, err.Error())
	}
	return violations
}

// walkLayout calls f for each file below blobs, in the order of their paths, with the digest that
// it is named by; "" if its name is none.
func walkLayout(dir string, f func(path string, d digest.Digest)) error {
	root := filepath.Join(dir, "blobs")
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		d := digest.Digest(strings.Replace(filepath.ToSlash(relative), "/", ":", 1))
		if d.Validate() != nil {
			d = ""
		}
		f(filepath.Join("blobs", relative), d)
		return nil
	})
}

// layoutStore implements Store for the layout in the directory.
type layoutStore string

func (s layoutStore) Top(tag string) (Descriptor, error) {
	index, err := readLayoutIndex(string(s))
	if err != nil {
		return Descriptor{}, err
	}
	var found []layoutDescriptor
	for _, d := range index.Manifests {
		if d.Annotations[refName] == tag {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 0:
		return Descriptor{}, fmt.Errorf("%q of index.json: %w", tag, errNothing)
	case 1:
	default:
		return Descriptor{}, fmt.Errorf("%d descriptors of index.json have the name %q", len(found), tag)
	}
	return Descriptor{MediaType: found[0].MediaType, Digest: found[0].Digest, Size: found[0].Size}, nil
}

func (s layoutStore) Manifest(d digest.Digest) ([]byte, string, bool) {
	b, err := os.ReadFile(layoutPath(string(s), d))
	return b, "", err == nil
}

func (s layoutStore) Blob(d digest.Digest) (io.ReadCloser, int64, bool) {
	file, err := os.Open(layoutPath(string(s), d))
	if err != nil {
		return nil, 0, false
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, 0, false
	}
	return file, info.Size(), true
}

func (s layoutStore) All() []digest.Digest {
	var all []digest.Digest
	_ = walkLayout(string(s), func(_ string, d digest.Digest) { // inspectLayout reports the error
		if d != "" {
			all = append(all, d)
		}
	})
	return all
}
