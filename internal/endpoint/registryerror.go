package endpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// RegistryError is a registry's refusal, with every error of its answer. The fields are those of
// the error body of the OCI distribution specification v1.1, section "Error Codes", without the
// credentials of the request, and without the users and queries of URLs.
type RegistryError struct {
	Method string // of the refused request
	// URL of the refused request, without query and user information: upload URLs and redirect
	// targets carry secrets there.
	URL    string
	Status int // HTTP status
	// Errors are those of a bearer challenge and of the body, in this order; nil if there was none
	// in the specified form.
	Errors []RegistryErrorDetail
	// TokenService is set if it is the answer of a token service, which says nothing about what the
	// request was for.
	TokenService bool
	// Text is the beginning of a body that was not in the specified form.
	Text string
	// RetryAfter is how long the registry wants to be left alone, 0 if it did not say.
	RetryAfter time.Duration
}

// RegistryErrorDetail is one error of a registry's answer.
type RegistryErrorDetail struct {
	Code    string          // e.g. "MANIFEST_BLOB_UNKNOWN"
	Message string          // for people; never decide by it
	Detail  json.RawMessage // unspecified JSON; nil if absent
}

func (e *RegistryError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Method, e.URL)
	switch { // programs look for upstream's words
	case e.Status >= http.StatusInternalServerError:
		b.WriteString("received unexpected HTTP status: ")
	case len(e.Errors) == 0 && e.Status >= http.StatusBadRequest:
		b.WriteString("StatusCode: ")
	}
	fmt.Fprint(&b, e.Status)
	if text := http.StatusText(e.Status); text != "" {
		b.WriteString(" " + text)
	}
	if len(e.Errors) > 0 {
		b.WriteString(": " + e.summary())
	}
	if len(e.Errors) == 0 && e.Text != "" {
		fmt.Fprintf(&b, ": %q", e.Text)
	}
	return b.String()
}

// lookedFor are upstream's words for codes: programs look for them, whatever a registry's message
// is.
var lookedFor = map[string]string{
	"NAME_UNKNOWN": "name unknown", "MANIFEST_UNKNOWN": "manifest unknown", "UNAUTHORIZED": "unauthorized", "DENIED": "denied",
	"TOOMANYREQUESTS": "toomanyrequests",
}

// summary is the first of the errors, with what they have in common said once: registries list
// absent children one by one.
func (e *RegistryError) summary() string {
	const most = 5
	shown := e.Errors[:min(len(e.Errors), most)]
	var parts []string
	for i := 0; i < len(shown); {
		first := shown[i]
		var details []string
		for ; i < len(shown) && shown[i].Code == first.Code && shown[i].Message == first.Message; i++ {
			if d := shown[i].Detail; len(d) > 0 && string(d) != "null" {
				details = append(details, string(d))
			}
		}
		part := first.Code
		if words := lookedFor[first.Code]; len(parts) == 0 && !strings.Contains(first.Message, words) {
			part += ": " + words
		}
		if first.Message != "" {
			part += ": " + first.Message
		}
		if len(details) > 0 {
			part += " (" + strings.Join(details, ", ") + ")"
		}
		parts = append(parts, part)
	}
	if more := len(e.Errors) - len(shown); more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, "; ")
}

// Has reports whether one of the errors has the given code.
func (e *RegistryError) Has(code string) bool {
	for _, d := range e.Errors {
		if d.Code == code {
			return true
		}
	}
	return false
}

// IsUnanswered reports whether err says that a question was refused or not answered, unlike one
// that was not understood.
func IsUnanswered(err error) bool {
	var answer *RegistryError
	if errors.As(err, &answer) {
		refusals := []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests}
		return answer.TokenService || slices.Contains(refusals, answer.Status) || answer.Status >= http.StatusInternalServerError
	}
	var tried *url.Error
	var network net.Error
	return errors.As(err, &tried) || errors.As(err, &network)
}

// AboutAccess reports whether an answer is about who asks, by its codes.
func AboutAccess(e *RegistryError) bool { return e.Has("DENIED") || e.Has("UNAUTHORIZED") }

// SendLost stores a manifest that names blobs by calling put. If a registry answers that some are
// not there, although it has said that they are, or has just taken them, send is called for each,
// once, and put again: caches before registries know blobs that are gone, and stores that replicate
// do not know those that have just come.
func SendLost(blobs []Blob, put func() error, send func(Blob) error) error {
	sent := map[digest.Digest]bool{}
	for {
		err := put()
		again := false
		for _, b := range blobs {
			if sent[b.Digest] || !saysUnknown(err, b.Digest) {
				continue
			}
			if failed := send(b); failed != nil {
				return fmt.Errorf("%w (and sending blob %s again: %w)", err, b.Digest, failed)
			}
			sent[b.Digest], again = true, true
		}
		if !again {
			return err
		}
	}
}

// SaysLost reports whether err is a registry's answer to a manifest that one of blobs, which it
// names, is not there.
func SaysLost(err error, blobs []Blob) bool {
	return slices.ContainsFunc(blobs, func(b Blob) bool { return saysUnknown(err, b.Digest) })
}

// saysUnknown says whether err is a registry's answer that a blob is not there. Codes differ
// (MANIFEST_BLOB_UNKNOWN, BLOB_UNKNOWN, NOT_FOUND; none at Artifactory), and so do places: the
// digest is the detail, or part of it, or stands in the message.
func saysUnknown(err error, blob digest.Digest) bool {
	var e *RegistryError
	if !errors.As(err, &e) || e.TokenService || e.Status < http.StatusBadRequest || e.Status >= http.StatusInternalServerError {
		return false
	}
	return slices.ContainsFunc(e.Errors, func(d RegistryErrorDetail) bool {
		absent := d.Code == "" || strings.HasSuffix(d.Code, "UNKNOWN") || strings.HasSuffix(d.Code, "NOT_FOUND") || strings.HasSuffix(d.Code, "NotFound")
		return absent && (strings.Contains(d.Message, blob.String()) || strings.Contains(string(d.Detail), blob.String()))
	})
}

// typeCodes are what registries answer to manifests and lists whose media types they do not know.
var typeCodes = []string{"MANIFEST_INVALID", "UNSUPPORTED"}

// RefusesType reports whether err is a registry's answer as it may be to a manifest or list whose
// media type it does not know.
func RefusesType(err error) bool {
	registry, ok := errors.AsType[*RegistryError](err)
	return ok && slices.ContainsFunc(registry.Errors, func(e RegistryErrorDetail) bool { return slices.Contains(typeCodes, e.Code) })
}

// RefusesPut reports whether err is a registry's refusal to store something, and no failure of its
// own.
func RefusesPut(err error) bool {
	registry, ok := errors.AsType[*RegistryError](err)
	return ok && registry.Method == http.MethodPut && registry.Status >= 400 && registry.Status < 500
}
