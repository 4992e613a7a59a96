package mirrorcmd

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/buildinfo"
)

func TestVersion(t *testing.T) {
	want := buildinfo.Read()
	for _, args := range [][]string{{"--version"}, {"-v"}, {"version"}, {"version", "--output", "text"}} {
		assert.Equal(t, want.Text("mirror"), runAll(t.Context(), t, "", args...).done(t).stdout, "%v", args)
	}
	var got versionReport
	require.NoError(t, json.Unmarshal([]byte(runAll(t.Context(), t, "", "version", "--output", "json").done(t).stdout), &got))
	assert.Equal(t, versionReport{versionSchema, want}, got)
	runAll(t.Context(), t, "", "version", "copy").failed(t, StatusMisused, "mirror version takes no arguments")
}
