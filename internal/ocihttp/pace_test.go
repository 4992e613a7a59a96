package ocihttp

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRate(t *testing.T) {
	assert.Nil(t, NewRate(0))
	limit, now := NewRate(1000), time.Unix(1000, 0)
	assert.LessOrEqual(t, book(limit, 100, now), time.Duration(0), "what was saved up")
	assert.Equal(t, time.Second, book(limit, 1000, now))
	assert.Equal(t, 1500*time.Millisecond, book(limit, 500, now))
	assert.LessOrEqual(t, book(limit, 100, now.Add(time.Hour)), time.Duration(0))
	assert.Equal(t, 100*time.Millisecond, book(limit, 100, now.Add(time.Hour)), "no more is saved up in an hour")
	assert.Zero(t, book(NewRate(1), 1, now), "one byte is always allowed")
}

// echo answers with what it is sent, as far as it reads.
var echo = RoundTripFunc(func(req *http.Request) (*http.Response, error) {
	body, err := req.GetBody()
	return &http.Response{Body: body, Request: req}, err
})

func sending(ctx context.Context, text string) *http.Request {
	req, _ := http.NewRequestWithContext(ctx, http.MethodPut, "http://registry.example/v2/", nil)
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	req.ContentLength = int64(len(text))
	return req
}

// TestPace sends and receives 1000 bytes, at a rate of 1000 a second.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		resp, err := Stack(echo, Pace(NewRate(1000))).RoundTrip(sending(t.Context(), strings.Repeat("x", 1000)))
		require.NoError(t, err)
		content, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Len(t, content, 1000)
		assert.Equal(t, 1900*time.Millisecond, time.Since(start), "both directions, less what may come at once")
	})
	for name, end := range map[string]func(cancel func(), body io.Closer){
		"the context ends": func(cancel func(), _ io.Closer) { cancel() },
		"it is closed":     func(_ func(), body io.Closer) { _ = body.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				start := time.Now()
				resp, err := Stack(echo, Pace(NewRate(1))).RoundTrip(sending(ctx, "a long text"))
				require.NoError(t, err)
				defer resp.Body.Close()
				time.AfterFunc(time.Second, func() { end(cancel, resp.Body) })
				_, _ = io.ReadAll(resp.Body)
				assert.Equal(t, time.Second, time.Since(start))
			})
		})
	}
}
