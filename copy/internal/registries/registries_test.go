package registries

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A habit is something that registries in the field do, and a test of what becomes of a copy then.
type habit struct {
	name string // of its row in docs/registries.md
	test func(t *testing.T)
}

// TestRegistriesAsTheyAre runs one test for each row of docs/registries.md, and none that has no
// row there.
func TestRegistriesAsTheyAre(t *testing.T) {
	habits := slices.Concat(
		absenceHabits, headHabits, subjectHabits, bodyHabits, tagListHabits, timeHabits, authorizationHabits, uploadHabits, sparseHabits, originalHabits, programHabits,
	)
	page, err := os.ReadFile("../../../docs/registries.md")
	require.NoError(t, err)
	var rows []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		rows = append(rows, row[1])
	}
	var names []string
	for _, h := range habits {
		names = append(names, h.name)
	}
	assert.Equal(t, names, rows, "the tests, in the order of the rows of docs/registries.md")
	for _, h := range habits {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			h.test(t)
		})
	}
}
