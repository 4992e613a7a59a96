package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// save writes everything that a repository holds as an OCI layout, in place of what dir has. The
// layout's index.json names every manifest, once for each of its tags, with the media type that the
// tool declared.
func save(reg *registrytest.Registry, repo, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	tagsOf := map[digest.Digest][]string{}
	for _, tag := range reg.Tags(repo) {
		if d, ok := reg.Resolve(repo, tag); ok {
			tagsOf[d] = append(tagsOf[d], tag)
		}
	}
	index := imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex}
	for _, d := range reg.Manifests(repo) {
		b, mediaType, _ := reg.Manifest(repo, d.String())
		if err := writeBlob(dir, d, b); err != nil {
			return err
		}
		desc := imgspecv1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
		if len(tagsOf[d]) == 0 {
			index.Manifests = append(index.Manifests, desc)
		}
		for _, tag := range tagsOf[d] {
			desc.Annotations = map[string]string{imgspecv1.AnnotationRefName: tag}
			index.Manifests = append(index.Manifests, desc)
		}
	}
	for _, d := range reg.Blobs(repo) {
		b, ok := reg.Blob(repo, d)
		if !ok {
			return fmt.Errorf("%s: the content of %s is not there", repo, d)
		}
		if err := writeBlob(dir, d, b); err != nil {
			return err
		}
	}
	if err := writeJSON(filepath.Join(dir, "index.json"), index); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, imgspecv1.ImageLayoutFile), imgspecv1.ImageLayout{Version: imgspecv1.ImageLayoutVersion})
}

// load puts what save wrote into a repository.
func load(reg *registrytest.Registry, repo, dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return err
	}
	var index imgspecv1.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	manifests := map[digest.Digest]bool{}
	for _, desc := range index.Manifests {
		manifests[desc.Digest] = true
		b, err := os.ReadFile(blobPath(dir, desc.Digest))
		if err != nil {
			return err
		}
		ref := desc.Annotations[imgspecv1.AnnotationRefName]
		if ref == "" {
			ref = desc.Digest.String()
		}
		if d := reg.PutManifest(repo, ref, desc.MediaType, b); d != desc.Digest {
			return fmt.Errorf("%s: %s has the digest %s", dir, desc.Digest, d)
		}
	}
	files, err := os.ReadDir(filepath.Dir(blobPath(dir, digest.FromString(""))))
	if err != nil {
		return err
	}
	for _, file := range files {
		d := digest.NewDigestFromEncoded(digest.Canonical, file.Name())
		if manifests[d] {
			continue
		}
		b, err := os.ReadFile(blobPath(dir, d))
		if err != nil {
			return err
		}
		if got := reg.PutBlob(repo, b); got != d {
			return fmt.Errorf("%s: %s has the digest %s", dir, d, got)
		}
	}
	return nil
}

// loadAll loads every repository, and returns their names.
func loadAll(reg *registrytest.Registry) (repos []string, err error) {
	dirs, err := os.ReadDir(layoutsDir())
	for _, dir := range dirs {
		err = errors.Join(err, load(reg, dir.Name(), filepath.Join(layoutsDir(), dir.Name())))
		repos = append(repos, dir.Name())
	}
	slices.Sort(repos)
	return repos, err
}

func blobPath(dir string, d digest.Digest) string {
	return filepath.Join(dir, imgspecv1.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

func writeBlob(dir string, d digest.Digest, b []byte) error {
	path := blobPath(dir, d)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

func writeJSON(path string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
