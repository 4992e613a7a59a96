package registry

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/docker/distribution/registry/api/errcode"
	"go.podman.io/image/v5/docker"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// Unsupported is the error of OpenSource and OpenDestination for what this package cannot do and
// the docker transport of containers/image can. No request was sent.
type Unsupported struct {
	What string // e.g. "additional-layer-store-auth-helper"
}

func (e *Unsupported) Error() string {
	return "not supported when speaking to registries directly: " + e.What
}

// Limits on what registries send.
const (
	maxManifestSize  = 4 << 20
	maxErrorBodySize = 4 << 20 // a refusal of a list names every missing child
	maxErrorText     = 512     // of a body that is not in the specified form
)

// refusal is an answer that says no.
type refusal struct {
	*endpoint.RegistryError
	page bool // it claims to be a web page
}

func (e *refusal) Unwrap() error { return e.RegistryError }

// HTTPStatus and Wait implement ocihttp.Refusal.
func (e *refusal) HTTPStatus() int     { return e.Status }
func (e *refusal) Wait() time.Duration { return e.RetryAfter }

// As makes the refusal of a token service what upstream returns, if the credentials are to blame: a
// docker.ErrUnauthorizedForCredentials.
func (e *refusal) As(target any) bool {
	unauthorized, ok := target.(*docker.ErrUnauthorizedForCredentials)
	if !ok || !e.TokenService || e.Status != http.StatusUnauthorized {
		return false
	}
	*unauthorized = docker.ErrUnauthorizedForCredentials{Err: e}
	return true
}

// newRefusal reads an answer that says no, and closes its body.
func newRefusal(resp *http.Response, now time.Time) *refusal {
	defer resp.Body.Close()
	e := &endpoint.RegistryError{
		Method: resp.Request.Method,
		URL:    ocihttp.CleanURL(resp.Request.URL),
		Status: resp.StatusCode,
	}
	// What can be read of a broken body still says more than nothing.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBodySize))
	e.Errors, e.Text = parseErrorBody(body)
	if e.Text != "" { // of more than that: half a secret is not known as one
		more := string(body[:min(len(body), 8*maxErrorText)])
		e.Text = cmp.Or(beginning([]byte(ocihttp.CleanAnswer(resp.Request, more))), "…")
	}
	clean(e, resp.Request)
	if said := challengeError(resp); said != nil {
		e.Errors = slices.Insert(e.Errors, 0, *said)
	}
	e.RetryAfter = ocihttp.ParseRetryAfter(resp.Header.Get("Retry-After"), ocihttp.TimeOf(resp.Header, now))
	return &refusal{RegistryError: e, page: isPage(resp.Header)}
}

// clean takes out of the errors of a registry what may be secret: the credentials of the request,
// and those in URLs, such as of a registry behind it.
func clean(e *endpoint.RegistryError, req *http.Request) {
	for i := range e.Errors {
		said := &e.Errors[i]
		said.Message = ocihttp.CleanAnswer(req, said.Message)
		if detail := json.RawMessage(ocihttp.CleanAnswer(req, string(said.Detail))); json.Valid(detail) {
			said.Detail = detail
		}
	}
}

// challengeError is the error in a bearer challenge, nil if there is none; RFC 6750, section 3.1.
// It says more than the body, which is UNAUTHORIZED in both cases: a valid token that does not
// suffice is DENIED, as it is to upstream.
func challengeError(resp *http.Response) *endpoint.RegistryErrorDetail {
	var said errcode.ErrorCode
	challenges := ocihttp.ParseChallenges(resp.Header)
	switch fault, _ := ocihttp.RefusedToken(challenges); fault {
	case ocihttp.InvalidToken:
		said = errcode.ErrorCodeUnauthorized
	case ocihttp.InsufficientScope:
		said = errcode.ErrorCodeDenied
	default:
		return nil
	}
	return &endpoint.RegistryErrorDetail{Code: said.String(), Message: said.Message()}
}

// parseErrorBody reads a body in the form of the OCI distribution specification v1.1, section
// "Error Codes". Of any other body it returns the beginning.
func parseErrorBody(body []byte) ([]endpoint.RegistryErrorDetail, string) {
	var parsed struct {
		Errors []struct {
			Code    string          `json:"code"`
			Message string          `json:"message"`
			Detail  json.RawMessage `json:"detail"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(body, &parsed); err != nil || parsed.Errors == nil {
		return nil, beginning(body)
	}
	details := make([]endpoint.RegistryErrorDetail, len(parsed.Errors))
	if len(details) == 0 {
		return details, beginning(body)
	}
	for i, e := range parsed.Errors {
		details[i] = endpoint.RegistryErrorDetail{Code: e.Code, Message: e.Message, Detail: e.Detail}
	}
	return details, ""
}

// beginning is the beginning of a body, as valid UTF-8.
func beginning(body []byte) string {
	n := min(len(body), maxErrorText)
	for n < len(body) && n > maxErrorText-utf8.UTFMax && !utf8.RuneStart(body[n]) {
		n-- // not in the middle of a character
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(body[:n]), "\uFFFD"))
}

// answered returns the answer of the registry itself that err is about, nil if there is none: a
// token service's says nothing about what the request was for.
func answered(err error) *endpoint.RegistryError {
	var e *endpoint.RegistryError
	if !errors.As(err, &e) || e.TokenService {
		return nil
	}
	return e
}

// says404 reports whether err is a 404 of the registry itself that is not about access.
func says404(err error) bool {
	e := answered(err)
	return e != nil && endpoint.SaysNotFound(e, true)
}

// saysNotFound reports whether err is a definite answer of r that the object of a GET or HEAD is
// not there: see endpoint.ErrNotFound.
func (r *repository) saysNotFound(err error) bool {
	no, ok := errors.AsType[*refusal](err)
	if !ok {
		return false
	}
	proven := r.knowsManifests.Load()
	if no.Method == http.MethodHead {
		proven = !no.page
	}
	return endpoint.SaysNotFound(no.RegistryError, proven)
}

// wrapNotFound makes err endpoint.ErrNotFound, too, if that is what it says.
func (r *repository) wrapNotFound(err error) error {
	if r.saysNotFound(err) {
		return &notFound{err}
	}
	return err
}

// notFound is endpoint.ErrNotFound, with its reason. It unwraps to that alone: programs follow
// Unwrap.
type notFound struct{ err error }

func (e *notFound) Error() string        { return endpoint.ErrNotFound.Error() + ": " + e.err.Error() }
func (e *notFound) Unwrap() error        { return e.err }
func (e *notFound) Is(target error) bool { return target == endpoint.ErrNotFound }

// A credentialError is a refusal for lack of authorization, with where credentials were looked for.
type credentialError struct {
	err    error
	looked string
}

func (e *credentialError) Error() string { return e.err.Error() + "; " + e.looked }
func (e *credentialError) Unwrap() error { return e.err }

// explained adds to an error that may be about credentials where they were looked for: to a refusal
// for lack of authorization, and to one of a request without credentials.
func (r *repository) explained(err error) error {
	refused, ok := errors.AsType[*endpoint.RegistryError](err)
	if !ok || r.creds == nil {
		return err
	}
	without := r.account() == ocihttp.Account{}
	if refused.Status != http.StatusUnauthorized && (refused.Status != http.StatusForbidden || !without) {
		return err
	}
	looked := r.creds.looked()
	if looked == "" {
		return err
	}
	if without {
		looked += ": there are none"
	}
	return &credentialError{err, looked}
}
