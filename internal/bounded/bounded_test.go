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
