package turns

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTurn(t *testing.T) {
	var turn Turn
	done, err := turn.Take(t.Context())
	require.NoError(t, err)

	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	_, err = turn.Take(ctx)
	require.ErrorIs(t, err, reason)

	over := make(chan struct{})
	close(over)
	without, taken, err := turn.TakeUnless(t.Context(), over)
	require.NoError(t, err)
	assert.False(t, taken, "somebody has it still")
	without()

	waiting := make(chan func())
	go func() {
		next, err := turn.Take(t.Context())
		assert.NoError(t, err)
		waiting <- next
	}()
	select {
	case <-waiting:
		t.Error("two have the turn")
	default:
	}
	done()
	(<-waiting)()
}

// TestTurns lets many want a few things, and looks whether two have the same.
func TestTurns(t *testing.T) {
	var turns Turns[int]
	var having [3]int // a data race if two have the same thing
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			done, err := turns.Take(t.Context(), i%len(having))
			if assert.NoError(t, err) {
				having[i%len(having)]++
				done()
			}
		})
	}
	all.Wait()
	assert.Equal(t, [3]int{100, 100, 100}, having)
	assert.Empty(t, turns.wanted, "nothing is held of what nobody wants")
}

func TestWaitingForATurnCanBeCancelled(t *testing.T) {
	var turns Turns[string]
	done, err := turns.Take(t.Context(), "it")
	require.NoError(t, err)
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	_, err = turns.Take(ctx, "it")
	require.ErrorIs(t, err, reason)
	assert.Len(t, turns.wanted, 1, "somebody has it still")
	done()
	assert.Empty(t, turns.wanted)
}
