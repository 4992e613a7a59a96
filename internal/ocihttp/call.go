package ocihttp

import "context"

// A Call is what layers must know about a request beside what stands in it. It travels in the
// request's context; that of a context without one is the zero value.
type Call struct {
	// Slow is set where the answer may be long in coming: it brings a blob, or says that one is
	// stored.
	Slow bool
	// Forced is set where the request must not wait for a slot of a Limiter, because it goes on
	// with one that has begun.
	Forced bool
	// Spare, if not 0, is set where the request is of use only as long as fewer requests than that
	// are in flight: it does not wait for a slot of a Limiter, and fails with ErrNoSlot if there is
	// none.
	Spare int
	// Manifest is set where a manifest is asked for: a GET of one is what registries count as a
	// pull.
	Manifest bool
	// Scopes are those that a token for the request must have.
	Scopes []string
}

type callKey struct{}

// WithCall returns ctx with c.
func WithCall(ctx context.Context, c Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// callOf is the Call of ctx.
func callOf(ctx context.Context) Call {
	c, _ := ctx.Value(callKey{}).(Call)
	return c
}

type slotKey struct{}

// HoldingSlot marks the context of work that a request of one end waits for: requests to the other
// end that are part of it must not wait for a slot there, whose holder may be waiting for the first
// one's.
func HoldingSlot(ctx context.Context) context.Context {
	return context.WithValue(ctx, slotKey{}, true)
}

// HoldsSlot reports whether ctx is marked by HoldingSlot.
func HoldsSlot(ctx context.Context) bool { return ctx.Value(slotKey{}) != nil }
