package relation

import (
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A row says how entries of one kind are recognised, what they are, and whose.
type row struct {
	// kind is what reports call such an entry.
	kind string
	// relation is what selection and strip go by. What describes or accelerates is no image that a
	// platform filter could choose: it follows its subject, and goes with it. What replaces is
	// selected like any image, and stripped like any.
	relation Relation
	// recognises reports whether an entry is of this kind; image is its manifest, nil if that has
	// not been read.
	recognises func(instance manifest.Instance, image *manifest.Image) bool
	// subject returns what the entry at i names, or where its subject is. It is not ok if there is
	// none, and the entry stands for itself then.
	subject func(l *list, i int) (tie Tie, ok bool)
}

// table has the kinds that are known. The first row that recognises an entry says what it is. An
// artifact type proves nothing unless it is one of these: go-containerregistry writes the media
// type of the config there, of ordinary images, too.
var table = []row{
	{"attestation", Describes, annotatedAttestation, byReference},
	{"attestation", Describes, bareAttestation, bySubject},
	{"SOCI index", Accelerates, sociIndex, bySOCIAnnotations},
	{"Nydus image", Accelerates, nydusImage, ofNydusImage},
	{"zstd twin", Replaces, zstdImage, ofZstdImage},
}

// rowOf returns the row of an entry, nil if it stands for itself.
func rowOf(instance manifest.Instance, image func(digest.Digest) *manifest.Image) *row {
	var m *manifest.Image
	if Unclear(instance) {
		m = image(instance.Digest)
	}
	for i := range table {
		if table[i].recognises(instance, m) {
			return &table[i]
		}
	}
	return nil
}

// A list is what the table knows of the entries of a list.
type list struct {
	instances []manifest.Instance
	image     func(digest.Digest) *manifest.Image
	rows      []*row // of each entry, nil for what stands for itself

	listed map[digest.Digest]bool
	images map[target][]int // the positions of the images for each target that nothing marks
	twins  map[target][]int // those of the zstd images

	// SOCI index → the image whose annotation names it; the one with the smallest digest, wherever
	// it stands, should there be several
	soci map[digest.Digest]digest.Digest
}

// A target is a platform, in its usual spelling, without the features by which Nydus images were
// marked.
type target struct{ os, architecture, variant, version string }

func targetOf(p *imgspecv1.Platform) target {
	n := platform.Normalize(p)
	return target{n.OS, n.Architecture, n.Variant, n.OSVersion}
}

// arrange finds what subjects are looked up by.
func (l *list) arrange() {
	l.listed, l.soci = map[digest.Digest]bool{}, map[digest.Digest]digest.Digest{}
	l.images, l.twins = map[target][]int{}, map[target][]int{}
	for i, instance := range l.instances {
		l.listed[instance.Digest] = true
		images := l.images
		switch {
		case instance.IsList(), instance.IsBlob(), Unclear(instance):
			continue
		case l.rows[i] == nil:
		case l.rows[i].relation == Replaces:
			images = l.twins
		default:
			continue
		}
		t := targetOf(instance.Platform)
		images[t] = append(images[t], i)
		if d := Accelerator(instance); d != "" && (l.soci[d] == "" || instance.Digest < l.soci[d]) {
			l.soci[d] = instance.Digest
		}
	}
}

// any returns the tie of an entry to images, by their positions.
func (l *list) any(images []int) Tie { return Tie{Named: l.instances[images[0]].Digest, Any: images} }

// BuildKit's attestations ("Image attestation storage" in its documentation). unknown is what they
// say for operating system and architecture; attestationType is the artifact type of those that
// have a subject, and inTotoType the media type of all their layers.
const (
	unknown         = "unknown"
	attestationType = "application/vnd.docker.attestation.manifest.v1+json"
	inTotoType      = "application/vnd.in-toto+json"
)

func annotatedAttestation(instance manifest.Instance, _ *manifest.Image) bool {
	_, ok := instance.AttestationOf()
	return ok
}

func byReference(l *list, i int) (Tie, bool) {
	named, _ := l.instances[i].AttestationOf()
	return Tie{Named: named}, true
}

// bareAttestation recognises what another tool has taken the annotations from, as soci convert
// does: by the artifact type, or by the manifest.
func bareAttestation(instance manifest.Instance, image *manifest.Image) bool {
	switch {
	case !Unclear(instance):
		return false
	case instance.ArtifactType == attestationType:
		return true
	case image == nil:
		return false
	}
	other := func(layer manifest.Descriptor) bool { return layer.MediaType != inTotoType }
	return image.ArtifactType == attestationType || image.Subject != "" ||
		len(image.Layers) > 0 && !slices.ContainsFunc(image.Layers, other)
}

func bySubject(l *list, i int) (Tie, bool) {
	if image := l.image(l.instances[i].Digest); image != nil {
		return Tie{Named: image.Subject}, true
	}
	return Tie{}, true
}

// sociType is the artifact type of SOCI indexes, version 2 (soci_index.go and soci_convert.go of
// soci-snapshotter). Such an entry has the platform of its image, and an annotation that names it;
// an annotation of the image names the index.
const sociType = "application/vnd.amazon.soci.index.v2+json"

func sociIndex(instance manifest.Instance, _ *manifest.Image) bool {
	return !instance.IsList() && (instance.ArtifactType == sociType || annotated(instance, manifest.AnnotationSOCIImage) != "")
}

func bySOCIAnnotations(l *list, i int) (Tie, bool) {
	named := annotated(l.instances[i], manifest.AnnotationSOCIImage)
	if image, ok := l.soci[l.instances[i].Digest]; ok && !l.listed[named] {
		named = image
	}
	return Tie{Named: named}, true
}

// nydusType is the artifact type of Nydus images in lists beside the images that they are made of,
// and NydusFeature the feature by which they were marked before that (acceleration-service until
// v0.2.18, nydusify until v2.3.4). Whoever reads them looks for the one with the image's platform.
const (
	nydusType    = "application/vnd.nydus.image.manifest.v1+json"
	NydusFeature = "nydus.remoteimage.v1"
)

func nydusImage(instance manifest.Instance, _ *manifest.Image) bool {
	p := instance.Platform
	return !instance.IsList() && (instance.ArtifactType == nydusType || p != nil && slices.Contains(p.OSFeatures, NydusFeature))
}

// ofNydusImage finds the image for the same platform. A list of nothing but Nydus images is one of
// images that happen to be for Nydus.
func ofNydusImage(l *list, i int) (Tie, bool) {
	for _, all := range []map[target][]int{l.images, l.twins} {
		if images := all[targetOf(l.instances[i].Platform)]; images != nil {
			return l.any(images), true
		}
	}
	return Tie{}, len(l.images)+len(l.twins) > 0
}

// zstdImage recognises what containers/image marks as having zstd layers.
func zstdImage(instance manifest.Instance, _ *manifest.Image) bool {
	return !instance.IsList() && instance.Annotations[manifest.AnnotationZstd] == "true"
}

// ofZstdImage finds the image for the same platform that is not marked; without one, there is
// nothing to replace.
func ofZstdImage(l *list, i int) (Tie, bool) {
	images := l.images[targetOf(l.instances[i].Platform)]
	if images == nil {
		return Tie{}, false
	}
	return l.any(images), true
}
