package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Only layers of images can be encrypted: there is no type for anything else. In lists, artifacts
// and attestations stay behind then, rather than go along for everybody to read.

// encryptedSuffix ends the media types of layers that are encrypted.
const encryptedSuffix = "+encrypted"

func isEncrypted(layer manifest.Descriptor) bool {
	return strings.HasSuffix(layer.MediaType, encryptedSuffix)
}

// encryptableTypes are the media types of layers that can be encrypted, without their suffixes.
var encryptableTypes = []string{
	imgspecv1.MediaTypeImageLayer, imgspecv1.MediaTypeImageLayerNonDistributable, //nolint:staticcheck // still in use
	manifest.MediaTypeDockerLayer, manifest.MediaTypeDockerLayerGzip, manifest.MediaTypeDockerForeignLayer, manifest.MediaTypeDockerForeignLayerGzip,
}

func isEncryptable(layer manifest.Descriptor) bool {
	base, _, _ := strings.Cut(layer.MediaType, "+")
	return slices.Contains(encryptableTypes, base)
}

// resists reports whether layers of the image with the digest d are to be encrypted that cannot be,
// or that it does not have, while none of those that it has could be. It is false of what was not
// read.
func resists(in *Input, d digest.Digest) bool {
	if !transforms(in) || !in.Way.Encrypts {
		return false
	}
	image, err := in.Tree.Image(d)
	if err != nil || image == nil {
		return false
	}
	n := len(image.Layers)
	lacks := slices.ContainsFunc(in.Way.EncryptLayers, func(i int) bool { return i >= n || i < -n })
	return slices.ContainsFunc(toEncrypt(in.Way, image), isUnencryptable) || lacks && !slices.ContainsFunc(image.Layers, isEncryptable)
}

func isUnencryptable(layer manifest.Descriptor) bool { return !isEncryptable(layer) }

// toEncrypt returns the layers of an image that are to be encrypted. Those that stay elsewhere, or
// are encrypted already, are left alone.
func toEncrypt(f *WayFacts, image *manifest.Image) []manifest.Descriptor {
	var layers []manifest.Descriptor
	for i, layer := range image.Layers {
		asked := len(f.EncryptLayers) == 0 || slices.Contains(f.EncryptLayers, i) || slices.Contains(f.EncryptLayers, i-len(image.Layers))
		stays := f.ForeignStay && !f.DownloadsForeign && len(layer.URLs) > 0
		if f.Encrypts && asked && !stays && !isEncrypted(layer) {
			layers = append(layers, layer)
		}
	}
	return layers
}

// checkCaches refuses to encrypt a list that names blobs, which are copied as they are.
func checkCaches(in *Input) error {
	if transforms(in) && in.Way.Encrypts && in.Tree.HasBlobs() {
		return &OptionsError{[]string{"OciEncryptConfig"}, "the list names blobs (a build cache), which cannot be encrypted"}
	}
	return nil
}

// checkEncryption refuses to encrypt or decrypt an image that must not change, or cannot be
// encrypted.
func checkEncryption(in *Input, d digest.Digest, image *manifest.Image) error {
	layers := toEncrypt(in.Way, image)
	if i := slices.IndexFunc(layers, isUnencryptable); i >= 0 {
		return &OptionsError{[]string{"OciEncryptConfig"}, fmt.Sprintf("%s has a layer of the type %q, which cannot be encrypted", d, layers[i].MediaType)}
	}
	if len(layers) > 0 {
		return checkFree(in, d, "OciEncryptConfig", "its layers would be encrypted")
	}
	if in.Way.Decrypts && slices.ContainsFunc(image.Layers, isEncrypted) {
		return checkFree(in, d, "OciDecryptConfig", "its layers would be decrypted")
	}
	return nil
}

// checkFree refuses what option would do to an image whose manifest must not change.
func checkFree(in *Input, d digest.Digest, option, does string) error {
	switch {
	case in.Choices.PreserveDigests:
		return &OptionsError{[]string{option, "PreserveDigests"}, fmt.Sprintf("%s must not be changed, and %s", d, does)}
	case in.DestinationDigest != "":
		return &OptionsError{[]string{option}, fmt.Sprintf("the destination names the digest %s, and %s must not be changed, but %s", in.DestinationDigest, d, does)}
	case in.Way.Signed[d]:
		return &OptionsError{[]string{option, "RemoveSignatures"}, fmt.Sprintf("%s is signed, and its signatures would become invalid: %s", d, does)}
	}
	return nil
}
