package foreign

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// TestMangled converts the files in the shape of real ones after words in them were lost, doubled
// or exchanged. What comes of it is a file that is accepted, or an error that names lines.
func TestMangled(t *testing.T) {
	archives, err := filepath.Glob("testdata/real/*.txtar")
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(3, 4))
	others := []string{"", "null", "~", "[]", "{}", "a", "-1", "true", "${X}", "{tag}", "*", "'", ": ", "\n", "\x00", "é", "a/b:c@d", "[a, [b]]", "{a: {b: c}}"}
	converted := 0
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		require.NoError(t, err)
		format, err := Find(filepath.Base(name)[:strings.LastIndex(filepath.Base(name), "-")])
		require.NoError(t, err)
		words := strings.SplitAfter(string(archive.Files[0].Data), " ")
		for range 25 {
			mangled := append([]string(nil), words...)
			for range 1 + random.IntN(3) {
				i := random.IntN(len(mangled))
				switch random.IntN(3) {
				case 0:
					mangled[i] = others[random.IntN(len(others))] + " "
				case 1:
					mangled[i] += mangled[i]
				case 2:
					mangled[i] = mangled[random.IntN(len(mangled))]
				}
			}
			content := strings.Join(mangled, "")
			result, err := format.Convert("f", []byte(content), flagsOf(t, string(archive.Comment)))
			if err != nil {
				var problems syncfile.Problems
				require.True(t, errors.As(err, &problems), "%v of %s", err, content)
				continue
			}
			converted++
			accepted(t, result.Sync)
		}
	}
	require.NotZero(t, converted)
}
