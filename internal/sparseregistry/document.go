package sparseregistry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	// MaxEntries is how many entries a list may have.
	MaxEntries = 1000

	// maxDepth is the number of objects and arrays that may be open at the same time in a manifest.
	maxDepth = 64
)

// readBody reads the manifest that r sends, of at most manifest.MaxSize bytes.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	for _, encoding := range r.Header.Values("Content-Encoding") {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			return nil, refuse(http.StatusUnsupportedMediaType, codeUnsupported, "manifests with Content-Encoding %q are not supported", clip(encoding))
		}
	}
	tooLarge := refuse(http.StatusRequestEntityTooLarge, codeManifestInvalid, "manifest is larger than %d bytes", manifest.MaxSize)
	if r.ContentLength > manifest.MaxSize {
		return nil, tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, manifest.MaxSize))
	var beyond *http.MaxBytesError
	switch {
	case errors.As(err, &beyond):
		return nil, tooLarge
	case err != nil:
		return nil, refuse(http.StatusBadRequest, codeManifestInvalid, "reading the manifest: %w", err)
	}
	return body, nil
}

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

// looksLikeList reports whether any parser could take body for a list: because of a mediaType in
// it, or of a manifests key, the keys being compared as loosely as the loosest parser does. It
// refuses what is not one JSON object, since there nobody can tell.
func looksLikeList(body []byte) (bool, error) {
	list := false
	err := topLevel(body, func(key, value string) {
		switch {
		case strings.EqualFold(key, "manifests"):
			list = true
		case strings.EqualFold(key, "mediaType") && manifest.IsListMediaType(value):
			list = true
		}
	})
	return list, err
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
