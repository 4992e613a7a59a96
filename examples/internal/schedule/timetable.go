package schedule

import (
	"cmp"
	"container/heap"
	"time"
)

// A Timetable says what is due when, each key once. The zero value is empty. It must not be used
// concurrently.
type Timetable struct {
	entries entries
	byKey   map[string]*entry
}

// An entry is something in a timetable.
type entry struct {
	key   string
	at    time.Time
	index int // in entries
}

// Set makes key due at a time, in place of the one that it had. The zero time takes it out.
func (t *Timetable) Set(key string, at time.Time) {
	e := t.byKey[key]
	switch {
	case at.IsZero():
		t.Remove(key)
	case e != nil:
		e.at = at
		heap.Fix(&t.entries, e.index)
	default:
		if t.byKey == nil {
			t.byKey = map[string]*entry{}
		}
		e = &entry{key: key, at: at}
		t.byKey[key] = e
		heap.Push(&t.entries, e)
	}
}

// Remove takes key out, if it is there.
func (t *Timetable) Remove(key string) {
	if e := t.byKey[key]; e != nil {
		heap.Remove(&t.entries, e.index)
		delete(t.byKey, key)
	}
}

// Keep takes out all that is not wanted.
func (t *Timetable) Keep(wanted func(key string) bool) {
	for key := range t.byKey {
		if !wanted(key) {
			t.Remove(key)
		}
	}
}

// At returns when key is due; ok is false if it is not there.
func (t *Timetable) At(key string) (at time.Time, ok bool) {
	e := t.byKey[key]
	if e == nil {
		return time.Time{}, false
	}
	return e.at, true
}

// Next returns when something is due at the earliest; ok is false if nothing is there.
func (t *Timetable) Next() (at time.Time, ok bool) {
	if len(t.entries) == 0 {
		return time.Time{}, false
	}
	return t.entries[0].at, true
}

// Due takes out what is due now or was before, and returns its keys: by time, then by name.
func (t *Timetable) Due(now time.Time) []string {
	var keys []string
	for len(t.entries) > 0 && !t.entries[0].at.After(now) {
		e := heap.Pop(&t.entries).(*entry)
		delete(t.byKey, e.key)
		keys = append(keys, e.key)
	}
	return keys
}

// entries are a heap.
type entries []*entry

func (e entries) Len() int { return len(e) }

func (e entries) Less(i, j int) bool {
	return cmp.Or(e[i].at.Compare(e[j].at), cmp.Compare(e[i].key, e[j].key)) < 0
}

func (e entries) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].index, e[j].index = i, j
}

func (e *entries) Push(x any) {
	added := x.(*entry)
	added.index = len(*e)
	*e = append(*e, added)
}

func (e *entries) Pop() any {
	last := (*e)[len(*e)-1]
	(*e)[len(*e)-1] = nil
	*e = (*e)[:len(*e)-1]
	return last
}
