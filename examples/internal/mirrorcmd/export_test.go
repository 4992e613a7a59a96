package mirrorcmd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExport(t *testing.T) {
	dir := t.TempDir()
	file, out := filepath.Join(dir, "images.yaml"), filepath.Join(dir, "sync.yml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("images:\n- {source: 'docker://a.example/b:1', destination: 'docker://m.example/x/b'}\n")
	r := runAll(t.Context(), t, "", "export", "skopeo", file)
	assert.Equal(t, StatusDone, r.status)
	assert.Equal(t, "# Made by mirror export.\na.example:\n  images:\n    b:\n    - \"1\"\n", r.stdout)
	assert.Equal(t, "note: "+file+": type skopeo sync --src yaml --dest docker --all FILE m.example/x\n", r.stderr)

	write("images:\n- {source: 'docker://a.example/b:1', destination: 'docker://m.example/x/b', referrers: true}\n")
	r = runAll(t.Context(), t, "", "export", "skopeo", "--out", out, file)
	assert.Equal(t, StatusMisused, r.status)
	assert.Contains(t, r.stderr, "lost: "+file+":2: images[0].referrers: ")
	assert.Contains(t, r.stderr, "mirror: 1 key of "+file+" that Skopeo's sync YAML cannot say; --accept-lost takes that for success\n")
	assert.Empty(t, r.stdout)
	assert.Contains(t, string(mustRead(t, out)), "images:")
	assert.Equal(t, StatusDone, runAll(t.Context(), t, "", "export", "skopeo", "--accept-lost", file).status)

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"skopeo"}, "takes FORMAT and FILE"},
		{[]string{"nothing", file}, `format "nothing" is unknown; known are `},
		{[]string{"skopeo", file + ".none"}, "no such file"},
		{[]string{"skopeo", out}, out + `:2: the file has no key "a.example"`},
		{[]string{"skopeo", "--out", "/dev/null", file}, "--out"},
	} {
		runAll(t.Context(), t, "", append([]string{"export"}, c.args...)...).failed(t, StatusMisused, c.want)
	}
}
