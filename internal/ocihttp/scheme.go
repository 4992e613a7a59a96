package ocihttp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
)

// FindScheme is the layer that gives a request whose URL has no scheme that of the host; a request
// with a scheme passes as it is.
//
// A host whose scheme is not known may speak TLS or plain HTTP. TLS is preferred: what the host
// answers over plain HTTP counts only if there is no TLS, and once a handshake was completed, plain
// HTTP is never tried. Requests without content are tried over both at once, or a plain host would
// cost two round trips more. If neither gives an answer, the error is that over plain HTTP, with
// the text of the other one.
func (h *Host) FindScheme(next http.RoundTripper) http.RoundTripper {
	return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		switch scheme := h.Scheme(); {
		case req.URL.Scheme != "":
			return next.RoundTrip(req)
		case scheme != "":
			return next.RoundTrip(over(req.Context(), scheme, req))
		}
		return h.discover(next, req)
	})
}

// over is req over a scheme, with a context.
func over(ctx context.Context, scheme string, req *http.Request) *http.Request {
	with, u := req.WithContext(ctx), *req.URL
	u.Scheme = scheme
	with.URL = &u
	return with
}

func (h *Host) discover(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	plain := tryPlain(next, req)
	if req.GetBody == nil {
		plain.start()
	}
	resp, err := next.RoundTrip(over(h.traceTLS(req.Context()), "https", req))
	if err == nil {
		h.speaks("https")
	}
	if err == nil || req.Context().Err() != nil || h.Scheme() != "" {
		plain.abandon()
		return resp, err
	}
	if req.GetBody != nil {
		plain.start()
	}
	<-plain.done
	switch {
	case plain.err != nil:
		plain.abandon()
		return nil, fmt.Errorf("%w (and over TLS: %s)", plain.err, err.Error())
	case plain.resp.StatusCode == http.StatusBadRequest && !errors.Is(err, http.ErrSchemeMismatch):
		// That is what servers that speak TLS say to those who do not.
		plain.abandon()
		return nil, err
	}
	plain.resp.Body = onClose(plain.resp.Body, plain.cancel)
	h.speaks("http")
	return plain.resp, nil
}

// traceTLS notes a completed handshake.
func (h *Host) traceTLS(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
		if err == nil {
			h.speaks("https")
		}
	}})
}

// A plainAttempt is a request over plain HTTP that may turn out not to be wanted.
type plainAttempt struct {
	send    func()
	cancel  context.CancelFunc
	started bool
	done    chan struct{} // closed when send ends; the fields below are set then

	resp *http.Response
	err  error
}

func tryPlain(next http.RoundTripper, req *http.Request) *plainAttempt {
	p := &plainAttempt{done: make(chan struct{})}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(req.Context())
	p.send = func() {
		defer close(p.done)
		p.resp, p.err = next.RoundTrip(over(ctx, "http", req)) //nolint:bodyclose // by who takes it, or abandon
	}
	return p
}

func (p *plainAttempt) start() {
	p.started = true
	go p.send()
}

// abandon cancels the attempt, wherever it is, and does not wait for it.
func (p *plainAttempt) abandon() {
	p.cancel()
	if !p.started {
		return
	}
	go func() {
		<-p.done
		if p.err == nil {
			_ = p.resp.Body.Close()
		}
	}()
}
