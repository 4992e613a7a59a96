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

var largePieces = sync.Pool{New: func() any { return new([largePiece]byte) }}

// A sendingConn is a connection that http.Transport sends content over in large pieces, by its
// ReadFrom. With TLS it does not: there the pieces are records.
type sendingConn struct{ net.Conn }

// ReadFrom implements io.ReaderFrom.
func (c *sendingConn) ReadFrom(r io.Reader) (int64, error) {
	w := struct{ io.Writer }{c.Conn} // io.Copy must not hand the content on to ReadFrom of c.Conn
	if all, ok := r.(*io.LimitedReader); ok && all.N <= mediumPiece {
		return io.Copy(w, r) // with a buffer of that size
	}
	buffer := largePieces.Get().(*[largePiece]byte)
	defer largePieces.Put(buffer)
	return io.CopyBuffer(w, r, buffer[:])
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
