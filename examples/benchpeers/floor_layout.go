package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"
)

// copyFloorToLayout is copyFloor into a layout: a GET for each blob, whose bytes are hashed once on
// their way to a file, which gets its name when it is complete. With sync, files are on the disk
// when it returns: each is synced, and their directory once, before index.json names them.
func copyFloorToLayout(ctx context.Context, j job, sync bool) error {
	client, err := floorClient(j, false)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	files := &layoutFiles{dir: j.Destination.Repo, sync: sync}
	if err := os.MkdirAll(files.blobs(), 0o755); err != nil {
		return err
	}
	f := &floorCopy{job: j, ctx: ctx, client: client, slots: semaphore.NewWeighted(largeAtOnce * largeWeight), files: files}
	return f.list()
}

// blobFile copies a blob.
func (f *floorCopy) blobFile(b imgspecv1.Descriptor) error {
	resp, err := f.do(http.MethodGet, f.url(f.Source, "blobs/"+b.Digest.String()), nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	verifier := b.Digest.Verifier()
	return f.files.put(b.Digest, io.TeeReader(resp.Body, verifier), func() error {
		if !verifier.Verified() {
			return fmt.Errorf("the source's blob %s has another digest", b.Digest)
		}
		return nil
	})
}

// layoutFiles are the files of a layout.
type layoutFiles struct {
	dir  string
	sync bool // they reach the disk
}

func (l *layoutFiles) blobs() string { return filepath.Join(l.dir, "blobs", "sha256") }

// put writes a blob, which gets its name if check has no objection then.
func (l *layoutFiles) put(d digest.Digest, content io.Reader, check func() error) error {
	name := filepath.Join(l.blobs(), d.Encoded())
	return l.write(name, content, check)
}

// write writes a file under another name first.
func (l *layoutFiles) write(name string, content io.Reader, check func() error) error {
	file, err := os.CreateTemp(filepath.Dir(name), ".part")
	if err != nil {
		return err
	}
	buffer := make([]byte, 256<<10)
	_, err = io.CopyBuffer(struct{ io.Writer }{file}, content, buffer)
	if err == nil {
		err = check()
	}
	if err == nil && l.sync {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return os.Rename(file.Name(), name)
}

// putManifest writes a document that was checked. The one with a tag comes last, and index.json
// with it.
func (l *layoutFiles) putManifest(ref, mediaType string, content []byte) error {
	d := digest.FromBytes(content)
	if err := l.put(d, bytes.NewReader(content), fine); err != nil || ref == d.String() {
		return err
	}
	index, err := json.Marshal(imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex, Manifests: []imgspecv1.Descriptor{{
		MediaType: mediaType, Digest: d, Size: int64(len(content)), Annotations: map[string]string{imgspecv1.AnnotationRefName: ref},
	}}})
	if err != nil {
		return err
	}
	if err := l.syncDir(l.blobs()); err != nil {
		return err
	}
	for name, content := range map[string][]byte{imgspecv1.ImageLayoutFile: []byte(`{"imageLayoutVersion":"1.0.0"}`), imgspecv1.ImageIndexFile: index} {
		if err := l.write(filepath.Join(l.dir, name), bytes.NewReader(content), fine); err != nil {
			return err
		}
	}
	return l.syncDir(l.dir)
}

func fine() error { return nil }

func (l *layoutFiles) syncDir(path string) error {
	if !l.sync {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
