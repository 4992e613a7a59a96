package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutsDir has an OCI layout for each program, in the directory of what is made.
const layoutsDir = "image"

// layout is the directory of the layout with the image of a program.
func (r release) layout(program string) string { return filepath.Join(r.dir, layoutsDir, program) }

// A packaging is what the image of a program says beside the program. The zero value says nothing.
type packaging struct {
	arguments []string // those that it is run with if there are no others
	volume    string   // a directory of its user's, for what is to stay
	port      string
}

// packagings are those of programs that need one.
var packagings = map[string]packaging{
	"sparse-registry": {
		arguments: []string{"--storage=/var/lib/sparse-registry", "--address=:5000"}, volume: "/var/lib/sparse-registry", port: "5000/tcp",
	},
}

// image makes an image of each program from the archives of platforms.
func (r release) image(platforms []platform) error {
	for _, name := range programs {
		images := make([]platformImage, 0, len(platforms))
		for _, p := range platforms {
			archived, err := r.archived(p, name)
			if err != nil {
				return fmt.Errorf("image for %s: %w", p, err)
			}
			images = append(images, platformImage{p, archived})
		}
		if err := r.writeLayout(name, images); err != nil {
			return err
		}
	}
	return nil
}

// A platformImage is what goes into the image for a platform.
type platformImage struct {
	platform platform
	program  program
}

// writeLayout makes an OCI layout of images of a program: a list that names them, and for each an
// attestation with its SBOM, as BuildKit makes them. A layout that is there already is replaced.
func (r release) writeLayout(name string, images []platformImage) error {
	dir := r.layout(name)
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
		Manifests: slices.Concat(manifests, attestations), Annotations: r.annotations(name),
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

// user is who runs the program in the image: nobody whom a base image has a name for.
const user = 65532

// putImage stores an image with nothing but a program in it, which needs nothing else: it brings
// the authorities that it trusts where the system has none.
func (r release) putImage(s *store, i platformImage) imgspecv1.Descriptor {
	about, annotations := packagings[i.program.name], r.annotations(i.program.name)
	settings := imgspecv1.ImageConfig{
		User: fmt.Sprintf("%d:%d", user, user), Entrypoint: []string{"/" + i.program.name}, Cmd: about.arguments, WorkingDir: "/", Labels: annotations,
	}
	files := []file{{name: i.program.name, mode: 0o755, content: i.program.content}}
	if about.volume != "" {
		settings.Volumes = map[string]struct{}{about.volume: {}}
		files = append(files, file{name: strings.TrimPrefix(about.volume, "/"), mode: fs.ModeDir | 0o700, owner: user})
	}
	if about.port != "" {
		settings.ExposedPorts = map[string]struct{}{about.port: {}}
	}
	tarred := tarred(files, r.time)
	layer := s.put(imgspecv1.MediaTypeImageLayerGzip, gzipped(tarred, r.level))
	runsOn := imgspecv1.Platform{OS: i.platform.os, Architecture: i.platform.arch}
	config := s.putJSON(imgspecv1.MediaTypeImageConfig, imgspecv1.Image{
		Created: &r.time, Platform: runsOn, Config: settings,
		RootFS:  imgspecv1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(tarred)}},
		History: []imgspecv1.History{{Created: &r.time, CreatedBy: "dist image"}},
	})
	manifest := s.putJSON(imgspecv1.MediaTypeImageManifest, imgspecv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest,
		Config: config, Layers: []imgspecv1.Descriptor{layer}, Annotations: annotations,
	})
	manifest.Platform = &runsOn
	return manifest
}

// annotations say what the image of a program is, for list, images and their configs.
func (r release) annotations(program string) map[string]string {
	annotations := map[string]string{
		imgspecv1.AnnotationTitle: program, imgspecv1.AnnotationVersion: r.version, imgspecv1.AnnotationLicenses: "Apache-2.0",
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
			Name:   i.program.name + " " + r.version + " for " + i.platform.String(),
			Digest: map[string]string{subject.Algorithm().String(): subject.Encoded()},
		}},
		Predicate: r.sbom(r.imageName(i), []program{i.program}),
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

// imageName is how the SBOM of an image is called.
func (r release) imageName(i platformImage) string {
	return r.name(i.platform) + "_image_" + i.program.name
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
