package schedule

import "container/list"

// A Queue has what is to be done now. A key waits once, however often it was added, and is given to
// one taker at a time: if it is added while somebody works on it, it waits until that is done, so
// that whatever changed meanwhile is seen. It must not be used concurrently.
type Queue[T any] struct {
	limit           int
	urgent, waiting *list.List // of *task[T], in the order in which they were added
	tasks           map[string]*task[T]
	working         map[string]bool
}

// A task is what waits. It is in a list if and only if nobody works on its key.
type task[T any] struct {
	key    string
	item   T
	urgent bool
	place  *list.Element // nil while somebody works on the key
}

// NewQueue returns a queue in which at most limit keys wait.
func NewQueue[T any](limit int) *Queue[T] {
	return &Queue[T]{limit: limit, urgent: list.New(), waiting: list.New(), tasks: map[string]*task[T]{}, working: map[string]bool{}}
}

// Add puts something in. What is urgent comes before all that is not. If key waits already, the
// item takes the place of the one that it had, and what was urgent stays so. Add reports false,
// and changes nothing, if the queue is full and key does not wait in it.
func (q *Queue[T]) Add(key string, item T, urgent bool) bool {
	t := q.tasks[key]
	switch {
	case t == nil && len(q.tasks) >= q.limit:
		return false
	case t == nil:
		t = &task[T]{key: key, item: item, urgent: urgent}
		q.tasks[key] = t
		if !q.working[key] {
			q.line(t)
		}
	default:
		t.item = item
		if urgent && !t.urgent {
			t.urgent = true
			q.leave(t)
			if !q.working[key] {
				q.line(t)
			}
		}
	}
	return true
}

// line puts a task at the end of its list.
func (q *Queue[T]) line(t *task[T]) {
	if t.urgent {
		t.place = q.urgent.PushBack(t)
	} else {
		t.place = q.waiting.PushBack(t)
	}
}

// leave takes a task out of the list that it is in.
func (q *Queue[T]) leave(t *task[T]) {
	if t.place != nil {
		q.urgent.Remove(t.place) // an element of another list is left alone
		q.waiting.Remove(t.place)
		t.place = nil
	}
}

// Take takes out what is next. Until Done is called with key, nobody is given that key again. ok is
// false if nothing waits but what others work on.
func (q *Queue[T]) Take() (key string, item T, ok bool) {
	first := q.urgent.Front()
	if first == nil {
		first = q.waiting.Front()
	}
	if first == nil {
		return "", item, false
	}
	t := first.Value.(*task[T])
	q.leave(t)
	delete(q.tasks, t.key)
	q.working[t.key] = true
	return t.key, t.item, true
}

// Done ends the work on a key that Take has returned.
func (q *Queue[T]) Done(key string) {
	delete(q.working, key)
	if t := q.tasks[key]; t != nil {
		q.line(t)
	}
}

// Keep takes out all that waits and is not wanted.
func (q *Queue[T]) Keep(wanted func(item T) bool) {
	for key, t := range q.tasks {
		if !wanted(t.item) {
			q.leave(t)
			delete(q.tasks, key)
		}
	}
}

// Waits reports whether key waits.
func (q *Queue[T]) Waits(key string) bool { return q.tasks[key] != nil }

// Waiting is how many keys wait.
func (q *Queue[T]) Waiting() int { return len(q.tasks) }

// Working is how many keys are being worked on.
func (q *Queue[T]) Working() int { return len(q.working) }
