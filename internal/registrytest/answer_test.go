package registrytest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// bothProtocols runs f with HTTP/1.1 and with HTTP/2.
func bothProtocols(t *testing.T, f func(t *testing.T, o Options)) {
	t.Run("HTTP1", func(t *testing.T) { f(t, Options{}) })
	t.Run("HTTP2", func(t *testing.T) { f(t, Options{TLS: true, HTTP2: true}) })
}

func TestScriptedErrors(t *testing.T) {
	answers := map[int]Answer{
		1: Fail(503, "UNAVAILABLE", "later"),
		2: FailHTML(502),
		3: {Status: 400, Errors: []Error{{Code: "A", Detail: 1}, {Code: "B"}}},
		4: {Status: 404},
		5: {Status: 429, Header: http.Header{"retry-after": {"7"}}},
	}
	c := start(t, Options{Script: func(n int, _ *http.Request) Answer { return answers[n] }})
	require.JSONEq(t, `{"errors":[{"code":"UNAVAILABLE","message":"later"}]}`, string(c.do(503, "GET", "/v2/", "").body))
	a := c.do(502, "GET", "/v2/", "")
	require.Equal(t, "text/html; charset=utf-8", a.Header.Get("Content-Type"))
	require.Contains(t, string(a.body), "<h1>Bad Gateway</h1>")
	require.Equal(t, []string{"A", "B"}, c.do(400, "GET", "/v2/", "").codes(t))
	require.JSONEq(t, `{"errors":[]}`, string(c.do(404, "GET", "/v2/", "").body))
	require.Equal(t, "7", c.do(429, "GET", "/v2/", "").Header.Get("Retry-After"))
	c.do(200, "GET", "/v2/", "")
}

func TestFaultsOfConnections(t *testing.T) {
	bothProtocols(t, func(t *testing.T, o Options) {
		d := digest.FromString("0123456789")
		var fault Answer
		o.Script = Only(Matching("PUT", KindUpload), func(int, *http.Request) Answer { return fault })
		c := start(t, o)
		put := func() (string, error) {
			loc := c.do(202, "POST", "/v2/a/blobs/uploads/", "").Header.Get("Location")
			_, err := c.try("PUT", addQuery(loc, "digest", d.String()), strings.NewReader("0123456789"))
			return loc, err
		}
		last := func() Request { q := c.Requests(); return q[len(q)-1] }

		fault = Close()
		_, err := put()
		require.Error(t, err)
		require.Empty(t, c.Blobs("a"))
		require.Zero(t, last().BytesIn)
		require.Zero(t, last().Status)
		require.True(t, last().Aborted)

		fault = CutUpload(3)
		loc, err := put()
		require.Error(t, err)
		require.Empty(t, c.Blobs("a"))
		require.EqualValues(t, 4, last().BytesIn, "one more, to see that there is more")
		require.Equal(t, "0-2", c.do(204, "GET", loc, "").Header.Get("Range"))

		fault = CutUpload(10) // there are no more
		_, err = put()
		require.NoError(t, err)
		c.DeleteBlob("a", d)

		fault = LostAnswer()
		_, err = put()
		require.Error(t, err)
		require.Equal(t, []digest.Digest{d}, c.Blobs("a"))
		require.True(t, last().Aborted)
	})
}

func TestFaultsOfBodies(t *testing.T) {
	bothProtocols(t, func(t *testing.T, o Options) {
		content := Seeded(1, 100_000)
		whole, _ := io.ReadAll(content.Reader())
		var fault Answer
		o.Script = func(int, *http.Request) Answer { return fault }
		c := start(t, o)
		c.PutContent("a", content)
		get := func(a Answer) answer {
			t.Helper()
			fault = a
			got, err := c.try("GET", "/v2/a/blobs/"+content.Digest.String(), nil)
			require.NoError(t, err)
			require.Equal(t, 200, got.StatusCode)
			return got
		}
		for _, k := range []int64{0, 1, 5000, 99_999} {
			a := get(CutBody(k))
			require.Error(t, a.err)
			require.EqualValues(t, len(whole), a.ContentLength)
			require.Equal(t, whole[:k], a.body)
		}
		a := get(CutBody(100_000))
		require.NoError(t, a.err)
		require.Equal(t, whole, a.body)

		a = get(Corrupt(70_000))
		require.NoError(t, a.err)
		require.Len(t, a.body, len(whole))
		require.Equal(t, whole[:70_000], a.body[:70_000])
		require.NotEqual(t, whole[70_000], a.body[70_000])
		require.Equal(t, whole[70_001:], a.body[70_001:])

		a = get(WrongLength(-10)) // looks complete
		require.NoError(t, a.err)
		require.Equal(t, whole[:99_990], a.body)
		a = get(WrongLength(10))
		require.Error(t, a.err)
		require.EqualValues(t, 100_010, a.ContentLength)
		require.Equal(t, whole, a.body)
		a = get(WrongLength(-200_000))
		require.NoError(t, a.err)
		require.Empty(t, a.body)
		fault = WrongLength(5)
		require.EqualValues(t, 100_005, c.do(200, "HEAD", "/v2/a/blobs/"+content.Digest.String(), "").ContentLength)
		a, err := c.try("POST", "/v2/a/blobs/uploads/", nil) // an answer without a body
		require.True(t, err != nil || a.err != nil)
	})
}

func TestStallEndsWhenTheClientLeaves(t *testing.T) {
	bothProtocols(t, func(t *testing.T, o Options) {
		content := Seeded(1, 100_000)
		whole, _ := io.ReadAll(content.Reader())
		var fault Answer
		o.Script = func(int, *http.Request) Answer { return fault }
		c := start(t, o)
		c.PutContent("a", content)
		for _, fault = range []Answer{Stall(), StallBody(10)} {
			c.ResetLog()
			ctx, cancel := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, "GET", c.URL()+"/v2/a/blobs/"+content.Digest.String(), nil)
			require.NoError(t, err)
			var body []byte
			started, done := make(chan struct{}), make(chan error)
			go func() {
				resp, err := c.http.Do(req)
				if err == nil {
					body = make([]byte, 10)
					_, _ = io.ReadFull(resp.Body, body)
					close(started)
					_, err = resp.Body.Read(body[:1])
					_ = resp.Body.Close()
				}
				done <- err
			}()
			if fault.Fault == FaultStallBody {
				<-started
			}
			require.Eventually(t, func() bool { return len(c.Requests()) == 1 }, waitFor, tick)
			require.Zero(t, c.Requests()[0].End)
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
			require.True(t, bytes.Equal(whole[:len(body)], body))
			require.Eventually(t, func() bool { return !c.Requests()[0].End.IsZero() }, waitFor, tick)
			require.True(t, c.Requests()[0].Aborted)
			require.EqualValues(t, len(body), c.Requests()[0].BytesOut)
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	bothProtocols(t, func(t *testing.T, o Options) {
		for _, fault := range []Answer{Stall(), StallUpload(3), StallBody(0)} {
			o.Script = func(int, *http.Request) Answer { return fault }
			c := start(t, o)
			done := make(chan error)
			go func() {
				a, err := c.try("POST", "/v2/a/blobs/uploads/?digest="+digest.FromString("wrong").String(), strings.NewReader("0123456789"))
				if err == nil {
					err = a.err
				}
				done <- err
			}()
			require.Eventually(t, func() bool { return len(c.Requests()) == 1 }, waitFor, tick)
			begun := time.Now()
			c.Close()
			require.Error(t, <-done)
			require.Less(t, time.Since(begun), closeTimeout)
			require.NotZero(t, c.Requests()[0].End, "the handler has ended")
			_, err := c.try("GET", "/v2/", nil)
			require.Error(t, err)
			c.Close()
		}
	})
}

func TestScripts(t *testing.T) {
	fail := Fail(500, "UNKNOWN", "")
	played := func(s Script, requests ...string) string {
		var out strings.Builder
		for i, path := range requests {
			req, err := http.NewRequest("GET", "http://h"+path, nil)
			require.NoError(t, err)
			if a := s(i+1, req); a.Status == 500 {
				out.WriteByte('x')
			} else {
				out.WriteByte('.')
			}
		}
		return out.String()
	}
	six := []string{"/v2/", "/v2/", "/v2/", "/v2/", "/v2/", "/v2/"}
	require.Equal(t, "..x...", played(OnNth(3, fail), six...))
	require.Equal(t, ".x.x.x", played(EveryNth(2, fail), six...))
	require.Equal(t, "xx....", played(FirstN(2, fail), six...))
	mixed := []string{"/v2/", "/v2/a/tags/list", "/v2/", "/v2/", "/v2/a/tags/list", "/v2/a/tags/list"}
	require.Equal(t, "..x...", played(Only(Matching("GET", KindPing), OnNth(2, fail)), mixed...))
	require.Equal(t, "......", played(Only(Matching("PUT", ""), EveryNth(1, fail)), mixed...))
	require.Equal(t, "xxxxxx", played(Only(Matching("", ""), EveryNth(1, fail)), mixed...))
}

func TestThrottle(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	defer once.Do(func() { close(release) })
	c := start(t, Options{Throttle: 2, RetryAfter: "3", ListPolicy: func(ListPut) Answer {
		<-release
		return Answer{}
	}})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			a, err := c.try("PUT", "/v2/a/manifests/v1", strings.NewReader(list()), "Content-Type", "application/vnd.oci.image.index.v1+json")
			if err != nil || a.StatusCode != 201 {
				t.Errorf("%v %v", a, err)
			}
		})
	}
	require.Eventually(t, func() bool { return c.served.Load() == 2 }, waitFor, tick)
	a := c.do(429, "GET", "/v2/", "")
	require.Equal(t, "3", a.Header.Get("Retry-After"))
	require.Equal(t, []string{"TOOMANYREQUESTS"}, a.codes(t))
	once.Do(func() { close(release) })
	wg.Wait()
	c.do(200, "GET", "/v2/", "")
	require.Equal(t, 3, c.Peak())

	for after, want := range map[string]string{"": "1", "-": "", "soon": "soon"} {
		r := NewHandler(Options{Throttle: 1, RetryAfter: after})
		r.served.Store(1)
		require.Equal(t, want, record(r, "GET", "/v2/").Header().Get("Retry-After"))
	}
}

// TestRefusalWithoutReading answers before a long body was read: the client gets the answer all the
// same.
func TestRefusalWithoutReading(t *testing.T) {
	for _, o := range []Options{{}, {RTT: rtt}, {TLS: true}, {TLS: true, HTTP2: true}, {RTT: rtt, TLS: true}} {
		o.Script = EveryNth(1, Fail(503, "UNAVAILABLE", "later"))
		c := start(t, o)
		content := Seeded(1, 8<<20)
		a, err := c.try("POST", "/v2/a/blobs/uploads/?digest="+content.Digest.String(), content.Reader())
		require.NoError(t, err)
		require.Equal(t, 503, a.StatusCode)
		require.Equal(t, []string{"UNAVAILABLE"}, a.codes(t))
		require.Zero(t, c.Requests()[0].BytesIn)
	}
}
