package notify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fixture returns a document of testdata. They are made after what the products publish about their
// formats; every address in them is inside.
func fixture(t testing.TB, name string) []byte {
	content, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return content
}

// fixtures are the documents of testdata, and what they tell of.
var fixtures = map[string][]Push{
	"distribution-push.json":     {{"team/app", "1.10"}},
	"distribution-other.json":    nil,
	"docker-hub-push.json":       {{"team/app", "1.10"}},
	"harbor-push.json":           {{"team/app", "1.10"}},
	"harbor-cloudevents.json":    {{"team/app", "1.10"}},
	"harbor-untagged.json":       {{"team/app", "sha256:" + strings.Repeat("2", 64)}},
	"harbor-scan.json":           nil,
	"quay-push.json":             {{"team/app", "1.10"}, {"team/app", "latest"}},
	"quay-push-of-old.json":      {{"team/app", "1.10"}, {"team/app", "latest"}},
	"quay-build.json":            nil,
	"ghcr-package.json":          {{"team/app", "1.10"}},
	"ghcr-registry-package.json": {{"team/app", "1.10"}},
	"ghcr-untagged.json":         nil,
	"ghcr-deleted.json":          nil,
	"ghcr-ping.json":             nil,
}

// formatOf is the format that the name of a document begins with.
func formatOf(t testing.TB, name string) Format {
	for _, f := range Formats() {
		if strings.HasPrefix(name, string(f)+"-") {
			return f
		}
	}
	require.Fail(t, "no format", name)
	return ""
}

func TestParse(t *testing.T) {
	files, err := os.ReadDir("testdata")
	require.NoError(t, err)
	for _, file := range files {
		if file.IsDir() {
			continue // what fuzzing has found
		}
		t.Run(file.Name(), func(t *testing.T) {
			want, known := fixtures[file.Name()]
			require.True(t, known)
			pushes, err := formatOf(t, file.Name()).Parse(fixture(t, file.Name()))
			require.NoError(t, err)
			assert.ElementsMatch(t, want, pushes)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, f := range Formats() {
		for _, body := range []string{"", "[]", `"text"`, "{", "payload=%7B%7D", "\x1f\x8b"} {
			_, err := f.Parse([]byte(body))
			assert.ErrorContains(t, err, "no document of the format "+string(f), body)
		}
		pushes, err := f.Parse([]byte("{}"))
		require.NoError(t, err, "%s: an event that nobody knows", f)
		assert.Empty(t, pushes)
	}
	_, err := Format("zot").Parse([]byte("{}"))
	assert.ErrorContains(t, err, `"zot" is unknown`)
}

func FuzzParse(f *testing.F) {
	for name := range fixtures {
		f.Add(string(formatOf(f, name)), fixture(f, name))
	}
	f.Fuzz(func(t *testing.T, format string, body []byte) {
		pushes, err := Format(format).Parse(body)
		if err != nil {
			assert.Empty(t, pushes)
		}
		for _, push := range pushes {
			assert.NotEmpty(t, push.Repository)
			assert.NotEmpty(t, push.Tag)
			if tag, err := named("registry.example:5000", push); err == nil {
				assert.True(t, strings.HasPrefix(tag.String(), "registry.example:5000/"), "%s leaves the sender's registry", tag)
			}
		}
	})
}
