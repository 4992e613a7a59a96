package mirrorcmd

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/progress/terminaltest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestDamageHasItsColor on a terminal, and nowhere else.
func TestDamageHasItsColor(t *testing.T) {
	assert.Equal(t, "RESULT\n\x1b[1;97;45mdamaged\x1b[0m  list\n\x1b[1;31mfailed\x1b[0m   -\nundamaged failed\n",
		colored("RESULT\ndamaged  list\nfailed   -\nundamaged failed\n"))
	terminal := terminaltest.NewPseudo(t, 80, 10)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	for _, c := range []struct {
		stdout io.Writer
		env    map[string]string
		want   bool
	}{
		{terminal.Writer, map[string]string{"TERM": "xterm"}, true},
		{terminal.Writer, map[string]string{"TERM": "dumb"}, false},
		{terminal.Writer, map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, false},
		{w, map[string]string{"TERM": "xterm"}, false},
		{&strings.Builder{}, nil, false},
	} {
		e := &environment{ctx: context.Background(), stdout: c.stdout, getenv: func(key string) string { return c.env[key] }}
		assert.Equal(t, c.want, strings.Contains(e.shown("damaged: a\n"), "\x1b["), "%v", c.env)
		assert.NotContains(t, e.shown("damaged: \x1b[31m\n"), "\x1b[31m", "what strangers write is no color")
	}
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	imagetest.Platforms(1, 1, 100).PushTo(s.src, "a", "1", imagetest.Top)
	s.write("images: [{source: SRC/a:2, destination: DST/a}]")
	e := &environment{ctx: t.Context(), stdin: strings.NewReader(""), stdout: terminal.Writer, stderr: io.Discard, getenv: os.Getenv}
	assert.Equal(t, StatusFailed, e.run([]string{"sync", "--insecure-policy", "--src-tls-verify=false", "--state-dir", s.state, s.file}))
	assert.Contains(t, terminal.Raw(), "\x1b[1;31mfailed\x1b[0m  ")
}
