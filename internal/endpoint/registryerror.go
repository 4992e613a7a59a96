package endpoint

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// RegistryError is a registry's refusal, with every error of its answer. The fields are those of the error body of the OCI
// distribution specification v1.1, section "Error Codes".
type RegistryError struct {
	Method string // of the refused request
	// URL of the refused request, without query and user information: upload URLs and redirect targets carry secrets there.
	URL    string
	Status int // HTTP status
	// Errors are those of a bearer challenge and of the body, in this order; nil if there was none in the specified form.
	Errors []RegistryErrorDetail
	// TokenService is set if it is the answer of a token service, which says nothing about what the request was for.
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

// lookedFor are upstream's words for codes: programs look for them, whatever a registry's message is.
var lookedFor = map[string]string{
	"NAME_UNKNOWN": "name unknown", "MANIFEST_UNKNOWN": "manifest unknown", "UNAUTHORIZED": "unauthorized", "DENIED": "denied",
	"TOOMANYREQUESTS": "toomanyrequests",
}

// summary is the first of the errors, with what they have in common said once: registries list absent children one by one.
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

// Has says whether one of the errors has the given code.
func (e *RegistryError) Has(code string) bool {
	for _, d := range e.Errors {
		if d.Code == code {
			return true
		}
	}
	return false
}
