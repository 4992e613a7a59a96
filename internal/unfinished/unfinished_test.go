package unfinished

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	key   = Key{Registry: "registry.example:5000", Repository: "a/b", Digest: digest.FromString("blob")}
	state = State{Location: "https://registry.example:5000/upload?secret", Points: []Point{{8, []byte{1}}, {16, []byte{2}}}}
)

// saved returns a directory that remembers state, and the path of the file.
func saved(t *testing.T, now func() time.Time) (*Directory, string) {
	t.Helper()
	d := New(filepath.Join(t.TempDir(), "new", "dir"), now)
	u := take(t, d)
	require.NoError(t, u.Save(state))
	u.Release()
	return d, u.path
}

func take(t *testing.T, d *Directory) *Upload {
	t.Helper()
	u, err := d.Take(key)
	require.NoError(t, err)
	return u
}

func requireNothing(t *testing.T, d *Directory) {
	t.Helper()
	u := take(t, d)
	defer u.Release()
	_, ok := u.State()
	assert.False(t, ok)
	assert.NoFileExists(t, u.path)
}

// What is saved is there for the next process, for its owner alone, and nobody else.
func TestSave(t *testing.T) {
	d, path := saved(t, time.Now)
	again := New(d.path, time.Now)
	u := take(t, again)
	got, ok := u.State()
	assert.True(t, ok)
	assert.Equal(t, state, got)
	_, err := again.Take(key)
	require.ErrorIs(t, err, ErrBusy)
	_, err = d.Take(key)
	require.ErrorIs(t, err, ErrBusy)
	for _, other := range []Key{
		{"other.example", key.Repository, key.Digest}, {key.Registry, "a", key.Digest}, {key.Registry, key.Repository, digest.FromString("x")},
	} {
		o, err := d.Take(other)
		require.NoError(t, err)
		_, ok := o.State()
		assert.False(t, ok)
		o.Release()
	}
	if runtime.GOOS != "windows" {
		for name, mode := range map[string]os.FileMode{d.path: 0o700, path: 0o600} {
			info, err := os.Stat(name)
			require.NoError(t, err)
			assert.Equal(t, mode, info.Mode().Perm(), name)
		}
	}
	require.NoError(t, os.WriteFile(strings.TrimSuffix(path, ".json")+".tmp", nil, 0o600)) // by a process that was killed
	u.Forget()
	u.Release()
	entries, err := os.ReadDir(d.path)
	require.NoError(t, err)
	assert.Empty(t, entries, "nothing is left of an upload that is done")
}

// The last points are kept, and the one before an offset is found.
func TestPoints(t *testing.T) {
	d := New(filepath.Join(t.TempDir(), "dir"), time.Now)
	u := take(t, d)
	s := State{Location: "https://registry.example/"}
	for i := range 100 {
		s.Points = append(s.Points, Point{int64(i+1) * 10, []byte{byte(i)}})
	}
	require.NoError(t, u.Save(s))
	u.Release()
	u = take(t, d)
	defer u.Release()
	got, ok := u.State()
	require.True(t, ok)
	assert.Len(t, got.Points, maxPoints)
	assert.EqualValues(t, 1000, got.Before(1005).Offset)
	assert.EqualValues(t, 990, got.Before(999).Offset)
	assert.EqualValues(t, 990, got.Before(990).Offset)
	assert.Zero(t, got.Before(100))
}

// What is damaged, foreign or too old is ignored and removed.
func TestOfNoUse(t *testing.T) {
	changed := func(change func(r map[string]any)) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			r := map[string]any{}
			require.NoError(t, json.Unmarshal(content, &r))
			change(r)
			content, err = json.Marshal(r)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, content, 0o600))
		}
	}
	set := func(name string, value any) func(*testing.T, string) {
		return changed(func(r map[string]any) { r[name] = value })
	}
	written := func(content string) func(*testing.T, string) {
		return func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte(content), 0o600)) }
	}
	point := func(offset int, hash string) map[string]any { return map[string]any{"offset": offset, "hash": hash} }
	for name, damage := range map[string]func(*testing.T, string){
		"empty":               written(""),
		"cut":                 func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 50)) },
		"too large":           written(strings.Repeat(" ", maxBytes) + "{}"),
		"another schema":      set("schema", "sparsecopy.unfinished/v2"),
		"another registry":    set("registry", "other.example"),
		"another repository":  set("repository", "x"),
		"another digest":      set("digest", digest.FromString("x").String()),
		"no location":         set("location", ""),
		"a day old":           set("saved", time.Now().Add(-lasts)),
		"of tomorrow":         set("saved", time.Now().Add(time.Hour)),
		"points out of order": set("points", []any{point(9, "AA=="), point(8, "AA==")}),
		"a point of no hash":  set("points", []any{point(9, "")}),
		"a negative point":    set("points", []any{point(-9, "AA==")}),
		"a directory": func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, path := saved(t, time.Now)
			damage(t, path)
			requireNothing(t, d)
		})
	}
	if runtime.GOOS != "windows" {
		d, path := saved(t, time.Now)
		require.NoError(t, os.Chmod(path, 0o644))
		requireNothing(t, d)
	}
}

// What nobody has asked for is removed after a day, but for what somebody is at, and for what is
// not ours.
func TestClean(t *testing.T) {
	d, path := saved(t, time.Now)
	left := filepath.Join(d.path, prefix+"123.tmp")
	foreign := filepath.Join(d.path, "notes.json")
	for _, name := range []string{left, foreign} {
		require.NoError(t, os.WriteFile(name, nil, 0o600))
	}
	tomorrow := func() time.Time { return time.Now().Add(lasts + time.Minute) }
	other := Key{Registry: "other.example", Repository: "x", Digest: key.Digest}
	u := take(t, d)
	o, err := New(d.path, tomorrow).Take(other)
	require.NoError(t, err)
	o.Release()
	assert.FileExists(t, path, "somebody is at it")
	assert.NoFileExists(t, left)
	u.Release()

	o, err = New(d.path, tomorrow).Take(other)
	require.NoError(t, err)
	o.Release()
	entries, err := os.ReadDir(d.path)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, filepath.Base(foreign), entries[0].Name())
}

// Where others could write, nothing is believed.
func TestMake(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	dir := filepath.Join(t.TempDir(), "dir")
	require.NoError(t, Make(dir))
	require.NoError(t, os.Chmod(dir, 0o770))
	require.ErrorContains(t, Make(dir), "chmod go-w")
	_, err := New(dir, time.Now).Take(key)
	require.ErrorContains(t, err, "chmod go-w")
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chmod(dir, 0o700))
		require.NoError(t, os.Chown(dir, 65534, -1))
		require.ErrorContains(t, Make(dir), "somebody else")
	}
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Error(t, Make(file))
}
