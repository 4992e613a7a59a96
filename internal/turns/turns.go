// Package turns has locks whose waiting ends with a context: a Turn is the lock of one thing, Turns
// are those of things that have keys.
package turns

import (
	"context"
	"sync"
)

// A Turn is a lock. The zero value is free; it may be used concurrently and must not be copied.
type Turn struct {
	once  sync.Once
	taken chan struct{} // holds an element while somebody has the turn
}

// Take waits until nobody else has the turn. done gives it back; it must be called once. When ctx
// ends first, Take fails with context.Cause.
func (t *Turn) Take(ctx context.Context) (done func(), err error) {
	done, _, err = t.TakeUnless(ctx, nil)
	return done, err
}

// TakeUnless is Take for those who want the turn only until over is closed: then they may go on
// without it, taken is false, and done does nothing.
func (t *Turn) TakeUnless(ctx context.Context, over <-chan struct{}) (done func(), taken bool, err error) {
	t.once.Do(func() { t.taken = make(chan struct{}, 1) })
	select {
	case t.taken <- struct{}{}:
		return func() { <-t.taken }, true, nil
	case <-over:
		return func() {}, false, nil
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
}

// Turns are the turns for things that K names. The zero value works; it may be used concurrently
// and must not be copied. It holds nothing of what nobody wants, however many things there were.
type Turns[K comparable] struct {
	mu     sync.Mutex
	wanted map[K]*turn // guarded by mu
}

type turn struct {
	Turn
	users int // who have or want it; guarded by the mu of Turns
}

// Take waits until nobody else has the turn for key. done gives it back; it must be called once.
// When ctx ends first, Take fails with context.Cause.
func (t *Turns[K]) Take(ctx context.Context, key K) (done func(), err error) {
	it := t.want(key)
	give, err := it.Take(ctx)
	if err != nil {
		t.leave(key, it)
		return nil, err
	}
	return func() {
		give()
		t.leave(key, it)
	}, nil
}

func (t *Turns[K]) want(key K) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	it := t.wanted[key]
	if it == nil {
		it = &turn{}
		if t.wanted == nil {
			t.wanted = map[K]*turn{}
		}
		t.wanted[key] = it
	}
	it.users++
	return it
}

func (t *Turns[K]) leave(key K, it *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if it.users--; it.users == 0 {
		delete(t.wanted, key)
	}
}
