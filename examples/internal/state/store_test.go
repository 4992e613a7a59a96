package state_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// image is a state of an image of which all fields are set that change with n.
func image(n int) state.Image {
	at := time.Unix(int64(n), 0).UTC()
	return state.Image{
		Destination: fmt.Sprintf("docker://mirror.example/a%d:1", n), Source: fmt.Sprintf("docker://src.example/a%d:1", n),
		Options: digest.FromString("options"), SourceDigest: digest.FromString(fmt.Sprint(n)), DestinationDigest: digest.FromString(fmt.Sprint(n)),
		Status: state.Mirrored, Tried: at, Succeeded: at, Verified: at, Checked: state.CheckManifests,
		Platforms: []state.Platform{{Platform: "linux/amd64", Status: state.PlatformMirrored, Digest: digest.FromString("p"), Size: 7, Signed: true}},
		Size:      int64(n), Saved: state.Saved{Platforms: 1, Present: 2},
	}
}

func open(t *testing.T, path string) *state.Store {
	t.Helper()
	s, warning, err := state.Open(path)
	require.NoError(t, err)
	require.Empty(t, warning)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func TestWhatWasPutIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "state")
	s := open(t, path)
	_, ok, err := s.Get(image(1).Destination)
	require.NoError(t, err)
	require.False(t, ok)
	for n := range 3 {
		require.NoError(t, s.Put(image(n)))
	}
	check := func(s *state.Store, want ...state.Image) {
		t.Helper()
		all, err := s.All()
		require.NoError(t, err)
		assert.Equal(t, want, all)
		names, err := s.Names()
		require.NoError(t, err)
		assert.Len(t, names, len(want))
		for _, w := range want {
			assert.Contains(t, names, w.Destination)
			got, ok, err := s.Get(w.Destination)
			require.NoError(t, err)
			assert.True(t, ok)
			assert.Equal(t, w, got)
		}
	}
	check(s, image(0), image(1), image(2)) // written or not
	require.NoError(t, s.Flush())
	require.NoError(t, s.Delete(image(1).Destination))
	changed := image(2)
	changed.Status, changed.Error = state.Failed, "it failed"
	require.NoError(t, s.Put(changed))
	check(s, image(0), changed)
	require.NoError(t, s.Close())
	_, err = s.All()
	require.Error(t, err)

	again := open(t, path)
	check(again, image(0), changed)
	_, ok, err = again.Get(image(1).Destination)
	require.NoError(t, err)
	assert.False(t, ok)
}

func TestOneProcessHasTheState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := open(t, path)
	require.NoError(t, s.Put(image(1)))
	require.NoError(t, s.Flush())
	_, _, err := state.Open(path)
	require.ErrorIs(t, err, state.ErrLocked)
	_, err = state.Read(path)
	require.ErrorIs(t, err, state.ErrLocked)
	require.NoError(t, s.Close())
	all, err := state.Read(path)
	require.NoError(t, err)
	assert.Equal(t, []state.Image{image(1)}, all)
}

func TestReadMakesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	_, err := state.Read(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte("no state"), 0o600))
	_, err = state.Read(path)
	require.ErrorContains(t, err, "is damaged, or no state")
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

func TestNobodyElseMayReadIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	require.NoError(t, open(t, path).Close())
	require.NoError(t, os.Chmod(path, 0o644))
	require.NoError(t, open(t, path).Close())
	for _, name := range []string{path, path + ".lock"} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), name)
	}
}

func TestWhatCannotBeUsedIsSetAside(t *testing.T) {
	overwrite := func(offset int64, text string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte(text), offset)
			require.NoError(t, errors.Join(err, f.Close()))
		}
	}
	truncate := func(size int64) func(*testing.T, string) {
		return func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, size)) }
	}
	update := func(f func(*bolt.Tx) error) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			db, err := bolt.Open(path, 0o600, nil)
			require.NoError(t, err)
			require.NoError(t, errors.Join(db.Update(f), db.Close()))
		}
	}
	const page = 4096
	for name, c := range map[string]struct {
		spoil func(*testing.T, string)
		why   string
	}{
		"something else": {func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte("version: 1\n"), 0o600)) }, "is damaged, or no state"},
		"both heads":     {overwrite(0, string(make([]byte, 2*page))), "is damaged"},
		"cut in a head":  {truncate(page + 7), "is damaged"},
		"cut at the end": {truncate(4 * page), "is damaged"},
		"pages of zeros": {overwrite(2*page, string(make([]byte, 20*page))), "is damaged"},
		"a document": {update(func(tx *bolt.Tx) error {
			images := tx.Bucket([]byte("images"))
			key := []byte(image(7).Destination)
			value := append([]byte{}, images.Get(key)...)
			value[len(value)-3] ^= 1
			return images.Put(key, value)
		}), `is damaged: what it says of "docker://mirror.example/a7:1"`},
		"a document of another": {update(func(tx *bolt.Tx) error {
			images := tx.Bucket([]byte("images"))
			return images.Put([]byte(image(7).Destination), append([]byte{}, images.Get([]byte(image(8).Destination))...))
		}), `is damaged: what it says of "docker://mirror.example/a7:1"`},
		"a document that is lost": {update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("images")).Delete([]byte(image(7).Destination)) }),
			`is damaged: it has 99 of "100" images`},
		"a newer version": {update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("version"), []byte("2")) }),
			"is of version 2, and this program knows version 1"},
		"another program": {update(func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("meta")) }), "is no state of mirror"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			s := open(t, path)
			for n := range 100 {
				require.NoError(t, s.Put(image(n)))
			}
			require.NoError(t, s.Close())
			c.spoil(t, path)
			spoilt, err := os.ReadFile(path)
			require.NoError(t, err)

			_, err = state.Read(path)
			require.ErrorContains(t, err, c.why)
			s, warning, err := state.Open(path)
			require.NoError(t, err)
			assert.Contains(t, warning, c.why)
			assert.Contains(t, warning, path+".aside")
			all, err := s.All()
			require.NoError(t, err)
			assert.Empty(t, all)
			require.NoError(t, s.Put(image(1)))
			require.NoError(t, s.Close())
			aside, err := os.ReadFile(path + ".aside")
			require.NoError(t, err)
			assert.Equal(t, spoilt, aside)
			require.NoError(t, open(t, path).Close())
		})
	}
}

// TestStatesThatDoNotCount: an older program has not written how many images there are.
func TestStatesThatDoNotCount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := open(t, path)
	require.NoError(t, s.Put(image(1)))
	require.NoError(t, s.Close())
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Delete([]byte("count")) }))
	require.NoError(t, db.Close())
	s = open(t, path)
	require.NoError(t, s.Put(image(2)))
	require.NoError(t, s.Close())
	all, err := state.Read(path)
	require.NoError(t, err)
	assert.Equal(t, []state.Image{image(1), image(2)}, all)
}

// TestAnyByteMayBeWrong spoils a state in many places: it is used or set aside, and nothing else
// happens.
func TestAnyByteMayBeWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s := open(t, path)
	for n := range 40 {
		require.NoError(t, s.Put(image(n)))
	}
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(1, 0))
	for range 100 {
		spoilt := append([]byte{}, whole...)
		for range 1 + random.IntN(4) {
			spoilt[random.IntN(len(spoilt))] = byte(random.IntN(256))
		}
		require.NoError(t, os.WriteFile(path, spoilt, 0o600))
		s, warning, err := state.Open(path)
		require.NoError(t, err)
		all, err := s.All()
		require.NoError(t, err)
		if warning == "" { // at worst it is as it was before the last change
			require.Contains(t, []int{0, 40}, len(all))
			for _, i := range all {
				_, ok, err := s.Get(i.Destination)
				require.NoError(t, err)
				require.True(t, ok)
			}
		}
		require.NoError(t, s.Put(image(1)))
		require.NoError(t, s.Close())
	}
}

func TestStateIsNoDirectory(t *testing.T) {
	dir := t.TempDir()
	_, _, err := state.Open(dir)
	require.ErrorContains(t, err, "is no file")
	_, _, err = state.Open(filepath.Join(dir+".lock", "x")) // a file
	require.Error(t, err)
}

// killed is set in a process that writes to a state until it is killed.
const killed = "SPARSECOPY_STATE_TO_WRITE"

func TestMain(m *testing.M) {
	if path := os.Getenv(killed); path != "" {
		writeForEver(path)
	}
	os.Exit(m.Run())
}

// writeForEver puts images, round after round, and says when each round is written.
func writeForEver(path string) {
	s, warning, err := state.Open(path)
	if err != nil || warning != "" {
		fmt.Println(warning, err)
		os.Exit(1)
	}
	for round := 1; ; round++ {
		for n := range 20 {
			i := image(n)
			i.Transferred = int64(round)
			err = errors.Join(err, s.Put(i))
		}
		if err = errors.Join(err, s.Flush()); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("round", round)
	}
}

func TestSurvivesBeingKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	random := rand.New(rand.NewPCG(1, 0))
	for range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killed+"="+path)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines, rounds := bufio.NewScanner(out), 0
		for stop := 1 + random.IntN(20); rounds < stop && lines.Scan(); rounds++ {
			require.Equal(t, fmt.Sprintf("round %d", rounds+1), lines.Text())
		}
		require.NoError(t, cmd.Process.Kill())
		for lines.Scan() {
			rounds++
		}
		require.Error(t, cmd.Wait())

		s := open(t, path)
		all, err := s.All()
		require.NoError(t, err)
		require.Len(t, all, 20)
		for _, i := range all {
			require.Equal(t, all[0].Transferred, i.Transferred, "of one round")
			require.GreaterOrEqual(t, i.Transferred, int64(rounds), "what was flushed is there")
		}
		require.NoError(t, s.Close())
	}
}
