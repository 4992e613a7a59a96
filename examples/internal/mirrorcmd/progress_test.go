package mirrorcmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"
)

func event(kind types.ProgressEvent, name string, size int64, update uint64) types.ProgressProperties {
	return types.ProgressProperties{Event: kind, Artifact: types.BlobInfo{Digest: digest.FromString(name), Size: size}, OffsetUpdate: update}
}

// halfway is a tally after ten seconds of two images, of which one is done.
func halfway() (*tally, time.Time) {
	start := time.Unix(1000, 0)
	t := newTally(2, start)
	t.add(event(types.ProgressEventNewArtifact, "a", 1000, 0))
	t.add(event(types.ProgressEventNewArtifact, "b", 3000, 0))
	t.add(event(types.ProgressEventSkipped, "c", 500, 0))
	t.tick(start.Add(4 * time.Second))
	t.add(event(types.ProgressEventRead, "a", 1000, 600))
	t.add(event(types.ProgressEventDone, "a", 1000, 400))
	t.add(event(types.ProgressEventRead, "b", 3000, 1500))
	t.add(event(types.ProgressEventRead, "never announced", 1, 1))
	t.imagesDone = 1
	now := start.Add(9 * time.Second)
	t.tick(now)
	return &t, now
}

func TestTally(t *testing.T) {
	tally, now := halfway()
	assert.Equal(t, "images 1/2  blobs 2 (1 there already)  2.5 kB of 4.0 kB  500 B/s  9s  9s left", tally.line(now))
	assert.Equal(t, 500, int(tally.rate(now)))
	assert.Equal(t, []string{
		tally.line(now),
		"  " + shortDigest(digest.FromString("b")) + "  [============            ]  1.5 kB of 3.0 kB",
	}, tally.picture(now))
	tally.instances, tally.instancesKnown = 3, 5
	assert.Contains(t, tally.line(now), "instances 3/5")
}

func TestTallyBeforeAnythingIsKnown(t *testing.T) {
	now := time.Unix(1000, 0)
	tally := newTally(1, now)
	assert.Equal(t, "images 0/1  blobs 0  0 B of 0 B  0 B/s  0s", tally.line(now))
	tally.add(event(types.ProgressEventNewArtifact, "unknown size", -1, 0))
	assert.Len(t, tally.picture(now), 2)
}

// A terminal interprets what a screen writes, as far as a screen uses it.
type terminal struct {
	columns, rows int
	lines         []string // of which the last is the cursor's
}

func (v *terminal) Write(p []byte) (int, error) {
	text := string(p)
	for text != "" {
		switch {
		case strings.HasPrefix(text, "\x1b[K"):
			text = text[3:]
			v.lines[len(v.lines)-1] = ""
		case strings.HasPrefix(text, "\x1b["):
			var up int
			if _, err := fmt.Sscanf(text, "\x1b[%dA", &up); err != nil {
				return 0, err
			}
			if up >= len(v.lines) {
				return 0, errors.New("above the first line")
			}
			v.lines = v.lines[:len(v.lines)-up] // what is below is about to be cleared, or is so
			text = text[strings.Index(text, "A")+1:]
		case text[0] == '\n':
			v.lines = append(v.lines, "")
			text = text[1:]
		case text[0] == '\r':
			text = text[1:]
		default:
			end := strings.IndexAny(text, "\n\r\x1b")
			if end < 0 {
				end = len(text)
			}
			v.lines[len(v.lines)-1] += text[:end]
			text = text[end:]
		}
	}
	return len(p), nil
}

// narrow breaks lines, as terminals do when they become narrower.
func (v *terminal) narrow(columns int) {
	v.columns = columns
	var broken []string
	for _, line := range v.lines {
		for len(line) > columns {
			broken = append(broken, line[:columns])
			line = line[columns:]
		}
		broken = append(broken, line)
	}
	v.lines = broken
}

func TestScreen(t *testing.T) {
	v := &terminal{columns: 40, rows: 6, lines: []string{"before", ""}}
	s := &screen{w: v, size: func() (int, int, error) { return v.columns, v.rows, nil }}
	many := make([]string, 50)
	for i := range many {
		many[i] = fmt.Sprintf("line %d %s", i, strings.Repeat("x", 100))
	}
	s.draw([]string{"one", "two"})
	assert.Equal(t, []string{"before", "one", "two", ""}, v.lines)
	s.draw(many)
	require.Len(t, v.lines, 1+5+1, "all rows but the cursor's")
	assert.Equal(t, "  and 46 more", v.lines[5])
	for _, line := range v.lines {
		assert.Less(t, len(line), v.columns)
	}
	v.narrow(15)
	v.rows = 30 // all that was drawn is still on the screen
	s.draw([]string{"narrow"})
	assert.Equal(t, []string{"before", "narrow", ""}, v.lines)
	v.columns, v.rows = 200, 2
	s.draw(many)
	require.Len(t, v.lines, 3)
	s.print("done")
	s.draw([]string{"below"})
	assert.Equal(t, []string{"before", "done", "below", ""}, v.lines)
	s.draw(nil)
	assert.Equal(t, []string{"before", "done", ""}, v.lines, "nothing is left")
}

func TestScreenWithoutSize(t *testing.T) {
	v := &terminal{lines: []string{""}}
	s := &screen{w: v, size: func() (int, int, error) { return 0, 0, errors.New("no terminal") }}
	s.draw([]string{strings.Repeat("x", 1000)})
	assert.Len(t, v.lines[0], defaultColumns-1)
}

// TestProgressElsewhere looks at what is written where there is no terminal.
func TestProgressElsewhere(t *testing.T) {
	var b bytes.Buffer
	e := &environment{stderr: &b}
	p := e.startProgress(&output{}, 3)
	p.imageDone()
	p.send(event(types.ProgressEventSkipped, "a", 1, 0))
	n, err := p.Write([]byte("Copying image sha256:abc (1/4)\nsomething else\nCopying image sha256:def (2/4)\n"))
	require.NoError(t, err)
	assert.NotZero(t, n)
	p.frame(time.Now())
	p.stop()
	p.stop()
	assert.Regexp(t, `^images 1/3  instances 2/4  blobs 1 \(1 there already\)  0 B of 0 B  0 B/s  \S+\n$`, b.String())

	b.Reset()
	restore := e.startLog()
	defer restore()
	require.NoError(t, (&output{logJSON: true}).check())
	logrus.SetLevel(logrus.InfoLevel)
	p = e.startProgress(&output{logJSON: true}, 3)
	p.frame(time.Now())
	p.stop()
	var entry map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &entry))
	assert.Equal(t, "progress", entry["msg"])
	assert.EqualValues(t, 3, entry["images"])

	assert.Nil(t, e.startProgress(&output{quiet: true}, 1))
	var none *progress
	none.imageDone()
	none.send(types.ProgressProperties{})
	none.stop()
}

func TestLogFormatJSON(t *testing.T) {
	r := mirror(t, "copy", "--all", "--log-format", "json", "docker://"+closedPort()+"/x:1", "docker://"+closedPort()+"/x:1")
	assert.Equal(t, StatusFailed, r.status)
	for line := range strings.Lines(r.stderr) {
		var entry map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
	}
	assert.Contains(t, r.stderr, `"level":"error"`)
	assert.NotContains(t, r.stderr, "mirror: ")
	mirror(t, "copy", "--all", "docker://"+closedPort()+"/x:1", "docker://"+closedPort()+"/x:1").failed(t, StatusFailed)
}
