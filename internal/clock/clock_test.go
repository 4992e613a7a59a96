package clock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
)

func TestSystem(t *testing.T) {
	before := time.Now()
	assert.WithinRange(t, clock.System.Now(), before, before.Add(time.Hour))

	timer := clock.System.NewTimer(time.Hour)
	assert.True(t, timer.Stop())
	assert.False(t, timer.Stop())

	fired := <-clock.System.NewTimer(0).C()
	assert.WithinRange(t, fired, before, before.Add(time.Hour))
}

func TestOr(t *testing.T) {
	fake := clocktest.New(time.Time{})
	assert.Same(t, fake, clock.Or(fake))
	assert.Equal(t, clock.System, clock.Or(nil))
}

func TestSince(t *testing.T) {
	fake := clocktest.New(time.Time{})
	then := fake.Now()
	fake.Advance(time.Minute)
	assert.Equal(t, time.Minute, clock.Since(fake, then))
}

func TestSleepUntilTheTimeHasPassed(t *testing.T) {
	fake := clocktest.New(time.Time{})
	slept := make(chan error)
	go func() { slept <- clock.Sleep(t.Context(), fake, time.Hour) }()

	require.NoError(t, fake.WaitForSleepers(t.Context(), 1))
	fake.Advance(time.Hour - 1)
	assert.Equal(t, 1, fake.Sleepers())
	fake.Advance(1)
	require.NoError(t, <-slept)
}

func TestSleepEndsWithItsContext(t *testing.T) {
	fake := clocktest.New(time.Time{})
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	slept := make(chan error)
	go func() { slept <- clock.Sleep(ctx, fake, time.Hour) }()

	require.NoError(t, fake.WaitForSleepers(t.Context(), 1))
	cancel(reason)
	require.ErrorIs(t, <-slept, reason)
	assert.Zero(t, fake.Sleepers(), "the timer is left behind")
	require.ErrorIs(t, clock.Sleep(ctx, fake, 0), reason)
}

func TestSleepOfNothing(t *testing.T) {
	require.NoError(t, clock.Sleep(t.Context(), clocktest.New(time.Time{}), 0))
}
