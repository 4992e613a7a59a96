package ocihttp

import (
	"io"
	"net/http"
	"slices"
	"sync"
)

// A Layer puts a round tripper around next, the one below.
type Layer func(next http.RoundTripper) http.RoundTripper

// Stack returns bottom with layers around it. The first one is the outermost: requests pass it
// first, and answers last.
func Stack(bottom http.RoundTripper, layers ...Layer) http.RoundTripper {
	for _, layer := range slices.Backward(layers) {
		bottom = layer(bottom)
	}
	return bottom
}

// RoundTripFunc is a function as an http.RoundTripper.
type RoundTripFunc func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f RoundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// onClose returns body, whose first Close calls closed too, after it.
func onClose(body io.ReadCloser, closed func()) io.ReadCloser {
	return &closing{ReadCloser: body, closed: closed}
}

type closing struct {
	io.ReadCloser
	closed func()
	once   sync.Once // for closed
}

func (c *closing) Close() error {
	defer c.once.Do(c.closed)
	return c.ReadCloser.Close()
}
