package mirrorcmd

import (
	"archive/tar"
	"context"
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
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// signatureDir is where a bundle has the signatures that OCI layouts have no place for, in the form of the dir: transport.
const signatureDir = "signatures"

// A bundleDir is the directory of a bundle, or of one that is being made.
type bundleDir string

func (dir bundleDir) path(elements ...string) string {
	return filepath.Join(append([]string{string(dir)}, elements...)...)
}

// blobPath is the file of a blob or document. The digest must be valid.
func (dir bundleDir) blobPath(d digest.Digest) string {
	return dir.path(imgspecv1.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// has says whether a blob is there with its size; -1 is any.
func (dir bundleDir) has(d digest.Digest, size int64) bool {
	info, err := os.Stat(dir.blobPath(d))
	return err == nil && info.Mode().IsRegular() && (size < 0 || info.Size() == size)
}

// write makes a file with what fill writes, at once or not at all.
func (dir bundleDir) write(path string, fill func(io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(string(dir), ".part-*")
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

func (dir bundleDir) writeBytes(path string, content []byte) error {
	return dir.write(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// document reads a manifest or list, which is said to be of mediaType, and verifies it. An error that wraps endpoint.ErrNotFound says that it is not there.
func (dir bundleDir) document(d digest.Digest, mediaType string) (endpoint.Document, error) {
	f, err := os.Open(dir.blobPath(d))
	if err != nil {
		return endpoint.Document{}, asNotFound(err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, manifest.MaxSize+1))
	switch {
	case err != nil:
		return endpoint.Document{}, err
	case len(content) > manifest.MaxSize:
		return endpoint.Document{}, fmt.Errorf("manifest %s has more than %d bytes", d, manifest.MaxSize)
	case d.Algorithm().FromBytes(content) != d:
		return endpoint.Document{}, fmt.Errorf("manifest %s: its content does not match the digest", d)
	}
	return endpoint.NewDocument(d, mediaType, content), nil
}

// opener reads a blob of the bundle, and fails at its end if it is not what its digest says.
func (dir bundleDir) opener(b endpoint.Blob) endpoint.Opener {
	return func(context.Context) (io.ReadCloser, error) {
		f, err := os.Open(dir.blobPath(b.Digest))
		if err != nil {
			return nil, fmt.Errorf("blob %s: %w", b.Digest, asNotFound(err))
		}
		return &verifiedFile{File: f, blob: b, verifier: b.Digest.Verifier()}, nil
	}
}

// A verifiedFile is a blob that is read: its last bytes are handed out only if all of it is true. The size must be known.
type verifiedFile struct {
	*os.File
	blob     endpoint.Blob
	verifier digest.Verifier
	n        int64
}

func (f *verifiedFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.n += int64(n)
	_, _ = f.verifier.Write(p[:n]) // a hash never fails
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return 0, err
	case f.n > f.blob.Size || errors.Is(err, io.EOF) && f.n < f.blob.Size:
		return 0, damaged("blob %s does not have the %d bytes that its manifest states", f.blob.Digest, f.blob.Size)
	case f.n == f.blob.Size && !f.verifier.Verified():
		return 0, damaged("blob %s does not match its digest", f.blob.Digest)
	}
	return n, err
}

// WriteTo hides the method of os.File, which would go around Read.
func (f *verifiedFile) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{f})
}

// index reads index.json.
func (dir bundleDir) index() (content []byte, entries []imgspecv1.Descriptor, err error) {
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

// pack writes the bundle in dir as an archive, the record first, everything else sorted by name, and without what would be
// different in another run: owners and times.
func (dir bundleDir) pack(ctx context.Context, path string) error {
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
	slices.SortFunc(names, func(a, b string) int {
		switch {
		case a == recordFile:
			return -1
		case b == recordFile:
			return 1
		}
		return strings.Compare(a, b)
	})
	return bundleDir(filepath.Dir(path)).write(path, func(w io.Writer) error {
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

func (dir bundleDir) packFile(archive *tar.Writer, name string) error {
	f, err := os.Open(dir.path(filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: info.Size(), Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return err
}

// unpack writes the files of an archive into dir. It takes no file that a bundle does not have.
func (dir bundleDir) unpack(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	archive := tar.NewReader(f)
	if err := firstIsRecord(path, archive); err != nil {
		return asMisuse(err)
	}
	if err := dir.unpackFile(recordFile, archive); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF):
			return asMisuse(damaged("%s is not a whole archive", path))
		case err != nil:
			return fmt.Errorf("%s: %w", path, err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case header.Typeflag != tar.TypeReg || !isBundleFile(header.Name):
			return asMisuse(foreign(path, "%q does not belong into one", header.Name))
		}
		if err := dir.unpackFile(header.Name, archive); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
}

// unpackFile writes the file that archive is at.
func (dir bundleDir) unpackFile(name string, archive *tar.Reader) error {
	return dir.write(dir.path(filepath.FromSlash(name)), func(w io.Writer) error {
		_, err := io.Copy(w, archive)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return asMisuse(damaged("it ends within %s", name))
		}
		return err
	})
}

// isBundleFile says whether a bundle may have a file of that name.
func isBundleFile(name string) bool {
	if !filepath.IsLocal(name) || strings.Contains(name, `\`) {
		return false
	}
	parts := strings.Split(name, "/")
	switch {
	case len(parts) == 1:
		return slices.Contains([]string{recordFile, imgspecv1.ImageIndexFile, imgspecv1.ImageLayoutFile}, name)
	case len(parts) == 2:
		return parts[0] == signatureDir && parts[1] != ""
	case len(parts) == 3 && parts[0] == imgspecv1.ImageBlobsDir:
		return digest.Digest(parts[1]+":"+parts[2]).Validate() == nil
	}
	return false
}
