package ocihttp

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// Content is the layer that opens what requests send.
//
// Above it, a request with content has a GetBody and no Body, so that it can be sent as often as it
// takes. Content calls GetBody before each time, when the request is about to go, and once more for
// each redirect.
//
//   - An error of our own side, of GetBody or of reading, is a *ContentError, unless the request
//     has ended for another reason. If there is none of the content, the request is not sent.
//   - Content of no bytes, by the ContentLength, is read up to its end, as that is where it may be
//     verified, before the request is sent.
//   - What GetBody returns is for one goroutine at a time, although net/http may close a body twice
//     and during Read: it is closed once, and not while it is read.
func Content(next http.RoundTripper) http.RoundTripper {
	return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		if req.GetBody == nil {
			return next.RoundTrip(req)
		}
		c := &content{open: req.GetBody}
		body, err := c.again()
		if err != nil {
			return nil, &ContentError{err}
		}
		with := req.WithContext(req.Context())
		with.Body, with.GetBody = body, c.again
		if req.ContentLength == 0 {
			if err := expectEmpty(body); err != nil {
				return nil, &ContentError{err}
			}
			with.Body, with.GetBody = http.NoBody, nil
		}
		resp, err := next.RoundTrip(with)
		if given := c.failure(); err != nil && given != nil && req.Context().Err() == nil && !errors.Is(err, ErrStalled) {
			return nil, &ContentError{given}
		}
		return resp, err
	})
}

// A ContentError is an error of our own side: what should be sent could not be read.
type ContentError struct{ Err error }

func (e *ContentError) Error() string { return e.Err.Error() }
func (e *ContentError) Unwrap() error { return e.Err }

// expectEmpty reads the end of content that has no bytes, and closes it.
func expectEmpty(body io.ReadCloser) error {
	defer body.Close()
	n, err := io.CopyN(io.Discard, body, 1)
	switch {
	case n > 0:
		return errors.New("content is longer than its size says")
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// content is what one request sends.
type content struct {
	open func() (io.ReadCloser, error)

	mu  sync.Mutex
	err error // of open, or of reading; guarded by mu, as net/http reads on after an early answer
}

// again opens the content.
func (c *content) again() (io.ReadCloser, error) {
	body, err := c.open()
	if err != nil {
		c.fail(err)
		return nil, err
	}
	return &openContent{of: c, body: body}, nil
}

func (c *content) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// failure is what there was of errors last, nil for none.
func (c *content) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// openContent is content that was opened.
type openContent struct {
	of   *content
	body io.ReadCloser

	mu      sync.Mutex
	reading bool // a Read is under way; guarded by mu
	closed  bool // Close was called; guarded by mu
}

// errBodyClosed is what reading a body after its end says.
var errBodyClosed = errors.New("read of a closed body")

func (b *openContent) Read(p []byte) (int, error) {
	if !b.begin() {
		return 0, errBodyClosed
	}
	defer b.end()
	n, err := b.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.of.fail(err)
	}
	return n, err
}

// begin reports whether the body may be read. If so, end must follow.
func (b *openContent) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = !b.closed
	return b.reading
}

func (b *openContent) end() {
	b.mu.Lock()
	b.reading = false
	closed := b.closed
	b.mu.Unlock()
	if closed {
		_ = b.body.Close()
	}
}

// Close closes the body, or leaves that to the Read that is under way.
func (b *openContent) Close() error {
	b.mu.Lock()
	first, reading := !b.closed, b.reading
	b.closed = true
	b.mu.Unlock()
	if !first || reading {
		return nil
	}
	return b.body.Close()
}
