package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// written makes an example of what a real tool wrote: a tag of a layout in testdata/lists/tools.
func written(layout, tag string) func() example {
	return func() example {
		e, err := readLayout(filepath.Join(root, "testdata", "lists", "tools", layout), tag)
		if err != nil {
			panic(err)
		}
		return e
	}
}

// A reader makes an example of a layout.
type reader struct {
	dir   string
	names map[digest.Digest]string
	*example
}

// readLayout reads what a tag of a layout leads to, and what is attached to that.
func readLayout(dir, tag string) (example, error) {
	r := reader{dir, map[digest.Digest]string{}, &example{Fixture: imagetest.New(), tags: map[string]string{}}}
	var index imgspecv1.Index
	if err := decode(filepath.Join(dir, "index.json"), &index); err != nil {
		return example{}, err
	}
	top := slices.IndexFunc(index.Manifests, func(m imgspecv1.Descriptor) bool { return refName(m) == tag })
	if top < 0 {
		return example{}, fmt.Errorf("%s has no tag %s", dir, tag)
	}
	err := r.add(imagetest.Top, index.Manifests[top])
	for _, m := range index.Manifests {
		err = errors.Join(err, r.addAttached(m))
	}
	return *r.example, err
}

func refName(m imgspecv1.Descriptor) string { return m.Annotations[imgspecv1.AnnotationRefName] }

// digestTag matches the tags of what is attached to a digest.
var digestTag = regexp.MustCompile(`^sha256-([0-9a-f]{64})\.(.+)$`)

// addAttached adds a manifest that is attached to another one, by its subject or by its tag.
func (r reader) addAttached(desc imgspecv1.Descriptor) error {
	var m imgspecv1.Manifest
	if err := decode(r.path(desc.Digest), &m); err != nil {
		return err
	}
	if tagged := digestTag.FindStringSubmatch(refName(desc)); tagged != nil {
		name := r.free("." + tagged[2] + "-" + r.Name(digest.NewDigestFromEncoded(digest.SHA256, tagged[1])))
		r.tags[refName(desc)] = name
		return r.add(name, desc)
	}
	if m.Subject == nil || r.Name(desc.Digest) != desc.Digest.String() {
		return nil
	}
	name := r.free(referrers[cmp.Or(m.ArtifactType, m.Config.MediaType)] + "-" + r.Name(m.Subject.Digest))
	r.beside = append(r.beside, name)
	return r.add(name, desc)
}

// referrers are what manifests that refer to others are called, by their types.
var referrers = map[string]string{
	"application/vnd.dev.sigstore.bundle.v0.3+json": "bundle", "application/vnd.cncf.notary.signature": "notation",
}

// free is name, or name with a number behind it if something is called so already.
func (r reader) free(name string) string {
	for i, wanted := 2, name; slices.Contains(r.beside, name); i++ {
		name = fmt.Sprintf("%s-%d", wanted, i)
	}
	return name
}

// add adds a manifest or list, after all that it names.
func (r reader) add(name string, desc imgspecv1.Descriptor) error {
	b, err := os.ReadFile(r.path(desc.Digest))
	if err != nil {
		return err
	}
	var doc struct {
		Manifests []imgspecv1.Descriptor
		Config    *imgspecv1.Descriptor
		Layers    []imgspecv1.Descriptor
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return err
	}
	for i, entry := range doc.Manifests {
		r.names[entry.Digest] = nameOf(i, entry)
	}
	var parts []string
	for _, entry := range doc.Manifests {
		if of, ok := r.names[digest.Digest(entry.Annotations["vnd.docker.reference.digest"])]; ok {
			r.names[entry.Digest] = "att-" + of
		} else if p := entry.Platform; p != nil && p.OS == "unknown" {
			r.names[entry.Digest] = fmt.Sprintf("att-%d", len(parts))
		}
		parts = append(parts, r.names[entry.Digest])
		add := r.add
		if !isManifest(entry.MediaType) {
			add = r.addBlob
		}
		if err := add(r.names[entry.Digest], entry); err != nil {
			return err
		}
	}
	if doc.Config != nil {
		doc.Layers = append(doc.Layers, *doc.Config)
	}
	for i, blob := range doc.Layers {
		part := r.Name(blob.Digest)
		if part == blob.Digest.String() {
			part = fmt.Sprintf("%s.%d", name, i)
			if err := r.addBlob(part, blob); err != nil {
				return err
			}
		}
		parts = append(parts, part)
	}
	r.Raw(name, desc.MediaType, b, parts...)
	return nil
}

func (r reader) addBlob(name string, desc imgspecv1.Descriptor) error {
	content, err := os.ReadFile(r.path(desc.Digest))
	if err == nil {
		r.Blob(name, desc.MediaType, content)
	}
	return err
}

func isManifest(mediaType string) bool {
	return strings.Contains(mediaType, ".manifest.") || strings.Contains(mediaType, ".index.")
}

// nameOf is what the entry at position i is called, by its platform and by what it is.
func nameOf(i int, entry imgspecv1.Descriptor) string {
	name := fmt.Sprintf("entry-%d", i+1)
	switch {
	case entry.MediaType == "application/vnd.buildkit.cacheconfig.v0":
		return "cache-config"
	case !isManifest(entry.MediaType):
		return fmt.Sprintf("layer-%d", i+1)
	}
	if p := entry.Platform; p != nil && p.OS != "unknown" {
		name = strings.TrimSuffix(p.Architecture+"/"+p.Variant, "/")
	}
	if entry.ArtifactType == sociIndexType {
		return "soci-" + name
	}
	return name
}

func (r reader) path(d digest.Digest) string {
	return filepath.Join(r.dir, imgspecv1.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

func decode(file string, v any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
