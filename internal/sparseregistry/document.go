package sparseregistry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"

	// MaxEntries is how many entries a list may have.
	MaxEntries = 1000

	// maxDepth is the number of objects and arrays that may be open at the same time in a manifest.
	maxDepth = 64
)

// contentType is the media type that r's header states, without parameters; "" if it states none.
func contentType(r *http.Request) (string, *refusal) {
	values := r.Header.Values("Content-Type")
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		bare, _, err := mime.ParseMediaType(values[0])
		if err != nil {
			return "", refuse(http.StatusBadRequest, codeManifestInvalid, "Content-Type %q: %w", clip(values[0]), err)
		}
		return bare, nil
	default:
		return "", refuse(http.StatusBadRequest, codeManifestInvalid, "more than one Content-Type")
	}
}

// A document is a manifest that has been read, and that may be let through.
type document struct {
	body      []byte
	forwarded string          // Content-Type that next gets; "" for the client's own
	list      manifest.List   // nil if it is none
	image     *manifest.Image // nil unless it is an OCI image manifest with a subject
}

// readDocument reads a manifest that came with the given Content-Type for reference. It refuses one
// whose header says something else than the document. A header that is absent, and thus mediaType
// "", says nothing: whether that is allowed is the business of the registry behind.
func readDocument(reference, mediaType string, body []byte) (document, *refusal) {
	doc := document{body: body}
	var says outline
	isList := manifest.IsListMediaType(mediaType)
	if !isList {
		var err error
		if says, err = outlineOf(body); err != nil {
			return document{}, refuse(http.StatusBadRequest, codeManifestInvalid, "%w", err)
		}
		isList = says.list
	}
	var refusal *refusal
	switch {
	case isList && mediaType != "" && !manifest.IsListMediaType(mediaType):
		refusal = refuse(http.StatusBadRequest, codeManifestInvalid, "the document is a list, but its Content-Type is %q", clip(mediaType))
	case isList:
		doc.forwarded = mediaType
		doc.list, refusal = parseList(reference, mediaType, body)
	case says.subject && cmp.Or(mediaType, says.mediaType, ociManifest) == ociManifest:
		doc.image, refusal = parseImage(body, mediaType)
	}
	return doc, refusal
}

// parseImage reads an OCI image manifest that has a key for a subject. As with lists, nothing is
// let through that a client could read differently: what its subject is, others rely on.
func parseImage(body []byte, mediaType string) (*manifest.Image, *refusal) {
	image, err := manifest.ParseImage(body, mediaType)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, codeManifestInvalid, "%w", err)
	}
	if image.Subject == "" { // null
		return nil, nil
	}
	return image, nil
}

// An outline is what the top level of a document shows to some parser, if not to all: keys are
// compared as loosely as the loosest one does.
type outline struct {
	list      bool   // by a mediaType, or a manifests key
	subject   bool   // there is such a key
	mediaType string // the last one that is stated; "" for none
}

// outlineOf refuses what is not one JSON object, since there nobody can tell.
func outlineOf(body []byte) (outline, error) {
	var o outline
	err := topLevel(body, func(key, value string) {
		switch {
		case strings.EqualFold(key, "manifests"):
			o.list = true
		case strings.EqualFold(key, "mediaType"):
			o.list = o.list || manifest.IsListMediaType(value)
			o.mediaType = value
		case strings.EqualFold(key, "subject"):
			o.subject = true
		}
	})
	return o, err
}

var (
	errNotUTF8   = errors.New("invalid UTF-8")
	errNotObject = errors.New("not a JSON object")
	errTooDeep   = fmt.Errorf("more than %d levels of JSON", maxDepth)
)

// topLevel calls visit for every key of the JSON object that body is, repeated keys included, with
// its value if that is a string, else "".
func topLevel(body []byte, visit func(key, value string)) error {
	if !utf8.Valid(body) {
		return errNotUTF8
	}
	if err := json.Unmarshal(body, new(json.RawMessage)); err != nil { // checks the syntax, which a Decoder does less strictly
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber() // a number that no float64 holds would fail
	if first, err := dec.Token(); err != nil {
		return err
	} else if first != json.Delim('{') {
		return errNotObject
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		value, err := skipValue(dec)
		if err != nil {
			return err
		}
		visit(key.(string), value) // the syntax is right: a key is a string
	}
	return nil
}

// skipValue reads the next value of dec, inside one object. It returns the value if it is a string,
// else "".
func skipValue(dec *json.Decoder) (string, error) {
	depth := 1
	for {
		token, err := dec.Token()
		if err != nil {
			return "", err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			if depth > maxDepth {
				return "", errTooDeep
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 1 {
			text, _ := token.(string)
			return text, nil
		}
	}
}

// maxQuoted is how many bytes of a client's string an error repeats.
const maxQuoted = 100

func clip(s string) string {
	if len(s) > maxQuoted {
		return s[:maxQuoted] + "…"
	}
	return s
}
