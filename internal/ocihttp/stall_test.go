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
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var limits = Timeouts{Stall: time.Minute, Blob: time.Hour, Answer: 10 * time.Minute}

// slowly is a reader each of whose Reads takes a while, or until ctx ends.
type slowly struct {
	io.Reader
	ctx   context.Context
	while time.Duration
	later time.Duration // from the second one on
}

func (s *slowly) Read(p []byte) (int, error) {
	if err := pass(s.ctx, s.while); err != nil {
		return 0, err
	}
	s.while = s.later
	return s.Reader.Read(p)
}

// pass lets time pass.
func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A peer is what is on the other side of Stall, and how much time it takes.
type peer struct {
	reads   time.Duration // between two Reads of the request's content
	answers time.Duration
	begins  time.Duration // before the first Read of the answer's body
	sends   time.Duration // for each one
}

func (p peer) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	for req.Body != nil {
		_, err := req.Body.Read(make([]byte, 2))
		if errors.Is(err, io.EOF) {
			break
		}
		if err := errors.Join(err, pass(ctx, p.reads)); err != nil {
			return nil, err
		}
	}
	if err := pass(ctx, p.answers); err != nil {
		return nil, err
	}
	body := &slowly{iotest.OneByteReader(strings.NewReader("text")), ctx, p.begins + p.sends, p.sends}
	return &http.Response{Request: req, Body: io.NopCloser(body)}, nil
}

func TestStall(t *testing.T) {
	for name, c := range map[string]struct {
		peer peer
		slow bool
		send string        // "" for a request without content
		ours time.Duration // what our own side takes for each Read of content and of answers
		want string        // the option that sets the limit, "" for no error
		long bool          // the content has no length that is known
		last bool          // it is ErrStalledAtEnd
	}{
		"nothing":                    {},
		"no answer":                  {peer: peer{answers: 11 * time.Minute}, want: "AnswerTimeout"},
		"a slow answer":              {peer: peer{answers: 11 * time.Minute}, slow: true},
		"no slow answer":             {peer: peer{answers: 2 * time.Hour}, slow: true, want: "BlobTimeout"},
		"a body that stalls":         {peer: peer{sends: 2 * time.Minute}, want: "StallTimeout"},
		"a slow body":                {peer: peer{sends: 50 * time.Second}},
		"a slow first byte":          {peer: peer{begins: 50 * time.Second}, slow: true},
		"a slower one":               {peer: peer{begins: 90 * time.Second}, want: "StallTimeout"},
		"the same of a blob":         {peer: peer{begins: 20 * time.Minute}, slow: true},
		"a slow second byte":         {peer: peer{sends: 2 * time.Minute}, slow: true, want: "StallTimeout"},
		"our own side":               {send: "text", ours: 24 * time.Hour},
		"content that is not read":   {peer: peer{reads: 2 * time.Minute}, send: "text", want: "StallTimeout"},
		"content that is read":       {peer: peer{reads: 50 * time.Second}, send: "text"},
		"no answer to content":       {peer: peer{answers: 11 * time.Minute}, send: "text", want: "AnswerTimeout"},
		"no answer to a long upload": {peer: peer{answers: 2 * time.Hour}, slow: true, send: "text", long: true, want: "BlobTimeout", last: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				req, err := http.NewRequestWithContext(WithCall(t.Context(), Call{Slow: c.slow}), http.MethodPut, "http://registry.example", nil)
				require.NoError(t, err)
				if c.send != "" {
					req.Body = io.NopCloser(&slowly{strings.NewReader(c.send), t.Context(), c.ours, c.ours})
					req.ContentLength = int64(len(c.send))
				}
				if c.long {
					req.ContentLength = -1
				}
				resp, err := Stack(c.peer, Stall(limits)).RoundTrip(req)
				if err == nil {
					_, err = io.ReadAll(&slowly{resp.Body, t.Context(), c.ours, c.ours})
					require.NoError(t, resp.Body.Close())
				}
				if c.want == "" {
					require.NoError(t, err)
					return
				}
				var late *TimeoutError
				require.ErrorAs(t, err, &late)
				assert.Equal(t, c.want, late.Option)
				require.ErrorIs(t, err, ErrStalled)
				assert.Equal(t, c.last, errors.Is(err, ErrStalledAtEnd))
			})
		})
	}
}

// TestStallGivesTheCause ends the context of a request, while the answer is waited for and later.
func TestStallGivesTheCause(t *testing.T) {
	reason := errors.New("reason")
	for _, p := range []peer{{answers: time.Minute}, {sends: 30 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(10*time.Second, func() { cancel(reason) })
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://registry.example", nil)
			require.NoError(t, err)
			resp, err := Stack(p, Stall(limits)).RoundTrip(req)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				require.NoError(t, resp.Body.Close())
			}
			require.ErrorIs(t, err, reason)
		})
	}
}

func TestWatchingAllocatesNothingForEachRead(t *testing.T) {
	late, moving := limits.Unanswered(true), limits.Stalled()
	_, watch := newWatchdog(t.Context(), &late)
	defer watch.stop()
	content := io.NopCloser(endless{})
	for name, body := range map[string]io.Reader{
		"sent":     &sentBody{ReadCloser: content, watch: watch, moving: &moving, late: &late, piece: mediumPiece},
		"received": &receivedBody{ReadCloser: content, watch: watch, next: &late, moving: &moving},
	} {
		p := make([]byte, 10)
		assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = body.Read(p) }), name)
	}
}

// endless is content without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
