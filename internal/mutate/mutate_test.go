package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSurvivorsHaveReasons(t *testing.T) {
	_, err := parseList(survivors)
	require.NoError(t, err)
}

func TestParseList(t *testing.T) {
	listed, err := parseList("# a comment\na.go X: if a ▸< b {\n\tbecause\n\tof this\n\nb.go Y: i▸++\n\tloops for ever\n")
	require.NoError(t, err)
	assert.Equal(t, map[string]reason{
		"a.go X: if a ▸< b {": {text: "because of this"},
		"b.go Y: i▸++":        {text: "loops for ever", loops: true},
	}, listed)
	for list, want := range map[string]string{
		"a\n":                 "survivors.txt: no reason for a",
		"\tbecause\n":         "survivors.txt: a reason without a mutant: because",
		"a\n\tb\na\n\tc\n":    "survivors.txt: a: listed twice",
		"a\n\tx\nb\n\nc\n\ty": "survivors.txt: no reason for b",
	} {
		_, err := parseList(list)
		assert.EqualError(t, err, want)
	}
}

func TestJudge(t *testing.T) {
	mutants := slices.Repeat([]mutant{{Status: "KILLED"}}, 97)
	mutants = append(mutants,
		mutant{Status: lived, where: "p/a.go", Type: "X", text: "listed"},
		mutant{Status: timedOut, where: "p/a.go", Type: "X", text: "a loop"},
		mutant{Status: timedOut, where: "p/a.go", Type: "X", text: "slow"},
		mutant{Status: notCovered, where: "p/a.go", Type: "X", text: "not run", Line: 7, Column: 9},
		mutant{Status: notViable, where: "p/a.go", Type: "X", text: "not Go"},
	)
	listed := map[string]reason{
		"p/a.go X: listed": {text: "why"}, "p/a.go X: a loop": {text: "loops", loops: true}, "p/a.go X: slow": {text: "why"},
		"p/b.go X: killed": {text: "why"}, "other/a.go X: elsewhere": {text: "why"},
	}
	s, complaints := judge("p", mutants, listed)
	assert.Equal(t, score{killed: 98, survived: 2, notCovered: 1}, s)
	assert.Equal(t, "98 mutants killed and 2 alive (98.0 % killed), 1 not covered (99.0 % covered)", s.String())
	assert.Equal(t, []string{
		"p/a.go X: not run (line 7, column 9)\n\tnot covered, and not listed in survivors.txt",
		"p/b.go X: killed\n\tlisted in survivors.txt, and does not survive",
	}, complaints)

	_, complaints = judge("p", mutants[1:], map[string]reason{})
	assert.Contains(t, complaints, "p: 98 % must be killed, and 95 % covered")
}

// TestComplete adds what Go's profiles lack to one of them.
func TestComplete(t *testing.T) {
	const source = `package p

const limit = 1 + 2

func f(a int) int {
	switch {
	case a > limit:
		return 1
	case a < 0, a == 7:
		switch a {
		case -1:
		}
	default:
	}
	return 0
}

func g(a int) int {
	switch a {
	case 1:
	}
	return 0
}
`
	const profile = `mode: set
example.com/m/p/p.go:5.19,6.9 1 1
example.com/m/p/p.go:7.17,8.11 1 0
example.com/m/p/p.go:9.21,10.12 1 1
example.com/m/p/p.go:18.19,19.11 1 0
`
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("p", 0o700))
	require.NoError(t, os.WriteFile("go.mod", []byte("module example.com/m\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join("p", "p.go"), []byte(source), 0o600))
	require.NoError(t, os.WriteFile("profile", []byte(profile), 0o600))
	require.NoError(t, complete("profile"))
	b, err := os.ReadFile("profile")
	require.NoError(t, err)
	added, ok := strings.CutPrefix(string(b), profile)
	require.True(t, ok)
	assert.Equal(t, `example.com/m/p/p.go:3.1,3.20 1 1
example.com/m/p/p.go:7.7,7.16 1 1
example.com/m/p/p.go:9.7,9.20 1 1
example.com/m/p/p.go:11.8,11.10 1 1
`, added)
}
