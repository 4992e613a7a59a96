package schedule

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

// take takes all that can be taken, and does not end the work.
func take(q *Queue[int]) (keys []string) {
	for {
		key, _, ok := q.Take()
		if !ok {
			return keys
		}
		keys = append(keys, key)
	}
}

func TestQueueOrder(t *testing.T) {
	q := NewQueue[int](10)
	for _, key := range []string{"a", "b", "c"} {
		assert.True(t, q.Add(key, 0, false))
	}
	assert.True(t, q.Add("n", 0, true))
	assert.True(t, q.Add("c", 0, true), "what waits may become urgent")
	assert.True(t, q.Add("c", 0, false), "and stays so")
	assert.Equal(t, []string{"n", "c", "a", "b"}, take(q))
	assert.Equal(t, 4, q.Working())
}

func TestQueueWaitsOnce(t *testing.T) {
	q := NewQueue[int](2)
	for i := range 1000 {
		assert.True(t, q.Add("a", i, i%2 == 0))
	}
	assert.Equal(t, 1, q.Waiting())
	_, item, ok := q.Take()
	assert.True(t, ok)
	assert.Equal(t, 999, item, "the last word counts")
	_, _, ok = q.Take()
	assert.False(t, ok)
}

func TestQueueWhileSomebodyWorksOnIt(t *testing.T) {
	q := NewQueue[int](10)
	q.Add("a", 1, false)
	take(q)
	q.Add("a", 2, false)
	q.Add("a", 3, true)
	assert.Empty(t, take(q), "one at a time")
	assert.Equal(t, 1, q.Waiting())
	q.Add("b", 0, false)
	q.Done("a")
	key, item, _ := q.Take()
	assert.Equal(t, "a", key)
	assert.Equal(t, 3, item)
	q.Done("a")
	assert.Equal(t, []string{"b"}, take(q), "it is not done a third time")
}

func TestQueueIsBounded(t *testing.T) {
	q := NewQueue[int](2)
	assert.True(t, q.Add("a", 0, false))
	assert.True(t, q.Add("b", 0, false))
	assert.False(t, q.Add("c", 0, true))
	assert.True(t, q.Add("a", 0, true), "it waits already")
	assert.Equal(t, []string{"a", "b"}, take(q))
}

func TestQueueKeep(t *testing.T) {
	q := NewQueue[int](10)
	q.Add("working", 0, false)
	take(q)
	for i, key := range []string{"a", "b", "working"} {
		q.Add(key, i, key == "b")
	}
	q.Keep(func(item int) bool { return item == 0 })
	assert.Equal(t, 1, q.Waiting())
	assert.True(t, q.Waits("a"))
	assert.False(t, q.Waits("working"))
	q.Done("working")
	assert.Equal(t, []string{"a"}, take(q))
}

// However keys are added and done: none is worked on twice at a time, none is forgotten.
func TestQueueRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	q := NewQueue[int](20)
	owed, working := map[string]bool{}, map[string]bool{}
	for range 20_000 {
		switch key := fmt.Sprint(random.IntN(30)); random.IntN(3) {
		case 0:
			if q.Add(key, 0, random.IntN(2) == 0) {
				owed[key] = true
			} else {
				assert.Len(t, owed, 20)
			}
		case 1:
			if key, _, ok := q.Take(); ok {
				assert.False(t, working[key], "twice at a time")
				assert.True(t, owed[key])
				delete(owed, key)
				working[key] = true
			} else {
				for key := range owed {
					assert.True(t, working[key], "nobody takes it")
				}
			}
		default:
			if working[key] {
				q.Done(key)
				delete(working, key)
			}
		}
		assert.Equal(t, len(owed), q.Waiting())
		assert.Equal(t, len(working), q.Working())
		if t.Failed() {
			return
		}
	}
}
