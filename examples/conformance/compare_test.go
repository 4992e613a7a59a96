package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCompare reads reports in the suite's form, and compares them.
func TestCompare(t *testing.T) {
	report := func(name string, tests ...string) verdict {
		var b strings.Builder
		b.WriteString(`<testsuites><testsuite name="S">`)
		for _, test := range tests {
			name, status, _ := strings.Cut(test, " ")
			b.WriteString(`<testcase name="S/` + name + `" classname="" status="` + status + `"><system-err>~~~</system-err></testcase>`)
		}
		b.WriteString(`</testsuite></testsuites>`)
		v, err := parseVerdict([]byte(b.String()))
		require.NoError(t, err)
		v.name = name
		return v
	}
	plain := report("plain", "ping passed", "push/tag passed", "push/tag passed", "sha512/push failure", "cancel skipped")
	for _, c := range []struct {
		name  string
		tests []string
		says  string
		known int // how many failures have a reason
	}{
		{"the same", []string{"ping passed", "push/tag passed", "push/tag passed", "sha512/push failure", "cancel skipped"}, "", 1},
		{"more", []string{"ping passed", "push/tag passed", "push/tag passed", "sha512/push passed", "cancel passed"}, "", 0},
		{
			"one of two", []string{"ping passed", "push/tag passed", "push/tag error", "sha512/push failure"},
			"here: push/tag passes 1 times, 2 with plain distribution\nhere: push/tag fails 1 times", 1,
		},
		{"skipped", []string{"ping skipped", "push/tag passed", "push/tag passed"}, "here: ping passes 0 times, 1 with plain distribution", 0},
		{"a list that is refused, too", []string{"ping passed", "push/tag passed", "push/tag passed", "sparse/push failure", "sparse/push failure"}, "here: sparse/push fails 2 times", 0},
	} {
		reasons := map[string]int{}
		err := report("here", c.tests...).compare(plain, reasons)
		said := ""
		if err != nil {
			said = err.Error()
		}
		assert.Equal(t, c.says, said, c.name)
		n := 0
		for _, times := range reasons {
			n += times
		}
		assert.Equal(t, c.known, n, c.name)
	}
	_, err := parseVerdict([]byte("no XML"))
	assert.Error(t, err)
}
