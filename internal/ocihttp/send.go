package ocihttp

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// Content is sent in pieces of up to largePiece bytes, where net/http's have mediumPiece: each
// costs two calls of the kernel, and a wait for each that is not ready.
const (
	largePiece  = 128 << 10
	mediumPiece = 32 << 10
)

// slowest is the rate, in bytes a second, at which a connection may send large pieces and not
// stall: a piece counts as movement once all of it is on its way.
const slowest = 1 << 10

// pieceWithin is how many bytes may be sent at once where no piece may take longer than limit.
func pieceWithin(limit time.Duration) int {
	return int(max(mediumPiece, min(largePiece, slowest*(limit/time.Second))))
}

// Buffers for content, for the next after this.
var (
	largePieces  = sync.Pool{New: func() any { return new(make([]byte, largePiece)) }}
	mediumPieces = sync.Pool{New: func() any { return new(make([]byte, mediumPiece)) }}
)

// A sendingConn is a connection that http.Transport sends content over in large pieces, by its
// ReadFrom. With TLS it does not: there the pieces are records.
type sendingConn struct{ net.Conn }

// ReadFrom implements io.ReaderFrom.
func (c *sendingConn) ReadFrom(r io.Reader) (int64, error) {
	buffers := &largePieces
	if all, ok := r.(*io.LimitedReader); ok && all.N <= mediumPiece {
		buffers = &mediumPieces
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{c.Conn}, r, *buffer) // which c.Conn would hand on to its own ReadFrom
}

// dialSending is dial, whose connections send in large pieces.
func dialSending(dial dialContext) dialContext {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &sendingConn{conn}, nil
	}
}
