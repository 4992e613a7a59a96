package clocktest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
)

func TestTimersFireInOrderAndAtTheirTimes(t *testing.T) {
	fake := clocktest.New(time.Time{})
	late, early, never := fake.NewTimer(3*time.Hour), fake.NewTimer(time.Hour), fake.NewTimer(5*time.Hour)
	due, ok := fake.Next()
	assert.True(t, ok)
	assert.Equal(t, clocktest.Start.Add(time.Hour), due)

	fake.Advance(4 * time.Hour)
	assert.Equal(t, clocktest.Start.Add(time.Hour), <-early.C())
	assert.Equal(t, clocktest.Start.Add(3*time.Hour), <-late.C())
	assert.Equal(t, clocktest.Start.Add(4*time.Hour), fake.Now())
	assert.Equal(t, 1, fake.Sleepers())

	assert.False(t, early.Stop())
	assert.True(t, never.Stop())
	fake.Advance(24 * time.Hour)
	assert.Empty(t, never.C())
	_, ok = fake.Next()
	assert.False(t, ok)
}

func TestTimerOfNothingFiresAtOnce(t *testing.T) {
	fake := clocktest.New(time.Unix(7, 0))
	timer := fake.NewTimer(0)
	assert.Equal(t, time.Unix(7, 0), <-timer.C())
	assert.False(t, timer.Stop())
}

func TestWaitForSleepers(t *testing.T) {
	fake := clocktest.New(time.Time{})
	waited := make(chan error)
	go func() { waited <- fake.WaitForSleepers(t.Context(), 2) }()
	fake.NewTimer(time.Hour)
	fake.NewTimer(time.Minute)
	require.NoError(t, <-waited)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, fake.WaitForSleepers(ctx, 3), context.Canceled)
}

func TestShifted(t *testing.T) {
	var shifted clocktest.Shifted
	long := shifted.NewTimer(time.Hour)
	before := time.Now()
	shifted.Advance(time.Hour)
	shifted.Advance(time.Minute)
	assert.WithinRange(t, shifted.Now(), before.Add(61*time.Minute), before.Add(62*time.Minute))
	assert.True(t, long.Stop(), "timers are the machine's")
	<-shifted.NewTimer(0).C()
}

func TestHasty(t *testing.T) {
	var hasty clocktest.Hasty
	before := time.Now()
	<-hasty.NewTimer(time.Hour).C()
	<-hasty.NewTimer(time.Minute).C()
	assert.WithinRange(t, hasty.Now(), before.Add(61*time.Minute), before.Add(121*time.Minute))
	assert.Equal(t, []time.Duration{time.Hour, time.Minute}, hasty.Waits())
	assert.Equal(t, 61*time.Minute, hasty.Waited())
}

func TestLonger(t *testing.T) {
	var limits []time.Duration
	f := func(limit time.Duration) error {
		if limits = append(limits, limit); len(limits) < 3 {
			return errors.New("too slow")
		}
		return nil
	}
	require.NoError(t, clocktest.Longer(f))
	assert.Len(t, limits, 3)
	assert.IsIncreasing(t, limits)
	require.EqualError(t, clocktest.Longer(func(time.Duration) error { return errors.New("never") }), "never")
}
