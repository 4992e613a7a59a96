package bundle

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/regular"
)

// isArchive reports whether a bundle of that name is one file.
func isArchive(path string) bool { return strings.HasSuffix(path, ".tar") }

// pack writes the bundle in dir as an archive, the record first, everything else sorted by name,
// and without what would be different in another run: owners and times.
func (dir files) pack(ctx context.Context, path string) error {
	var names []string
	err := filepath.WalkDir(string(dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(string(dir), path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return err
	}
	rank := func(name string) int {
		if name == RecordFile {
			return 0
		}
		return 1
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	return files(filepath.Dir(path)).write(path, func(w io.Writer) error {
		archive := tar.NewWriter(w)
		for _, name := range names {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := dir.packFile(archive, name); err != nil {
				return err
			}
		}
		return archive.Close()
	})
}

func (dir files) packFile(archive *tar.Writer, name string) error {
	f, err := os.Open(dir.path(filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: name, Mode: 0o644, Size: info.Size(), Format: tar.FormatPAX}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return err
}

// unpack writes the files of an archive into dir. It takes no file that a bundle does not have. It
// passes over blobs of more than most bytes, and returns their sizes.
func (dir files) unpack(ctx context.Context, path string, most int64) (left map[digest.Digest]int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	archive := tar.NewReader(f)
	if err := firstIsRecord(path, archive); err != nil {
		return nil, err
	}
	if err := dir.unpackFile(path, RecordFile, archive); err != nil {
		return nil, err
	}
	left = map[digest.Digest]int64{}
	for {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return left, nil
		case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, damaged("%s is not a whole archive", path)
		case err != nil:
			return nil, fmt.Errorf("%s: %w", path, err)
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case header.Typeflag != tar.TypeReg || !isBundleFile(header.Name):
			return nil, foreign(path, "%q does not belong into one", header.Name)
		case regular.HasHoles(header):
			return nil, foreign(path, "%q has holes", header.Name)
		}
		if d := blobNamed(header.Name); d != "" && header.Size > most {
			left[d] = header.Size
			continue
		}
		if err := dir.unpackFile(path, header.Name, archive); err != nil {
			return nil, err
		}
	}
}

// blobNamed is the digest of a blob by the name of its file in a bundle, "" for other files.
func blobNamed(name string) digest.Digest {
	parts := strings.Split(name, "/")
	if len(parts) != 3 {
		return ""
	}
	return digest.Digest(parts[1] + ":" + parts[2])
}

// unpackFile writes the file that the archive at path is at.
func (dir files) unpackFile(path, name string, archive *tar.Reader) error {
	err := dir.write(dir.path(filepath.FromSlash(name)), func(w io.Writer) error {
		_, err := io.Copy(w, archive)
		return err
	})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = damaged("it ends within %s", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
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
	case header.Name != RecordFile:
		return foreign(path, "it begins with %q, and bundles begin with %s", header.Name, RecordFile)
	case regular.HasHoles(header):
		return foreign(path, "%q has holes", header.Name)
	}
	return nil
}

// isBundleFile reports whether a bundle may have a file of that name.
func isBundleFile(name string) bool {
	if !filepath.IsLocal(name) || strings.Contains(name, `\`) {
		return false
	}
	parts := strings.Split(name, "/")
	switch {
	case len(parts) == 1:
		return slices.Contains([]string{RecordFile, imgspecv1.ImageIndexFile, imgspecv1.ImageLayoutFile}, name)
	case len(parts) == 2:
		return parts[0] == signatureDir && parts[1] != ""
	case len(parts) == 3 && parts[0] == imgspecv1.ImageBlobsDir:
		return digest.Digest(parts[1]+":"+parts[2]).Validate() == nil
	}
	return false
}
