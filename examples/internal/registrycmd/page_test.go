package registrycmd

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the table of settings into the operator's guide anew")

// page is the operator's guide.
const page = "../../../docs/sparse-registry.md"

// TestPageHasTheSettings holds the table of the operator's guide against the table of settings.
// -update writes it anew.
func TestPageHasTheSettings(t *testing.T) {
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	const head = "| flag | environment | key in the file | default | meaning |\n|---|---|---|---|---|\n"
	before, rest, ok := strings.Cut(string(content), head)
	require.True(t, ok, "no table of settings")
	rows, after, ok := strings.Cut(rest, "\n\n")
	require.True(t, ok)
	want := settingsTable()
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(before+head+want+"\n\n"+after), 0o644))
		return
	}
	assert.Equal(t, want, rows, "go test ./internal/registrycmd -run TestPageHasTheSettings -update writes it anew")
}

// settingsTable is the rows of the settings' table, in Markdown.
func settingsTable() string {
	rows := make([]string, 0, len(settings))
	for _, s := range settings {
		initial := ""
		if s.initial != "" {
			initial = "`" + s.initial + "`"
		}
		meaning := strings.ReplaceAll(s.usage, "|", `\|`)
		rows = append(rows, fmt.Sprintf("| `--%s` | `%s` | `%s` | %s | %s |", s.flag, s.env, s.key, initial, meaning))
	}
	return strings.Join(rows, "\n")
}
