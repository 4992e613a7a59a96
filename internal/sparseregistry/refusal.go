package sparseregistry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Codes of the OCI distribution specification v1.1, section "Error Codes". codeUnknown is no part
// of it; Docker's registry uses it for what is wrong with the registry itself.
const (
	codeBlobUnknown     = "MANIFEST_BLOB_UNKNOWN"
	codeDenied          = "DENIED"
	codeDigestInvalid   = "DIGEST_INVALID"
	codeManifestInvalid = "MANIFEST_INVALID"
	codeNameInvalid     = "NAME_INVALID"
	codeTooMany         = "TOOMANYREQUESTS"
	codeUnavailable     = "UNAVAILABLE"
	codeUnauthorized    = "UNAUTHORIZED"
	codeUnknown         = "UNKNOWN"
	codeUnsupported     = "UNSUPPORTED"
)

// A Refusal says that a manifest was not let through, and why.
type Refusal struct {
	Repository string
	Reference  string // tag or digest as the request has it, unchecked
	Status     int    // HTTP status of the answer

	// Err is a *manifest.MissingChildrenError if children that must exist are missing.
	Err error
}

// A refusal is an error and how to answer it. If err is a *manifest.MissingChildrenError, the
// answer has one error for each missing child.
type refusal struct {
	status int
	code   string
	detail any         // nil for none
	header http.Header // more headers for the answer
	body   []byte      // the answer; nil to make one of the other fields
	err    error
}

func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{status: status, code: code, err: fmt.Errorf(format, args...)}
}

// notAllowed refuses the method of r, where only the methods of allow are supported.
func notAllowed(r *http.Request, where, allow string) *refusal {
	refused := refuse(http.StatusMethodNotAllowed, codeUnsupported, "method %q is not supported for %s", clip(r.Method), where)
	refused.header = http.Header{"Allow": {allow}}
	return refused
}

// A responseError is one error of an answer (OCI distribution specification v1.1, section "Error
// Codes").
type responseError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// A childDetail is the detail of the error for a child.
type childDetail struct {
	Architecture          string        `json:"architecture"` // "" if the list states none
	Digest                digest.Digest `json:"digest"`
	RequiredArchitectures []string      `json:"required_architectures"` // never null

	// Only if platforms are required; Platform only if the list states something of it.
	Platform          string   `json:"platform,omitempty"`
	RequiredPlatforms []string `json:"required_platforms,omitempty"`
}

// write answers with r.
func (r *refusal) write(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	body := r.body
	if body == nil {
		body, _ = json.Marshal(map[string][]responseError{"errors": r.responseErrors()}) // strings only: cannot fail
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(body) // only the client can make it fail, by leaving
}

func (r *refusal) responseErrors() []responseError {
	var missing *manifest.MissingChildrenError
	if !errors.As(r.err, &missing) {
		return []responseError{{Code: r.code, Message: r.err.Error(), Detail: r.detail}}
	}
	all := make([]responseError, len(missing.Missing))
	for i, m := range missing.Missing {
		all[i] = responseError{Code: r.code, Message: missing.Message(i), Detail: detailOf(m, missing.Policy)}
	}
	return all
}

func detailOf(m manifest.MissingChild, policy manifest.SparsePolicy) childDetail {
	d := childDetail{Architecture: m.Architecture, Digest: m.Digest, RequiredArchitectures: []string{}}
	if policy.Enabled {
		d.RequiredArchitectures = append(d.RequiredArchitectures, policy.RequiredArchitectures...)
		d.RequiredPlatforms = policy.RequiredPlatforms
	}
	if len(d.RequiredPlatforms) > 0 {
		d.Platform = m.PlatformName()
	}
	return d
}
