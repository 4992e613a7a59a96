package progress

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"
)

// halfway is an overview of two images, of which one is done, and what it has counted after nine
// seconds.
func halfway(t *testing.T) (*Overview, Totals) {
	o := NewOverview(OverviewOptions{Images: 2})
	t.Cleanup(o.Close)
	c := New(Options{Overview: o})
	blob := func(name string, size int64) *Blob { return c.Blob(t.Context(), testBlob(name, size)) }
	a, b := blob("a", 1000), blob("b", 3000)
	a.Advance(0)
	o.take(BlobAdvances{a})
	o.take(BlobAdvances{b})
	blob("c", 500).End(Reused)
	time.Sleep(4 * time.Second)
	o.Totals()
	a.Advance(600)
	a.Advance(400)
	a.End(Copied)
	b.Advance(1500)
	o.ImageDone()
	time.Sleep(5 * time.Second)
	return o, o.Totals()
}

func TestTotals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, totals := halfway(t)
		assert.Equal(t, "images 1/2  blobs 2 (1 there already)  2.5 kB of 4.0 kB  500 B/s  9s  9s left", totals.String())
		assert.Equal(t, Totals{
			Images: 2, ImagesDone: 1, Blobs: 2, BlobsThere: 1, Bytes: 2500, BytesKnown: 4000, BytesPerSecond: 500,
			Elapsed: 9 * time.Second, Left: 9 * time.Second,
		}, totals)
		c := New(Options{Overview: o})
		for i := range 3 {
			c.Tell(ImageBegins{Position: i + 1, Of: 5})
		}
		assert.Contains(t, o.Totals().String(), "instances 3/5")
	})
}

func TestTotalsBeforeAnythingIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOverview(OverviewOptions{Images: 1})
		defer o.Close()
		assert.Equal(t, "images 0/1  blobs 0  0 B of 0 B  0 B/s  0s", o.Totals().String())
		b := New(Options{Overview: o}).Blob(t.Context(), testBlob("unknown size", -1))
		b.Advance(7)
		assert.Equal(t, "images 0/1  blobs 0  7 B of 0 B  0 B/s  0s", o.Totals().String())
		b.End(Copied)
		assert.Equal(t, "images 0/1  blobs 1  7 B of 7 B  0 B/s  0s", o.Totals().String())
	})
}

// TestTotalsOfBlobsThatFail counts what has moved, and nothing that is told too late.
func TestTotalsOfBlobsThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOverview(OverviewOptions{})
		defer o.Close()
		b := New(Options{Overview: o}).Blob(t.Context(), testBlob("a", 100))
		b.Advance(60)
		b.Restart()
		b.Advance(50)
		assert.EqualValues(t, 60, o.Totals().Bytes, "a retry takes nothing back")
		assert.EqualValues(t, 100, o.Totals().BytesKnown)
		b.End(Failed)
		b.Advance(30)
		assert.Equal(t, Totals{Bytes: 60, BytesKnown: 60}, o.Totals())
	})
}

// TestOverviewFollows counts what upstream moves, by its's events.
func TestOverviewFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOverview(OverviewOptions{})
		defer o.Close()
		c := New(Options{Overview: o})
		event := func(kind types.ProgressEvent, name string, size int64, update uint64) {
			c.upstream.follow(types.ProgressProperties{
				Event: kind, Artifact: types.BlobInfo{Digest: digest.FromString(name), Size: size}, OffsetUpdate: update,
			})
		}
		event(types.ProgressEventNewArtifact, "a", 1000, 0)
		event(types.ProgressEventNewArtifact, "b", 3000, 0)
		event(types.ProgressEventSkipped, "c", 500, 0)
		event(types.ProgressEventRead, "a", 1000, 600)
		event(types.ProgressEventSkipped, "a", 1000, 0) // for another copy
		assert.Equal(t, Totals{Blobs: 2, BlobsThere: 2, Bytes: 600, BytesKnown: 4000}, o.Totals())
		event(types.ProgressEventDone, "a", 1000, 400)
		event(types.ProgressEventRead, "b", 3000, 1500)
		event(types.ProgressEventRead, "never announced", 1, 1)
		event(types.ProgressEventDone, "never announced", 1, 0)
		assert.Equal(t, Totals{Blobs: 3, BlobsThere: 2, Bytes: 2500, BytesKnown: 4000}, o.Totals())
	})
}

// TestOverviewOnATerminal follows the picture while the terminal is resized.
func TestOverviewOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestScreen(70, 6)
		o := NewOverview(OverviewOptions{Images: 3, Log: func(Totals) {}})
		o.draw(s)
		shows := func(want ...string) {
			t.Helper()
			frame()
			assert.Equal(t, strings.Join(want, "\n")+"\n", s.text())
		}
		shows("images 0/3  blobs 0  0 B of 0 B  0 B/s  0s")
		c := New(Options{Overview: o})
		first := c.Blob(t.Context(), testBlob("a", 3000))
		shows("images 0/3  blobs 0  0 B of 0 B  0 B/s  0s") // maybe it is there
		first.Advance(1500)
		shows(
			"images 0/3  blobs 0  1.5 kB of 3.0 kB  5.0 kB/s  0s",
			"  sha256:ca978112ca1b  [==========          ]     1.5 kB /     3.0 kB",
		)
		var others []*Blob
		for i := range 50 {
			b := c.Blob(t.Context(), testBlob(fmt.Sprint(i), 1))
			o.take(BlobAdvances{b})
			others = append(others, b)
		}
		frame()
		lines := strings.Split(s.text(), "\n")
		require.Len(t, lines, 5+1, "all rows but the cursor's")
		assert.Equal(t, "... and 48 more", lines[4])
		s.with(func() { s.rows, s.model.Rows = 2, 2 })
		frame()
		assert.Equal(t, "images 0/3  blobs 0  1.5 kB of 3.0 kB  3.0 kB/s  0s\n", tail(s.text(), 1), "no room for bars")
		o.Print("done")
		for _, b := range append(others, first) {
			b.End(Copied)
		}
		o.ImageDone()
		s.with(func() { s.columns, s.model.Columns = 22, 22 })
		frame()
		assert.Equal(t, "done\nimages 1/3  blobs 51 \n", tail(s.text(), 2))
		o.Print("last")
		o.Close()
		o.Close()
		assert.Equal(t, "done\nlast\n", tail(s.text(), 2), "nothing of the picture is left")
		assert.Empty(t, s.model.Unknown)
		assert.False(t, inUse(s))
		o.Print("after the end")
	})
}

// tail returns the last lines of text, which ends with the end of a line.
func tail(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	return strings.Join(all[max(len(all)-1-lines, 0):], "")
}

// TestTerminalWithoutSize has a terminal that does not tell its size.
func TestTerminalWithoutSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestScreen(defaultColumns, defaultRows)
		s.unsized = errors.New("no terminal")
		c := onScreen(s)
		c.Blob(t.Context(), testBlob("a", 5)).Advance(2)
		frame()
		assert.Equal(t, "Copying blob ca978112ca1b [==========                 ]        2 B /        5 B\n", s.text())
		c.End()
	})
}

// TestOverviewElsewhere looks at what is written where there is no terminal.
func TestOverviewElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		o := NewOverview(OverviewOptions{Images: 3, Writer: &b})
		o.ImageDone()
		c := New(Options{Overview: o})
		c.Blob(t.Context(), testBlob("a", 1)).End(Reused)
		for i := range 2 {
			c.Tell(ImageBegins{Position: i + 1, Of: 4})
		}
		c.Line("something else")
		o.Print("above the picture")
		time.Sleep(overviewInterval)
		synctest.Wait()
		o.Close()
		assert.Equal(t, "images 1/3  instances 2/4  blobs 1 (1 there already)  0 B of 0 B  0 B/s  10s  20s left\n", b.String())

		b.Reset()
		o = NewOverview(OverviewOptions{Images: 3, Writer: &b})
		time.Sleep(overviewInterval - 1)
		o.Close()
		assert.Empty(t, b.String(), "short runs write nothing")

		var logged []Totals
		o = NewOverview(OverviewOptions{Images: 3, Writer: &b, Log: func(t Totals) { logged = append(logged, t) }})
		time.Sleep(2 * overviewInterval)
		synctest.Wait()
		o.Close()
		assert.Equal(t, []Totals{{Images: 3, Elapsed: overviewInterval}, {Images: 3, Elapsed: 2 * overviewInterval}}, logged)
		assert.Empty(t, b.String())
	})
	var none *Overview
	none.ImageDone()
	none.Print("nowhere")
	New(Options{Overview: none}).upstream.follow(types.ProgressProperties{Event: types.ProgressEventSkipped})
	assert.Zero(t, none.Totals())
	New(Options{Overview: none}).Line("nowhere")
	none.Close()
}
