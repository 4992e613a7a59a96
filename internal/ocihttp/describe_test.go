package ocihttp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIsTransient(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, test := range []struct {
		err         error
		known, want bool
	}{
		{io.EOF, false, true}, {io.ErrUnexpectedEOF, false, true}, {ErrStalled, false, true},
		{ErrStalledAtEnd, true, false},
		{refused, false, false}, {refused, true, true},
		{&tls.CertificateVerificationError{}, true, false},
		{http.ErrSchemeMismatch, true, false},
		{&redirectError{"x"}, true, false},
		{context.Canceled, true, false},
		{errors.New("anything"), false, false}, {errors.New("anything"), true, true},
	} {
		req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: "example.com"}}
		assert.Equal(t, test.want, NewTransportError(req, test.err, test.known).Retriable, "%v", test.err)
	}
}

func TestDescribe(t *testing.T) {
	const secret = "https://registry.example/v2/a?secret"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, secret, nil)
	require.NoError(t, err)
	broken := errors.New("broken")
	send := func(resp *http.Response, err error) (*http.Response, error) {
		bottom := RoundTripFunc(func(*http.Request) (*http.Response, error) { return resp, err })
		return Stack(bottom, Describe(func() bool { return false })).RoundTrip(req)
	}

	_, err = send(nil, broken)
	require.EqualError(t, err, "GET https://registry.example/v2/a: broken")
	require.ErrorIs(t, err, broken)

	_, err = send(nil, &url.Error{Op: "Get", URL: "https://cdn.example/b?secret", Err: broken})
	require.EqualError(t, err, "GET https://registry.example/v2/a: broken")
	var inURL *url.Error
	require.ErrorAs(t, err, &inURL)
	assert.Equal(t, "https://registry.example/v2/a", inURL.URL)
	var described *TransportError
	require.ErrorAs(t, err, &described)
	assert.True(t, described.Elsewhere)

	// A redirect that is refused is named as it stands in the answer, which may be a path alone.
	_, err = send(nil, &url.Error{Op: "Get", URL: "/v2/a?again", Err: broken})
	described = nil
	require.ErrorAs(t, err, &described)
	assert.False(t, described.Elsewhere)

	ours := &ContentError{broken}
	_, err = send(nil, ours)
	assert.Equal(t, ours, err)

	resp, err := send(&http.Response{Request: req, Body: io.NopCloser(iotest.ErrReader(broken))}, nil)
	require.NoError(t, err)
	_, err = io.ReadAll(resp.Body)
	require.EqualError(t, err, "GET https://registry.example/v2/a: broken")
	require.NoError(t, resp.Body.Close())

	// Why a request was ended may be an answer of another host.
	ctx, cancel := context.WithCancelCause(t.Context())
	elsewhere := &fakeRefusal{http.StatusNotFound}
	cancel(elsewhere)
	req = req.WithContext(ctx)
	_, err = send(nil, &url.Error{Op: "Get", URL: secret, Err: elsewhere})
	require.EqualError(t, err, "GET https://registry.example/v2/a: Not Found")
	require.ErrorIs(t, err, elsewhere)
	var answer Refusal
	assert.False(t, errors.As(err, &answer), "it is none of this one")
}
