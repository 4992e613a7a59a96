package remembered

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// keyOf is the key of the image that is called so.
func keyOf(image string) Key {
	return Key{"docker:registry.example/app", digest.FromString(image), `{"libraries":[]}`}
}

// one is what becomes of the image that is called so.
func one(image string) map[Key]Result {
	return map[Key]Result{keyOf(image): {
		Digest: digest.FromString("what becomes of " + image), Size: int64(1000 + len(image)),
		MediaType: imgspecv1.MediaTypeImageManifest, SourceType: manifest.MediaTypeDockerManifest, Reason: "has <uncompressed> layers & more",
	}}
}

func open(dir string) *File { return new(Files).In(dir) }

// remembered returns which of images a file has, after it has been read anew.
func remembered(t *testing.T, dir string, images ...string) []string {
	t.Helper()
	var known []string
	for _, image := range images {
		found, err := open(dir).Results([]Key{keyOf(image)})
		require.NoError(t, err)
		if len(found) > 0 {
			assert.Equal(t, one(image), found)
			known = append(known, image)
		}
	}
	return known
}

func TestRemember(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	file, looksOn := open(dir), open(dir)
	found, err := looksOn.Results([]Key{keyOf("a")})
	require.NoError(t, err)
	assert.Empty(t, found)
	assert.NoDirExists(t, dir)

	require.NoError(t, file.Remember(t.Context(), nil))
	assert.NoDirExists(t, dir)
	require.NoError(t, file.Remember(t.Context(), one("a")))
	require.NoError(t, file.Remember(t.Context(), one("b")))
	assert.Equal(t, []string{"a", "b"}, remembered(t, dir, "a", "b", "c"))

	both := one("a")
	maps.Copy(both, one("b"))
	for _, f := range []*File{file, looksOn} {
		found, err := f.Results([]Key{keyOf("a"), keyOf("c"), keyOf("b")})
		require.NoError(t, err)
		assert.Equal(t, both, found)
	}
	before := read(t, dir)
	require.NoError(t, os.Remove(filepath.Join(dir, lockName)))
	require.NoError(t, looksOn.Remember(t.Context(), both))
	assert.Equal(t, before, read(t, dir), "nothing is new")
	assert.NoFileExists(t, filepath.Join(dir, lockName), "nobody had to wait")

	other := one("a")[keyOf("a")]
	other.Digest = digest.FromString("another result")
	require.NoError(t, file.Remember(t.Context(), map[Key]Result{keyOf("a"): other}))
	found, err = looksOn.Results([]Key{keyOf("a")})
	require.NoError(t, err)
	assert.Equal(t, map[Key]Result{keyOf("a"): other}, found)

	info, err := os.Stat(filepath.Join(dir, fileName))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

// TestForm: a person can read it.
func TestForm(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, open(dir).Remember(t.Context(), one("a")))
	lines := strings.Split(read(t, dir), "\n")
	require.Len(t, lines, 3)
	assert.Regexp(t, `^\{"schema":"sparsecopy.transformed/v1","file":"[A-Z2-7]{26}"\}$`, lines[0])
	assert.Equal(t, `{"repository":"docker:registry.example/app","source":"`+digest.FromString("a").String()+
		`","transformation":{"libraries":[]},"digest":"`+digest.FromString("what becomes of a").String()+
		`","size":1001,"mediaType":"application/vnd.oci.image.manifest.v1+json","sourceMediaType":"application/vnd.docker.distribution.manifest.v2+json","reason":"has \u003cuncompressed\u003e layers \u0026 more"}`, lines[1])
	assert.Empty(t, lines[2])
}

// TestEveryPartOfAKeyCounts.
func TestEveryPartOfAKeyCounts(t *testing.T) {
	file := open(t.TempDir())
	require.NoError(t, file.Remember(t.Context(), one("a")))
	for name, change := range map[string]func(*Key){
		"repository":     func(k *Key) { k.Repository += "2" },
		"source":         func(k *Key) { k.Source = digest.FromString("b") },
		"transformation": func(k *Key) { k.Transformation = `{"libraries":["newer"]}` },
	} {
		key := keyOf("a")
		change(&key)
		found, err := file.Results([]Key{key})
		require.NoError(t, err)
		assert.Empty(t, found, name)
	}
}

// TestGarbage is ignored, and replaced by the next writer; what is sound stays.
func TestGarbage(t *testing.T) {
	text, err := format(keyOf("a"), one("a")[keyOf("a")])
	require.NoError(t, err)
	sound := string(text) + "\n"
	const header = `{"schema":"sparsecopy.transformed/v1","file":"X"}` + "\n"
	for name, c := range map[string]struct {
		text  string
		known bool // a is
	}{
		"sound":            {header + sound, true},
		"empty":            {"", false},
		"no line":          {"sqlite format 3", false},
		"header only":      {header, false},
		"half a header":    {header[:20], false},
		"no header":        {sound, false},
		"another schema":   {strings.Replace(header, "v1", "v2", 1) + sound, false},
		"a header's end":   {"\n" + header + sound, false},
		"a long header":    {strings.Repeat(" ", maxHeader) + header + sound, false},
		"bytes":            {header + "\x00\xff\x00\n" + sound + "\x00\n", true},
		"half a line":      {header + sound + sound[:40], true},
		"half a line, cut": {header + sound[:40] + "\n" + sound, true},
		"no digest":        {header + strings.Replace(sound, `"digest":"sha256:`, `"digest":"../../`, 1), false},
		"no source":        {header + strings.Replace(sound, `"source":"sha256:`, `"source":"sha257:`, 1), false},
		"no repository":    {header + strings.Replace(sound, `"repository":`, `"r":`, 1), false},
		"no deed":          {header + strings.Replace(sound, `"transformation":`, `"t":`, 1), false},
		"no type":          {header + strings.Replace(sound, `"mediaType":`, `"m":`, 1), false},
		"no source's type": {header + strings.Replace(sound, `"sourceMediaType":`, `"m":`, 1), false},
		"a negative size":  {header + strings.Replace(sound, `"size":`, `"size":-`, 1), false},
		"an array":         {header + "[" + strings.TrimSpace(sound) + "]\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), []byte(c.text), 0o600))
			want := []string{"b", "c"}
			if c.known {
				want = []string{"a", "b", "c"}
			}
			assert.Equal(t, want[:len(want)-2], append([]string{}, remembered(t, dir, "a")...))
			for _, image := range []string{"b", "c"} { // the first may only have ended the half of a line
				require.NoError(t, open(dir).Remember(t.Context(), one(image)))
			}
			assert.Equal(t, want, remembered(t, dir, "a", "b", "c"))
			assert.Equal(t, 1+len(want), strings.Count(read(t, dir), "\n"), "%s", read(t, dir))
		})
	}
}

// TestFileOfSomebodyElse is not read to its end, however large it is.
func TestFileOfSomebodyElse(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, open(dir).Remember(t.Context(), one("a")))
	require.NoError(t, os.Truncate(filepath.Join(dir, fileName), 1<<40))
	assert.Empty(t, remembered(t, dir, "a"))
	require.NoError(t, open(dir).Remember(t.Context(), one("b")))
	assert.Equal(t, []string{"b"}, remembered(t, dir, "b"))
	info, err := os.Stat(filepath.Join(dir, fileName))
	require.NoError(t, err)
	assert.Less(t, info.Size(), int64(maxBytes))
}

// TestOldestOut: the file stays as small as it has to, and what was remembered last is in it.
func TestOldestOut(t *testing.T) {
	dir := t.TempDir()
	file := &File{dir: dir, maxBytes: 8_000, maxKept: 6_000}
	var images []string
	for i := range 100 {
		images = append(images, fmt.Sprintf("image %02d", i))
		require.NoError(t, file.Remember(t.Context(), one(images[i])))
		assert.LessOrEqual(t, len(read(t, dir)), 8_000)
	}
	known := remembered(t, dir, images...)
	assert.Greater(t, len(known), 8)
	assert.Equal(t, images[len(images)-len(known):], known)

	many := map[Key]Result{}
	for _, image := range images {
		maps.Copy(many, one(image))
	}
	require.NoError(t, file.Remember(t.Context(), many))
	assert.LessOrEqual(t, len(read(t, dir)), 8_000)
	assert.Greater(t, len(remembered(t, dir, images...)), 8)
}

// TestUnusable: the caller is told, and nothing waits.
func TestUnusable(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"the directory is a file": func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(dir))
			require.NoError(t, os.WriteFile(dir, nil, 0o600))
		},
		"the file is a directory": func(t *testing.T, dir string) {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, fileName, "x"), 0o700))
		},
		"the file is a pipe": func(t *testing.T, dir string) { makePipe(t, filepath.Join(dir, fileName)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			require.NoError(t, os.Mkdir(dir, 0o700))
			spoil(t, dir)
			_, err := open(dir).Results([]Key{keyOf("a")})
			assert.Error(t, err)
			assert.Error(t, open(dir).Remember(t.Context(), one("a")))
		})
	}
}

// TestWaiting for another writer ends with the context.
func TestWaiting(t *testing.T) {
	dir := t.TempDir()
	other := flock.New(filepath.Join(dir, lockName))
	require.NoError(t, other.Lock())
	why := errors.New("the user has had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	assert.ErrorIs(t, open(dir).Remember(ctx, one("a")), why)
	require.NoError(t, other.Close())
	require.NoError(t, open(dir).Remember(t.Context(), one("a")))
}

// TestUnfinished files of writers that died are removed.
func TestUnfinished(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, ".sparsecopy-transformed-123.tmp")
	require.NoError(t, os.WriteFile(left, []byte("half"), 0o600))
	require.NoError(t, open(dir).Remember(t.Context(), one("a")))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	assert.Equal(t, []string{fileName, lockName}, names)
}

// TestReplacedMeanwhile: who has read the file before notices another one, also if that is as long.
func TestReplacedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	looksOn := open(dir)
	for _, image := range []string{"a", "b", "c"} {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, fileName)))
		require.NoError(t, open(dir).Remember(t.Context(), one(image)))
		for _, other := range []string{"a", "b", "c"} {
			found, err := looksOn.Results([]Key{keyOf(other)})
			require.NoError(t, err)
			assert.Equal(t, other == image, len(found) == 1, "%s of %s", other, image)
		}
	}
	require.NoError(t, os.Remove(filepath.Join(dir, fileName)))
	found, err := looksOn.Results([]Key{keyOf("c")})
	require.NoError(t, err)
	assert.Empty(t, found)
}

// TestConcurrently, in one process.
func TestConcurrently(t *testing.T) {
	var files Files
	dir := t.TempDir()
	t.Run("writers", func(t *testing.T) {
		for i := range 8 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for j := range 10 {
					image := fmt.Sprint(i, j)
					assert.NoError(t, files.In(dir).Remember(t.Context(), one(image)))
					assertRemembers(t, files.In(dir), image)
				}
			})
		}
	})
	assert.Equal(t, 81, strings.Count(read(t, dir), "\n"))
}

func read(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, fileName))
	require.NoError(t, err)
	return string(text)
}
