package progress

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/progress/terminaltest"
)

func TestPicture(t *testing.T) {
	const blob, config = "Copying blob 0123456789ab", "Copying config 0123456789"
	three := []bar{{blob, 0, 3 << 20}, {blob, 1 << 20, 4 << 20}, {config, 1000, 1000}}
	for name, c := range map[string]struct {
		bars          []bar
		columns, rows int
		want          []string
	}{
		"nothing": {nil, 80, 24, nil},
		"usual": {three, 80, 24, []string{
			"Copying blob 0123456789ab [                           ]        0 B /     3.1 MB",
			"Copying blob 0123456789ab [======                     ]     1.0 MB /     4.2 MB",
			"Copying config 0123456789 [===========================]     1.0 kB /     1.0 kB",
		}},
		"wide": {three[1:2], 200, 24, []string{
			"Copying blob 0123456789ab [==========                              ]     1.0 MB /     4.2 MB",
		}},
		"narrow": {three[1:], 60, 24, []string{
			"Copying blob 0123456789ab 1.0 MB / 4.2 MB",
			"Copying config 0123456789 1.0 kB / 1.0 kB",
		}},
		"narrower": {three[1:2], 30, 24, []string{"Copying blob 0123456789ab 1.0"}},
		"tiny":     {three, 2, 2, []string{"."}},
		"no rows":  {three, 80, 1, nil},
		"none":     {three, 0, 0, nil},
		"low":      {three, 60, 3, []string{"Copying blob 0123456789ab 0 B / 3.1 MB", "... and 2 more"}},
		"just low enough": {three[:2], 60, 3, []string{
			"Copying blob 0123456789ab 0 B / 3.1 MB", "Copying blob 0123456789ab 1.0 MB / 4.2 MB",
		}},
		"unknown size":  {[]bar{{blob, 1536, -1}}, 80, 24, []string{"Copying blob 0123456789ab 1.5 kB"}},
		"empty":         {[]bar{{blob, 0, 0}}, 60, 24, []string{"Copying blob 0123456789ab 0 B / 0 B"}},
		"empty, a bar":  {[]bar{{blob, 0, 0}}, 80, 24, []string{"Copying blob 0123456789ab [                           ]        0 B /        0 B"}},
		"more than all": {[]bar{{blob, 20, 10}}, 80, 24, []string{"Copying blob 0123456789ab [===========================]       10 B /       10 B"}},
		"enormous": {[]bar{{blob, math.MaxInt64 / 2, math.MaxInt64}}, 80, 24, []string{
			"Copying blob 0123456789ab [=============              ]     4.6 EB /     9.2 EB",
		}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, picture(nil, c.bars, c.columns, c.rows)) })
	}
}

// TestPictureFits draws at random, and looks whether it fits.
func TestPictureFits(t *testing.T) {
	const seed = 7
	random := rand.New(rand.NewPCG(seed, seed))
	for range 10_000 {
		bars := make([]bar, random.IntN(50))
		for i := range bars {
			bars[i] = bar{"Copying blob 0123456789ab", random.Int64N(1 << random.Int64N(63)), random.Int64N(1<<random.Int64N(63)) - 1}
		}
		columns, rows := random.IntN(150), random.IntN(60)
		lines := picture(nil, bars, columns, rows)
		require.LessOrEqual(t, len(lines), max(rows-1, 0))
		require.LessOrEqual(t, rowsOf(lines, max(columns, 1)), max(rows-1, 0))
		for _, line := range lines {
			require.LessOrEqual(t, len(line), max(columns-1, 1))
		}
	}
}

func TestReplacement(t *testing.T) {
	const erase = "\x1b[K\n"
	line := strings.Repeat("x", 79)
	assert.Equal(t, "a\nb\n", replacement(nil, []string{"a", "b"}, 80, 24))
	assert.Equal(t, "\x1b[2A\r"+erase+erase+"\x1b[2Aa\n", replacement([]string{line, ""}, []string{"a"}, 80, 24))
	assert.Equal(t, "\x1b[1A\r"+erase+"\x1b[1A", replacement([]string{line}, nil, 79, 24))
	assert.Equal(t, "\x1b[2A\r"+erase+erase+"\x1b[2A", replacement([]string{line}, nil, 40, 24), "the terminal has broken it")
	assert.Equal(t, "\x1b[2A\r"+erase+erase+"\x1b[2A", replacement([]string{line}, nil, 20, 3), "the rest is not on the screen")
	assert.Equal(t, "a\n", replacement([]string{line}, []string{"a"}, 80, 1))
}

// A testScreen is a screen that shows a model of a terminal.
type testScreen struct {
	mu    sync.Mutex // guards what follows
	model terminaltest.Model
	taken int           // how often something was written
	stop  chan struct{} // if not nil, writing waits until it is closed
	gone  bool

	columns, rows int
	unsized       error // what it says of its size, if not nil
}

func newTestScreen(columns, rows int) *testScreen {
	return &testScreen{model: terminaltest.Model{Columns: columns, Rows: rows}, columns: columns, rows: rows}
}

func (s *testScreen) size() (columns, rows int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsized != nil {
		return 0, 0, s.unsized
	}
	return s.columns, s.rows, nil
}

func (s *testScreen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	if s.stop != nil {
		s.mu.Unlock()
		<-s.stop
		s.mu.Lock()
	}
	if s.gone {
		return 0, errors.New("input/output error")
	}
	return s.model.Write(text)
}

// with looks at the screen, or changes it.
func (s *testScreen) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *testScreen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.model.Text()
}

func (s *testScreen) takenSoFar() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// onScreen returns the progress of a copy on a screen, which is to end.
func onScreen(s screen) *Copy {
	p := New(Options{})
	p.people.enterScreen(s)
	p.Release()
	return p
}

func testBlob(content string, size int64) endpoint.Blob {
	return endpoint.Blob{Digest: digest.FromString(content), Size: size}
}

// frame waits for the next picture.
func frame() {
	time.Sleep(frameInterval)
	synctest.Wait()
}

// TestTerminal follows what is on a terminal, which is resized meanwhile, from the first line to
// the last.
func TestTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestScreen(80, 5)
		shows := func(want ...string) {
			t.Helper()
			frame()
			assert.Equal(t, strings.Join(want, "\n")+"\n", s.text())
		}
		p := onScreen(s)
		p.Line("first")
		a := p.Blob(t.Context(), testBlob("a", 4<<20))
		config := testBlob("c", 10)
		config.Config = true
		c := p.Blob(t.Context(), config)
		a.Advance(1 << 20)
		shows(
			"first",
			"Copying blob ca978112ca1b [======                     ]     1.0 MB /     4.2 MB",
			"Copying config 2e7d2c03a9 [                           ]        0 B /       10 B",
		)
		taken := s.takenSoFar()
		frame()
		assert.Equal(t, taken, s.takenSoFar(), "nothing is written when nothing has changed")

		long := strings.Repeat("long ", 30) // is broken, as everybody's lines are
		p.Line("%s", long)
		c.Advance(10)
		c.End(Copied)
		a.Restart()
		shows(
			"first", long[:80], long[80:], "Copying config 2e7d2c03a9 done",
			"Copying blob ca978112ca1b [                           ]        0 B /     4.2 MB",
		)

		s.with(func() {
			s.columns, s.rows, s.model.Rows = 60, 3, 3
			_, _ = s.model.Write([]byte("\n")) // the terminal has broken the only line into two, which the model does not do
		})
		var others []*Blob
		for _, content := range []string{"d", "e", "f"} {
			others = append(others, p.Blob(t.Context(), testBlob(content, 1)))
		}
		shows(
			"first", long[:80], long[80:], "Copying config 2e7d2c03a9 done",
			"Copying blob ca978112ca1b 0 B / 4.2 MB",
			"... and 3 more",
		)
		a.End(Failed)
		others[0].End(Reused)
		others[1].End(Copied)
		others[2].End(Copied)
		p.Line("last")
		p.End()
		assert.Equal(t, strings.Join([]string{
			"first", long[:80], long[80:], "Copying config 2e7d2c03a9 done", "Copying blob 18ac3e7343f0 skipped: already exists",
			"Copying blob 3f79bb7b435b done", "Copying blob 252f10c83610 done", "last", "",
		}, "\n"), s.text(), "everything is there as soon as the copy has ended")
		assert.Empty(t, s.model.Unknown)
		assert.False(t, inUse(s))

		late := testBlob("g", 1) // goes nowhere, and does no harm
		p.Line("after the end")
		p.Blob(t.Context(), late).End(Copied)
		a.Advance(5)
		p.End()
	})
}

// TestTerminalOfSeveral lets copies share a terminal. The first one leaves before the other.
func TestTerminalOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestScreen(60, 24)
		first, second := onScreen(s), onScreen(s)
		assert.Same(t, first.people.terminal, second.people.terminal)
		a, b := first.Blob(t.Context(), testBlob("a", 5)), second.Blob(t.Context(), testBlob("b", 5))
		frame()
		assert.Equal(t, "Copying blob ca978112ca1b 0 B / 5 B\nCopying blob 3e23e8160039 0 B / 5 B\n", s.text())
		a.End(Copied)
		first.End()
		assert.Equal(t, "Copying blob ca978112ca1b done\nCopying blob 3e23e8160039 0 B / 5 B\n", s.text())
		b.Advance(3)
		frame()
		assert.Equal(t, "Copying blob ca978112ca1b done\nCopying blob 3e23e8160039 3 B / 5 B\n", s.text())
		b.End(Copied)
		second.End()
		assert.Equal(t, "Copying blob ca978112ca1b done\nCopying blob 3e23e8160039 done\n", s.text())
		assert.Empty(t, s.model.Unknown)
	})
}

// TestTerminalIsStopped has a terminal that takes nothing for an hour. Copies end all the same, and
// one goroutine waits for it.
func TestTerminalIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestScreen(60, 24)
		s.stop = make(chan struct{})
		begun := time.Now()
		for i := range 10 {
			p := onScreen(s)
			for range maxPendingLines {
				p.Line("line of %d", i)
			}
			bp := p.Blob(t.Context(), testBlob("a", 5))
			bp.Advance(5)
			bp.End(Copied)
			p.End()
		}
		assert.Equal(t, 10*terminalPatience, time.Since(begun))
		assert.Equal(t, 1, s.takenSoFar())
		time.Sleep(time.Hour)
		close(s.stop)
		synctest.Wait()
		assert.False(t, inUse(s))
		assert.Equal(t, maxPendingLines, strings.Count(s.text(), "line of 0\n"))
		assert.Equal(t, maxPendingLines, strings.Count(s.text(), "line of 1\n"))
		assert.NotContains(t, s.text(), "line of 2", "what is held has an end")
	})
}

// TestTerminalIsGone has one that takes nothing any more.
func TestTerminalIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestScreen(60, 24)
		p := onScreen(s)
		a := p.Blob(t.Context(), testBlob("a", 5))
		frame()
		s.with(func() { s.gone = true })
		a.Advance(5)
		frame()
		a.End(Copied)
		begun := time.Now()
		p.End()
		assert.Zero(t, time.Since(begun))
		assert.Equal(t, 3, s.takenSoFar())
	})
}

// TestTerminalOfMany lets many copies come and go at once. All lines arrive, and no bar stays.
func TestTerminalOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestScreen(80, 10)
		var copies sync.WaitGroup
		const n, blobs = 50, 20
		for i := range n {
			copies.Go(func() {
				p := onScreen(s)
				defer p.End()
				var tasks sync.WaitGroup
				for j := range blobs {
					tasks.Go(func() {
						bp := p.Blob(t.Context(), testBlob(fmt.Sprint(i, j), 1000))
						for range 10 {
							time.Sleep(time.Duration(i+j) * time.Millisecond)
							bp.Advance(100)
						}
						bp.End([]Outcome{Reused, Copied}[j%2])
					})
				}
				tasks.Wait()
			})
		}
		copies.Wait()
		text := s.text()
		assert.Equal(t, n*blobs/2, strings.Count(text, " done\n"))
		assert.Equal(t, n*blobs/2, strings.Count(text, " skipped: already exists\n"))
		assert.Equal(t, n*blobs, strings.Count(text, "\n"))
		assert.True(t, s.model.Moved)
		assert.Empty(t, s.model.Unknown)
		assert.False(t, inUse(s))
	})
}
