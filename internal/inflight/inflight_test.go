package inflight

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
)

func TestEachKeepsToTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int64
		goOn := make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			ended <- Each(t.Context(), semaphore.NewWeighted(3), make([]int, 5), func(context.Context, int) error {
				running.Add(1)
				<-goOn
				return nil
			})
		}()
		synctest.Wait()
		assert.EqualValues(t, 3, running.Load())
		close(goOn)
		require.NoError(t, <-ended)
		assert.EqualValues(t, 5, running.Load())
	})
}

func TestEachEndsWithTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	var ended atomic.Int64
	budget := semaphore.NewWeighted(2)
	err := Each(t.Context(), budget, []int{0, 1, 2, 3}, func(ctx context.Context, i int) error {
		defer ended.Add(1)
		if i == 0 {
			return broken
		}
		<-ctx.Done()
		return nil
	})
	require.ErrorIs(t, err, broken)
	assert.Positive(t, ended.Load())
	assert.True(t, budget.TryAcquire(2), "everything has ended")
}

func TestNothingBeginsAfterAnError(t *testing.T) {
	broken := errors.New("broken")
	for range 1000 {
		var begun atomic.Int64
		err := Each(t.Context(), semaphore.NewWeighted(1), []int{0, 1, 2}, func(context.Context, int) error {
			begun.Add(1)
			return broken
		})
		require.ErrorIs(t, err, broken)
		require.EqualValues(t, 1, begun.Load(), "its slot is free when the others know")
	}
}

func TestCancelledIsNeverNil(t *testing.T) {
	why := errors.New("no time")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	full := semaphore.NewWeighted(1)
	full.TryAcquire(1)
	run := func(context.Context, int) error { return nil }
	require.ErrorIs(t, Each(ctx, semaphore.NewWeighted(1), nil, run), why)
	require.ErrorIs(t, Each(ctx, full, []int{1}, run), why)
	require.ErrorIs(t, One(ctx, full, func() error { return nil }), why)
}

// TestAskNotesOneAnswerAtATime: note needs no lock, and decides what an error means.
func TestAskNotesOneAnswerAtATime(t *testing.T) {
	odd, sum, failures := errors.New("odd"), 0, 0
	double := func(_ context.Context, i int) (int, error) {
		if i%2 == 1 {
			return 0, odd
		}
		return 2 * i, nil
	}
	numbers := make([]int, 100)
	for i := range numbers {
		numbers[i] = i
	}
	require.NoError(t, Ask(t.Context(), semaphore.NewWeighted(8), numbers, double, func(i, doubled int, err error) error {
		if err != nil {
			failures++
			return nil
		}
		assert.Equal(t, 2*i, doubled)
		sum += doubled
		return nil
	}))
	assert.Equal(t, 50, failures)
	assert.Equal(t, 4900, sum)
	require.ErrorIs(t, Ask(t.Context(), semaphore.NewWeighted(8), numbers, double, func(_, _ int, err error) error { return err }), odd)
}
