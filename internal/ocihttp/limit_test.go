package ocihttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A request that is of use with a spare slot only does not wait for one.
func TestLimiterSpare(t *testing.T) {
	spare := func(n int) context.Context { return WithCall(context.Background(), Call{Spare: n}) }
	l := Limiter{Most: 3}
	for range 2 {
		_, err := l.acquire(context.Background())
		require.NoError(t, err)
	}
	_, err := l.acquire(spare(2))
	require.ErrorIs(t, err, ErrNoSlot, "as many are in flight")
	_, err = l.acquire(spare(8))
	require.NoError(t, err)
	_, err = l.acquire(spare(8))
	require.ErrorIs(t, err, ErrNoSlot, "there is no slot")
	l.release()
	_, err = l.acquire(spare(8))
	require.NoError(t, err, "what was refused holds none")
}

func TestLimiter(t *testing.T) {
	ctx := context.Background()
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		epochs := make([]int, 32)
		for i := range epochs {
			var err error
			epochs[i], err = l.acquire(ctx)
			require.NoError(t, err)
		}
		for _, epoch := range epochs[:10] {
			l.busy(epoch)
		}
		assert.Equal(t, 16, l.bound, "a burst of refusals lowers the bound once")
		for range 24 {
			l.release()
		}
		// Eight are left in flight, eight more may come.
		var mu sync.Mutex
		entered := 0
		for range 12 {
			go func() {
				_, err := l.acquire(ctx)
				assert.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				entered++
			}()
		}
		synctest.Wait()
		assert.Equal(t, 8, entered)
		for range 16 {
			l.succeeded()
		}
		synctest.Wait()
		assert.Equal(t, 17, l.bound)
		assert.Equal(t, 9, entered, "a raised bound lets in who waits")

		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		_, err := l.acquire(cancelled)
		require.ErrorIs(t, err, context.Canceled)
		_, err = l.acquire(WithCall(ctx, Call{Forced: true}))
		require.NoError(t, err)
		assert.Equal(t, 18, l.inFlight, "who is forced does not wait")
		for range 4 {
			l.release()
		}
		synctest.Wait()
		assert.Equal(t, 12, entered)
		assert.Empty(t, l.waiting)

		for range 10 {
			epoch, err := l.acquire(WithCall(ctx, Call{Forced: true}))
			require.NoError(t, err)
			l.busy(epoch)
		}
		assert.Equal(t, 1, l.bound, "one is always allowed")
	})
}

// TestLimit looks at how many requests are in flight before and after each kind of answer.
func TestLimit(t *testing.T) {
	var l Limiter
	var status int
	var failure error
	stack := Stack(RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		assert.Equal(t, 1, l.inFlight)
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(""))}, failure
	}), l.Limit)
	for _, status = range []int{http.StatusOK, http.StatusNotFound, http.StatusTooManyRequests, http.StatusOK} {
		resp, err := stack.RoundTrip(sending(t.Context(), ""))
		require.NoError(t, err)
		assert.Equal(t, 1, l.inFlight, "the body is not closed")
		require.NoError(t, resp.Body.Close())
		require.NoError(t, resp.Body.Close())
		assert.Zero(t, l.inFlight)
	}
	assert.Equal(t, 2, l.bound, "raised by one success")
	assert.Equal(t, 2, l.AtMost(10))
	assert.Equal(t, 1, l.AtMost(1))
	failure = errors.New("broken")
	_, err := stack.RoundTrip(sending(t.Context(), ""))
	require.ErrorIs(t, err, failure)
	assert.Zero(t, l.inFlight)
	bounded := &Limiter{Most: 3}
	assert.Equal(t, 3, bounded.AtMost(10))
}
