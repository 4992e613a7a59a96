package ocihttp

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// keepAhead is how long a connection that was opened ahead waits to be used. Servers wait longer
// for a request.
const keepAhead = 10 * time.Second

// near is how soon the first answer comes of a host to which connections are opened when they are
// needed: where a round trip takes so little time, there is none to win, and most would stay
// without use.
const near = 5 * time.Millisecond

// An Ahead opens connections to a host in the background, before requests need them, unless the
// host is near. It may be used concurrently.
type Ahead struct {
	Near     time.Duration // in which a host that is near answers; does not change after the first request
	answered func() bool   // reports whether the host has answered once
	open     func(n int)   // opens connections, so that at least n were opened so far

	first sync.Once // a request

	mu     sync.Mutex
	far    bool // the first answer takes longer; guarded by mu
	wanted int  // guarded by mu
}

// NewAhead returns an Ahead for h, which opens at least wanted connections, by open: so that there
// were n so far.
func NewAhead(h *Host, wanted int, open func(n int)) *Ahead {
	return &Ahead{Near: near, answered: h.Answered, open: open, wanted: wanted}
}

// Begin is the layer that opens connections while the first request waits for its answer.
func (a *Ahead) Begin(next http.RoundTripper) http.RoundTripper {
	return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		a.first.Do(func() { time.AfterFunc(a.Near, a.judge) })
		return next.RoundTrip(req)
	})
}

// judge opens what is wanted if the host has not answered yet.
func (a *Ahead) judge() {
	if a.answered() {
		return
	}
	a.mu.Lock()
	a.far = true
	wanted := a.wanted
	a.mu.Unlock()
	a.open(wanted)
}

// Expect says that n requests will be sent at once soon.
func (a *Ahead) Expect(n int) {
	a.mu.Lock()
	a.wanted = max(a.wanted, n)
	far := a.far
	a.mu.Unlock()
	if far {
		a.open(n)
	}
}

// dialContext is what dials for an http.Transport.
type dialContext = func(ctx context.Context, network, address string) (net.Conn, error)

// An aheadDialer opens connections to one host before requests need them. They are plain TCP
// connections: which scheme is spoken over them may be open still.
type aheadDialer struct {
	dial   dialContext
	ctx    context.Context // of what is dialled ahead; ends with stop
	cancel context.CancelFunc

	mu     sync.Mutex
	opened int // connections that were dialled so far, ahead or not
	ahead  []*aheadConn
}

// An aheadConn is a connection that nobody uses yet.
type aheadConn struct {
	address string
	dialled chan struct{} // closed when the fields below are set
	conn    net.Conn
	err     error
	expiry  *time.Timer
}

func newAheadDialer(dial dialContext) *aheadDialer {
	d := &aheadDialer{dial: dial}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// open dials address in the background, so that n connections have been dialled in all, those of
// DialContext included.
func (d *aheadDialer) open(address string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; d.opened < n && d.ctx.Err() == nil; d.opened++ {
		c := &aheadConn{address: address, dialled: make(chan struct{})}
		c.expiry = time.AfterFunc(keepAhead, func() {
			if d.remove(c) {
				c.close()
			}
		})
		d.ahead = append(d.ahead, c)
		go func() {
			defer close(c.dialled)
			c.conn, c.err = d.dial(d.ctx, "tcp", address)
		}()
	}
}

// DialContext returns a connection that was opened ahead, if there is one, and dials otherwise. It
// is for http.Transport.
func (d *aheadDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if c := d.take(address); c != nil {
		select {
		case <-c.dialled:
			if c.err == nil {
				return c.conn, nil
			}
		case <-ctx.Done():
			c.close()
			return nil, context.Cause(ctx)
		}
	}
	return d.dial(ctx, network, address)
}

// take returns a connection that was or is being opened ahead, and counts one that has to be
// dialled if there is none.
func (d *aheadDialer) take(address string) *aheadConn {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, c := range d.ahead {
		if c.address == address {
			d.ahead = append(d.ahead[:i:i], d.ahead[i+1:]...)
			c.expiry.Stop()
			return c
		}
	}
	d.opened++
	return nil
}

// remove reports whether c was still unused: then it is the caller's.
func (d *aheadDialer) remove(c *aheadConn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, other := range d.ahead {
		if other == c {
			d.ahead = append(d.ahead[:i:i], d.ahead[i+1:]...)
			return true
		}
	}
	return false
}

// stop closes what nobody used, and ends opening ahead.
func (d *aheadDialer) stop() {
	d.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.ahead {
		c.expiry.Stop()
		c.close()
	}
	d.ahead = nil
}

// close closes the connection as soon as it is open.
func (c *aheadConn) close() {
	go func() {
		<-c.dialled
		if c.err == nil {
			_ = c.conn.Close()
		}
	}()
}
