package manifest

import (
	_ "crypto/sha256" // the algorithms that a digest may name must be linked in to be valid
	_ "crypto/sha512"
	"encoding/base64"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Descriptor names content (image-spec v1.1, "OCI Content Descriptors"; Docker's descriptors are
// a subset).
type Descriptor struct {
	MediaType    string              // "" if the document states none
	Digest       digest.Digest       // valid
	Size         int64               // in bytes; never negative
	URLs         []string            // unchecked: strangers chose them
	Annotations  map[string]string   // nil if there are none
	ArtifactType string              // "" if the document states none
	Platform     *imgspecv1.Platform // nil if absent or null; descriptors of a document share it
}

// Keys that have a meaning in one of the formats. Each level lists the keys of all formats, so that
// no document means one thing to a parser of one format and another thing to a parser of another.
var (
	topKeys = []string{
		"schemaVersion", "mediaType", "artifactType", "subject", "annotations",
		"manifests", "config", "layers", "fsLayers", "history", "signatures",
	}
	descriptorKeys = []string{
		"mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform",
	}
	platformKeys = []string{
		"architecture", "os", "os.version", "os.features", "variant", "features",
	}
)

// readDescriptor reads a descriptor. Digest and size are required.
func readDescriptor(s *scanner) (Descriptor, error) {
	var d Descriptor
	var hasDigest, hasSize bool
	start := s.pos
	err := s.object(descriptorKeys, func(key string) (err error) {
		switch key {
		case "mediaType":
			d.MediaType, err = s.optionalString()
		case "digest":
			hasDigest = true
			d.Digest, err = readDigest(s)
		case "size":
			hasSize = true
			d.Size, err = s.size()
		case "urls":
			d.URLs, err = readStrings(s)
		case "annotations":
			d.Annotations, err = readAnnotations(s)
		case "artifactType":
			d.ArtifactType, err = s.optionalString()
		case "platform":
			d.Platform, err = readPlatform(s)
		case "data":
			err = readData(s)
		default:
			err = s.any()
		}
		return err
	})
	switch {
	case err != nil:
		return Descriptor{}, err
	case !hasDigest:
		return Descriptor{}, s.fail(start, "no digest")
	case !hasSize:
		return Descriptor{}, s.fail(start, "no size")
	}
	return d, nil
}

// readDigest reads a digest of an algorithm that go-digest computes.
func readDigest(s *scanner) (digest.Digest, error) {
	start := s.pos
	text, err := s.string("a string")
	if err != nil {
		return "", err
	}
	d := digest.Digest(text)
	if err := validate(d); err != nil {
		return "", s.fail(start, "invalid digest "+quote(text)+": "+err.Error())
	}
	return d, nil
}

// validate is d.Validate, which takes longer over the digests that most lists have.
func validate(d digest.Digest) error {
	if hex, ok := strings.CutPrefix(string(d), "sha256:"); ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == "" {
		return nil
	}
	return d.Validate()
}

// readData reads embedded content, or null. It keeps nothing: content is always read by its digest.
func readData(s *scanner) error {
	if s.null() {
		return nil
	}
	start := s.pos
	text, err := s.string("a string")
	if err != nil {
		return err
	}
	if _, err := base64.StdEncoding.DecodeString(text); err != nil {
		return s.fail(start, "invalid base64")
	}
	return nil
}

// readPlatform reads a platform (image-spec v1.1, "OCI Image Index", property platform), or null.
func readPlatform(s *scanner) (*imgspecv1.Platform, error) {
	if s.null() {
		return nil, nil
	}
	var p imgspecv1.Platform
	err := s.object(platformKeys, func(key string) (err error) {
		switch key {
		case "architecture":
			p.Architecture, err = s.optionalString()
		case "os":
			p.OS, err = s.optionalString()
		case "os.version":
			p.OSVersion, err = s.optionalString()
		case "os.features":
			p.OSFeatures, err = readStrings(s)
		case "variant":
			p.Variant, err = s.optionalString()
		case "features":
			_, err = readStrings(s)
		default:
			err = s.any()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return sharedPlatform(s, p), nil
}

// A platformKey is a platform without features.
type platformKey struct{ os, architecture, variant, osVersion string }

// sharedPlatform returns p, as read before if the document has the same platform without features
// already: many entries share few.
func sharedPlatform(s *scanner, p imgspecv1.Platform) *imgspecv1.Platform {
	if p.OSFeatures != nil {
		return &p
	}
	key := platformKey{p.OS, p.Architecture, p.Variant, p.OSVersion}
	known, ok := s.platforms[key]
	if !ok {
		if s.platforms == nil {
			s.platforms = map[platformKey]*imgspecv1.Platform{}
		}
		known = new(p)
		s.platforms[key] = known
	}
	return known
}

// readAnnotations reads an object whose values are strings or null, or null. Parsers do not agree
// on which of several values counts: an annotation that decides about an entry has one.
func readAnnotations(s *scanner) (map[string]string, error) {
	if s.null() {
		return nil, nil
	}
	m := map[string]string{}
	err := s.object(nil, func(key string) (err error) {
		if _, again := m[key]; again && contains(decidingAnnotations, key) {
			return s.fail(s.keyStart, duplicateKey)
		}
		m[key], err = s.optionalString()
		return err
	})
	return m, err
}

// readStrings reads an array of strings, or null.
func readStrings(s *scanner) ([]string, error) {
	if s.null() {
		return nil, nil
	}
	list := []string{}
	err := s.array(func(int) error {
		text, err := s.string("a string")
		list = append(list, text)
		return err
	})
	return list, err
}
