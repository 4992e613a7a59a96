package cache

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// eachKind runs a test with an empty cache of each kind.
func eachKind(t *testing.T, maxBytes int64, test func(*testing.T, endpoint.DocumentCache)) {
	t.Run("memory", func(t *testing.T) { test(t, Memory(maxBytes)) })
	t.Run("directory", func(t *testing.T) { test(t, newDirectory(t, t.TempDir(), maxBytes)) })
}

func newDirectory(t *testing.T, path string, maxBytes int64) endpoint.DocumentCache {
	t.Helper()
	d, err := Directory(path, maxBytes)
	require.NoError(t, err)
	return d
}

func TestKeepsWhatWasPut(t *testing.T) {
	eachKind(t, 0, func(t *testing.T, c endpoint.DocumentCache) {
		// No character of a key is one of a path.
		hostile := "tag ../../etc/passwd:CON?*\\\n" + strings.Repeat("x", 5000)
		assert.Nil(t, c.Get("a"))
		c.Put("a", []byte("1"))
		c.Put(hostile, []byte("2"))
		assert.Equal(t, "1", string(c.Get("a")))
		assert.Equal(t, "2", string(c.Get(hostile)))
		c.Put("a", []byte("3"))
		assert.Equal(t, "3", string(c.Get("a")))
		c.Remove("a")
		c.Remove("a")
		assert.Nil(t, c.Get("a"))
		assert.Equal(t, "2", string(c.Get(hostile)))
	})
}

func TestIsBounded(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 1<<10)
	eachKind(t, 16<<10, func(t *testing.T, c endpoint.DocumentCache) {
		for i := range 100 {
			c.Put(fmt.Sprint(i), content)
		}
		var left int
		for i := range 100 {
			if c.Get(fmt.Sprint(i)) != nil {
				left++
			}
		}
		assert.LessOrEqual(t, left, 16)
		assert.GreaterOrEqual(t, left, 11)
		assert.NotNil(t, c.Get("99"), "what was put last")
	})
}

func TestMemoryForgetsWhatWasNotUsed(t *testing.T) {
	c := Memory(3 * 2)
	for _, key := range []string{"a", "b", "c"} {
		c.Put(key, []byte("1"))
	}
	c.Get("a")
	c.Put("d", []byte("1"))
	assert.Nil(t, c.Get("b"))
	for _, key := range []string{"a", "c", "d"} {
		assert.NotNil(t, c.Get(key), key)
	}
	c.Put("large", []byte("more than all"))
	assert.Nil(t, c.Get("large"))
}

func TestDirectoryForgetsWhatWasNotUsed(t *testing.T) {
	dir := t.TempDir()
	c := newDirectory(t, dir, 16<<10)
	content := bytes.Repeat([]byte("x"), 1<<10)
	for i := range 12 {
		c.Put(fmt.Sprint(i), content)
	}
	old := time.Now().Add(-48 * time.Hour)
	eachFile(t, dir, func(path string) { require.NoError(t, os.Chtimes(path, old, old)) })
	require.NotNil(t, c.Get("5")) // which is noted
	for i := 12; i < 16; i++ {
		c.Put(fmt.Sprint(i), content)
	}
	assert.NotNil(t, c.Get("5"), "used not long ago")
	var left int
	for i := range 12 {
		if c.Get(fmt.Sprint(i)) != nil {
			left++
		}
	}
	assert.Less(t, left, 12)
}

// TestDirectoryIsForItsOwner also looks at what a directory for everybody gets.
func TestDirectoryIsForItsOwner(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such modes")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // that is the point
	c := newDirectory(t, dir, 0)
	c.Put("a", []byte("1"))
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := entry.Info()
		require.NoError(t, err)
		switch {
		case path == dir:
		case entry.IsDir():
			assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm(), path)
		default:
			assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), path)
		}
		return nil
	})
	require.NoError(t, err)
}

func TestDirectoryRemovesWhatNobodyFinishes(t *testing.T) {
	dir := t.TempDir()
	c := newDirectory(t, dir, 1<<10)
	c.Put("a", []byte("1"))
	var beside string
	eachFile(t, dir, func(path string) { beside = filepath.Dir(path) })
	begun, left := filepath.Join(beside, unfinished+"1"), filepath.Join(beside, unfinished+"2")
	for _, path := range []string{begun, left} {
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	old := time.Now().Add(-2 * abandoned)
	require.NoError(t, os.Chtimes(left, old, old))
	c.Put("b", make([]byte, 1<<10/pieces)) // enough for files to be counted
	assert.FileExists(t, begun)
	assert.NoFileExists(t, left)
	assert.NotNil(t, c.Get("a"))
}

// TestDirectoryIsSharedByProcesses lets two caches at one place write and remove at the same time.
func TestDirectoryIsSharedByProcesses(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for range 2 {
		c := newDirectory(t, dir, 8<<10)
		group.Go(func() {
			for i := range 200 {
				key := fmt.Sprint(i % 20)
				c.Put(key, bytes.Repeat([]byte(key), 512))
				if got := c.Get(key); got != nil {
					assert.Equal(t, bytes.Repeat([]byte(key), 512), got)
				}
				if i%7 == 0 {
					c.Remove(key)
				}
			}
		})
	}
	group.Wait()
	eachFile(t, dir, func(path string) { assert.NotContains(t, filepath.Base(path), unfinished) })
}

// TestDirectoryTakesNothingElse puts what is no file of the cache where one would be.
func TestDirectoryTakesNothingElse(t *testing.T) {
	dir := t.TempDir()
	c := newDirectory(t, dir, 0)
	c.Put("a", []byte("1"))
	eachFile(t, dir, func(path string) {
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Mkdir(path, 0o700))
	})
	assert.Nil(t, c.Get("a"))
	c.Put("a", []byte("1")) // which fails, and nobody is told
	assert.Nil(t, c.Get("a"))
	c.Put("b", make([]byte, maxFile+1))
	assert.Nil(t, c.Get("b"))
}

func TestDirectoryThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Directory(file, 0)
	assert.ErrorContains(t, err, "making the cache's directory")
	assert.ErrorContains(t, err, file)
}

// eachFile calls f with the files below dir.
func eachFile(t *testing.T, dir string, f func(path string)) {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		f(path)
	}
}
