// Package turns lets those who want the same thing have it one after another.
package turns

import (
	"context"
	"sync"
)

// Turns are the turns for things that K names. The zero value works; it may be used concurrently and must not be copied. It holds nothing of
// what nobody wants, however many things there were.
type Turns[K comparable] struct {
	mu     sync.Mutex
	wanted map[K]*turn // guarded by mu
}

type turn struct {
	taken chan struct{} // holds an element while somebody has the turn
	users int           // who have or want it; guarded by the mu of Turns
}

// Take waits until nobody else has the turn for key. done gives it back; it must be called once. When ctx ends first, Take fails with
// context.Cause.
func (t *Turns[K]) Take(ctx context.Context, key K) (done func(), err error) {
	it := t.want(key)
	select {
	case it.taken <- struct{}{}:
		return func() {
			<-it.taken
			t.leave(key, it)
		}, nil
	case <-ctx.Done():
		t.leave(key, it)
		return nil, context.Cause(ctx)
	}
}

func (t *Turns[K]) want(key K) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	it := t.wanted[key]
	if it == nil {
		it = &turn{taken: make(chan struct{}, 1)}
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
