package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// LayerChange is what a destination wants done to the layers of images.
type LayerChange string

// What is done to layers. The zero value leaves them as they are.
const (
	KeepLayers       LayerChange = ""
	CompressLayers   LayerChange = "compress"
	DecompressLayers LayerChange = "decompress"
)

// The compressions that manifests can state, as upstream names them.
const (
	gzip        = "gzip"
	zstd        = "zstd"
	zstdChunked = "zstd:chunked"
)

// compressionOption is the option that CompressionFormat comes from.
const compressionOption = "DestinationCtx.CompressionFormat"

// reasonSchema1 is why an image of that kind changes: most destinations store none.
const reasonSchema1 = "is a Docker schema 1 image"

// reasonOf returns why the image with the digest d is transformed, "" if it is carried. It fails
// with an *OptionsError if what is asked for is impossible.
func reasonOf(in *Input, d digest.Digest) (string, error) {
	if err := checkFormats(in); err != nil {
		return "", err
	}
	doc, read := in.Tree.Document(d)
	image, err := in.Tree.Image(d)
	switch {
	case err != nil:
		return "", fmt.Errorf("manifest %s: %w", d, err)
	case image != nil:
		err = checkEncryption(in, d, image)
	}
	fixed := fixes(in, d)
	switch {
	case err != nil:
		return "", err
	case len(in.Way.EveryImage) > 0 && !fixed && !inert(in.Way, image):
		return in.Way.EveryImage[0].text(), nil
	case !read && !fixed:
		return in.Recalled[d].Reason, nil
	case !read:
		return "", nil
	case image == nil:
		return reasonSchema1, nil
	case !fixed:
		if reason := reasonInType(in, doc.MediaType); reason != "" {
			return reason, checkConvertible(in, d)
		}
	}
	return reasonInImage(in, image, fixed), nil
}

// checkConvertible refuses to convert what holds no layers of an image. In lists, it stays behind.
func checkConvertible(in *Input, d digest.Digest) error {
	if forced := in.Choices.ForceManifestMIMEType; forced != "" && holdsOther(in.Tree, d) {
		return &OptionsError{[]string{"ForceManifestMIMEType"}, fmt.Sprintf("%s holds no layers of an image, and cannot be converted to %s", d, forced)}
	}
	return nil
}

// inert reports whether an image was read, and has no layers that anything is done to: those of
// attestations and other artifacts are left as they are.
func inert(f *WayFacts, image *manifest.Image) bool {
	return image != nil && len(toEncrypt(f, image)) == 0 && !slices.ContainsFunc(image.Layers, func(layer manifest.Descriptor) bool {
		_, changeable := compressionOf(image, layer)
		return changeable
	})
}

// holdsOther reports whether the manifest with digest d was read, and holds something else than
// layers of an image.
func holdsOther(t *Tree, d digest.Digest) bool {
	image, err := t.Image(d)
	return err == nil && image != nil && len(image.Layers) > 0 && !slices.ContainsFunc(image.Layers, isEncryptable)
}

// checkFormats refuses what no manifest can state, or not one of the type that is forced.
func checkFormats(in *Input) error {
	forced, format := in.Choices.ForceManifestMIMEType, in.Way.CompressionFormat
	if !slices.Contains([]string{"", gzip, zstd, zstdChunked}, format) {
		return &OptionsError{[]string{compressionOption}, "no manifest can state " + format}
	}
	switch {
	case forced == "" || forced == imgspecv1.MediaTypeImageManifest:
		return nil
	case in.Way.Encrypts:
		return &OptionsError{[]string{"OciEncryptConfig", "ForceManifestMIMEType"}, forced + " has no place for encrypted layers"}
	case format != "" && format != gzip:
		return &OptionsError{[]string{compressionOption, "ForceManifestMIMEType"}, fmt.Sprintf("%s does not state %s", forced, format)}
	}
	return nil
}

// fixes reports whether the manifest of the image with the digest d must not change.
func fixes(in *Input, d digest.Digest) bool {
	return in.Choices.PreserveDigests || in.DestinationDigest != "" || in.Way.Signed[d]
}

// reasonInType returns why a manifest or list of type mt has to have another one, "" if it has not.
func reasonInType(in *Input, mt string) string {
	switch {
	case mt != forcedType(&in.Choices, mt):
		return fmt.Sprintf("is %s, which ForceManifestMIMEType converts", mt)
	case slices.Contains(in.Way.Rejected, mt):
		return fmt.Sprintf("has to be converted: the destination refuses %q", mt)
	case in.Way.Stores != nil && !slices.Contains(in.Way.Stores, mt):
		return fmt.Sprintf("has to be converted: the destination does not store %q", mt)
	}
	return ""
}

// forcedType returns the media type that a manifest or list of type mt has to have, mt itself if
// none is forced.
func forcedType(o *Choices, mt string) string {
	forced := cmp.Or(o.ForceManifestMIMEType, mt)
	if !manifest.IsListMediaType(mt) {
		return forced
	}
	switch forced {
	case manifest.MediaTypeDockerManifest, manifest.MediaTypeDockerSchema1, manifest.MediaTypeDockerSchema1Signed:
		return manifest.MediaTypeDockerList
	case imgspecv1.MediaTypeImageManifest:
		return imgspecv1.MediaTypeImageIndex
	}
	return forced
}

// reasonInImage returns why an image has to change, "" if it has not. fixed is set if its manifest
// must not: then its layers stay as they are.
func reasonInImage(in *Input, image *manifest.Image, fixed bool) string {
	f := in.Way
	format := f.CompressionFormat
	if !fixed && format != "" && format != gzip && image.MediaType != imgspecv1.MediaTypeImageManifest {
		return fmt.Sprintf("has to be converted: %s does not state %s, which %s wants", image.MediaType, format, compressionOption)
	}
	for _, layer := range image.Layers {
		elsewhere := len(layer.URLs) > 0
		algorithm, changeable := compressionOf(image, layer)
		switch {
		case elsewhere && f.DownloadsForeign:
			return "has layers that are elsewhere, which DownloadForeignLayers wants"
		case elsewhere && f.ForeignStay:
			continue
		case elsewhere:
			return "has layers that are elsewhere, which the destination wants"
		case f.Decrypts && isEncrypted(layer):
			return "has encrypted layers, which OciDecryptConfig decrypts"
		case fixed || !changeable:
		case f.Layers == CompressLayers && algorithm == "":
			return "has uncompressed layers, which the destination wants compressed"
		case f.Layers == CompressLayers && !suits(layer, algorithm, format):
			return fmt.Sprintf("has %s layers, which %s wants to be %s", algorithm, compressionOption, format)
		case f.Layers == DecompressLayers && algorithm != "":
			return "has compressed layers, which DestinationCtx.DirForceDecompress decompresses"
		}
	}
	return ""
}

// suits reports whether a layer with the given compression has the format that is asked for, if one
// is. What is zstd:chunked is zstd, too.
func suits(layer manifest.Descriptor, algorithm, format string) bool {
	chunked := algorithm == zstd && layer.Annotations[chunkedAnnotation] != ""
	return format == "" || algorithm == format || format == zstdChunked && chunked
}

// compressionOf returns the name of a layer's compression by its media type, "" for none. Upstream
// leaves layers whose type it does not know, and those of artifacts, as they are: they are not
// changeable.
func compressionOf(image *manifest.Image, layer manifest.Descriptor) (algorithm string, changeable bool) {
	known := ociLayers
	if image.MediaType == manifest.MediaTypeDockerManifest {
		known = dockerLayers
	} else if image.Config.MediaType != imgspecv1.MediaTypeImageConfig {
		return "", false
	}
	algorithm, changeable = known[layer.MediaType]
	return algorithm, changeable
}

// The media types of layers, and their compressions.
var (
	ociLayers = map[string]string{
		imgspecv1.MediaTypeImageLayer:                     "",
		imgspecv1.MediaTypeImageLayerGzip:                 gzip,
		imgspecv1.MediaTypeImageLayerZstd:                 zstd,
		imgspecv1.MediaTypeImageLayerNonDistributable:     "",   //nolint:staticcheck // still in use
		imgspecv1.MediaTypeImageLayerNonDistributableGzip: gzip, //nolint:staticcheck // still in use
		imgspecv1.MediaTypeImageLayerNonDistributableZstd: zstd, //nolint:staticcheck // still in use
	}
	dockerLayers = map[string]string{
		manifest.MediaTypeDockerLayer:            "",
		manifest.MediaTypeDockerLayerGzip:        gzip,
		manifest.MediaTypeDockerForeignLayer:     "",
		manifest.MediaTypeDockerForeignLayerGzip: gzip,
	}
)
