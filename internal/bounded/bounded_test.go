package bounded

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMakeRoom(t *testing.T) {
	m := map[int]bool{}
	for i := range 10 {
		MakeRoom(m, 3)
		m[i] = true
		assert.Len(t, m, min(i+1, 3))
		assert.True(t, m[i])
	}
}

func TestGetOrAdd(t *testing.T) {
	var m map[int]*int
	added := func() *int { return new(int) }
	one := GetOrAdd(&m, 1, 2, added)
	assert.Same(t, one, GetOrAdd(&m, 1, 2, added))
	two := GetOrAdd(&m, 2, 2, added)
	assert.NotSame(t, one, two)
	three := GetOrAdd(&m, 3, 2, added)
	assert.Len(t, m, 2)
	assert.Same(t, three, m[3])
}
