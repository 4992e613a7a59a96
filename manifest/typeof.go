package manifest

import (
	"errors"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// TypeOf returns the media type by which Parse or ParseImage is to read a document that came with
// the media type declared, without parameters, "" for none. What registries and lists declare is
// wrong in the field: what the document itself says goes before it.
//
// That is its mediaType, if that is one of a list or of an image manifest. Else it is its shape:
// manifests make a list, schemaVersion 1 a Docker schema 1 manifest, config or layers an image
// manifest, and fsLayers alone one of schema 1. OCI's formats and Docker's differ in what they
// name: what is declared as Docker's is so, unless it names OCI manifests only, or an OCI config;
// of what is not declared as either, an image manifest with Docker's config is Docker's. All else
// is OCI's, whose formats need not state their media types.
//
// Of a document that does not say what it is, declared is believed if it is a list's or a
// manifest's; otherwise TypeOf returns "". It says nothing about whether the document is well
// formed: Parse and ParseImage refuse what contradicts itself.
func TypeOf(b []byte, declared string) string {
	o := outlineOf(b)
	switch {
	case o.stated != "":
		return o.stated
	case o.has["manifests"]:
		if declared == MediaTypeDockerList && (!o.oci || o.other) {
			return MediaTypeDockerList
		}
		return imgspecv1.MediaTypeImageIndex
	case o.schema1 || o.has["fsLayers"] && !o.has["config"] && !o.has["layers"]:
		if o.has["signatures"] {
			return MediaTypeDockerSchema1Signed
		}
		return MediaTypeDockerSchema1
	case o.has["config"] || o.has["layers"]:
		if declared != imgspecv1.MediaTypeImageManifest && o.config == MediaTypeDockerConfig ||
			declared == MediaTypeDockerManifest && o.config != imgspecv1.MediaTypeImageConfig {
			return MediaTypeDockerManifest
		}
		return imgspecv1.MediaTypeImageManifest
	case isManifestMediaType(declared):
		return declared
	}
	return ""
}

// isManifestMediaType reports whether mt, without parameters, is the media type of a list or of an
// image manifest, schema 1 included.
func isManifestMediaType(mt string) bool {
	return isSchema1(mt) || statesFormat(mt)
}

func isSchema1(mt string) bool {
	return mt == MediaTypeDockerSchema1 || mt == MediaTypeDockerSchema1Signed
}

// IsMisdeclared reports whether a document of media type mt was declared to be another list or
// manifest. A media type that is not one of these, as text/plain, declares nothing, and which of
// the two of schema 1 it was does not matter.
func IsMisdeclared(mt, declared string) bool {
	return declared != mt && isManifestMediaType(declared) && !(isSchema1(mt) && isSchema1(declared))
}

// statesFormat reports whether mt, as the mediaType of a document, says what it is. Docker schema 1
// manifests have none.
func statesFormat(mt string) bool {
	return IsListMediaType(mt) || mt == imgspecv1.MediaTypeImageManifest || mt == MediaTypeDockerManifest
}

// An outline is what tells the formats apart.
type outline struct {
	stated  string          // the document's mediaType, if it is a list's or an image manifest's
	has     map[string]bool // top-level keys
	schema1 bool            // schemaVersion is 1
	config  string          // media type of the config, "" if there is none
	oci     bool            // an entry is of one of OCI's types
	other   bool            // an entry is of another type, or states none
}

// errEnough ends reading an outline early.
var errEnough = errors.New("the rest does not matter")

// outlineOf reads a document up to what it states itself to be, or to where it is no JSON.
func outlineOf(b []byte) outline {
	o := outline{has: map[string]bool{}}
	s, err := newScanner(b)
	if err != nil {
		return o
	}
	s.space()
	// What is wrong is said where the document is parsed.
	_ = s.object(nil, func(key string) error { return o.member(s, key) })
	return o
}

func (o *outline) member(s *scanner, key string) error {
	o.has[key] = true
	switch {
	case key == "mediaType" && s.peek() == '"':
		text, err := s.string("a string")
		if err == nil && statesFormat(text) {
			o.stated = text
			return errEnough
		}
		return err
	case key == "schemaVersion":
		start := s.pos
		err := s.any()
		o.schema1 = s.src[start:s.pos] == "1"
		return err
	case key == "config" && s.peek() == '{':
		return mediaTypeIn(s, func(mt string) { o.config = mt })
	case key == "manifests" && s.peek() == '[':
		return s.array(func(int) error {
			if s.peek() != '{' {
				return s.any()
			}
			stated := ""
			err := mediaTypeIn(s, func(mt string) { stated = mt })
			if stated == imgspecv1.MediaTypeImageManifest || stated == imgspecv1.MediaTypeImageIndex {
				o.oci = true
			} else {
				o.other = true
			}
			return err
		})
	}
	return s.any()
}

// mediaTypeIn reads an object, and hands its mediaType to found.
func mediaTypeIn(s *scanner, found func(string)) error {
	return s.object(nil, func(key string) error {
		if key != "mediaType" || s.peek() != '"' {
			return s.any()
		}
		mt, err := s.string("a string")
		found(mt)
		return err
	})
}
