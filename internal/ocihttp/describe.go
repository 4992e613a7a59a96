package ocihttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/sirupsen/logrus"
)

// Describe is the layer that says what the errors below it are about: each is a *TransportError,
// those of Read of an answer's body included, but for a *ContentError, which stays what it is.
// known reports whether the host has answered anything before.
//
// Each request is logged before it is sent, for debugging.
func Describe(known func() bool) Layer {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
			if logrus.IsLevelEnabled(logrus.DebugLevel) {
				logrus.Debugf("%s %s", req.Method, CleanURL(req.URL))
			}
			resp, err := next.RoundTrip(req)
			if _, ours := errors.AsType[*ContentError](err); ours {
				return nil, err
			}
			if err != nil {
				return nil, NewTransportError(req, err, known())
			}
			resp.Body = &describedBody{resp.Body, resp.Request}
			return resp, nil
		})
	}
}

type describedBody struct {
	io.ReadCloser
	of *http.Request
}

func (b *describedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = NewTransportError(b.of, err, true)
	}
	return n, err
}

// A TransportError is a request without an answer, or with a broken one. It unwraps to what
// net/http says: a *url.Error with a clean URL.
type TransportError struct {
	Method, URL string // URL is clean
	Err         error
	Retriable   bool
	Elsewhere   bool // it is a host with another name, to which the request was led, that did not answer
}

func (e *TransportError) Error() string {
	err := e.Err
	if inURL, ok := err.(*url.Error); ok { //nolint:errorlint // what NewTransportError made
		err = inURL.Err
	}
	return e.Method + " " + e.URL + ": " + err.Error()
}

func (e *TransportError) Unwrap() error { return e.Err }

// NewTransportError describes err, the error of a request or of reading or writing its body.
// Context errors keep their identity. known says whether the host has answered anything before: if
// so, an unreachable host may come back.
func NewTransportError(req *http.Request, err error, known bool) *TransportError {
	if cause := context.Cause(req.Context()); cause != nil && errors.Is(err, cause) {
		err = &endedError{cause}
	}
	clean := CleanURL(req.URL)
	e := &TransportError{Method: req.Method, URL: clean, Err: err, Retriable: isTransient(err, known)}
	if inURL, ok := errors.AsType[*url.Error](err); ok {
		// The original's text has the whole URL, of redirect targets too.
		e.Err = &url.Error{Op: inURL.Op, URL: clean, Err: inURL.Err}
		e.Retriable = isTransient(inURL.Err, known)
		if last, err := req.URL.Parse(inURL.URL); err == nil { // of a redirect that is refused, it is the Location as it stands
			e.Elsewhere = !strings.EqualFold(last.Hostname(), req.URL.Hostname())
		}
	}
	return e
}

// An endedError is why a request was ended. That may be what another host has answered, which
// nobody is to take for an answer of this one: errors.Is finds it, errors.As does not.
type endedError struct{ cause error }

func (e *endedError) Error() string        { return e.cause.Error() }
func (e *endedError) Is(target error) bool { return errors.Is(e.cause, target) }

func isTransient(err error, known bool) bool {
	var (
		verification *tls.CertificateVerificationError
		notTLS       tls.RecordHeaderError
		alert        tls.AlertError
		unknownCA    x509.UnknownAuthorityError
		redirect     *redirectError
		op           *net.OpError
		timeout      net.Error
	)
	switch {
	case errors.Is(err, ErrStalledAtEnd):
		return false
	case errors.Is(err, ErrStalled):
		return true
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &verification), errors.As(err, &notTLS), errors.As(err, &alert), errors.As(err, &unknownCA),
		errors.As(err, &redirect):
		return false
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return true
	case errors.As(err, &op) && op.Op == "dial":
		return known
	case errors.As(err, &timeout) && timeout.Timeout():
		return true
	default:
		return known
	}
}
