package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// files are what is in the layers: base for every platform, platform for each one, with PLATFORM
// replaced in its texts.
//
//go:embed files
var files embed.FS

// allPlatforms are the platforms of the image.
var allPlatforms = []imgspecv1.Platform{
	{OS: "linux", Architecture: "amd64"},
	{OS: "linux", Architecture: "arm64"},
	{OS: "linux", Architecture: "arm", Variant: "v7"},
	{OS: "linux", Architecture: "ppc64le"},
	{OS: "linux", Architecture: "s390x"},
	{OS: "linux", Architecture: "riscv64"},
}

const (
	// baseData and platformData are the sizes in bytes of generated files that make layers as large
	// as small real ones.
	baseData     = 256 << 10
	platformData = 128 << 10

	mediaTypeInToto = "application/vnd.in-toto+json"
)

// platformName is a platform as users write it.
func platformName(p imgspecv1.Platform) string {
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}

// An image is what was made: the digests by which the demonstration checks what it sees later.
type image struct {
	list         digest.Digest
	entries      int
	images       map[string]digest.Digest // by platform
	attestations map[string]digest.Digest // by the platform of the subject
	hello        map[string]string        // the hello script by platform
	osRelease    string
	blobs        int
	bytes        int64
}

// A layout is an OCI layout that is being written. The first error stays.
type layout struct {
	dir   string
	blobs map[digest.Digest]int
	err   error
}

// makeImage writes an image of all platforms, with an attestation each, as an OCI layout whose only
// image has the given tag. Images with different seeds share nothing but their base layer.
func makeImage(dir, tag string, seed uint64) (*image, error) {
	l := &layout{dir: dir, blobs: map[digest.Digest]int{}}
	l.check(os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755))
	img := &image{images: map[string]digest.Digest{}, attestations: map[string]digest.Digest{}, hello: map[string]string{}}

	base := l.layer("files/base", "", "usr/share/demo/base.bin", noise(rand.New(rand.NewPCG(1, 0)), baseData))
	random := rand.New(rand.NewPCG(2, seed))
	img.osRelease = l.text("files/base/etc/os-release", "")
	var images, attestations []imgspecv1.Descriptor
	for _, p := range allPlatforms {
		name := platformName(p)
		own := l.layer("files/platform", name, "usr/lib/demo/hello.bin", noise(random, platformData))
		subject := l.image(p, base, own)
		attestation := l.attestation(name, subject)
		images, attestations = append(images, subject), append(attestations, attestation)
		img.images[name], img.attestations[name] = subject.Digest, attestation.Digest
		img.hello[name] = l.text("files/platform/usr/bin/hello", name)
	}
	list := l.document(imgspecv1.MediaTypeImageIndex, imgspecv1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex, Manifests: append(images, attestations...),
	})
	img.list, img.entries = list.Digest, len(images)+len(attestations)
	l.finish(list, tag)
	img.blobs = len(l.blobs)
	for _, size := range l.blobs {
		img.bytes += int64(size)
	}
	return img, l.err
}

// noise returns bytes that do not compress, as programs hardly do.
func noise(random *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func (l *layout) check(err error) {
	if l.err == nil {
		l.err = err
	}
}

// blob stores b.
func (l *layout) blob(mediaType string, b []byte) imgspecv1.Descriptor {
	d := digest.FromBytes(b)
	l.blobs[d] = len(b)
	l.check(os.WriteFile(filepath.Join(l.dir, "blobs", d.Algorithm().String(), d.Encoded()), b, 0o644))
	return imgspecv1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

// document stores v as JSON.
func (l *layout) document(mediaType string, v any) imgspecv1.Descriptor {
	b, err := json.Marshal(v)
	l.check(err)
	return l.blob(mediaType, b)
}

// A layerBlob is a layer as the manifest and as the config know it.
type layerBlob struct {
	imgspecv1.Descriptor
	diffID digest.Digest
}

// layer stores a gzipped tar archive of the embedded files below root, and of one more file.
func (l *layout) layer(root, platform, name string, content []byte) layerBlob {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	l.check(fs.WalkDir(files, root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		mode := int64(0o644)
		if strings.Contains(path, "/bin/") {
			mode = 0o755
		}
		return addFile(w, strings.TrimPrefix(path, root+"/"), mode, []byte(l.text(path, platform)))
	}))
	l.check(addFile(w, name, 0o644, content))
	l.check(w.Close())

	var compressed bytes.Buffer
	z := gzip.NewWriter(&compressed)
	_, err := z.Write(archive.Bytes())
	l.check(err)
	l.check(z.Close())
	return layerBlob{l.blob(imgspecv1.MediaTypeImageLayerGzip, compressed.Bytes()), digest.FromBytes(archive.Bytes())}
}

func addFile(w *tar.Writer, name string, mode int64, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// text returns an embedded file for a platform.
func (l *layout) text(path, platform string) string {
	b, err := files.ReadFile(path)
	l.check(err)
	return strings.ReplaceAll(string(b), "PLATFORM", platform)
}

// image stores an image and returns its entry in the list.
func (l *layout) image(p imgspecv1.Platform, layers ...layerBlob) imgspecv1.Descriptor {
	config := imgspecv1.Image{
		Platform: p,
		Config:   imgspecv1.ImageConfig{Cmd: []string{"/usr/bin/hello"}},
		RootFS:   imgspecv1.RootFS{Type: "layers"},
	}
	manifest := imgspecv1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest}
	for _, layer := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.diffID)
		manifest.Layers = append(manifest.Layers, layer.Descriptor)
	}
	manifest.Config = l.document(imgspecv1.MediaTypeImageConfig, config)
	entry := l.document(imgspecv1.MediaTypeImageManifest, manifest)
	entry.Platform = &p
	return entry
}

// attestation stores an attestation as BuildKit makes them, and returns its entry in the list.
func (l *layout) attestation(platform string, subject imgspecv1.Descriptor) imgspecv1.Descriptor {
	statement := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://slsa.dev/provenance/v0.2",`+
		`"subject":[{"name":"demo for %s","digest":{"sha256":"%s"}}],"predicate":{"builder":{"id":"make demo"}}}`,
		platform, subject.Digest.Encoded())
	layer := l.blob(mediaTypeInToto, statement)
	layer.Annotations = map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}
	unknown := imgspecv1.Platform{OS: "unknown", Architecture: "unknown"}
	config := imgspecv1.Image{
		Platform: unknown, RootFS: imgspecv1.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}},
	}
	entry := l.document(imgspecv1.MediaTypeImageManifest, imgspecv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest,
		Config: l.document(imgspecv1.MediaTypeImageConfig, config), Layers: []imgspecv1.Descriptor{layer},
	})
	entry.Platform = &unknown
	entry.Annotations = map[string]string{
		"vnd.docker.reference.type":   "attestation-manifest",
		"vnd.docker.reference.digest": subject.Digest.String(),
	}
	return entry
}

// finish writes what makes the directory a layout in which tag names the list.
func (l *layout) finish(list imgspecv1.Descriptor, tag string) {
	list.Annotations = map[string]string{imgspecv1.AnnotationRefName: tag}
	for name, v := range map[string]any{
		imgspecv1.ImageLayoutFile: imgspecv1.ImageLayout{Version: imgspecv1.ImageLayoutVersion},
		imgspecv1.ImageIndexFile:  imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []imgspecv1.Descriptor{list}},
	} {
		b, err := json.Marshal(v)
		l.check(err)
		l.check(os.WriteFile(filepath.Join(l.dir, name), b, 0o644))
	}
}
