package mirrorcmd

import (
	"context"
	"sync/atomic"
	"time"
)

// A Grace is how long the command may take to stop by itself when its context has ended. It is safe
// for concurrent use.
type Grace struct{ d atomic.Int64 }

type graceKey struct{}

// WithGrace returns a context to Run a command with, and its Grace: that is usual, but for commands
// that need longer and say so.
func WithGrace(ctx context.Context, usual time.Duration) (context.Context, *Grace) {
	g := &Grace{}
	g.d.Store(int64(usual))
	return context.WithValue(ctx, graceKey{}, g), g
}

// Duration is how long that is.
func (g *Grace) Duration() time.Duration { return time.Duration(g.d.Load()) }

// extendGrace makes the grace of a command longer, if anybody limits it.
func extendGrace(ctx context.Context, by time.Duration) {
	if g, ok := ctx.Value(graceKey{}).(*Grace); ok {
		g.d.Add(int64(by))
	}
}
