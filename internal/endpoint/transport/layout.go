package transport

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/blobdir"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/regular"
)

// stagingPattern names the temporary directories of this package, for os.MkdirTemp.
const stagingPattern = ".sparsecopy-*"

// layoutEnd writes to an OCI image layout (image-spec v1.1, "OCI Image Layout Specification").
//
// Blobs and manifests go straight to the layout's blobs, each by temporary file and rename: they
// are named by their content, so they disturb nobody, and what is there already is found and not
// copied again. Only index.json is shared by all tags. Upstream's destination reads it when it is
// opened and writes it back, in place, when it is committed; it is therefore opened on a staging
// layout inside the real one, whose blobs are those of the real one
// (types.SystemContext.OCISharedBlobDirPath) and whose index.json is its own. What is to be
// published is merged into the real index.json as it is then, by rename, with one lock held from
// open to close.
//
// The lock is an advisory one on the file oci-layout, which every layout has and which never
// changes: no file is added that other tools would have to ignore.
type layoutEnd struct {
	plainEnd        // of the staging layout
	dir      string // of the layout
	blobs    blobdir.Dir
	links    bool   // see Options.HardLinks
	name     string // the tag; "" for an entry without name
	staging  string
	lock     *flock.Flock

	mu       sync.Mutex // guards what follows
	attached *layoutAttachments
	unnamed  []imgspecv1.Descriptor          // to be added to index.json with the next update
	named    map[string]imgspecv1.Descriptor // the same, by the names that they get
}

func (o Options) openLayout(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (_ end, err error) {
	dir, name := splitLayoutReference(ref)
	if strings.HasPrefix(name, "@") {
		return nil, fmt.Errorf("a destination cannot be a position (%s) in the index", name)
	}
	e := &layoutEnd{
		dir: dir, name: name, blobs: blobdir.Dir{Blobs: filepath.Join(dir, imgspecv1.ImageBlobsDir)},
		links: o.HardLinks, named: map[string]imgspecv1.Descriptor{},
	}
	if !o.NoSync {
		e.blobs.Sync, e.blobs.Begin = blobdir.Fsync, blobdir.BeginSync
	}
	shared := types.SystemContext{}
	if sys != nil {
		shared = *sys
	}
	if shared.OCISharedBlobDirPath != "" {
		e.blobs.Blobs = shared.OCISharedBlobDirPath
	}
	shared.OCISharedBlobDirPath = e.blobs.Blobs

	if err := os.MkdirAll(filepath.Join(dir, imgspecv1.ImageBlobsDir), 0o755); err != nil {
		return nil, err
	}
	if e.lock, err = lockLayout(ctx, dir, &e.blobs); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if _, err := readIndex(e.indexPath()); err != nil {
		return nil, err // now rather than after everything was copied
	}
	if err := e.stage(ctx, &shared); err != nil {
		return nil, err
	}
	return e, nil
}

// splitLayoutReference is the path and the image part of an oci: or oci-archive: reference.
func splitLayoutReference(ref types.ImageReference) (path, image string) {
	s := ref.StringWithinTransport()
	volume := len(filepath.VolumeName(s)) // a drive letter has a colon, too
	path, image, _ = strings.Cut(s[volume:], ":")
	return s[:volume] + path, image
}

// stage makes the staging layout and opens upstream's destination there. Staging layouts that are
// there already are of writers that died: nobody else can hold the lock.
func (e *layoutEnd) stage(ctx context.Context, sys *types.SystemContext) (err error) {
	if err := removeNamed(e.dir, isTemp); err != nil {
		return err
	}
	if e.staging, err = os.MkdirTemp(e.dir, stagingPattern); err != nil {
		return err
	}
	e.blobs.Temp = e.staging
	ref, err := layout.NewReference(e.staging, e.name)
	if err != nil {
		return err
	}
	e.dest, err = ref.NewImageDestination(ctx, sys)
	return err
}

// Between two attempts to get a lock.
const (
	minLockPause = 2 * time.Millisecond
	maxLockPause = 100 * time.Millisecond
)

// lockLayout waits until it holds the lock of the layout in dir, and makes sure that its oci-layout
// file is there, synced as blobs is. Closing the lock releases it, and so does the end of the
// process.
func lockLayout(ctx context.Context, dir string, blobs *blobdir.Dir) (*flock.Flock, error) {
	path := lockedFile(dir)
	if err := checkRegular(path); err != nil {
		return nil, err
	}
	lock := flock.New(path, flock.SetPermissions(0o644))
	pause := minLockPause
	for {
		locked, err := lockAt(lock)
		if err != nil {
			return nil, err
		}
		if locked {
			if err := writeLayoutFile(filepath.Join(dir, imgspecv1.ImageLayoutFile), blobs); err != nil {
				return nil, errors.Join(err, lock.Close())
			}
			return lock, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another writer to the layout: %w", ctx.Err())
		case <-time.After(pause):
		}
		pause = min(2*pause, maxLockPause)
	}
}

// lockedFile is the file of a layout that is locked: see layoutEnd. Nobody else can read what is
// locked on Windows, so that it is a file of its own there.
func lockedFile(dir string) string {
	path := filepath.Join(dir, imgspecv1.ImageLayoutFile)
	if runtime.GOOS == "windows" {
		path += ".lock"
	}
	return path
}

// checkRegular returns an error if what is at path is no regular file: opening a pipe would wait
// for its writer.
func checkRegular(path string) error {
	f, _, err := regular.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// lockAt reports whether it got the lock, or has it already, and the locked file is still the one
// at its path. If it is not, because another program has replaced it, the lock is released: that of
// a file that nobody opens any more excludes nobody.
func lockAt(lock *flock.Flock) (bool, error) {
	locked, err := lock.TryLock()
	if err != nil || !locked {
		return false, err
	}
	current, err := isAt(lock)
	if err == nil && current {
		return true, nil
	}
	return false, errors.Join(err, lock.Close())
}

func isAt(lock *flock.Flock) (bool, error) {
	ours, err := lock.Stat()
	if err != nil {
		return false, err
	}
	theirs, err := os.Stat(lock.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(ours, theirs), err
}

// writeLayoutFile makes the file oci-layout if it is not there, or empty because it was just
// locked.
func writeLayoutFile(path string, blobs *blobdir.Dir) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil || info.Size() > 0 {
		return err
	}
	content, err := json.Marshal(imgspecv1.ImageLayout{Version: imgspecv1.ImageLayoutVersion})
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(content, 0); err != nil {
		return err
	}
	return blobs.SyncFile(f)
}

func (e *layoutEnd) indexPath() string { return filepath.Join(e.dir, imgspecv1.ImageIndexFile) }

func (e *layoutEnd) top(context.Context) (digest.Digest, error) {
	index, err := readIndex(e.indexPath())
	if err != nil {
		return "", err
	}
	return index.named(e.name)
}

// hasManifest reads the manifest: a program that died may have left half of it.
func (e *layoutEnd) hasManifest(_ context.Context, d digest.Digest) (bool, error) {
	_, err := e.manifest(d)
	if errors.Is(err, endpoint.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// manifest returns a manifest or list. What is not what its digest says is not there.
func (e *layoutEnd) manifest(d digest.Digest) ([]byte, error) {
	f, _, err := regular.Open(e.blobs.Path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, endpoint.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(checkSize(content), verify(content, d)); err != nil {
		return nil, fmt.Errorf("%w: %w", endpoint.ErrNotFound, err)
	}
	return content, nil
}

func (e *layoutEnd) hasBlob(_ context.Context, b endpoint.Blob) (bool, error) {
	return e.blobs.Has(b.Digest, b.Size)
}

// putBlob hashes nothing: the reader of an Opener has.
func (e *layoutEnd) putBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (reused bool, err error) {
	if has, err := e.hasBlob(ctx, b); err != nil || has {
		return has, err
	}
	r, err := open(ctx)
	if err != nil {
		return false, err
	}
	defer r.Close() // the content was verified while it was read
	if file := endpoint.FileOf(r); file != nil {
		return false, e.putFile(ctx, b.Digest, file)
	}
	return false, e.blobs.Write(b.Digest, b.Size, &blobReader{ctx: ctx, r: r})
}

// putFile stores a blob that is in a file.
func (e *layoutEnd) putFile(ctx context.Context, d digest.Digest, file *endpoint.BlobFile) error {
	if whole := file.Whole(); e.links && whole != nil {
		if linked, err := e.blobs.Link(d, whole, file.Verify); linked || err != nil {
			return err
		}
	}
	return e.blobs.Fill(d, func(f *os.File, written func(int64)) error { return file.CopyTo(ctx, f, written) })
}

func (e *layoutEnd) putManifest(ctx context.Context, doc endpoint.Document) error {
	if has, err := e.hasManifest(ctx, doc.Digest); err != nil || has {
		return err
	}
	if err := verify(doc.Bytes, doc.Digest); err != nil {
		return err
	}
	return e.blobs.Write(doc.Digest, int64(len(doc.Bytes)), bytes.NewReader(doc.Bytes))
}

func (e *layoutEnd) putTop(ctx context.Context, doc endpoint.Document, sigs endpoint.Signatures, _ types.UnparsedImage) error {
	if err := e.putManifest(ctx, doc); err != nil {
		return err
	}
	if err := sigs.Put(ctx, e.dest, &doc.Digest); err != nil {
		return err // layouts have no place for signatures
	}
	return e.add(imgspecv1.Descriptor{
		MediaType: doc.MediaType,
		Digest:    doc.Digest,
		Size:      int64(len(doc.Bytes)),
	})
}

// publish adds the entries of the staging layout, as upstream has committed them, to the real one.
func (e *layoutEnd) publish(context.Context) error {
	content, err := os.ReadFile(filepath.Join(e.staging, imgspecv1.ImageIndexFile))
	if err != nil {
		return err
	}
	var staged imgspecv1.Index
	if err := json.Unmarshal(content, &staged); err != nil {
		return err
	}
	for _, entry := range staged.Manifests {
		if err := e.add(entry); err != nil {
			return err
		}
	}
	return nil
}

// add makes the layout's tag name entry.
func (e *layoutEnd) add(entry imgspecv1.Descriptor) error {
	return e.update(func(index *layoutIndex) ([]byte, error) { return index.add(entry, e.name) })
}

// update changes index.json once: it adds what is attached, and makes the change of f.
func (e *layoutEnd) update(f func(*layoutIndex) ([]byte, error)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	before, err := readIndex(e.indexPath())
	if err != nil {
		return err
	}
	content, err := before.addAll(e.unnamed, e.named)
	if err != nil {
		return err
	}
	index, err := parseIndex(content)
	if err != nil {
		return err
	}
	after, err := f(index)
	if err != nil {
		return err
	}
	if !bytes.Equal(before.content, after) {
		if err := e.replaceIndex(after); err != nil {
			return err
		}
	}
	e.unnamed, e.named = nil, map[string]imgspecv1.Descriptor{}
	if e.attached != nil {
		e.attached.forget()
	}
	return nil
}

// replaceIndex makes content that of index.json, once all that it may name is on the disk.
func (e *layoutEnd) replaceIndex(content []byte) error {
	if err := e.blobs.SyncNames(); err != nil {
		return err
	}
	if err := e.blobs.WriteFile(e.indexPath(), content); err != nil {
		return err
	}
	return e.blobs.SyncDirectory(e.dir)
}

// close removes the staging layout and releases the lock.
func (e *layoutEnd) close() error {
	var errs []error
	if e.dest != nil {
		errs = append(errs, e.plainEnd.close())
	}
	if e.staging != "" {
		errs = append(errs, os.RemoveAll(e.staging))
	}
	return errors.Join(append(errs, e.lock.Close())...)
}
