package mirrorserver

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/schedule"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// Limits of an Engine.
const (
	// listsAtOnce is how many elements are expanded at the same time.
	listsAtOnce = 8
	// maxWaiting is how many copies wait at most. An element with more is looked at again soon.
	maxWaiting = 100_000
	// soon is how long what found no room waits.
	soon = time.Minute
)

// EngineOptions say what an Engine works with. All are required.
type EngineOptions struct {
	Clock copy.Clock
	Log   *slog.Logger
	// Jobs is how many copies are made at the same time.
	Jobs int
	// StopTimeout is how long copies may take to end when the Engine is to stop.
	StopTimeout time.Duration
	// Observe is called for each copy that has ended. Calls may overlap.
	Observe func(Copy, Outcome)
}

// An Engine does what its Plan says, when it is due. Its methods may be called concurrently.
type Engine struct {
	options EngineOptions
	wake    chan struct{}      // has room for one: something has changed
	pings   chan chan struct{} // somebody wants to know whether the loop goes round

	working sync.WaitGroup // goroutines of expansions and copies
	closing sync.WaitGroup // goroutines that close plans

	mu       sync.Mutex
	plan     *usedPlan
	elements map[string]Element // of plan, by key
	looks    schedule.Timetable // when elements are due
	again    schedule.Timetable // when copies that failed are tried again, by destination
	failed   map[string]failure // copies that failed, by destination
	troubles map[string]trouble // with elements, by key
	lists    *schedule.Queue[Element]
	copies   *schedule.Queue[Copy]
	rescan   time.Time // when everything was, or will be, looked at because somebody has asked
}

// A failure is a copy that has failed, so many times in a row.
type failure struct {
	copy  Copy
	times int
}

// A trouble is why an element could not be expanded, the last of so many times in a row.
type trouble struct {
	text  string
	times int
}

// A usedPlan is a plan with those who use it.
type usedPlan struct {
	Plan
	users sync.WaitGroup
}

// NewEngine returns an Engine that has nothing to do until Use is called.
func NewEngine(options EngineOptions) *Engine {
	return &Engine{
		options: options, wake: make(chan struct{}, 1), pings: make(chan chan struct{}),
		failed: map[string]failure{}, troubles: map[string]trouble{},
		lists: schedule.NewQueue[Element](math.MaxInt), copies: schedule.NewQueue[Copy](maxWaiting),
	}
}

// Use makes the Engine do what plan says. Elements that plan has as the one before had them stay
// due when they were; others are due when their schedules say. What is being copied is finished
// as it was begun, and then the plan before is closed.
func (e *Engine) Use(plan Plan) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before, were := e.plan, e.elements
	e.plan, e.elements = &usedPlan{Plan: plan}, map[string]Element{}
	now := e.options.Clock.Now()
	for _, element := range plan.Elements() {
		e.elements[element.Key] = element
		was, known := were[element.Key]
		switch {
		case known && was.Settings == element.Settings && was.Schedule.String() == element.Schedule.String():
		case known || element.Last.IsZero() || element.Last.After(now): // the clock has gone back since
			e.looks.Set(element.Key, element.Schedule.First(element.Key, now))
		default:
			e.looks.Set(element.Key, element.Schedule.Next(element.Key, element.Last))
		}
		if !known && !element.Again.IsZero() {
			e.notLater(element.Key, element.Again)
		}
	}
	e.forget()
	if before != nil {
		e.closing.Go(func() { e.closePlan(before) })
	}
	e.awake()
}

// forget drops all about elements that are gone.
func (e *Engine) forget() {
	wanted := func(element string) bool { _, ok := e.elements[element]; return ok }
	maps.DeleteFunc(e.failed, func(_ string, f failure) bool { return !wanted(f.copy.Element) })
	maps.DeleteFunc(e.troubles, func(key string, _ trouble) bool { return !wanted(key) })
	e.looks.Keep(wanted)
	e.again.Keep(func(destination string) bool { _, ok := e.failed[destination]; return ok })
	e.lists.Keep(func(element Element) bool { return wanted(element.Key) })
	e.copies.Keep(func(c Copy) bool { return wanted(c.Element) })
}

// closePlan closes a plan when nobody uses it any more.
func (e *Engine) closePlan(plan *usedPlan) {
	plan.users.Wait()
	if err := plan.Close(); err != nil {
		e.options.Log.Warn("what the mirror held could not all be given back", "error", err)
	}
}

// errCutOff is why copies end that took too long to stop.
var errCutOff = errors.New("the server stops")

// Run does what is due until ctx ends. Then nothing is begun any more; copies that take longer than
// StopTimeout are cut off, and do no harm: a tag is written last. Run returns when nothing is under
// way and the plan is closed. It must be called once.
func (e *Engine) Run(ctx context.Context) {
	work, cutOff := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cutOff(nil)
	e.loop(ctx, work)
	e.drain(cutOff)
	e.mu.Lock()
	plan := e.plan
	e.mu.Unlock()
	if plan != nil {
		e.closePlan(plan)
	}
	e.closing.Wait()
}

// loop begins what is due, with work for its context, until ctx ends.
func (e *Engine) loop(ctx, work context.Context) {
	for {
		now := e.options.Clock.Now()
		wait := e.begin(work, now)
		timer := e.options.Clock.NewTimer(wait)
		if clock.Since(e.options.Clock, now) >= wait { // perhaps before there was a timer, which would be late
			timer.Stop()
			continue
		}
		select {
		case <-timer.C():
		case <-e.wake:
		case ping := <-e.pings:
			close(ping)
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// drain waits for what is under way, and cuts it off in the end.
func (e *Engine) drain(cutOff context.CancelCauseFunc) {
	done := make(chan struct{})
	go func() {
		e.working.Wait()
		close(done)
	}()
	timer := e.options.Clock.NewTimer(e.options.StopTimeout)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case ping := <-e.pings:
			close(ping)
		case <-timer.C():
			e.options.Log.Warn("copies are cut off: they take longer than they may when the server stops", "copies", e.Load().Copying, "timeout", e.options.StopTimeout)
			cutOff(errCutOff)
		}
	}
}

// idle is how long the loop sleeps if nothing is ever due.
const idle = time.Hour

// begin begins all that is due now and finds room, and returns how long after that more is due.
func (e *Engine) begin(work context.Context, now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, key := range e.looks.Due(now) {
		element := e.elements[key]
		e.looks.Set(key, element.Schedule.Next(key, now))
		e.lists.Add(key, element, false)
	}
	for _, destination := range e.again.Due(now) {
		if c := e.failed[destination].copy; !e.copies.Add(destination, c, false) {
			e.again.Set(destination, now.Add(soon))
		}
	}
	for e.lists.Working() < listsAtOnce {
		_, element, ok := e.lists.Take()
		if !ok {
			break
		}
		e.start(func(plan Plan) { e.expand(work, plan, element) })
	}
	for e.copies.Working() < e.options.Jobs {
		_, c, ok := e.copies.Take()
		if !ok {
			break
		}
		e.start(func(plan Plan) { e.copy(work, plan, c) })
	}
	wait := idle
	for _, table := range []*schedule.Timetable{&e.looks, &e.again} {
		if at, ok := table.Next(); ok {
			wait = min(wait, at.Sub(now))
		}
	}
	return wait
}

// start calls f in a goroutine, with the plan of this moment.
func (e *Engine) start(f func(Plan)) {
	plan := e.plan
	plan.users.Add(1)
	e.working.Go(func() {
		defer plan.users.Done()
		f(plan)
		e.awake()
	})
}

// awake makes the loop go round once more.
func (e *Engine) awake() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// expand has all copied that an element stands for.
func (e *Engine) expand(ctx context.Context, plan Plan, element Element) {
	copies, err := plan.Expand(ctx, element)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lists.Done(element.Key)
	if _, ok := e.elements[element.Key]; !ok || ctx.Err() != nil {
		return
	}
	now := e.options.Clock.Now()
	if err != nil {
		t := trouble{err.Error(), e.troubles[element.Key].times + 1}
		e.troubles[element.Key] = t
		e.options.Log.Warn("it cannot be found out what is to be copied", "element", element.Key, "error", t.text)
		e.notLater(element.Key, now.Add(schedule.Backoff(t.times)))
		return
	}
	delete(e.troubles, element.Key)
	for i, c := range copies {
		if !e.copies.Add(c.Destination, c, false) {
			e.options.Log.Warn("too much is waiting: the rest is looked at later", "element", element.Key, "copies", len(copies)-i, "later", soon)
			e.notLater(element.Key, now.Add(soon))
			return
		}
	}
}

// notLater makes an element due at a time, unless it is due before.
func (e *Engine) notLater(element string, at time.Time) {
	if due, ok := e.looks.At(element); !ok || at.Before(due) {
		e.looks.Set(element, at)
	}
}

// copy makes a copy, and says when it is tried again if it failed.
func (e *Engine) copy(ctx context.Context, plan Plan, c Copy) {
	outcome := plan.Copy(ctx, c)
	e.ended(ctx, c, outcome)
	if outcome.Status != "" {
		e.options.Observe(c, outcome)
	}
}

// ended notes how a copy ended that was made with a context.
func (e *Engine) ended(ctx context.Context, c Copy, outcome Outcome) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.copies.Done(c.Destination)
	f := failure{c, e.failed[c.Destination].times}
	delete(e.failed, c.Destination)
	e.again.Remove(c.Destination)
	_, wanted := e.elements[c.Element]
	now := e.options.Clock.Now()
	switch {
	case !wanted, ctx.Err() != nil:
	case outcome.Status == state.Postponed:
		e.tryAgain(f, latest(outcome.Until, now.Add(soon)))
	case outcome.Retry:
		f.times++
		e.tryAgain(f, now.Add(schedule.Backoff(f.times)))
	}
}

// tryAgain makes a copy that has failed due at a time. The schedule of its element may bring it
// before.
func (e *Engine) tryAgain(f failure, at time.Time) {
	e.failed[f.copy.Destination] = f
	e.again.Set(f.copy.Destination, at)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// A Load is what an Engine has to do.
type Load struct {
	Elements int
	Waiting  int // copies
	Copying  int
	Listing  int       // elements that are being expanded, or wait for that
	Next     time.Time // when an element is due, zero for never
	// Troubles are why elements could not be expanded, by key.
	Troubles map[string]string
}

// Load returns what there is to do.
func (e *Engine) Load() Load {
	e.mu.Lock()
	defer e.mu.Unlock()
	load := Load{
		Elements: len(e.elements), Waiting: e.copies.Waiting(), Copying: e.copies.Working(),
		Listing: e.lists.Waiting() + e.lists.Working(), Troubles: map[string]string{},
	}
	load.Next, _ = e.looks.Next()
	for key, t := range e.troubles {
		load.Troubles[key] = t.text
	}
	return load
}

// Alive reports whether the Engine still looks after what is due, and does so before ctx ends.
func (e *Engine) Alive(ctx context.Context) bool {
	ping := make(chan struct{})
	select {
	case e.pings <- ping:
		<-ping
		return true
	case <-ctx.Done():
		return false
	}
}
