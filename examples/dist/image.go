package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutDir is the OCI layout with the image, in the directory of what is made.
const layoutDir = "image"

// image makes an image of mirror from the archives of platforms.
func (r release) image(platforms []platform) error {
	images := make([]platformImage, 0, len(platforms))
	for _, p := range platforms {
		mirror, err := r.archived(p, "mirror")
		if err != nil {
			return fmt.Errorf("image for %s: %w", p, err)
		}
		images = append(images, platformImage{p, mirror})
	}
	return r.writeLayout(images)
}

// A platformImage is what goes into the image for a platform.
type platformImage struct {
	platform platform
	mirror   program
}

// writeLayout makes an OCI layout of images: a list that names them, and for each an attestation
// with its SBOM, as BuildKit makes them. A layout that is there already is replaced.
func (r release) writeLayout(images []platformImage) error {
	dir := filepath.Join(r.dir, layoutDir)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, imgspecv1.ImageBlobsDir, digest.Canonical.String()), 0o755)); err != nil {
		return err
	}
	s := store{dir: dir}
	var manifests, attestations []imgspecv1.Descriptor
	for _, i := range images {
		manifest := r.putImage(&s, i)
		manifests = append(manifests, manifest)
		attestations = append(attestations, r.putAttestation(&s, i, manifest.Digest))
	}
	list := s.putJSON(imgspecv1.MediaTypeImageIndex, imgspecv1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex,
		Manifests: slices.Concat(manifests, attestations), Annotations: r.annotations(),
	})
	list.Annotations = map[string]string{imgspecv1.AnnotationRefName: r.version}
	s.write(imgspecv1.ImageIndexFile, asJSON(imgspecv1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex, Manifests: []imgspecv1.Descriptor{list},
	}))
	s.write(imgspecv1.ImageLayoutFile, asJSON(imgspecv1.ImageLayout{Version: imgspecv1.ImageLayoutVersion}))
	fmt.Fprintf(r.out, "%s  oci:%s:%s\n", list.Digest, dir, r.version)
	return s.err
}

// archived takes a program for Linux out of its archive, which must be of this release: what the
// checksums say of the archive has to be true.
func (r release) archived(p platform, name string) (program, error) {
	if p.os != "linux" {
		return program{}, errors.New("not an image for Linux")
	}
	archive, err := os.ReadFile(filepath.Join(r.dir, r.archiveName(p)))
	if err != nil {
		return program{}, err
	}
	sums, err := os.ReadFile(filepath.Join(r.dir, sumsFile))
	if err != nil {
		return program{}, err
	}
	if line := fmt.Sprintf("%x  %s\n", sha256.Sum256(archive), r.archiveName(p)); !bytes.Contains(sums, []byte(line)) {
		return program{}, fmt.Errorf("%s is not what %s says: build it again", r.archiveName(p), sumsFile)
	}
	content, err := fromArchive(bytes.NewReader(archive), path.Join(r.name(p), name))
	if err != nil {
		return program{}, err
	}
	return r.inspect(name, p, content)
}

// user is who runs mirror in the image: nobody whom a base image has a name for.
const user = "65532:65532"

// putImage stores an image with nothing but mirror in it, which needs nothing else: it brings the
// authorities that it trusts where the system has none.
func (r release) putImage(s *store, i platformImage) imgspecv1.Descriptor {
	tarred := tarred([]file{{name: i.mirror.name, mode: 0o755, content: i.mirror.content}}, r.time)
	layer := s.put(imgspecv1.MediaTypeImageLayerGzip, gzipped(tarred))
	runsOn := imgspecv1.Platform{OS: i.platform.os, Architecture: i.platform.arch}
	config := s.putJSON(imgspecv1.MediaTypeImageConfig, imgspecv1.Image{
		Created: &r.time, Platform: runsOn,
		Config:  imgspecv1.ImageConfig{User: user, Entrypoint: []string{"/" + i.mirror.name}, WorkingDir: "/", Labels: r.annotations()},
		RootFS:  imgspecv1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(tarred)}},
		History: []imgspecv1.History{{Created: &r.time, CreatedBy: "dist image"}},
	})
	manifest := s.putJSON(imgspecv1.MediaTypeImageManifest, imgspecv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest,
		Config: config, Layers: []imgspecv1.Descriptor{layer}, Annotations: r.annotations(),
	})
	manifest.Platform = &runsOn
	return manifest
}

// annotations say what this is, for list, images and their configs.
func (r release) annotations() map[string]string {
	annotations := map[string]string{
		imgspecv1.AnnotationTitle: "mirror", imgspecv1.AnnotationVersion: r.version, imgspecv1.AnnotationLicenses: "Apache-2.0",
		imgspecv1.AnnotationSource: "https://" + library,
	}
	if r.revision != "" {
		annotations[imgspecv1.AnnotationRevision] = r.revision
	}
	return annotations
}

// An inTotoStatement says something of a subject: https://in-toto.io/Statement/v1.
type inTotoStatement struct {
	Type          string          `json:"_type"`
	PredicateType string          `json:"predicateType"`
	Subject       []inTotoSubject `json:"subject"`
	Predicate     spdxDocument    `json:"predicate"`
}

type inTotoSubject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// spdxPredicate is the type of a predicate that is an SBOM.
const spdxPredicate = "https://spdx.dev/Document"

// putAttestation stores the SBOM of an image as an attestation of it.
func (r release) putAttestation(s *store, i platformImage, subject digest.Digest) imgspecv1.Descriptor {
	layer := s.putJSON("application/vnd.in-toto+json", inTotoStatement{
		Type: "https://in-toto.io/Statement/v1", PredicateType: spdxPredicate,
		Subject: []inTotoSubject{{
			Name:   "mirror " + r.version + " for " + i.platform.String(),
			Digest: map[string]string{subject.Algorithm().String(): subject.Encoded()},
		}},
		Predicate: r.sbom(r.name(i.platform)+"_image", []program{i.mirror}),
	})
	nowhere := imgspecv1.Platform{OS: "unknown", Architecture: "unknown"}
	config := s.putJSON(imgspecv1.MediaTypeImageConfig, imgspecv1.Image{
		Platform: nowhere, RootFS: imgspecv1.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}},
	})
	layer.Annotations = map[string]string{"in-toto.io/predicate-type": spdxPredicate}
	attestation := s.putJSON(imgspecv1.MediaTypeImageManifest, imgspecv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest,
		Config: config, Layers: []imgspecv1.Descriptor{layer},
	})
	attestation.Platform = &nowhere
	attestation.Annotations = map[string]string{
		"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject.String(),
	}
	return attestation
}

// A store writes the files of an OCI layout. After the first error it writes no more.
type store struct {
	dir string
	err error
}

func (s *store) write(name string, content []byte) {
	if s.err == nil {
		s.err = os.WriteFile(filepath.Join(s.dir, filepath.FromSlash(name)), content, 0o644)
	}
}

// put stores a blob.
func (s *store) put(mediaType string, content []byte) imgspecv1.Descriptor {
	d := digest.FromBytes(content)
	s.write(path.Join(imgspecv1.ImageBlobsDir, d.Algorithm().String(), d.Encoded()), content)
	return imgspecv1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

func (s *store) putJSON(mediaType string, value any) imgspecv1.Descriptor {
	return s.put(mediaType, asJSON(value))
}

// asJSON is for documents whose types always have a JSON form.
func asJSON(value any) []byte {
	b, err := json.Marshal(value)
	must(err)
	return b
}
