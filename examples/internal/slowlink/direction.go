package slowlink

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// A Config is what happens to packets, in each direction.
type Config struct {
	Delay time.Duration // how long a packet is on its way: half of a round trip
	Rate  int64         // bytes a second, the headers of IP included
	Loss  float64       // the share of packets that are lost by chance: at least 0, below 1
}

func (c Config) validate() error {
	switch {
	case c.Delay < 0:
		return fmt.Errorf("a delay of %v: at least 0", c.Delay)
	case c.Rate <= 0:
		return errors.New("no rate: at least one byte a second")
	case c.Loss < 0 || c.Loss >= 1:
		return fmt.Errorf("a loss of %v: at least 0, below 1", c.Loss)
	}
	return nil
}

// patience is how long a packet waits for those before it at most: it is lost where it would take
// longer, as the queues of routers have an end.
const patience = 100 * time.Millisecond

// direction is one of a link's two. Its methods are safe for concurrent use.
type direction struct {
	Config
	n uint64 // which one of the two

	mu     sync.Mutex
	chance *rand.Rand
	free   time.Time // all packets before have set out
}

// newDirection returns the n-th direction of a link, with the seed 0.
func newDirection(c Config, n uint64) *direction {
	d := &direction{Config: c, n: n}
	d.seed(0)
	return d
}

// seed decides by chance what is lost from now on.
func (d *direction) seed(seed uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.chance = rand.New(rand.NewPCG(seed, d.n))
}

// send returns when a packet of so many bytes, that is there at now, arrives. It reports whether it
// does: some are lost by chance, others because too much is queued before them. Packets arrive in
// the order in which they are sent.
func (d *direction) send(now time.Time, size int) (arrives time.Time, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.chance.Float64() < d.Loss {
		return time.Time{}, false
	}
	begin := now
	if d.free.After(now) {
		begin = d.free
	}
	if begin.Sub(now) > patience {
		return time.Time{}, false
	}
	d.free = begin.Add(time.Duration(size) * time.Second / time.Duration(d.Rate))
	return d.free.Add(d.Delay), true
}
