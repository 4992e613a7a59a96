package slowlink

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDelayAndRate(t *testing.T) {
	now := time.Unix(0, 0)
	d := newDirection(Config{Delay: 40 * time.Millisecond, Rate: 1_000_000}, 0)
	for i := range 3 { // each takes a millisecond to set out
		arrives, ok := d.send(now, 1000)
		require.True(t, ok)
		assert.Equal(t, 40*time.Millisecond+time.Duration(i+1)*time.Millisecond, arrives.Sub(now))
	}
	now = now.Add(time.Second)
	arrives, ok := d.send(now, 1000)
	require.True(t, ok)
	assert.Equal(t, 41*time.Millisecond, arrives.Sub(now), "what was not used is lost")
}

// TestQueueHasAnEnd sends more than the rate allows.
func TestQueueHasAnEnd(t *testing.T) {
	now := time.Unix(0, 0)
	d := newDirection(Config{Rate: 1_000_000}, 0)
	taken := 0
	for range 1000 {
		if _, ok := d.send(now, 1000); ok {
			taken++
		}
	}
	assert.Equal(t, 101, taken, "a hundred milliseconds of packets wait, and one sets out")
	_, ok := d.send(now.Add(time.Millisecond), 1000)
	assert.True(t, ok, "there is room again")
}

func TestLossIsSeeded(t *testing.T) {
	lost := func(seed, n uint64) (all []int) {
		d := newDirection(Config{Rate: 1 << 40, Loss: 0.01}, n)
		d.send(time.Unix(0, 0), 1)
		d.seed(seed)
		for i := range 100_000 {
			if _, ok := d.send(time.Unix(0, 0), 1); !ok {
				all = append(all, i)
			}
		}
		return all
	}
	one := lost(1, 0)
	assert.InDelta(t, 1000, len(one), 100)
	assert.Equal(t, one, lost(1, 0))
	assert.False(t, slices.Equal(one, lost(2, 0)))
	assert.False(t, slices.Equal(one, lost(1, 1)), "the directions of a link lose different ones")
}

// device hands out packets, and then nothing until it is closed; it notes what it is given, and
// when.
type device struct {
	out    [][]byte
	closed chan struct{}
	got    [][]byte
	at     []time.Time
	fails  bool
}

func (d *device) Read(p []byte) (int, error) {
	if len(d.out) == 0 {
		<-d.closed
		return 0, io.EOF
	}
	n := copy(p, d.out[0])
	d.out = d.out[1:]
	return n, nil
}

func (d *device) Write(p []byte) (int, error) {
	d.got, d.at = append(d.got, append([]byte(nil), p...)), append(d.at, time.Now())
	if d.fails {
		return 0, errors.New("no room")
	}
	return len(p), nil
}

func TestCarry(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			from := &device{out: [][]byte{{0x45, 1}, {0x60, 2}, {0x45, 3}}, closed: make(chan struct{})}
			to := &device{fails: fails}
			go carry(t.Context(), from, to, newDirection(Config{Delay: time.Second, Rate: 20}, 0))
			time.Sleep(time.Minute)
			close(from.closed)
			synctest.Wait()
			assert.Equal(t, [][]byte{{0x45, 1}, {0x45, 3}}, to.got, "what is not IPv4 stays behind")
			assert.Equal(t, []time.Time{begun.Add(1100 * time.Millisecond), begun.Add(1200 * time.Millisecond)}, to.at)
		})
	}
}

// TestCarryEnds with a packet on its way.
func TestCarryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		from, to := &device{out: [][]byte{{0x45}}, closed: make(chan struct{})}, &device{}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, func() {
			cancel()
			close(from.closed)
		})
		carry(ctx, from, to, newDirection(Config{Delay: time.Hour, Rate: 1000}, 0))
		assert.Equal(t, time.Second, time.Since(begun))
		assert.Empty(t, to.got)
	})
}

func TestBadConfigs(t *testing.T) {
	for _, c := range []Config{{}, {Rate: -1}, {Rate: 1, Delay: -1}, {Rate: 1, Loss: 1}, {Rate: 1, Loss: -0.1}} {
		_, err := New(c)
		require.ErrorContains(t, err, "a slow link: ", "%v", c)
	}
}
