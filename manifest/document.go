package manifest

import (
	"cmp"

	"github.com/opencontainers/go-digest"
)

// MaxSize is the number of bytes that a manifest or a list may have. Registries are only expected
// to take this much (OCI distribution specification v1.1, section "Pushing Manifests").
const MaxSize = 4 << 20

// contentKeys are the keys by which lists, image manifests and schema 1 manifests differ.
var contentKeys = []string{"manifests", "config", "layers", "fsLayers", "history", "signatures"}

// A format is what makes documents of one kind, in OCI's or Docker's form, differ from other kinds.
type format struct {
	name        string // with its article, for errors
	oci, docker string // media types of its two forms
	// contents reads the values of the contentKeys that a document of the format has. No document
	// has others.
	contents map[string]func() error
	required []string // of the keys of contents: the document is nothing without them
}

func (f format) has(mediaType string) bool { return mediaType == f.oci || mediaType == f.docker }

// A header is what the documents of all formats have in common.
type header struct {
	mediaType    string // of the document; never ""
	artifactType string
	subject      digest.Digest // "" if there is none
	annotations  map[string]string
	remarks      []Remark // on the whole document
}

// A headerReader reads the top level of a document. What can be judged only when all of it has been
// read is kept as an error until then.
type headerReader struct {
	header
	*scanner
	format   format
	declared string // media type that came with the document, or ""

	found                          map[string]bool // of topKeys, but for those with a null that must not be
	version, mediaTypeErr, foreign *ParseError     // nil as long as nothing is wrong
}

// readHeader reads the object that a document of format f is, contents included.
func readHeader(s *scanner, f format, declared string) (header, error) {
	if declared != "" && !f.has(declared) {
		err := s.fail(s.pos, "media type "+quote(declared)+" is not that of "+f.name)
		if isSchema1(declared) {
			err.Err = ErrSchema1
		}
		return header{}, err
	}
	start := s.pos
	r := headerReader{scanner: s, format: f, declared: declared, found: map[string]bool{}}
	if err := s.object(topKeys, r.member); err != nil {
		return header{}, err
	}
	if err := r.verdict(start); err != nil {
		return header{}, err
	}
	if r.mediaType == "" {
		r.mediaType = cmp.Or(declared, f.oci)
	}
	r.header.remarks = s.remarks
	return r.header, nil
}

func (r *headerReader) member(key string) (err error) {
	if contains(topKeys, key) {
		r.found[key] = true
	}
	if read := r.format.contents[key]; read != nil {
		return read()
	}
	switch key {
	case "schemaVersion":
		return r.readVersion()
	case "mediaType":
		return r.readMediaType()
	case "artifactType":
		r.artifactType, err = r.optionalString()
	case "subject":
		r.subject, err = r.readSubject()
	case "annotations":
		r.annotations, err = readAnnotations(r.scanner)
	default:
		if contains(contentKeys, key) {
			r.foreign = r.fail(r.keyStart, "does not belong in "+r.format.name)
		}
		err = r.any()
	}
	return err
}

func (r *headerReader) readVersion() error {
	start := r.pos
	if r.null() {
		delete(r.found, "schemaVersion")
		return nil
	}
	text, err := r.number()
	if err != nil {
		return err
	}
	if text != "2" {
		r.version = r.fail(start, "schemaVersion "+quote(text)+" is not 2")
	}
	if text == "1" {
		r.version.Err = ErrSchema1
	}
	return nil
}

func (r *headerReader) readMediaType() (err error) {
	start := r.pos
	r.mediaType, err = r.optionalString()
	switch {
	case err != nil:
		return err
	case r.mediaType == "":
		delete(r.found, "mediaType")
	case !r.format.has(r.mediaType):
		r.mediaTypeErr = r.fail(start, quote(r.mediaType)+" is not the media type of "+r.format.name)
	case r.declared != "" && r.declared != r.mediaType:
		r.mediaTypeErr = r.fail(start, quote(r.mediaType)+" is not the media type that came with it, "+quote(r.declared))
	}
	return nil
}

// verdict judges the document as a whole; start is where it starts.
func (r *headerReader) verdict(start int) error {
	for _, err := range []*ParseError{r.version, r.mediaTypeErr, r.foreign} {
		if err != nil {
			return err
		}
	}
	for _, key := range r.format.required {
		if !r.found[key] {
			return r.fail(start, "no "+key)
		}
	}
	for _, key := range contentKeys {
		if r.format.contents[key] != nil && !r.found[key] {
			r.remark(start, "no "+key, Irregular)
		}
	}
	if !r.found["schemaVersion"] {
		r.remark(start, "no schemaVersion", Irregular)
	}
	if !r.found["mediaType"] && r.declared == r.format.docker {
		r.remark(start, "no mediaType, which Docker's format requires", Irregular)
	}
	return nil
}

// readSubject reads a descriptor or null.
func (s *scanner) readSubject() (digest.Digest, error) {
	if s.null() {
		return "", nil
	}
	d, err := readDescriptor(s)
	return d.Digest, err
}
