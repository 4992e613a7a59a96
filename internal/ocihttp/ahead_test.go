package ocihttp

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAddressAhead(t *testing.T) {
	for _, c := range []struct{ registry, scheme, want string }{
		{"example.com", "https", "example.com:443"},
		{"example.com", "http", "example.com:80"},
		{"example.com", "", ""}, // the port depends on what is spoken
		{"example.com:5000", "", "example.com:5000"},
		{"[::1]:5000", "", "[::1]:5000"},
	} {
		got, ok := (&Transport{http: &http.Transport{}}).direct(c.registry, c.scheme)
		assert.Equal(t, c.want, got)
		assert.Equal(t, c.want != "", ok)
	}
}

// fakeDialer hands out one end of pipes, and counts what was closed.
type fakeDialer struct {
	mu     sync.Mutex
	conns  int
	closed int
	gate   chan struct{} // dialling takes until it is closed
	err    error
}

type fakeConn struct {
	net.Conn
	d *fakeDialer
}

func (c *fakeConn) Close() error {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.closed++
	return nil
}

func (d *fakeDialer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	select {
	case <-d.gate:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns++
	return &fakeConn{d: d}, d.err
}

func (d *fakeDialer) count() (conns, closed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conns, d.closed
}

// newFake returns a dialer whose connections are open at once.
func newFake() *fakeDialer {
	f := &fakeDialer{gate: make(chan struct{})}
	close(f.gate)
	return f
}

func TestAheadDialer(t *testing.T) {
	t.Run("what nobody uses is closed", func(t *testing.T) {
		f := newFake()
		d := newAheadDialer(f.dial)
		d.open("h:1", 3)
		used, err := d.DialContext(t.Context(), "tcp", "h:1")
		require.NoError(t, err)
		require.NotNil(t, used)
		_, err = d.DialContext(t.Context(), "tcp", "other:1") // a redirect, or a token server
		require.NoError(t, err)
		require.Eventually(t, func() bool { conns, _ := f.count(); return conns == 4 }, time.Minute, time.Millisecond)
		d.stop()
		require.Eventually(t, func() bool { _, closed := f.count(); return closed == 2 }, time.Minute, time.Millisecond)
		d.open("h:1", 100)
		assert.Empty(t, d.ahead, "it has stopped")
	})
	t.Run("or too old", func(t *testing.T) {
		f := newFake()
		d := newAheadDialer(f.dial)
		d.open("h:1", 1)
		d.ahead[0].expiry.Reset(0)
		require.Eventually(t, func() bool { _, closed := f.count(); return closed == 1 }, time.Minute, time.Millisecond)
		_, err := d.DialContext(t.Context(), "tcp", "h:1")
		require.NoError(t, err)
		conns, _ := f.count()
		assert.Equal(t, 2, conns)
	})
	t.Run("who waits may leave", func(t *testing.T) {
		f := &fakeDialer{gate: make(chan struct{})}
		d := newAheadDialer(f.dial)
		d.open("h:1", 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := d.DialContext(ctx, "tcp", "h:1")
		require.ErrorIs(t, err, context.Canceled)
		close(f.gate)
		require.Eventually(t, func() bool { _, closed := f.count(); return closed == 1 }, time.Minute, time.Millisecond)
	})
	t.Run("a failure is not the last word", func(t *testing.T) {
		f := newFake()
		f.err = errors.New("unreachable")
		d := newAheadDialer(f.dial)
		d.open("h:1", 1)
		<-d.ahead[0].dialled
		f.mu.Lock()
		f.err = nil
		f.mu.Unlock()
		_, err := d.DialContext(t.Context(), "tcp", "h:1")
		require.NoError(t, err)
	})
	t.Run("stop ends dialling", func(t *testing.T) {
		f := &fakeDialer{gate: make(chan struct{})}
		d := newAheadDialer(f.dial)
		d.open("h:1", 1)
		c := d.ahead[0]
		d.stop()
		<-c.dialled
		require.Error(t, c.err)
	})
}

// TestAheadLooksAtAnswers tells hosts by whether they have answered when it looks.
func TestAheadLooksAtAnswers(t *testing.T) {
	var opened []int
	open := func(n int) { opened = append(opened, n) }
	a := NewAhead(NewHost("x", true), 8, open)
	a.Expect(7)
	a.Expect(20)
	assert.Empty(t, opened, "nothing is known yet")
	a.judge()
	assert.Equal(t, []int{20}, opened)
	a.Expect(30)
	assert.Equal(t, []int{20, 30}, opened)

	opened = nil
	a = NewAhead(NewHost("x", true), 8, open)
	a.judge()
	assert.Equal(t, []int{8}, opened)

	opened = nil
	a = NewAhead(answered(NewHost("x", true)), 8, open)
	a.judge()
	a.Expect(20)
	assert.Empty(t, opened)
}

// TestAheadOpensDuringTheFirstRequest lets a request wait for the connections.
func TestAheadOpensDuringTheFirstRequest(t *testing.T) {
	opened := make(chan int, 1)
	a := NewAhead(NewHost("x", true), 8, func(n int) { opened <- n })
	a.Near = time.Nanosecond
	waits := Stack(RoundTripFunc(func(*http.Request) (*http.Response, error) {
		assert.Equal(t, 8, <-opened)
		return &http.Response{Body: http.NoBody}, nil
	}), a.Begin)
	resp, err := waits.RoundTrip(&http.Request{})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
}
