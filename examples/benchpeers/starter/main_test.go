package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain notes in a file that it was started, where a test has named one.
func TestMain(m *testing.M) {
	path := os.Getenv("STARTER_NOTES")
	if path == "" {
		os.Exit(m.Run())
	}
	notes, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = notes.WriteString(os.Args[1])
	}
	if err != nil {
		os.Exit(1)
	}
}

// large is more than a program that does next to nothing has resident.
const large = 64 << 20

// TestStart starts a program three times by the program itself, whose memory is no other's.
func TestStart(t *testing.T) {
	dir := t.TempDir()
	starter, notes := filepath.Join(dir, "starter"), filepath.Join(dir, "notes")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", starter, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	self, err := os.Executable()
	require.NoError(t, err)

	resident := bytes.Repeat([]byte{1}, large)
	c := exec.CommandContext(t.Context(), starter, "3", self, "x")
	c.Env = append(os.Environ(), "STARTER_NOTES="+notes)
	out, err = c.Output()
	require.NoError(t, err)
	runtime.KeepAlive(resident)
	var u usage
	require.NoError(t, json.Unmarshal(out, &u))
	assert.Positive(t, u.Wall)
	assert.Positive(t, u.CPU)
	if runtime.GOOS == "linux" {
		assert.Positive(t, u.Peak)
		assert.Less(t, u.Peak, int64(large))
	}
	content, err := os.ReadFile(notes)
	require.NoError(t, err)
	assert.Equal(t, "xxx", string(content))
}

func TestBadStarts(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "usage: starter NUMBER PROGRAM [ARGUMENT]..."},
		{[]string{"3"}, "usage: starter NUMBER PROGRAM [ARGUMENT]..."},
		{[]string{"0", "true"}, `"0" is no number of starts`},
		{[]string{"few", "true"}, `"few" is no number of starts`},
	} {
		_, err := start(test.args)
		require.EqualError(t, err, test.want)
	}
	_, err := start([]string{"1", filepath.Join(t.TempDir(), "absent")})
	require.ErrorIs(t, err, os.ErrNotExist)
}
