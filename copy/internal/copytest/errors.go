package copytest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"testing"

	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	ociarchive "go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

func is(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }

func as[E error](err error) bool { _, ok := errors.AsType[E](err); return ok }

func code(codes ...errcode.ErrorCode) func(error) bool {
	return func(err error) bool {
		var coder errcode.ErrorCoder
		if !errors.As(err, &coder) {
			return false
		}
		for _, c := range codes {
			if coder.ErrorCode() == c {
				return true
			}
		}
		return false
	}
}

// ErrorChecks are what programs that use upstream ask its errors.
var ErrorChecks = map[string]func(error) bool{
	"layout.ImageNotFoundError":            as[layout.ImageNotFoundError],
	"archive.ImageNotFoundError":           as[ociarchive.ImageNotFoundError],
	"archive.ArchiveFileNotFoundError":     as[ociarchive.ArchiveFileNotFoundError],
	"directory.ErrNotContainerImageDir":    is(directory.ErrNotContainerImageDir),
	"docker.ErrUnauthorizedForCredentials": as[docker.ErrUnauthorizedForCredentials],
	"docker.ErrTooManyRequests":            is(docker.ErrTooManyRequests),
	"docker.UnexpectedHTTPStatusError":     as[docker.UnexpectedHTTPStatusError],
	"types.ManifestTypeRejectedError":      as[types.ManifestTypeRejectedError],
	"signature.PolicyRequirementError":     as[signature.PolicyRequirementError],
	"signature.InvalidSignatureError":      as[signature.InvalidSignatureError],
	"manifest unknown":                     code(v2.ErrorCodeManifestUnknown),
	"name unknown":                         code(v2.ErrorCodeNameUnknown),
	"blob unknown":                         code(v2.ErrorCodeBlobUnknown),
	"manifest invalid":                     code(v2.ErrorCodeManifestInvalid),
	"unauthorized":                         code(errcode.ErrorCodeUnauthorized),
	"denied":                               code(errcode.ErrorCodeDenied),
	"fs.ErrNotExist":                       is(fs.ErrNotExist),
	"context.Canceled":                     is(context.Canceled),
	"ECONNREFUSED":                         is(syscall.ECONNREFUSED),
	"*net.OpError":                         as[*net.OpError],
	"*url.Error":                           as[*url.Error],
	"io.EOF":                               is(io.EOF),
	"retryable":                            Retryable,
}

// Retryable decides like programs that try again: by the types along the way that Unwrap goes.
func Retryable(err error) bool {
	switch e := err.(type) { //nolint:errorlint // these programs look at one after the other
	case nil:
		return false
	case errcode.Error:
		return e.Code != errcode.ErrorCodeUnauthorized && e.Code != errcode.ErrorCodeDenied && e.Code != v2.ErrorCodeNameUnknown && e.Code != v2.ErrorCodeManifestUnknown
	case docker.UnexpectedHTTPStatusError:
		return e.StatusCode >= http.StatusBadGateway && e.StatusCode <= http.StatusGatewayTimeout
	case *url.Error:
		return e.Err == io.EOF || Retryable(e.Err) //nolint:errorlint // as these programs do
	case *net.OpError:
		return Retryable(e.Err)
	case syscall.Errno:
		return e == syscall.ECONNREFUSED || e == syscall.ECONNRESET || e == syscall.ETIMEDOUT
	case net.Error:
		wraps, ok := e.(interface{ Unwrap() error })
		return e.Timeout() || ok && Retryable(wraps.Unwrap())
	case interface{ Unwrap() error }:
		return Retryable(e.Unwrap())
	}
	return false
}

// ErrorAs returns the error of a type in err, and fails the test if there is none.
func ErrorAs[E error](t *testing.T, err error) (as E) {
	t.Helper()
	require.ErrorAs(t, err, &as)
	return as
}

// Must unwraps what policy constructors return.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
