package remembered

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What makes a process of this test binary a writer: see writeOn.
const (
	writerIn    = "REMEMBERED_WRITER_IN"
	writerNamed = "REMEMBERED_WRITER_NAMED"
)

// writeOn remembers a result for each line that it gets, and says of each when it has.
func writeOn(dir, name string) int {
	file, asked := small(dir), bufio.NewScanner(os.Stdin)
	for i := 0; asked.Scan(); i++ {
		image := fmt.Sprintf("%s %d", name, i)
		if err := file.Remember(context.Background(), one(image)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(image)
	}
	return 0
}

// small returns a file that becomes too large now and then, and keeps what the tests write in the
// meantime.
func small(dir string) *File { return &File{dir: dir, maxBytes: 200_000, maxKept: 150_000} }

// A writer is a process that remembers.
type writer struct {
	command *exec.Cmd
	asked   io.WriteCloser
	said    *bufio.Scanner
}

func startWriter(t *testing.T, dir, name string) *writer {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), writerIn+"="+dir, writerNamed+"="+name)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	require.NoError(t, err)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return &writer{command, in, bufio.NewScanner(out)}
}

// ask has the writer remember something n times.
func (w *writer) ask(t *testing.T, n int) {
	t.Helper()
	_, err := io.WriteString(w.asked, strings.Repeat("\n", n))
	require.NoError(t, err)
}

// next returns what the writer has remembered.
func (w *writer) next(t *testing.T) string {
	t.Helper()
	require.True(t, w.said.Scan(), "the writer has stopped: %v", w.said.Err())
	return w.said.Text()
}

// TestTwoProcesses write at once: nothing that one of them remembers is lost to the other, and a
// third, which looks on, sees it all.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	a, b := startWriter(t, dir, "a"), startWriter(t, dir, "b")
	looksOn := small(dir)
	for range 300 {
		a.ask(t, 2)
		b.ask(t, 2)
		for range 2 {
			images := []string{a.next(t), b.next(t)}
			assertRemembers(t, looksOn, images[0])
			assertRemembers(t, looksOn, images[1])
		}
	}
}

// TestCrashes: what a process had remembered when it was killed is there, and the next one goes on.
func TestCrashes(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		w := startWriter(t, dir, fmt.Sprint(i))
		w.ask(t, 20_000)
		var last string
		for range 20 * i {
			last = w.next(t)
		}
		require.NoError(t, w.command.Process.Kill())
		for w.said.Scan() {
			last = w.said.Text()
		}
		if last != "" {
			assertRemembers(t, small(dir), last)
		}
		require.NoError(t, small(dir).Remember(t.Context(), one("afterwards")))
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Less(t, len(entries), 4) // the file, its lock, and what the last one may have left
}

func assertRemembers(t *testing.T, f *File, image string) {
	t.Helper()
	key := keyOf(image)
	found, err := f.Results([]Key{key})
	require.NoError(t, err)
	require.Contains(t, found, key, image)
	assert.Equal(t, one(image)[key], found[key])
}
