package endpoint

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/docker/distribution/registry/api/errcode"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"
)

// Unwrap returns what upstream's docker transport makes of such an answer, because programs look
// for that: the first of the errors, as docker/distribution has them; a
// docker.UnexpectedHTTPStatusError for what is not the client's fault; docker.ErrTooManyRequests;
// or a types.ManifestTypeRejectedError. It is nil if upstream has nothing that could be looked for.
func (e *RegistryError) Unwrap() error {
	switch {
	case e.Status != 0 && (e.Status < http.StatusBadRequest || e.Status >= http.StatusInternalServerError):
		return docker.UnexpectedHTTPStatusError{StatusCode: e.Status}
	case e.rejectsType():
		return types.ManifestTypeRejectedError{Err: e.Errors[0].upstream()}
	case len(e.Errors) > 0:
		return e.Errors[0].upstream()
	case e.Status == http.StatusUnauthorized:
		return errcode.ErrorCodeUnauthorized.WithDetail(e.Text)
	case e.Status == http.StatusTooManyRequests:
		return docker.ErrTooManyRequests
	}
	return nil
}

// rejectsType reports whether upstream takes the answer for one about the type of a manifest.
func (e *RegistryError) rejectsType() bool {
	if e.Method != http.MethodPut || !strings.Contains(e.URL, "/manifests/") || len(e.Errors) == 0 {
		return false
	}
	switch first := e.Errors[0]; first.Code {
	case "MANIFEST_INVALID", "TAG_INVALID":
		return true
	case "UNSUPPORTED":
		return strings.Contains(first.Message, "Invalid JSON syntax") // ECR's answer
	}
	return false
}

// upstream returns an errcode.Error, or an errcode.ErrorCode if there is nothing to add to that.
func (d RegistryErrorDetail) upstream() error {
	code := errcode.ParseErrorCode(d.Code)
	if len(d.Detail) == 0 && (d.Message == "" || d.Message == code.Message()) {
		return code
	}
	e := errcode.Error{Code: code, Message: d.Message}
	if len(d.Detail) > 0 {
		_ = json.Unmarshal(d.Detail, &e.Detail) // it was JSON when it was read
	}
	return e
}
