package ocihttp

import (
	"bytes"
	"crypto/tls"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// writes is a connection that only notes what it is to send.
type writes struct {
	net.Conn
	pieces []int
	all    bytes.Buffer
}

func (w *writes) Write(p []byte) (int, error) {
	w.pieces = append(w.pieces, len(p))
	return w.all.Write(p)
}

func TestSendingConn(t *testing.T) {
	for size, want := range map[int][]int{
		0:                  nil,
		1000:               {1000},
		mediumPiece:        {mediumPiece},
		mediumPiece + 1:    {mediumPiece + 1},
		2*largePiece + 100: {largePiece, largePiece, 100},
	} {
		content := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		for name, r := range map[string]io.Reader{
			"of known length":   &io.LimitedReader{R: struct{ io.Reader }{strings.NewReader(content)}, N: int64(size)},
			"of unknown length": struct{ io.Reader }{strings.NewReader(content)},
		} {
			var w writes
			n, err := (&sendingConn{&w}).ReadFrom(r)
			require.NoError(t, err, "%d %s", size, name)
			assert.EqualValues(t, size, n, name)
			assert.Equal(t, want, w.pieces, "%d %s", size, name)
			assert.Equal(t, content, w.all.String(), "%d %s", size, name)
		}
	}
}

func TestPieceWithin(t *testing.T) {
	for limit, want := range map[time.Duration]int{
		0:                mediumPiece,
		10 * time.Second: mediumPiece,
		time.Minute:      60 << 10,
		2 * time.Minute:  120 << 10, // the default
		time.Hour:        largePiece,
		math.MaxInt64:    largePiece,
	} {
		assert.Equal(t, want, pieceWithin(limit), "%v", limit)
	}
}

// asked is content that notes how much of it was wanted at once.
type asked struct {
	io.Reader
	most atomic.Int64
}

func (a *asked) Close() error { return nil }

func (a *asked) Read(p []byte) (int, error) {
	a.most.Store(max(a.most.Load(), int64(len(p))))
	return a.Reader.Read(p)
}

// TestContentIsSentInLargePieces tests that http.Transport takes the way of sendingConn, over
// connections that were opened ahead too.
func TestContentIsSentInLargePieces(t *testing.T) {
	content := strings.Repeat("x", 1<<20)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, content, string(got))
	}))
	t.Cleanup(server.Close)
	for _, ahead := range []int{0, 1} {
		for limit, want := range map[time.Duration]int{30 * time.Second: mediumPiece, 2 * time.Minute: 120 << 10} {
			transport := NewTransport(&tls.Config{}, func(*http.Request) (*url.URL, error) { return nil, nil })
			transport.OpenAhead(strings.TrimPrefix(server.URL, "http://"), "http", ahead)
			body := &asked{Reader: strings.NewReader(content)}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL, body)
			require.NoError(t, err)
			req.ContentLength = int64(len(content))
			resp, err := Stack(transport, Stall(Timeouts{Stall: limit, Blob: time.Minute, Answer: time.Minute})).RoundTrip(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.EqualValues(t, want, body.most.Load(), "with a limit of %v, %d connections opened ahead", limit, ahead)
			transport.CloseIdle()
		}
	}
}
