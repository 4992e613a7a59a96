package manifest

import "github.com/opencontainers/go-digest"

// MaxSize is the number of bytes that a manifest or a list may have. Registries commonly allow no more: the OCI distribution
// specification v1.1, section "Pushing Manifests", asks them for at least this.
const MaxSize = 4 << 20

// A header is what the documents of all formats have in common.
type header struct {
	mediaType    string // of the document; never ""
	artifactType string
	subject      digest.Digest // "" if there is none
	annotations  map[string]string
}

// contents are the keys that tell a list, an image manifest and a schema 1 manifest apart.
var contents = []string{"manifests", "config", "layers", "fsLayers", "history"}

// topLevel reads the object that is a document of a format with the given contents. Each of read's functions reads the value of one
// key and is called once. A document that has contents of another format, or lacks one of its own, is refused.
//
// declared is the media type that came with the document, "" for none; allowed says which media types the format has, oci is the one
// that a document has which states none.
func (s *scanner) topLevel(declared, oci string, allowed func(string) bool, read map[string]func() error) (header, error) {
	if declared != "" && !allowed(declared) {
		err := s.fail(0, "a document of type "+quote(declared)+" is not what is expected here")
		if declared == MediaTypeDockerSchema1 || declared == MediaTypeDockerSchema1Signed {
			err.Err = ErrSchema1
		}
		return header{}, err
	}
	var h header
	var foreign, version, own *ParseError
	start := s.pos
	found := map[string]bool{}
	err := s.object(topKeys, func(key string) (err error) {
		found[key] = true
		switch {
		case read[key] != nil:
			return read[key]()
		case contains(contents, key):
			foreign = s.fail(s.keyStart, "belongs to another format of manifest")
			return s.any()
		case key == "schemaVersion":
			version, err = s.schemaVersion()
		case key == "mediaType":
			own = s.fail(s.pos, "")
			h.mediaType, err = s.string("a string")
		case key == "artifactType":
			h.artifactType, err = s.string("a string")
		case key == "subject":
			h.subject, err = s.subject()
		case key == "annotations":
			h.annotations, err = s.annotations()
		default:
			err = s.any()
		}
		return err
	})
	switch {
	case err != nil:
		return header{}, err
	case version != nil:
		return header{}, version
	case foreign != nil:
		return header{}, foreign
	case !found["schemaVersion"]:
		return header{}, s.fail(start, "no schemaVersion")
	}
	for _, key := range contents {
		if read[key] != nil && !found[key] {
			return header{}, s.fail(start, "no "+key)
		}
	}
	if !found["mediaType"] {
		return h, s.assumeMediaType(&h, start, declared, oci)
	}
	if own.Reason = mediaTypeReason(h.mediaType, declared, allowed); own.Reason != "" {
		return header{}, own
	}
	return h, nil
}

// schemaVersion reads the version of the format. The second return value is about the value itself, the first says why a
// well-formed version is not the right one: that counts only when the rest of the document can be read.
func (s *scanner) schemaVersion() (wrong *ParseError, err error) {
	start := s.pos
	text, err := s.number()
	switch {
	case err != nil:
		return nil, err
	case text == "2":
		return nil, nil
	}
	wrong = s.fail(start, "schemaVersion "+quote(text)+" is not 2")
	if text == "1" {
		wrong.Err = ErrSchema1
	}
	return wrong, nil
}

// subject reads a descriptor or null.
func (s *scanner) subject() (digest.Digest, error) {
	if s.null() {
		return "", nil
	}
	d, err := s.descriptor()
	return d.Digest, err
}

// assumeMediaType gives a document that states no media type the one of its OCI format, if that is what was declared, if anything.
func (s *scanner) assumeMediaType(h *header, start int, declared, oci string) error {
	if declared != "" && declared != oci {
		return s.fail(start, "no mediaType, which Docker's formats require")
	}
	h.mediaType = oci
	return nil
}

// mediaTypeReason says why a document that states the media type own must be refused, or "".
func mediaTypeReason(own, declared string, allowed func(string) bool) string {
	switch {
	case !allowed(own):
		return quote(own) + " is not the mediaType of a document with such contents"
	case declared != "" && declared != own:
		return "document states the type " + quote(own) + ", but was declared to be " + quote(declared)
	}
	return ""
}
