package registrytest

import (
	"bytes"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// The injected round-trip time and the cap on what a connection brings. Bytes that arrive at a
// connection, and those that the server writes, wait in a delayLine, each chunk with the time at
// which it is let out: so there is latency, with a limit on bandwidth or without, and no handler
// waits for it but where a line is full.

// lineLimit is how many bytes wait in one line at most, as windows limit them in TCP: the bandwidth
// of a connection is at most this by half a round trip, 800 MB/s at 80 ms.
const lineLimit = 32 << 20

// delayListener delays the connections that it accepts, and breaks them when it is closed.
type delayListener struct {
	net.Listener
	rtt  time.Duration
	rate int64 // as Options.Rate

	mu     sync.Mutex
	closed bool
	conns  map[*delayConn]struct{}
}

// newDelayListener returns l itself if there is nothing to delay.
func newDelayListener(l net.Listener, rtt time.Duration, rate int64) net.Listener {
	if rtt <= 0 && rate <= 0 {
		return l
	}
	return &delayListener{Listener: l, rtt: rtt, rate: rate, conns: map[*delayConn]struct{}{}}
}

func (l *delayListener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &delayConn{
		Conn: inner, l: l, half: l.rtt / 2, open: clock.System.Now().Add(l.rtt),
		in: newDelayLine(), out: newDelayLine(), pace: pace{rate: l.rate}, closing: make(chan struct{}),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = inner.Close()
		return nil, net.ErrClosed
	}
	l.conns[c] = struct{}{}
	go c.receive()
	go c.send()
	return c, nil
}

func (l *delayListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for c := range l.conns {
		c.abort()
	}
	return l.Listener.Close()
}

func (l *delayListener) forget(c *delayConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// delayConn is the server's end of a connection.
type delayConn struct {
	net.Conn // the client's side of the lines
	l        *delayListener
	half     time.Duration // of the round trip
	open     time.Time     // no byte has set out before: the handshake takes a round trip

	in, out   *delayLine
	pace      pace // of out
	closeOnce sync.Once
	closing   chan struct{} // closed by Close
}

// receive puts what arrives into the line, until the connection is closed.
func (c *delayConn) receive() {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Conn.Read(buf)
		sent := clock.System.Now()
		if sent.Before(c.open) {
			sent = c.open
		}
		if n > 0 {
			// After Close nobody takes it; reading on keeps the kernel from resetting the
			// connection before the client has read the last answer.
			_, _ = c.in.put(buf[:n], sent.Add(c.half))
		}
		if err != nil {
			c.in.end(err, sent.Add(c.half))
			return
		}
	}
}

// send lets out what the server wrote, then closes the connection as far as the server has.
func (c *delayConn) send() {
	defer c.l.forget(c)
	buf := make([]byte, 64<<10)
	for {
		n, err := c.out.get(buf)
		if err == nil {
			_, err = c.Conn.Write(buf[:n])
		}
		if err != nil {
			c.out.fail(err)
			break
		}
	}
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	<-c.closing
	_ = c.Conn.Close()
}

func (c *delayConn) Read(p []byte) (int, error) { return c.in.get(p) }

func (c *delayConn) Write(p []byte) (n int, err error) {
	for piece := range slices.Chunk(p, pieceSize) {
		m, err := c.out.put(piece, c.pace.sent(clock.System.Now(), len(piece)).Add(c.half))
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// A pace limits how many bytes set out in a second.
type pace struct {
	rate int64 // 0 for no limit

	mu   sync.Mutex
	free time.Time // all that was to set out before has done so
}

// sent is when the last of n bytes has set out that are there at now.
func (p *pace) sent(now time.Time, n int) time.Time {
	if p.rate <= 0 {
		return now
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
	return p.free
}

func (c *delayConn) CloseWrite() error {
	c.out.end(io.EOF, clock.System.Now().Add(c.half))
	return nil
}

// Close returns at once; what was written still arrives.
func (c *delayConn) Close() error {
	c.closeOnce.Do(func() {
		c.out.end(io.EOF, clock.System.Now().Add(c.half))
		c.in.fail(net.ErrClosed)
		close(c.closing)
	})
	return nil
}

// abort breaks the connection: nothing arrives any more.
func (c *delayConn) abort() {
	c.out.fail(net.ErrClosed)
	_ = c.Close()
	_ = c.Conn.Close()
}

func (c *delayConn) SetDeadline(t time.Time) error {
	c.in.setGetDeadline(t)
	c.out.setPutDeadline(t)
	return nil
}

func (c *delayConn) SetReadDeadline(t time.Time) error {
	c.in.setGetDeadline(t)
	return nil
}

func (c *delayConn) SetWriteDeadline(t time.Time) error {
	c.out.setPutDeadline(t)
	return nil
}

// delayLine is a queue of bytes, each with a time before which nobody gets it.
type delayLine struct {
	mu     sync.Mutex
	wake   sync.Cond // something has changed, or a time has come
	chunks []chunk   // in the order of due
	size   int       // of all chunks
	failed error     // what get and put return now; nil while the line works
	ended  bool      // an end is queued: nothing can be put any more

	getDeadline, putDeadline time.Time
}

type chunk struct {
	due   time.Time
	data  []byte  // what was not taken yet
	piece *[]byte // from pieces; nil if data has its own memory
	err   error   // of the last chunk, which has no data: what get returns from then on
}

// pieceSize is the largest chunk.
const pieceSize = 64 << 10

// pieces is the memory of large chunks.
var pieces = sync.Pool{New: func() any { b := make([]byte, pieceSize); return &b }}

// newChunk is a copy of p.
func newChunk(p []byte, due time.Time) chunk {
	if len(p) < pieceSize/4 { // headers and small blobs do not tie up a whole piece
		return chunk{due: due, data: bytes.Clone(p)}
	}
	piece := pieces.Get().(*[]byte)
	return chunk{due: due, data: (*piece)[:copy(*piece, p)], piece: piece}
}

// free gives back the memory of a chunk that was taken.
func (c *chunk) free() {
	if c.piece != nil {
		pieces.Put(c.piece)
	}
}

func newDelayLine() *delayLine {
	l := &delayLine{}
	l.wake.L = &l.mu
	return l
}

// put queues a copy of p until due. It blocks while the line is full.
func (l *delayLine) put(p []byte, due time.Time) (int, error) {
	n := 0
	for len(p) > 0 {
		piece := p[:min(len(p), pieceSize)]
		if err := l.putPiece(piece, due); err != nil {
			return n, err
		}
		n += len(piece)
		p = p[len(piece):]
	}
	return n, nil
}

// putPiece queues a copy of p, which is no longer than pieceSize.
func (l *delayLine) putPiece(p []byte, due time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.failed != nil:
			return l.failed
		case l.ended:
			return net.ErrClosed
		case over(l.putDeadline):
			return os.ErrDeadlineExceeded
		case l.size < lineLimit:
			l.chunks = append(l.chunks, newChunk(p, due))
			l.size += len(p)
			l.wake.Broadcast()
			return nil
		}
		l.waitUntil(l.putDeadline)
	}
}

// get takes bytes that are due. It blocks until there are some.
func (l *delayLine) get(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.failed == nil && over(l.getDeadline) {
			return 0, os.ErrDeadlineExceeded
		}
		n := l.takeDue(p)
		if l.failed != nil {
			return 0, l.failed
		}
		if n > 0 {
			l.wake.Broadcast() // there is room
			return n, nil
		}
		next := l.getDeadline
		if len(l.chunks) > 0 && (next.IsZero() || l.chunks[0].due.Before(next)) {
			next = l.chunks[0].due
		}
		l.waitUntil(next)
	}
}

// takeDue copies bytes that are due, and fails the line when its end is due and nothing is before
// it.
func (l *delayLine) takeDue(p []byte) int {
	n := 0
	for now := clock.System.Now(); n < len(p) && len(l.chunks) > 0 && !now.Before(l.chunks[0].due); {
		first := &l.chunks[0]
		if first.err != nil {
			if n == 0 {
				l.failed = first.err
			}
			break
		}
		m := copy(p[n:], first.data)
		n += m
		first.data = first.data[m:]
		if len(first.data) == 0 {
			first.free()
			l.chunks[0] = chunk{}
			l.chunks = l.chunks[1:]
		}
	}
	l.size -= n
	return n
}

// end closes the line: get returns err once all that was put before was taken.
func (l *delayLine) end(err error, due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	l.chunks = append(l.chunks, chunk{due: due, err: err})
	l.wake.Broadcast()
}

// fail makes the line return err from now on, and forgets what is in it.
func (l *delayLine) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
	l.chunks, l.size = nil, 0
	l.wake.Broadcast()
}

func (l *delayLine) setGetDeadline(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.getDeadline = t
	l.wake.Broadcast()
}

func (l *delayLine) setPutDeadline(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.putDeadline = t
	l.wake.Broadcast()
}

// waitUntil waits for a change, or for a time unless it is zero. The caller holds mu.
func (l *delayLine) waitUntil(t time.Time) {
	if !t.IsZero() {
		timer := time.AfterFunc(t.Sub(clock.System.Now()), func() {
			l.mu.Lock() // not between the caller's look at the clock and its Wait
			defer l.mu.Unlock()
			l.wake.Broadcast()
		})
		defer timer.Stop()
	}
	l.wake.Wait()
}

// over reports whether a deadline, zero for none, has passed.
func over(deadline time.Time) bool {
	return !deadline.IsZero() && !clock.System.Now().Before(deadline)
}
