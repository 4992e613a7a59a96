package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"reflect"
	"slices"

	"github.com/docker/distribution/registry/api/errcode"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// An operation is what was tried when an error happened.
type operation struct {
	verb   string // for people, "reading manifest"
	object string // for people, "sha256:…"; "" for the reference itself
	method string // HTTP method of the request; "" where upstream makes several and does not say which one failed
	path   string // of the request, below the repository; "" if unknown
	// unproven is set as long as nothing has shown that a registry is there, and not a proxy that
	// answers 404 to everything.
	unproven bool
}

// opError adds to one of upstream's errors what can be learned from it. errors.Is and errors.As
// find the original, also where upstream wraps without Unwrap; the refusal as
// *endpoint.RegistryError if a registry answered; and endpoint.ErrNotFound if the object is
// definitely not there. It unwraps to upstream's error alone: programs follow Unwrap.
type opError struct {
	text  string
	err   error
	extra []error
}

func (e *opError) Error() string { return e.text + ": " + e.err.Error() }
func (e *opError) Unwrap() error { return e.err }

// Is and As look into what errors.Is and errors.As do not find along Unwrap.
func (e *opError) Is(target error) bool {
	return slices.ContainsFunc(e.extra, func(extra error) bool { return errors.Is(extra, target) })
}

func (e *opError) As(target any) bool {
	return slices.ContainsFunc(e.extra, func(extra error) bool { return errors.As(extra, target) })
}

// wrap makes an opError of err, which happened during op on ref. It returns nil for nil.
func wrap(ref types.ImageReference, op operation, err error) error {
	if err == nil {
		return nil
	}
	e := &opError{text: op.verb, err: err, extra: hidden(err)}
	if op.object != "" {
		e.text += " " + op.object + " of"
	}
	e.text += " " + transports.ImageName(ref)
	switch ref.Transport().Name() {
	case docker.Transport.Name():
		if refusal := registryRefusal(err); refusal != nil {
			refusal.Method, refusal.URL = op.method, requestURL(ref, op)
			e.extra = append(e.extra, refusal)
			if endpoint.SaysNotFound(refusal, !op.unproven) {
				e.extra = append(e.extra, endpoint.ErrNotFound)
			}
		}
	default:
		if isFileNotFound(err) {
			e.extra = append(e.extra, endpoint.ErrNotFound)
		}
	}
	return e
}

// confirmAbsence adds endpoint.ErrNotFound to err, a refusal to hand out what ref names, if the
// registry says so by its status. Upstream keeps no status of an answer whose code it does not
// know, such as Quay's TAG_EXPIRED: the registry itself is asked by HEAD.
func confirmAbsence(ctx context.Context, ref types.ImageReference, sys *types.SystemContext, err error) error {
	refused, ok := errors.AsType[*opError](err)
	if !ok || ref.Transport().Name() != docker.Transport.Name() {
		return err
	}
	refusal := registryRefusal(refused.err)
	if refusal == nil || !refusal.Has("UNKNOWN") || refusal.Status != 0 {
		return err
	}
	ref, failed := docker.NewReference(ref.DockerReference()) // GetDigest wants its own type, ref may be a caller's
	if failed != nil {
		return err
	}
	_, head := docker.GetDigest(ctx, sys, ref)
	if answer := registryRefusal(head); answer != nil && endpoint.SaysNotFound(answer, true) {
		refused.extra = append(refused.extra, endpoint.ErrNotFound)
	}
	return err
}

// requestURL is a network-path reference: upstream does not say whether it spoke HTTP or HTTPS.
func requestURL(ref types.ImageReference, op operation) string {
	named := ref.DockerReference()
	url := "//" + reference.Domain(named) + "/v2/" + reference.Path(named)
	if op.path != "" {
		url += "/" + op.path
	}
	return url
}

// isFileNotFound reports whether err means that a file, or a name in an index, does not exist.
func isFileNotFound(err error) bool {
	var inLayout layout.ImageNotFoundError
	var inArchive archive.ImageNotFoundError
	var archiveFile archive.ArchiveFileNotFoundError
	return errors.Is(err, fs.ErrNotExist) ||
		errors.As(err, &inLayout) || errors.As(err, &inArchive) || errors.As(err, &archiveFile)
}

// registryRefusal finds a registry's answer in one of upstream's errors; nil if there is none.
//
// Upstream keeps either the first error of the answer's body, and then loses the status: it is
// taken from the code's definition, and 0 if the code is not known to upstream (which then says
// UNKNOWN); or the status, without a code.
func registryRefusal(err error) *endpoint.RegistryError {
	var refusal *endpoint.RegistryError
	walk(err, func(err error) bool {
		switch e := err.(type) { //nolint:errorlint // walk looks into what it wraps
		case errcode.Error:
			refusal = &endpoint.RegistryError{
				Status: definedStatus(e.Code),
				Errors: []endpoint.RegistryErrorDetail{{Code: e.Code.String(), Message: e.Message, Detail: detailOf(e)}},
			}
		case docker.UnexpectedHTTPStatusError:
			// Of the registry only with 5xx; a 404 is the token service's, and no answer about an
			// object.
			if e.StatusCode != http.StatusNotFound {
				refusal = &endpoint.RegistryError{Status: e.StatusCode, Text: e.Error()}
			}
		default:
			if err == docker.ErrTooManyRequests { //nolint:errorlint // walk looks into what it wraps
				refusal = &endpoint.RegistryError{Status: http.StatusTooManyRequests}
			} else if status, body, ok := bodyWithoutCode(err); ok {
				refusal = &endpoint.RegistryError{Status: status, Text: body}
			}
		}
		return refusal != nil
	})
	return refusal
}

// definedStatus is the HTTP status that the distribution specification gives to code; 0 if the code
// tells nothing.
func definedStatus(code errcode.ErrorCode) int {
	if code == errcode.ErrorCodeUnknown {
		return 0
	}
	return code.Descriptor().HTTPStatusCode
}

func detailOf(e errcode.Error) json.RawMessage {
	if e.Detail == nil {
		return nil
	}
	detail, err := json.Marshal(e.Detail)
	if err != nil {
		return nil
	}
	return detail
}

// maxText bounds RegistryError.Text.
const maxText = 512

// bodyWithoutCode recognises upstream's error for an answer that is not in the specified form: the
// answer to every HEAD, for example. Its type is not exported, but its fields are.
func bodyWithoutCode(err error) (status int, body string, ok bool) {
	v := reflect.Indirect(reflect.ValueOf(err))
	if v.Kind() != reflect.Struct || v.Type().PkgPath() != reflect.TypeFor[docker.UnexpectedHTTPStatusError]().PkgPath() {
		return 0, "", false
	}
	code, response := v.FieldByName("StatusCode"), v.FieldByName("Response")
	if code.Kind() != reflect.Int || response.Kind() != reflect.Slice || response.Type().Elem().Kind() != reflect.Uint8 {
		return 0, "", false
	}
	text := response.Bytes()
	return int(code.Int()), string(text[:min(len(text), maxText)]), true
}

// walk calls f for err and everything that it wraps, outermost first, until f returns true. Unlike
// errors.As it looks into those of upstream's errors that wrap without saying so.
func walk(err error, f func(error) bool) bool {
	if err == nil {
		return false
	}
	if f(err) {
		return true
	}
	for _, inner := range wrapped(err) {
		if walk(inner, f) {
			return true
		}
	}
	return false
}

// hidden are the errors that are wrapped somewhere in err without Unwrap.
func hidden(err error) []error {
	var all []error
	walk(err, func(err error) bool {
		all = append(all, wrappedSilently(err)...)
		return false
	})
	return all
}

func wrappedSilently(err error) []error {
	switch e := err.(type) { //nolint:errorlint // one error, not what it wraps
	case types.ManifestTypeRejectedError:
		return []error{e.Err}
	case docker.ErrUnauthorizedForCredentials:
		return []error{e.Err}
	case errcode.Errors:
		return e
	}
	return nil
}

func wrapped(err error) []error {
	if inner := wrappedSilently(err); inner != nil {
		return inner
	}
	switch e := err.(type) { //nolint:errorlint // one error, not what it wraps
	case interface{ Unwrap() error }:
		return []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	}
	return nil
}

// mismatch is the error for content that is not what its name says.
func mismatch(what string, want, got any) error {
	return fmt.Errorf("%s is %v, want %v", what, got, want)
}
