package copy

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestOptionsOfLayoutsReachTheEnds(t *testing.T) {
	for _, on := range []bool{false, true} {
		assert.Equal(t, on, newOneShot(CopierOptions{NoSync: on}).shared.NoSync)
		assert.Equal(t, on, newOneShot(CopierOptions{HardLinks: on}).shared.HardLinks)
		assert.Equal(t, on, newOneShot(CopierOptions{TrustSource: on}).shared.TrustFiles)
	}
}
