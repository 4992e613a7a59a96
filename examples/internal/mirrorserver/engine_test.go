package mirrorserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
	"github.com/sparsecopy/sparsecopy/examples/internal/schedule"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// A fakePlan copies nothing. What it was asked for is in log, with the time since it was made.
type fakePlan struct {
	t     *testing.T
	began time.Time

	mu       sync.Mutex
	elements []Element
	tags     map[string][]string                       // by element; none: the element is one copy
	lists    func(element string) error                // nil: tags can be listed
	copies   func(ctx context.Context, c Copy) Outcome // nil: all succeed at once
	log      []string
	busy     map[string]bool // destinations
	most     int             // copies at the same time
	closed   bool
	promised []string // destinations
}

func newPlan(t *testing.T, elements ...Element) *fakePlan {
	p := &fakePlan{t: t, began: time.Now(), elements: elements, tags: map[string][]string{}, busy: map[string]bool{}}
	return p
}

// every is an element that is due every so often, without jitter.
func every(key string, interval time.Duration) Element {
	s, err := schedule.Every(interval)
	if err == nil {
		s, err = s.WithJitter(0)
	}
	if err != nil {
		panic(err)
	}
	return Element{Key: key, Schedule: s}
}

func (p *fakePlan) Elements() []Element { return p.elements }

func (p *fakePlan) Expand(_ context.Context, element Element) ([]Copy, error) {
	p.note("list " + element.Key)
	p.mu.Lock()
	f := p.lists
	p.mu.Unlock()
	if f != nil {
		if err := f(element.Key); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.False(p.t, p.closed)
	tags := p.tags[element.Key]
	if tags == nil {
		return []Copy{{Destination: "to/" + element.Key, Element: element.Key}}, nil
	}
	var copies []Copy
	for _, tag := range tags {
		copies = append(copies, Copy{Destination: "to/" + element.Key + ":" + tag, Element: element.Key, Tag: tag})
	}
	return copies, nil
}

func (p *fakePlan) Copy(ctx context.Context, c Copy) Outcome {
	p.note("copy " + strings.TrimPrefix(c.Destination, "to/"))
	p.mu.Lock()
	assert.False(p.t, p.closed)
	assert.False(p.t, p.busy[c.Destination], "%s is copied twice at a time", c.Destination)
	p.busy[c.Destination] = true
	p.most = max(p.most, len(p.busy))
	f := p.copies
	p.mu.Unlock()
	outcome := Outcome{Status: state.Mirrored}
	if f != nil {
		outcome = f(ctx, c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, c.Destination)
	return outcome
}

func (p *fakePlan) Pushed(tag reference.NamedTagged) (copies []Copy) {
	key := reference.Path(tag)
	if tags, ok := p.tags[key]; ok && slices.Contains(tags, tag.Tag()) {
		copies = append(copies, Copy{Destination: "to/" + key + ":" + tag.Tag(), Element: key, Tag: tag.Tag()})
	}
	return copies
}

func (p *fakePlan) Promise(c Copy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.promised = append(p.promised, strings.TrimPrefix(c.Destination, "to/"))
}

func (p *fakePlan) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.False(p.t, p.closed)
	assert.Empty(p.t, p.busy)
	p.closed = true
	return nil
}

// change changes what the plan says.
func (p *fakePlan) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *fakePlan) note(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, fmt.Sprintf("%s %s", time.Since(p.began), what))
}

// took returns what was done since it was called last, sorted.
func (p *fakePlan) took() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	log := slices.Sorted(slices.Values(p.log))
	p.log = nil
	return log
}

// An engine under test, which runs.
type running struct {
	*Engine
	stop     context.CancelFunc
	ended    chan struct{}
	outcomes map[string][]Outcome // by destination; guarded by mu
	mu       sync.Mutex
}

func run(t *testing.T, plan Plan, jobs int, changes ...func(*Engine)) *running {
	t.Helper()
	r := &running{ended: make(chan struct{}), outcomes: map[string][]Outcome{}}
	r.Engine = NewEngine(EngineOptions{
		Clock: copy.SystemClock, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Jobs: jobs, StopTimeout: 30 * time.Second,
		Observe: func(c Copy, o Outcome) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.outcomes[c.Destination] = append(r.outcomes[c.Destination], o)
		},
	})
	for _, change := range changes {
		change(r.Engine)
	}
	r.Use(plan)
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() {
		r.Run(ctx)
		close(r.ended)
	}()
	t.Cleanup(func() {
		r.stop()
		<-r.ended
	})
	synctest.Wait()
	return r
}

// pass lets time pass until all has been done that it brings.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestScheduleIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := newPlan(t, every("a", time.Hour), every("b", 6*time.Hour))
		plan.tags["b"] = []string{"1", "2"}
		e := run(t, plan, 4)
		assert.Equal(t, []string{"0s copy a", "0s copy b:1", "0s copy b:2", "0s list a", "0s list b"}, plan.took(), "what was never looked at is due at once")
		pass(59 * time.Minute)
		assert.Empty(t, plan.took())
		pass(time.Minute)
		assert.Equal(t, []string{"1h0m0s copy a", "1h0m0s list a"}, plan.took())
		plan.change(func() { plan.tags["b"] = []string{"2", "3"} })
		pass(5 * time.Hour)
		assert.Equal(t, []string{"6h0m0s copy a", "6h0m0s copy b:2", "6h0m0s copy b:3"}, slices.DeleteFunc(plan.took(),
			func(line string) bool { return !strings.HasPrefix(line, "6h0m0s copy") }))
		assert.Len(t, e.outcomes["to/a"], 7)
		load := e.Load()
		assert.Equal(t, plan.began.Add(7*time.Hour), load.Next)
		assert.Equal(t, Load{Elements: 2, Next: load.Next, Troubles: map[string]string{}}, load)
	})
}

// A lateClock is the machine's. It stands still before it makes a timer, once, for as long as held
// says.
type lateClock struct {
	copy.Clock
	held atomic.Int64
}

func (c *lateClock) NewTimer(d time.Duration) copy.ClockTimer {
	time.Sleep(time.Duration(c.held.Swap(0)))
	return c.Clock.NewTimer(d)
}

// TestTimeMayPassBeforeATimerIsMade: what becomes due meanwhile is done, and not a timer later.
func TestTimeMayPassBeforeATimerIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan, late := newPlan(t, every("a", time.Hour)), &lateClock{Clock: copy.SystemClock}
		e := run(t, plan, 1, func(e *Engine) { e.options.Clock = late })
		assert.Len(t, plan.took(), 2)
		late.held.Store(int64(time.Hour))
		require.True(t, e.Alive(t.Context())) // and goes round
		pass(time.Hour)
		assert.Equal(t, []string{"1h0m0s copy a", "1h0m0s list a"}, plan.took())
	})
}

func TestWhatIsKnownIsDueWhenItWasToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recent, long, future := every("recent", 6*time.Hour), every("long", 6*time.Hour), every("future", 6*time.Hour)
		recent.Last, long.Last, future.Last = time.Now().Add(-5*time.Hour), time.Now().Add(-100*time.Hour), time.Now().Add(10000*time.Hour)
		plan := newPlan(t, recent, long, future)
		run(t, plan, 4)
		assert.Equal(t, []string{"0s copy future", "0s copy long", "0s list future", "0s list long"}, plan.took(),
			"once, however often it was missed; and at once if the clock has gone back")
		pass(time.Hour)
		assert.Equal(t, []string{"1h0m0s copy recent", "1h0m0s list recent"}, plan.took())
	})
}

func TestJobsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := newPlan(t, every("a", 24*time.Hour))
		for i := range 1000 {
			plan.tags["a"] = append(plan.tags["a"], fmt.Sprint(i))
		}
		plan.copies = func(context.Context, Copy) Outcome {
			time.Sleep(time.Second)
			return Outcome{Status: state.Mirrored}
		}
		e := run(t, plan, 10)
		load := e.Load()
		assert.Equal(t, 990, load.Waiting)
		assert.Equal(t, 10, load.Copying)
		pass(100 * time.Second)
		assert.Equal(t, 10, plan.most)
		assert.Len(t, e.outcomes, 1000)
	})
}

func TestMoreThanFindsRoomIsLookedAtLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := newPlan(t, every("a", 24*time.Hour))
		plan.tags["a"] = []string{"1", "2", "3"}
		plan.copies = func(context.Context, Copy) Outcome {
			time.Sleep(time.Second)
			return Outcome{Status: state.Mirrored}
		}
		run(t, plan, 1, func(e *Engine) { e.copies = schedule.NewQueue[Copy](2) })
		pass(50 * time.Second)
		assert.Equal(t, []string{"0s copy a:1", "0s list a", "1s copy a:2"}, plan.took())
		plan.change(func() { plan.tags["a"] = []string{"3"} })
		pass(24*time.Hour - time.Minute)
		assert.Equal(t, []string{"1m0s copy a:3", "1m0s list a"}, plan.took())
		other := newPlan(t)
		other.tags["b"] = []string{"1"}
		e := run(t, other, 1, func(e *Engine) { e.copies = schedule.NewQueue[Copy](0) })
		assert.Equal(t, notify.Full, e.Enqueue(named(t, "r.example/b:1")))
	})
}

func TestFailuresAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := newPlan(t, every("a", 24*time.Hour))
		plan.tags["a"] = []string{"bad", "good", "hopeless"}
		var fail atomic.Bool
		fail.Store(true)
		plan.copies = func(_ context.Context, c Copy) Outcome {
			switch {
			case c.Tag == "bad" && fail.Load():
				return Outcome{Status: state.Failed, Error: "no", Retry: true}
			case c.Tag == "hopeless":
				return Outcome{Status: state.Failed, Error: "never"}
			}
			return Outcome{Status: state.Mirrored}
		}
		run(t, plan, 4)
		plan.took()
		pass(20 * time.Minute)
		assert.Equal(t, []string{"15m0s copy a:bad", "1m0s copy a:bad", "3m0s copy a:bad", "7m0s copy a:bad"}, plan.took(), "less and less often, and nothing else")
		fail.Store(false)
		pass(20 * time.Minute)
		assert.Equal(t, []string{"31m0s copy a:bad"}, plan.took())
		pass(23 * time.Hour)
		assert.Empty(t, plan.took())
	})
}

func TestPostponedIsNotTriedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := newPlan(t, every("a", 24*time.Hour))
		began := time.Now()
		plan.copies = func(context.Context, Copy) Outcome {
			if time.Since(began) < 6*time.Hour {
				return Outcome{Status: state.Postponed, Until: began.Add(6 * time.Hour), Error: "the limit is used up"}
			}
			return Outcome{Status: state.Mirrored}
		}
		run(t, plan, 4)
		plan.took()
		pass(23 * time.Hour)
		assert.Equal(t, []string{"6h0m0s copy a"}, plan.took())

		plan.change(func() {
			plan.copies = func(context.Context, Copy) Outcome { return Outcome{Status: state.Postponed, Until: began} }
		})
		pass(62 * time.Minute)
		assert.Equal(t, []string{"24h0m0s copy a", "24h0m0s list a", "24h1m0s copy a", "24h2m0s copy a"}, plan.took(),
			"a time that has passed does not make it turn round and round")
	})
}

func TestTagsThatCannotBeListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := newPlan(t, every("a", time.Hour))
		var fail atomic.Bool
		fail.Store(true)
		plan.lists = func(string) error {
			if fail.Load() {
				return errors.New("no tag matches")
			}
			return nil
		}
		e := run(t, plan, 4)
		pass(4 * time.Minute)
		assert.Equal(t, []string{"0s list a", "1m0s list a", "3m0s list a"}, plan.took())
		assert.Equal(t, map[string]string{"a": "no tag matches"}, e.Load().Troubles)
		fail.Store(false)
		pass(4 * time.Minute)
		assert.Equal(t, []string{"7m0s copy a", "7m0s list a"}, plan.took())
		assert.Empty(t, e.Load().Troubles)
	})
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := newPlan(t, every("same", time.Hour), every("changed", time.Hour), every("faster", time.Hour), every("gone", time.Hour))
		e := run(t, before, 4)
		pass(30 * time.Minute)
		before.took()

		changed := every("changed", time.Hour)
		changed.Settings = "others"
		after := newPlan(t, every("same", time.Hour), changed, every("faster", 10*time.Minute), every("new", time.Hour))
		e.Use(after)
		synctest.Wait()
		assert.True(t, before.closed)
		assert.Equal(t, []string{"0s copy changed", "0s copy faster", "0s copy new", "0s list changed", "0s list faster", "0s list new"}, after.took())
		pass(30 * time.Minute)
		assert.Equal(t, []string{"30m0s copy same", "30m0s list same"}, slices.DeleteFunc(after.took(),
			func(line string) bool { return !strings.HasSuffix(line, "same") }))
		assert.Empty(t, before.took())
	})
}

func TestReloadWhileCopying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := newPlan(t, every("a", time.Hour), every("gone", time.Hour))
		before.tags["gone"] = []string{"1", "2", "3"}
		before.lists = func(element string) error {
			if element == "gone" {
				time.Sleep(time.Second)
			}
			return nil
		}
		before.copies = func(context.Context, Copy) Outcome {
			time.Sleep(10 * time.Minute)
			return Outcome{Status: state.Failed, Retry: true}
		}
		e := run(t, before, 2)
		pass(time.Minute)
		before.took()
		after := newPlan(t, every("a", time.Hour))
		e.Use(after)
		pass(time.Minute)
		assert.False(t, before.closed, "it is in use")
		assert.Zero(t, e.Load().Waiting, "what is gone does not wait any more")
		pass(20 * time.Minute)
		assert.True(t, before.closed)
		assert.Empty(t, before.took(), "nothing is begun by the plan before")
		assert.Equal(t, []string{"10m0s copy a"}, after.took(), "what failed is tried again by the new one; what is gone is not")
	})
}

func named(t *testing.T, text string) reference.NamedTagged {
	t.Helper()
	ref, err := reference.ParseNormalizedNamed(text)
	require.NoError(t, err)
	return ref.(reference.NamedTagged)
}

func TestPushesComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := newPlan(t, every("a", 24*time.Hour))
		for i := range 100 {
			plan.tags["a"] = append(plan.tags["a"], fmt.Sprint(i))
		}
		plan.copies = func(context.Context, Copy) Outcome {
			time.Sleep(time.Minute)
			return Outcome{Status: state.Mirrored}
		}
		e := run(t, plan, 1)
		plan.took()
		assert.Equal(t, notify.Waiting, e.Enqueue(named(t, "r.example/a:70")), "it waits already")
		assert.Equal(t, notify.Queued, e.Enqueue(named(t, "r.example/a:0")), "it is being copied, perhaps as it was before")
		assert.Equal(t, notify.Waiting, e.Enqueue(named(t, "r.example/a:0")))
		assert.Equal(t, notify.Unwanted, e.Enqueue(named(t, "r.example/a:new")))
		assert.Equal(t, notify.Unwanted, e.Enqueue(named(t, "r.example/b:70")))
		assert.Equal(t, []string{"a:0"}, plan.promised)
		pass(3 * time.Minute)
		assert.Equal(t, []string{"1m0s copy a:70", "2m0s copy a:0", "3m0s copy a:1"}, plan.took())
	})
}

func TestFloodOfPushesIsOneCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := newPlan(t, every("a", 24*time.Hour))
		plan.tags["a"] = []string{"1"}
		plan.copies = func(context.Context, Copy) Outcome {
			time.Sleep(time.Minute)
			return Outcome{Status: state.Mirrored}
		}
		e := run(t, plan, 8)
		plan.took()
		for range 10_000 {
			e.Enqueue(named(t, "r.example/a:1"))
		}
		pass(time.Hour)
		assert.Equal(t, []string{"1m0s copy a:1"}, plan.took())
	})
}

func TestRescans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := newPlan(t, every("a", 24*time.Hour), every("b", 24*time.Hour))
		e := run(t, plan, 8)
		pass(time.Hour)
		plan.took()
		for range 1000 {
			e.Rescan()
		}
		pass(10 * time.Second)
		assert.Equal(t, []string{"1h0m0s copy a", "1h0m0s copy b", "1h0m0s list a", "1h0m0s list b"}, plan.took(), "at once")
		for range 1000 {
			e.Rescan()
		}
		pass(time.Hour)
		assert.Equal(t, []string{"1h1m0s copy a", "1h1m0s copy b", "1h1m0s list a", "1h1m0s list b"}, plan.took(), "and not again within a minute")
	})
}

func TestStopLetsCopiesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := newPlan(t, every("a", time.Hour), every("b", time.Hour))
		plan.tags["c"] = []string{"1"}
		plan.copies = func(ctx context.Context, c Copy) Outcome {
			select {
			case <-time.After(map[string]time.Duration{"to/a": 10 * time.Second, "to/b": time.Hour}[c.Destination]):
				return Outcome{Status: state.Mirrored}
			case <-ctx.Done():
				return Outcome{Status: state.Failed, Error: context.Cause(ctx).Error(), Retry: true}
			}
		}
		e := run(t, plan, 2)
		began := time.Now()
		assert.Equal(t, notify.Queued, e.Enqueue(named(t, "r.example/c:1")))
		e.stop()
		assert.True(t, e.Alive(t.Context()), "who watches it must not kill it")
		<-e.ended
		assert.Equal(t, 30*time.Second, time.Since(began))
		assert.True(t, plan.closed)
		statuses := map[string]string{}
		for destination, outcomes := range maps.All(e.outcomes) {
			statuses[destination] = cmp.Or(outcomes[0].Error, string(outcomes[0].Status))
		}
		assert.Equal(t, map[string]string{"to/a": "mirrored", "to/b": "the server stops"}, statuses, "nothing is begun any more")
	})
}

func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := run(t, newPlan(t), 2)
		assert.True(t, e.Alive(t.Context()))
		e.stop()
		<-e.ended
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.False(t, e.Alive(ctx))
	})
}
