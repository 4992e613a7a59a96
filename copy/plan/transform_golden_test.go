package plan

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// transformFact reads a line about images that are transformed.
func (c *planCase) transformFact(word, rest string) error {
	if c.in.Way == nil {
		c.in.Way = transforming(func(f *WayFacts) { f.Layers, f.ForeignStay = KeepLayers, true })
	}
	f := c.in.Way
	switch word {
	case "layers":
		f.Layers = LayerChange(rest)
	case "format":
		f.Layers, f.CompressionFormat = CompressLayers, rest
	case "every":
		option, does, _ := strings.Cut(rest, " ")
		f.EveryImage = append(f.EveryImage, OptionUse{option, does})
	case "encrypt":
		f.Encrypts = true
		f.EveryImage = append(f.EveryImage, OptionUse{"OciEncryptConfig", "encrypts layers"})
		for _, position := range strings.Fields(rest) {
			i, err := strconv.Atoi(position)
			if err != nil {
				return err
			}
			f.EncryptLayers = append(f.EncryptLayers, i)
		}
	case "variants":
		f.Variants = strings.Fields(rest)
	case "stores":
		f.Stores = strings.Fields(rest)
	case "rejected":
		f.Rejected = append(f.Rejected, rest)
	case "variant":
		words := strings.Fields(rest)
		c.variant(words[0], words[1], words[2])
	case "variant-present":
		name, format, _ := strings.Cut(rest, " ")
		c.in.Present[digest.FromBytes(c.in.Transformed[TransformKey{c.digest(name), format}].Bytes)] = true
	case "download-foreign":
		f.DownloadsForeign = true
	case "stores-oci":
		f.Stores = []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex}
	case "image-signed":
		if f.Signed == nil {
			f.Signed = map[digest.Digest]bool{}
		}
		f.Signed[c.digest(rest)] = true
	case "changed-subjects":
		c.in.Choices.ChangedSubjects = map[string]ChangedSubjectAction{"keep": KeepChangedSubjects, "drop": DropChangedSubjects}[rest]
	case "became":
		name, to, _ := strings.Cut(rest, " ")
		c.became(name, to)
	case "became-present":
		c.in.Present[digest.FromBytes(c.in.Transformed[TransformKey{Digest: c.digest(rest)}].Bytes)] = true
	default:
		return fmt.Errorf("unknown line %q", word)
	}
	return nil
}

// variant makes what becomes of an image that is to be a variant: what has layers of that kind, or
// what it was if to is "itself".
func (c *planCase) variant(name, format, to string) {
	if c.in.Transformed == nil {
		c.in.Transformed = map[TransformKey]Document{}
	}
	b, mediaType := c.fixture.Document(name)
	if to != "itself" {
		mediaType = imgspecv1.MediaTypeImageManifest
		b = imageOf(mediaType, ociConfig, name, imgspecv1.MediaTypeImageLayer+"+"+to)
	}
	c.in.Transformed[TransformKey{c.digest(name), format}] = Document{MediaType: mediaType, Bytes: b}
}

// became makes the result of an image that is transformed: what it was if to is "itself", else
// something of that media type, or of OCI's.
func (c *planCase) became(name, to string) {
	if c.in.Transformed == nil {
		c.in.Transformed = map[TransformKey]Document{}
	}
	b, mediaType := c.fixture.Document(name)
	switch to {
	case "itself":
	case "":
		mediaType = imgspecv1.MediaTypeImageManifest
		fallthrough
	default:
		if to != "" {
			mediaType = to
		}
		b = imageOf(mediaType, ociConfig, name)
	}
	c.in.Transformed[TransformKey{Digest: c.digest(name)}] = Document{MediaType: mediaType, Bytes: b}
}
