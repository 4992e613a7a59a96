package terminaltest

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A Pseudo is a terminal of the system, with a model at its other side.
type Pseudo struct {
	Writer *os.File // what copies get
	t      *testing.T
	other  *os.File
	ended  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	changed *sync.Cond
	model   Model
	raw     []byte // all that was written
}

// NewPseudo returns a terminal of that size, which is there until the test ends. A test on a system
// that has none is skipped.
func NewPseudo(t *testing.T, columns, rows uint16) *Pseudo {
	t.Helper()
	t.Setenv("TERM", "xterm")
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this system has no pseudo terminals: %v", err)
	}
	var number int
	require.NoError(t, control(other, func(fd int) {
		require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		require.NoError(t, err)
	}))
	writer, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	p := &Pseudo{t: t, Writer: writer, other: other, model: Model{Columns: int(columns), Rows: int(rows)}}
	p.changed = sync.NewCond(&p.mu)
	p.Resize(columns, rows)
	p.ended.Go(p.read)
	t.Cleanup(p.close)
	return p
}

// Resize gives the terminal another size.
func (p *Pseudo) Resize(columns, rows uint16) {
	require.NoError(p.t, control(p.Writer, func(fd int) {
		require.NoError(p.t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}))
	}))
}

// read shows what is written, until the writer is closed.
func (p *Pseudo) read() {
	buffer := make([]byte, 4096)
	for {
		n, err := p.other.Read(buffer)
		p.mu.Lock()
		p.raw = append(p.raw, buffer[:n]...)
		_, _ = p.model.Write(buffer[:n]) // never fails
		p.mu.Unlock()
		p.changed.Broadcast()
		if err != nil {
			return
		}
	}
}

// HangUp closes the side at which somebody could look.
func (p *Pseudo) HangUp() {
	assert.NoError(p.t, p.other.Close())
	p.ended.Wait()
}

func (p *Pseudo) close() {
	_ = p.Writer.Close() // it may be closed
	p.ended.Wait()
	_ = p.other.Close()
}

// WaitFor waits until the text on the terminal matches.
func (p *Pseudo) WaitFor(expression string) {
	re := regexp.MustCompile(expression)
	p.mu.Lock()
	defer p.mu.Unlock()
	for !re.MatchString(p.model.Text()) {
		p.changed.Wait()
	}
}

// FinalLines returns the lines that stay when everything has been read. The cursor is below them.
func (p *Pseudo) FinalLines() []string {
	p.t.Helper()
	require.NoError(p.t, p.Writer.Close())
	p.ended.Wait()
	assert.Empty(p.t, p.model.Unknown)
	lines := strings.Split(p.model.Text(), "\n")
	assert.Equal(p.t, "", lines[len(lines)-1])
	assert.Equal(p.t, len(lines)-1, p.model.Row())
	return lines[:len(lines)-1]
}

// Type types text, which programs read from Writer.
func (p *Pseudo) Type(text string) {
	p.t.Helper()
	_, err := p.other.WriteString(text)
	require.NoError(p.t, err)
}

// Raw closes the writer, and returns all that was written to it.
func (p *Pseudo) Raw() string {
	p.t.Helper()
	require.NoError(p.t, p.Writer.Close())
	p.ended.Wait()
	return string(p.raw)
}

// control calls use with the descriptor of f, and leaves that as it is.
func control(f *os.File, use func(fd int)) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Control(func(fd uintptr) { use(int(fd)) })
}
