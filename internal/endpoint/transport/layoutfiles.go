package transport

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/bigfile"
	"github.com/sparsecopy/sparsecopy/internal/filecopy"
	"github.com/sparsecopy/sparsecopy/internal/regular"
)

// layoutFiles are the files of a layout, by their names in it: index.json and blobs/ALGORITHM/HEX.
type layoutFiles interface {
	// open opens a file and returns how many bytes it has. The error wraps fs.ErrNotExist if it is
	// not there. It may be called concurrently.
	open(name string) (io.ReadCloser, int64, error)
	// Close is called when all files are closed.
	Close() error
}

// errForUpstream is wrapped by the errors of archives that upstream may be able to read.
var errForUpstream = errors.New("it is left to its transport")

// openLayoutFiles returns nil for an archive that upstream has to read, or to say why it cannot.
func openLayoutFiles(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (layoutFiles, error) {
	place, _ := splitLayoutReference(ref)
	if ref.Transport().Name() == layout.Transport.Name() {
		return &layoutDir{dir: place, blobs: layoutBlobs(place, sys)}, nil
	}
	if sys != nil && sys.OCISharedBlobDirPath != "" {
		return nil, nil
	}
	archive, err := openLayoutArchive(ctx, place, sys)
	if errors.Is(err, errForUpstream) {
		logrus.Debugf("archive %s: %v", place, err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return archive, nil
}

// layoutDir is a layout in a directory. It holds nothing open.
type layoutDir struct{ dir, blobs string }

func (l *layoutDir) open(name string) (io.ReadCloser, int64, error) {
	file := filepath.Join(l.dir, filepath.FromSlash(name))
	if blob, ok := strings.CutPrefix(name, imgspecv1.ImageBlobsDir+"/"); ok {
		file = filepath.Join(l.blobs, filepath.FromSlash(blob))
	}
	f, size, err := regular.Open(file)
	if err != nil {
		return nil, 0, err
	}
	return f, size, nil
}

func (l *layoutDir) Close() error { return nil }

// layoutBlobs is the directory of the blobs of the layout in dir.
func layoutBlobs(dir string, sys *types.SystemContext) string {
	if sys != nil && sys.OCISharedBlobDirPath != "" {
		return sys.OCISharedBlobDirPath
	}
	return filepath.Join(dir, imgspecv1.ImageBlobsDir)
}

// layoutBlob is the file of a blob in a directory of blobs. The digest must be valid.
func layoutBlob(blobs string, d digest.Digest) string {
	return filepath.Join(blobs, d.Algorithm().String(), d.Encoded())
}

// layoutArchive is a layout in a tar archive. Its files are read where they are.
type layoutArchive struct {
	name    string
	archive *os.File  // not compressed
	closing io.Closer // closes archive, and removes it if it is a temporary file
	files   map[string]extent
}

// archivedFile reads a file in an archive, and stays where it is when it is closed.
type archivedFile struct {
	io.Reader
	part filecopy.Part
}

func (f *archivedFile) Close() error { return nil }

// extent is where a file is in an archive.
type extent struct{ offset, size int64 }

// openLayoutArchive opens the archive at path. The error wraps errForUpstream if there is none, or
// a pipe, and if the archive has links or files with holes where a layout has files.
func openLayoutArchive(ctx context.Context, path string, sys *types.SystemContext) (*layoutArchive, error) {
	f, _, err := regular.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errForUpstream, err)
	}
	archive, closing, err := decompressed(ctx, f, sys)
	if err != nil {
		return nil, err
	}
	files, err := filesIn(ctx, archive)
	if err != nil {
		return nil, errors.Join(err, closing.Close())
	}
	return &layoutArchive{path, archive, closing, files}, nil
}

// decompressed returns f, or, if that is compressed, a temporary file with what it is, and what
// closes the one or the other. In the latter case, and if it fails, it closes f.
func decompressed(ctx context.Context, f *os.File, sys *types.SystemContext) (*os.File, io.Closer, error) {
	content, isCompressed, err := compression.AutoDecompress(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	defer content.Close()
	if !isCompressed {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, nil, errors.Join(err, f.Close())
		}
		return f, f, nil
	}
	defer f.Close()
	temporary, err := bigfile.Create(sys, "sparsecopy-archive-")
	if err != nil {
		return nil, nil, err
	}
	_, err = io.Copy(temporary, &blobReader{ctx: ctx, r: content})
	if err == nil {
		_, err = temporary.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("decompressing it: %w", err), temporary.Close())
	}
	return temporary.File, temporary, nil
}

// filesIn returns where the files of a layout are in an archive. Of several with the same name, it
// is the last, as for whoever unpacks them.
func filesIn(ctx context.Context, archive io.ReadSeeker) (map[string]extent, error) {
	files := map[string]extent{}
	var inPieces error
	for r := tar.NewReader(archive); ; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, inPieces
		}
		if err != nil {
			return nil, fmt.Errorf("it is no tar archive, or not a whole one: %w", err)
		}
		switch name := nameInLayout(header); {
		case isSpecial(header):
			return nil, fmt.Errorf("%q in it is a device or a pipe", header.Name)
		case header.Typeflag == tar.TypeDir:
			delete(files, name)
		case !isLayoutFile(name):
		case header.Typeflag != tar.TypeReg || regular.HasHoles(header):
			inPieces = fmt.Errorf("%w: %q in it is no regular file of one piece", errForUpstream, header.Name)
		case isRead(name):
			offset, err := archive.Seek(0, io.SeekCurrent) // what follows the header is the content
			if err != nil {
				return nil, err
			}
			files[name] = extent{offset, header.Size}
		}
	}
}

// nameInLayout is the name of a file below the directory that an archive is unpacked in.
func nameInLayout(header *tar.Header) string {
	return strings.TrimLeft(path.Clean(header.Name), "/")
}

// isSpecial reports whether whoever unpacked the file would make one that waits, or does something,
// when it is opened.
func isSpecial(header *tar.Header) bool {
	switch header.Typeflag {
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return true
	}
	return false
}

// isLayoutFile reports whether a file of that name is one that is read, or lies above one.
func isLayoutFile(name string) bool {
	return name == imgspecv1.ImageIndexFile || name == imgspecv1.ImageBlobsDir || strings.HasPrefix(name, imgspecv1.ImageBlobsDir+"/")
}

// isRead reports whether a file of that name is one that is read. There may be many more, with long
// names.
func isRead(name string) bool {
	algorithm, encoded := path.Split(strings.TrimPrefix(name, imgspecv1.ImageBlobsDir+"/"))
	d := digest.NewDigestFromEncoded(digest.Algorithm(strings.TrimSuffix(algorithm, "/")), encoded)
	return name == imgspecv1.ImageIndexFile || d.Validate() == nil
}

func (a *layoutArchive) open(name string) (io.ReadCloser, int64, error) {
	at, ok := a.files[name]
	if !ok {
		return nil, 0, fmt.Errorf("%s has no %s: %w", a.name, name, fs.ErrNotExist)
	}
	part := filecopy.Part{File: a.archive, Offset: at.offset, Size: at.size}
	return &archivedFile{io.NewSectionReader(a.archive, at.offset, at.size), part}, at.size, nil
}

func (a *layoutArchive) Close() error { return a.closing.Close() }

// readFile reads a file of at most that many bytes.
func readFile(files layoutFiles, name string, most int64) ([]byte, error) {
	f, _, err := files.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, name, most)
}

// readDocument reads the file at path, of at most that many bytes.
func readDocument(path string, most int64) ([]byte, error) {
	f, _, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, path, most)
}

func readBounded(r io.Reader, name string, most int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return content, nil
}
