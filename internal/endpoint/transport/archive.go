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
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// archiveEnd writes an oci-archive: file, which holds one image or list.
//
// Upstream's destination writes the file when it is committed, over the old one. It is therefore
// opened on a temporary file beside the real one, which is then renamed.
type archiveEnd struct {
	plainEnd        // of the file staged
	target   string // the file of the reference
	temp     string // holds staged
	staged   string

	mu      sync.Mutex
	written []endpoint.Document // guarded by mu
}

func openArchive(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (_ end, err error) {
	file, image := splitLayoutReference(ref)
	e := &archiveEnd{}
	if e.target, err = resolve(file); err != nil {
		return nil, err
	}
	if !e.makeTemp() {
		dest, err := ref.NewImageDestination(ctx, sys)
		if err != nil {
			return nil, err
		}
		return &plainEnd{dest: dest}, nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(e.temp))
		}
	}()
	e.staged = filepath.Join(e.temp, "new")
	staged, err := archive.NewReference(e.staged, image)
	if err != nil {
		return nil, err
	}
	e.dest, err = staged.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// makeTemp makes temp, and reports whether it could, and whether target is something that can be
// replaced: not a device or a pipe, and in a directory that can be written.
func (e *archiveEnd) makeTemp() bool {
	if info, err := os.Stat(e.target); err == nil && !info.Mode().IsRegular() {
		return false
	}
	var err error
	e.temp, err = os.MkdirTemp(filepath.Dir(e.target), stagingPattern)
	return err == nil
}

// putTop refuses what upstream would name by another media type in the archive's index, or by none:
// nobody could read it.
func (e *archiveEnd) putTop(ctx context.Context, doc endpoint.Document, sigs endpoint.Signatures, commit types.UnparsedImage) error {
	if named := manifest.GuessMIMEType(doc.Bytes); named != doc.MediaType {
		return fmt.Errorf("the archive would name the document, which is %s and does not say so, as %q: nobody could read it", doc.MediaType, named)
	}
	if err := e.plainEnd.putTop(ctx, doc, sigs, commit); err != nil {
		return err
	}
	e.note(doc)
	if err := e.complete(); err != nil {
		return err
	}
	return e.publish(ctx)
}

func (e *archiveEnd) putManifest(ctx context.Context, doc endpoint.Document) error {
	e.note(doc)
	return e.plainEnd.putManifest(ctx, doc)
}

func (e *archiveEnd) note(doc endpoint.Document) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.written = append(e.written, doc)
}

// complete fails if the archive lacks anything that was written: upstream leaves out files that it
// cannot read, and only logs that.
func (e *archiveEnd) complete() error {
	names, err := namesInArchive(e.staged)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	wanted := []string{imgspecv1.ImageLayoutFile, imgspecv1.ImageIndexFile}
	for _, doc := range e.written {
		wanted = append(wanted, blobName(doc.Digest))
		if manifest.MIMETypeIsMultiImage(doc.MediaType) {
			continue
		}
		image, err := manifest.FromBlob(doc.Bytes, doc.MediaType)
		if err != nil {
			return err
		}
		if config := image.ConfigInfo().Digest; config != "" { // schema 1 has none
			wanted = append(wanted, blobName(config))
		}
		for _, layer := range image.LayerInfos() {
			if len(layer.URLs) == 0 {
				wanted = append(wanted, blobName(layer.Digest))
			}
		}
	}
	for _, name := range wanted {
		if !names[name] {
			return fmt.Errorf("the archive was written without %s", name)
		}
	}
	return nil
}

// blobName is the name of a blob in an OCI layout. OCI image specification v1.1, image-layout.md.
func blobName(d digest.Digest) string {
	return path.Join(imgspecv1.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// namesInArchive returns the names of the files in a tar archive.
func namesInArchive(archive string) (map[string]bool, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names := map[string]bool{}
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the archive that was written: %w", err)
		}
		names[path.Clean(header.Name)] = true
	}
}

func (e *archiveEnd) publish(ctx context.Context) error {
	info, err := os.Stat(e.target)
	switch {
	case err == nil:
		if err := os.Chmod(e.staged, info.Mode().Perm()); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	renameErr := os.Rename(e.staged, e.target)
	if renameErr != nil && info != nil {
		return overwrite(ctx, e.target, e.staged) // a file that is a mount point cannot be replaced
	}
	return renameErr
}

// overwrite copies the content of the file from into the file to, which exists.
func overwrite(ctx context.Context, to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, &blobReader{ctx: ctx, r: in})
	return err
}

func (e *archiveEnd) close() error {
	return errors.Join(e.plainEnd.close(), os.RemoveAll(e.temp))
}
