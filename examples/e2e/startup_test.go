package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An initialization is what a package of a program did before main.
type initialization struct {
	name         string
	milliseconds float64
	bytes        int
}

// initializations runs the program and returns those of all its packages. It demands that nothing
// was so large that garbage had to be collected.
func initializations(t *testing.T, program string, args ...string) []initialization {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1,gctrace=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Run())
	var all []initialization
	for _, m := range regexp.MustCompile(`(?m)^init (\S+) @\S+ ms, (\S+) ms clock, (\d+) bytes`).FindAllStringSubmatch(stderr.String(), -1) {
		milliseconds, err := strconv.ParseFloat(m[2], 64)
		require.NoError(t, err)
		size, err := strconv.Atoi(m[3])
		require.NoError(t, err)
		all = append(all, initialization{name: m[1], milliseconds: milliseconds, bytes: size})
	}
	require.NotEmpty(t, all)
	assert.NotRegexp(t, `(?m)^gc \d+ @`, stderr.String())
	return all
}

// standard reports whether a package is one of Go's own, which programs of all kinds prepare.
func (i initialization) standard() bool {
	first, _, _ := strings.Cut(i.name, "/")
	return i.name != "main" && !strings.Contains(first, ".")
}

// TestStartup bounds what mirror does before main, which each start pays: in loops of shells more
// than copies that have nothing to do. How long that takes is compared with what Go's own packages
// take of it, on whatever machine. Whoever adds a package that prepares a lot, or a table of their
// own, makes that when it is needed, as with sync.OnceValue.
func TestStartup(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	const (
		enough   = 10      // runs, for what somebody else has delayed to be seen without that
		runs     = 100     // at most
		times    = 11.0    // as long as Go's own packages alone
		bytes    = 7 << 19 // less than 4 MiB, the least heap that is collected
		packages = 415     // that prepare something: for each, another part of the program's file is in memory
	)
	program := filepath.Join(build(t), "mirror")
	least := map[string]initialization{} // of each package: others have the machine as well
	ratio, allocated := math.Inf(1), 0
	for i := 0; i < enough || i < runs && ratio > times; i++ {
		for _, one := range initializations(t, program, "--help") {
			if before, ok := least[one.name]; !ok || one.milliseconds < before.milliseconds {
				least[one.name] = one
			}
		}
		all, own := 0.0, 0.0
		allocated = 0
		for _, one := range least {
			all += one.milliseconds
			if one.standard() {
				own += one.milliseconds
			}
			allocated += one.bytes
		}
		ratio = all / own
	}
	costly := slices.SortedFunc(maps.Values(least), func(a, b initialization) int { return cmp.Compare(b.milliseconds, a.milliseconds) })
	text := fmt.Sprintf("the most costly, in milliseconds and bytes: %v", costly[:10])
	assert.LessOrEqual(t, ratio, times, text)
	assert.LessOrEqual(t, allocated, bytes, text)
	assert.LessOrEqual(t, len(least), packages)
}
