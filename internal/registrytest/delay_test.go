package registrytest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const rtt = 30 * time.Millisecond

// elapsed is how long f takes.
func elapsed(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

// belowLimit wants f, which takes as long as unit has it take, to be below a multiple of that, for
// one of some units: where the machine is busy, it takes a longer one for what it does itself to
// weigh little.
func belowLimit(t *testing.T, unit time.Duration, limit int, f func(unit time.Duration) time.Duration) {
	t.Helper()
	var took time.Duration
	for end := 64 * unit; unit <= end; unit *= 4 {
		if took = f(unit); took < time.Duration(limit)*unit {
			return
		}
	}
	t.Fatalf("%s", took)
}

func TestRTT(t *testing.T) {
	belowLimit(t, rtt, 2, func(rtt time.Duration) time.Duration {
		c := start(t, Options{RTT: rtt})
		ping := func() { c.do(200, "GET", "/v2/", "") }
		first := elapsed(ping)
		require.GreaterOrEqual(t, first, 2*rtt, "the handshake takes one")
		require.Equal(t, 1, c.Connections())
		best := time.Hour
		for range 3 {
			best = min(best, elapsed(ping))
		}
		require.GreaterOrEqual(t, best, rtt)
		if c.Connections() > 1 {
			return 2 * rtt // one was given up that took long to say that it had sent something
		}
		return best
	})
}

func TestRTTWithTLS(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		c := start(t, Options{RTT: rtt, TLS: true, HTTP2: http2})
		first := elapsed(func() { c.do(200, "GET", "/v2/", "") })
		require.GreaterOrEqual(t, first, 3*rtt, "TCP, TLS 1.3, request")
		require.GreaterOrEqual(t, elapsed(func() { c.do(200, "GET", "/v2/", "") }), rtt)
	}
}

func TestRTTDoesNotLimitBandwidth(t *testing.T) {
	content := Seeded(1, 16<<20)
	takes := func(rtt time.Duration, transfer func(c *client)) time.Duration {
		c := start(t, Options{RTT: rtt, DiscardBlobs: true})
		c.PutContent("a", content)
		c.do(200, "GET", "/v2/", "")
		return elapsed(func() { transfer(c) })
	}
	const limit = 200 // windows of 64 KiB would need 256 round trips
	belowLimit(t, rtt, limit, func(rtt time.Duration) time.Duration {
		return takes(rtt, func(c *client) {
			got := c.do(200, "GET", "/v2/a/blobs/"+content.Digest.String(), "")
			require.Len(t, got.body, int(content.Size))
		})
	})
	belowLimit(t, rtt, limit, func(rtt time.Duration) time.Duration {
		return takes(rtt, func(c *client) {
			a, err := c.try("POST", "/v2/b/blobs/uploads/?digest="+content.Digest.String(), content.Reader())
			require.NoError(t, err)
			require.Equal(t, 201, a.StatusCode)
		})
	})
}

// TestRate downloads over one connection and over two, each of which has the whole rate.
func TestRate(t *testing.T) {
	const size = 1 << 20
	content := Seeded(1, size)
	belowLimit(t, time.Second/8, 2, func(least time.Duration) time.Duration {
		c := start(t, Options{Rate: int64(size * time.Second / least)})
		c.PutContent("a", content)
		download := func() {
			got := c.do(200, "GET", "/v2/a/blobs/"+content.Digest.String(), "")
			require.Len(t, got.body, size)
		}
		require.GreaterOrEqual(t, elapsed(download), least)
		took := elapsed(func() { // at a time
			var both sync.WaitGroup
			both.Go(download)
			both.Go(download)
			both.Wait()
		})
		require.GreaterOrEqual(t, took, least)
		if c.Connections() < 2 {
			return 2 * least // one was there when the other began
		}
		return took
	})
}

// TestRateIsOfDownloads would take 17 minutes if it were one of uploads.
func TestRateIsOfDownloads(t *testing.T) {
	c := start(t, Options{Rate: 1 << 10})
	content := Seeded(1, 1<<20)
	require.Less(t, elapsed(func() {
		a, err := c.try("POST", "/v2/b/blobs/uploads/?digest="+content.Digest.String(), content.Reader())
		require.NoError(t, err)
		require.Equal(t, 201, a.StatusCode)
	}), time.Minute)
}

func TestPace(t *testing.T) {
	now := time.Unix(1, 0)
	p := pace{rate: 1000}
	require.Equal(t, now.Add(time.Second/10), p.sent(now, 100))
	require.Equal(t, now.Add(3*time.Second/10), p.sent(now, 200), "after what went before")
	later := now.Add(time.Minute)
	require.Equal(t, later.Add(time.Second/10), p.sent(later, 100), "what was not used is lost")
	require.Equal(t, now, (&pace{}).sent(now, 1<<40))
}

func TestAddress(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere a machine need not have another address than 127.0.0.1")
	}
	c := start(t, Options{Address: "127.0.0.2"})
	require.Regexp(t, `^127\.0\.0\.2:\d+$`, c.Host())
	c.do(200, "GET", "/v2/", "")
}

func TestRTTAndFaults(t *testing.T) {
	content := Seeded(1, 100_000)
	whole, _ := io.ReadAll(content.Reader())
	c := start(t, Options{RTT: rtt, Script: OnNth(1, CutBody(50_000))})
	c.PutContent("a", content)
	a, err := c.try("GET", "/v2/a/blobs/"+content.Digest.String(), nil)
	require.NoError(t, err)
	require.ErrorIs(t, a.err, io.ErrUnexpectedEOF)
	require.True(t, bytes.Equal(whole[:50_000], a.body), "what was written before the end arrives")
}

func TestCloseWithRTT(t *testing.T) {
	for _, fault := range []Answer{{}, Stall(), StallBody(1 << 20)} {
		c := start(t, Options{RTT: time.Hour, Script: OnNth(1, fault)})
		done := make(chan error)
		go func() {
			_, err := c.try("GET", "/v2/", nil)
			done <- err
		}()
		require.Eventually(t, func() bool { return c.Connections() == 1 }, waitFor, tick)
		took := elapsed(func() {
			c.Close()
			require.Error(t, <-done)
		})
		require.Less(t, took, closeTimeout)
	}
}

// TestClientThatDoesNotRead fills all buffers between the two ends; Close still ends it.
func TestClientThatDoesNotRead(t *testing.T) {
	c := start(t, Options{RTT: time.Millisecond})
	content := Seeded(1, 2*lineLimit)
	c.PutContent("a", content)
	resp, err := c.http.Get(c.URL() + "/v2/a/blobs/" + content.Digest.String())
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Less(t, elapsed(c.Close), closeTimeout)
	_, err = io.Copy(io.Discard, resp.Body)
	require.Error(t, err)
}

func TestClientThatLeaves(t *testing.T) {
	c := start(t, Options{RTT: time.Millisecond, Script: OnNth(1, Stall())})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", c.URL()+"/v2/", nil)
	require.NoError(t, err)
	done := make(chan error)
	go func() {
		_, err := c.http.Do(req)
		done <- err
	}()
	require.Eventually(t, func() bool { return len(c.Requests()) == 1 }, waitFor, tick)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Eventually(t, func() bool { return !c.Requests()[0].End.IsZero() }, waitFor, tick)
}

func TestDelayLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newDelayLine()
		begun := time.Now()
		for i := range 3 {
			_, err := l.put([]byte{byte('a' + i)}, begun.Add(time.Duration(i+1)*time.Second))
			require.NoError(t, err)
		}
		l.end(io.EOF, begun.Add(5*time.Second))
		_, err := l.put([]byte("x"), begun)
		require.ErrorIs(t, err, net.ErrClosed)
		var p [10]byte
		for i, want := range []string{"a", "b", "c"} {
			n, err := l.get(p[:])
			require.NoError(t, err)
			require.Equal(t, want, string(p[:n]))
			require.Equal(t, time.Duration(i+1)*time.Second, time.Since(begun))
		}
		n, err := l.get(nil)
		require.Zero(t, n)
		require.NoError(t, err)
		_, err = l.get(p[:])
		require.Equal(t, io.EOF, err)
		require.Equal(t, 5*time.Second, time.Since(begun))
		_, err = l.get(p[:])
		require.Equal(t, io.EOF, err)
	})
}

func TestDelayLineTakesWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newDelayLine()
		due := time.Now().Add(time.Second)
		for _, s := range []string{"abc", "def", "ghi"} {
			_, err := l.put([]byte(s), due)
			require.NoError(t, err)
		}
		_, err := l.put([]byte("later"), due.Add(time.Second))
		require.NoError(t, err)
		var p [7]byte
		n, err := l.get(p[:])
		require.NoError(t, err)
		require.Equal(t, "abcdefg", string(p[:n]))
		n, err = l.get(p[:])
		require.NoError(t, err)
		require.Equal(t, "hi", string(p[:n]))
		require.Equal(t, due, time.Now())
		require.Equal(t, len("later"), l.size)
	})
}

func TestDelayLineDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newDelayLine()
		begun := time.Now()
		var p [1]byte
		_, err := l.put([]byte("a"), begun.Add(2*time.Second))
		require.NoError(t, err)
		l.setGetDeadline(begun.Add(time.Second))
		_, err = l.get(p[:])
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Second, time.Since(begun))
		l.setGetDeadline(time.Time{})
		_, err = l.get(p[:])
		require.NoError(t, err)

		// A deadline that is set while somebody waits.
		var wg sync.WaitGroup
		wg.Go(func() { _, err = l.get(p[:]) })
		synctest.Wait()
		l.setGetDeadline(time.Now())
		wg.Wait()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		// It comes before what is due.
		_, err = l.put([]byte("a"), begun)
		require.NoError(t, err)
		_, err = l.get(p[:])
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

func TestDelayLineIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newDelayLine()
		big := bytes.Repeat([]byte("x"), lineLimit)
		n, err := l.put(big, time.Now())
		require.NoError(t, err)
		require.Equal(t, lineLimit, n)
		l.setPutDeadline(time.Now().Add(time.Second))
		n, err = l.put([]byte("y"), time.Now())
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Zero(t, n)
		l.setPutDeadline(time.Time{})
		var wg sync.WaitGroup
		wg.Go(func() { _, err = l.put([]byte("y"), time.Now()) })
		synctest.Wait()
		var p [1]byte
		_, getErr := l.get(p[:])
		require.NoError(t, getErr)
		wg.Wait()
		require.NoError(t, err)

		failed := errors.New("failed")
		wg.Go(func() { _, err = l.put(big[:pieceSize], time.Now()) })
		synctest.Wait()
		l.fail(failed)
		wg.Wait()
		require.Equal(t, failed, err)
		_, err = l.get(p[:])
		require.Equal(t, failed, err)
		l.fail(io.EOF)
		_, err = l.get(p[:])
		require.Equal(t, failed, err, "the first counts")
	})
}
