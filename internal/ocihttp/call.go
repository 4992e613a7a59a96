package ocihttp

import "context"

// A Call is what layers must know about a request beside what stands in it. It travels in the
// request's context; that of a context without one is the zero value.
type Call struct {
	// Slow is set where the answer may be long in coming: it brings a blob, or says that one is
	// stored.
	Slow bool
}

type callKey struct{}

// WithCall returns ctx with c.
func WithCall(ctx context.Context, c Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

func callOf(ctx context.Context) Call {
	c, _ := ctx.Value(callKey{}).(Call)
	return c
}
