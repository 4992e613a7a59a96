package late

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRegexp(t *testing.T) {
	word := Regexp(`^\w+$`)
	assert.True(t, word().MatchString("word"))
	assert.Same(t, word(), word())
	wrong := Regexp(`(`)
	assert.Panics(t, func() { wrong() })
}
