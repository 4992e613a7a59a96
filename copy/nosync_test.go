package copy

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNoSyncReachesTheEnds(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		assert.Equal(t, noSync, newOneShot(CopierOptions{NoSync: noSync}).shared.NoSync)
	}
}
