package imagetest

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// SaveRepository writes everything that a repository of an in-process registry holds as an OCI
// layout, in place of what dir has. The layout's index.json names every manifest, once for each of
// its tags, with the media type that it was pushed with.
func SaveRepository(reg *registrytest.Registry, repo, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	tagsOf := map[digest.Digest][]string{}
	for _, tag := range reg.Tags(repo) {
		if d, ok := reg.Resolve(repo, tag); ok {
			tagsOf[d] = append(tagsOf[d], tag)
		}
	}
	index := layoutIndex{SchemaVersion: 2, MediaType: ociIndex}
	for _, d := range reg.Manifests(repo) {
		b, mediaType, _ := reg.Manifest(repo, d.String())
		if err := writeLayoutBytes(dir, d, b); err != nil {
			return err
		}
		desc := layoutDescriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
		if len(tagsOf[d]) == 0 {
			index.Manifests = append(index.Manifests, desc)
		}
		for _, tag := range tagsOf[d] {
			desc.Annotations = map[string]string{refName: tag}
			index.Manifests = append(index.Manifests, desc)
		}
	}
	for _, d := range reg.Blobs(repo) {
		b, ok := reg.Blob(repo, d)
		if !ok {
			return fmt.Errorf("%s: the content of %s is not there", repo, d)
		}
		if err := writeLayoutBytes(dir, d, b); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), append(indented(index, "  "), '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "oci-layout"), []byte("{\n  \"imageLayoutVersion\": \"1.0.0\"\n}\n"), 0o644)
}

// LoadRepository puts what SaveRepository wrote into a repository, tags last. What that has already
// stays, except for its tags of the same names.
func LoadRepository(reg *registrytest.Registry, repo, dir string) error {
	index, err := readLayoutIndex(dir)
	if err != nil {
		return err
	}
	manifests := map[digest.Digest][]byte{}
	for _, desc := range index.Manifests {
		if manifests[desc.Digest], err = readLayoutBlob(dir, desc.Digest); err != nil {
			return err
		}
	}
	files, err := os.ReadDir(filepath.Dir(layoutPath(dir, digest.FromString(""))))
	if err != nil {
		return err
	}
	for _, file := range files {
		d := digest.NewDigestFromEncoded(digest.Canonical, file.Name())
		if _, ok := manifests[d]; ok {
			continue
		}
		b, err := readLayoutBlob(dir, d)
		if err != nil {
			return err
		}
		reg.PutBlob(repo, b)
	}
	for _, desc := range index.Manifests {
		reg.PutManifest(repo, desc.Digest.String(), desc.MediaType, manifests[desc.Digest])
	}
	for _, desc := range index.Manifests {
		if tag := desc.Annotations[refName]; tag != "" {
			reg.PutManifest(repo, tag, desc.MediaType, manifests[desc.Digest])
		}
	}
	return nil
}

// readLayoutBlob reads a file of a layout, and demands that it is what its name says.
func readLayoutBlob(dir string, d digest.Digest) ([]byte, error) {
	b, err := os.ReadFile(layoutPath(dir, d))
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(b); got != d {
		return nil, fmt.Errorf("%s: %s has the digest %s", dir, d, got)
	}
	return b, nil
}
