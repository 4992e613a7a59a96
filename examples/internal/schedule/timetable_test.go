package schedule

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestTimetable(t *testing.T) {
	var table Timetable
	_, ok := table.Next()
	assert.False(t, ok)
	assert.Empty(t, table.Due(noon))

	table.Set("b", noon)
	table.Set("a", noon)
	table.Set("c", noon.Add(time.Hour))
	table.Set("d", noon.Add(-time.Hour))
	at, ok := table.Next()
	assert.True(t, ok)
	assert.Equal(t, noon.Add(-time.Hour), at)
	assert.Equal(t, []string{"d", "a", "b"}, table.Due(noon), "by time, then by name")
	assert.Empty(t, table.Due(noon), "what was due is taken out")

	table.Set("c", noon.Add(time.Minute)) // moved
	at, ok = table.At("c")
	assert.True(t, ok)
	assert.Equal(t, noon.Add(time.Minute), at)
	table.Set("e", noon)
	table.Keep(func(key string) bool { return key == "c" })
	assert.Empty(t, table.Due(noon))
	table.Set("c", time.Time{}) // never
	table.Remove("c")
	_, ok = table.Next()
	assert.False(t, ok)
	_, ok = table.At("c")
	assert.False(t, ok)
}

// The same operations on a timetable and on a map must give the same.
func TestTimetableRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	var table Timetable
	model := map[string]time.Time{}
	now := noon
	for range 5000 {
		key := fmt.Sprint(random.IntN(50))
		switch random.IntN(5) {
		case 0:
			table.Remove(key)
			delete(model, key)
		case 1:
			now = now.Add(time.Duration(random.IntN(10)) * time.Second)
			var due []string
			for key, at := range model {
				if !at.After(now) {
					due = append(due, key)
					delete(model, key)
				}
			}
			got := table.Due(now)
			slices.Sort(got)
			slices.Sort(due)
			assert.Equal(t, due, got)
		default:
			at := now.Add(time.Duration(random.IntN(60)) * time.Second)
			table.Set(key, at)
			model[key] = at
		}
		var earliest time.Time
		for _, at := range model {
			if earliest.IsZero() || at.Before(earliest) {
				earliest = at
			}
		}
		at, ok := table.Next()
		assert.Equal(t, len(model) > 0, ok)
		assert.Equal(t, earliest, at)
		if t.Failed() {
			return
		}
	}
}
