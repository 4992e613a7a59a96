package ocihttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// reading is a bottom that reads what it is sent, as net/http does: to the end, and then closes it.
func reading(got *string) RoundTripFunc {
	return func(req *http.Request) (*http.Response, error) {
		defer req.Body.Close()
		content, err := io.ReadAll(req.Body)
		*got = string(content)
		return &http.Response{}, err
	}
}

func TestContent(t *testing.T) {
	broken := errors.New("broken")
	var got string
	closed := 0
	send := func(size int64, next http.RoundTripper, open func() (io.Reader, error)) error {
		got, closed = "not sent", 0
		req := sending(t.Context(), "")
		req.ContentLength = size
		req.GetBody = func() (io.ReadCloser, error) {
			r, err := open()
			return onClose(io.NopCloser(r), func() { closed++ }), err
		}
		_, err := Stack(next, Content).RoundTrip(req)
		return err
	}
	text := func(text string) func() (io.Reader, error) {
		return func() (io.Reader, error) { return strings.NewReader(text), nil }
	}
	var ours *ContentError

	require.NoError(t, send(4, reading(&got), text("text")))
	assert.Equal(t, "text", got)
	assert.Equal(t, 1, closed)

	require.ErrorAs(t, send(4, reading(&got), func() (io.Reader, error) { return nil, broken }), &ours)
	assert.Equal(t, "not sent", got)

	err := send(4, reading(&got), func() (io.Reader, error) { return iotest.ErrReader(broken), nil })
	require.ErrorAs(t, err, &ours)
	require.ErrorIs(t, err, broken)
	assert.Equal(t, 1, closed)

	require.NoError(t, send(0, reading(&got), text("")))
	assert.Empty(t, got)
	require.EqualError(t, send(0, reading(&got), text("x")), "content is longer than its size says")
	assert.Equal(t, "not sent", got)
	require.ErrorIs(t, send(0, reading(&got), func() (io.Reader, error) { return iotest.ErrReader(broken), nil }), broken)

	stalled := RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		_, _ = io.ReadAll(req.Body)
		return nil, &TimeoutError{}
	})
	err = send(4, stalled, func() (io.Reader, error) { return iotest.ErrReader(broken), nil })
	require.ErrorIs(t, err, ErrStalled, "our own side says no more than that the request has ended")

	redirected := RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		again, err := req.GetBody()
		require.NoError(t, err)
		req.Body = again
		return reading(&got).RoundTrip(req)
	})
	require.NoError(t, send(4, redirected, text("text")))
	assert.Equal(t, "text", got)

	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://registry.example", nil)
	require.NoError(t, err)
	nothing := RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		assert.Nil(t, req.Body)
		return &http.Response{}, nil
	})
	_, err = Stack(nothing, Content).RoundTrip(req)
	require.NoError(t, err)
}

// TestContentIsClosedAfterRead closes content while it is read.
func TestContentIsClosedAfterRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		closed := false
		c := &content{open: func() (io.ReadCloser, error) { return onClose(io.NopCloser(r), func() { closed = true }), nil }}
		body, err := c.again()
		require.NoError(t, err)
		go func() { _, _ = body.Read(make([]byte, 10)) }()
		synctest.Wait()
		require.NoError(t, body.Close())
		assert.False(t, closed)
		_, err = w.Write([]byte("x"))
		require.NoError(t, err)
		synctest.Wait()
		assert.True(t, closed)
		require.NoError(t, body.Close())
		_, err = body.Read(nil)
		assert.Equal(t, errBodyClosed, err)
	})
}
