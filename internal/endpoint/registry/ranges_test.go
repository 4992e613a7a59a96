package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// small is how blobs of a test are read in ranges.
func small() *ranging {
	g := ranges
	g.least, g.segment, g.memory = 100_000, 10_000, 80_000
	return &g
}

// ranged is a Shared with small ranges, for which the host of s, once it is open, is good for n
// connections.
func openRanged(t *testing.T, text string, sh *Shared, n int) *Source {
	t.Helper()
	sh.ranges = small()
	s := openSource(t, text, insecure(t), sh)
	s.endpoints[0].repo.host.ranges.note(n, time.Now())
	return s
}

// readAs reads b as the engine does, and sends it nowhere.
func readAs(ctx context.Context, s *Source, b endpoint.Blob) (content []byte, err error) {
	err = endpoint.Twice(func() error {
		stream, err := inNoHurry(s.Blob(ctx, b))
		if err != nil {
			return err
		}
		verified := endpoint.Verified(stream, b, nil, func(err error) error { return err })
		content, err = io.ReadAll(verified)
		return errors.Join(err, verified.Close())
	})
	return content, err
}

// inNoHurry makes stream one whose lead is not faster than segments.
func inNoHurry(stream io.ReadCloser, err error) (io.ReadCloser, error) {
	switch r := stream.(type) {
	case *rangedReader:
		return unhurried{r}, err
	case *skippingReader:
		return unhurriedLater{r}, err
	}
	return stream, err
}

// An unhurriedLater is in no hurry from where it has to start.
type unhurriedLater struct{ *skippingReader }

func (r unhurriedLater) SkipTo(offset int64) (err error) {
	if err = r.skippingReader.SkipTo(offset); err == nil {
		r.ReadCloser, err = inNoHurry(r.ReadCloser, nil)
	}
	return err
}

type unhurried struct{ *rangedReader }

func (r unhurried) Read(p []byte) (int, error) {
	if r.lead != nil && len(r.ahead) > 0 && r.offset >= r.ahead[0].start {
		s := r.ahead[0]
		s.mu.Lock()
		for s.filled == 0 && !s.ended {
			s.moved.Wait()
		}
		s.mu.Unlock()
	}
	return r.rangedReader.Read(p)
}

// A flight counts requests from when they are sent until their answers are closed: a registry may
// send on for a while after that.
type flight struct {
	mu        sync.Mutex
	now, peak int // guarded by mu
}

// flightOf counts the requests that s sends from now on.
func flightOf(s *Source) *flight {
	f, repo := &flight{}, s.endpoints[0].repo
	below := repo.host.asks
	repo.host.asks = ocihttp.RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		f.add(1)
		resp, err := below.RoundTrip(req)
		if err != nil {
			f.add(-1)
			return nil, err
		}
		resp.Body = &landing{ReadCloser: resp.Body, of: f}
		return resp, nil
	})
	repo.stack()
	return f
}

func (f *flight) add(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now += n
	f.peak = max(f.peak, f.now)
}

type landing struct {
	io.ReadCloser
	of   *flight
	once sync.Once
}

func (l *landing) Close() error {
	defer l.once.Do(func() { l.of.add(-1) })
	return l.ReadCloser.Close()
}

// parts are the Range headers of the requests for blobs that were served.
func parts(r *registrytest.Registry) (all []string) {
	for _, q := range r.Requests() {
		if q.Kind == registrytest.KindBlob && q.Method == http.MethodGet && q.Status < 300 {
			all = append(all, q.Header.Get("Range"))
		}
	}
	return all
}

// then is what becomes of the next blobs.
type then int

const (
	either then = iota
	again       // they are asked for in ranges
	never       // they are not
)

// What a registry makes of ranges changes nothing about the blob that arrives, and what it cannot
// do it is not asked for again.
func TestRanges(t *testing.T) {
	const size = 300_000
	inRanges := registrytest.Only(
		func(req *http.Request) bool { return req.Header.Get("Range") != "" }, registrytest.EveryNth(3, registrytest.CutBody(4000)))
	for _, test := range []struct {
		name string
		o    registrytest.Options
		then then
	}{
		{"complete", registrytest.Options{}, again},
		{"redirects", registrytest.Options{RedirectBlobs: true}, again},
		{"without size", registrytest.Options{Ranges: registrytest.RangeWithoutSize}, again},
		{"weak tag", registrytest.Options{Ranges: registrytest.RangeWeakTag}, again},
		{"ignored", registrytest.Options{Ranges: registrytest.RangeIgnored}, never},
		{"refused", registrytest.Options{Ranges: registrytest.RangeRefused}, never},
		{"another range", registrytest.Options{Ranges: registrytest.RangeFirst}, never},
		{"coded", registrytest.Options{Ranges: registrytest.RangeCoded}, never},
		{"moving tag", registrytest.Options{Ranges: registrytest.RangeMovingTag}, never},
		{"of another range", registrytest.Options{Ranges: registrytest.RangeFalse}, never},
		{"broken off", registrytest.Options{Script: inRanges}, again},
		{"throttled", registrytest.Options{Throttle: 2, RetryAfter: "-"}, either},
		{"expired", registrytest.Options{RedirectBlobs: true, Script: registrytest.Only(
			func(req *http.Request) bool { return req.URL.Query().Has("signature") },
			registrytest.OnNth(3, registrytest.FailHTML(http.StatusForbidden)))}, again},
		{"one at a time", registrytest.Options{Throttle: 1, RetryAfter: "-"}, either},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := registrytest.Start(t, test.o)
			im := newImage(t, 3, size, r, "a")
			s := openRanged(t, r.Host()+"/a:tag", quick(), 4)
			for i, b := range im.blobs {
				r.ResetLog()
				got, err := readAs(t.Context(), s, b)
				require.NoError(t, err)
				require.Equal(t, contentOf(t, im, b), got)
				if inRanges := len(parts(r)) > 1; i > 0 && test.then != either {
					assert.Equal(t, test.then == again, inRanges, "%q", parts(r))
				}
				assert.Zero(t, s.shared.buffers.used)
			}
		})
	}
}

func contentOf(t *testing.T, im image, b endpoint.Blob) []byte {
	t.Helper()
	want, err := io.ReadAll(im.content[b.Digest].Reader())
	require.NoError(t, err)
	return want
}

// A whole registry's ranges are exactly what is missing: nothing is asked for twice.
func TestRangesAskOnce(t *testing.T) {
	const size = 205_000
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, size, r, "a")
	s := openRanged(t, r.Host()+"/a:tag", quick(), 3)
	flight := flightOf(s)
	_, err := readAs(t.Context(), s, im.blobs[0])
	require.NoError(t, err)
	want := []string{""}
	for at := 10_000; at < size; at += 10_000 {
		want = append(want, fmt.Sprintf("bytes=%d-%d", at, min(at+10_000, size)-1))
	}
	assert.ElementsMatch(t, want, parts(r))
	assert.LessOrEqual(t, flight.peak, 3)
	for _, q := range r.Requests()[2:] {
		if got := q.Header.Get("If-Range"); got != "" {
			assert.Equal(t, `"`+im.blobs[0].Digest.String()+`"`, got)
		}
	}
	assert.Positive(t, r.Count(func(q registrytest.Request) bool { return q.Header.Get("If-Range") != "" }))
}

// A connection that is free because its range was refused is not used for another range.
func TestRangesRefusedAreNotAskedForAgain(t *testing.T) {
	for _, form := range []registrytest.RangeForm{registrytest.RangeIgnored, registrytest.RangeRefused, registrytest.RangeFirst, registrytest.RangeCoded} {
		r := registrytest.Start(t, registrytest.Options{Ranges: form})
		im := newImage(t, 1, 200_000, r, "a")
		s := openRanged(t, r.Host()+"/a:tag", quick(), 2)
		stream, err := s.Blob(t.Context(), im.blobs[0])
		require.NoError(t, err)
		reader, ok := stream.(*rangedReader)
		require.True(t, ok)
		reader.beginMore()
		require.Len(t, reader.ahead, 1)
		reader.ahead[0].wait()
		reader.beginMore()
		assert.Len(t, reader.ahead, 1)
		require.NoError(t, reader.Close())
		assert.Equal(t, 2, r.Count(registrytest.Is(http.MethodGet, registrytest.KindBlob)))
	}
}

// Where ranges are not allowed, or of no use, there is one request.
func TestNoRanges(t *testing.T) {
	for _, test := range []struct {
		name    string
		shared  *Shared
		size    int64
		known   int
		refused bool
	}{
		{name: "by option", shared: &Shared{NoRanges: true}, size: 200_000, known: 4},
		{name: "small", shared: &Shared{}, size: 99_999, known: 4},
		{name: "one in parallel", shared: &Shared{MaxParallel: 1}, size: 200_000, known: 4},
		{name: "one request", shared: &Shared{MaxRequests: 1}, size: 200_000, known: 4},
		{name: "of no use", shared: &Shared{}, size: 200_000, known: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := registrytest.Start(t, registrytest.Options{})
			im := newImage(t, 1, test.size, r, "a")
			s := openRanged(t, r.Host()+"/a:tag", test.shared, test.known)
			if test.name == "one in parallel" {
				s.shared.ranges.most = 1
			}
			got, err := readAs(t.Context(), s, im.blobs[0])
			require.NoError(t, err)
			require.Equal(t, contentOf(t, im, im.blobs[0]), got)
			assert.Equal(t, []string{""}, parts(r))
		})
	}
}

// What a segment lacks that has broken off is asked for again, and nothing else is.
func TestRangesBrokenOff(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
		func(req *http.Request) bool { return req.Header.Get("Range") == "bytes=50000-59999" }, registrytest.OnNth(1, registrytest.CutBody(4000)))})
	im := newImage(t, 1, 200_000, r, "a")
	s := openRanged(t, r.Host()+"/a:tag", quick(), 3)
	got, err := readAs(t.Context(), s, im.blobs[0])
	require.NoError(t, err)
	require.Equal(t, contentOf(t, im, im.blobs[0]), got)
	assert.Len(t, parts(r), 21)
	assert.Contains(t, parts(r), "bytes=54000-59999")
	assert.Equal(t, int64(1), s.Stats().Retries)
}

// A lead that is broken off goes on while segments arrive.
func TestRangesBesideALeadThatGoesOn(t *testing.T) {
	for range 5 { // so that the race detector sees what both change
		r := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
			registrytest.Matching(http.MethodGet, registrytest.KindBlob), registrytest.OnNth(1, registrytest.CutBody(5000)))})
		im := newImage(t, 1, 200_000, r, "a")
		goesOn := make(chan struct{})
		host := serve(t, func(w http.ResponseWriter, req *http.Request) {
			switch req.Header.Get("Range") {
			case "":
			case "bytes=5000-":
				close(goesOn)
			default:
				select {
				case <-goesOn:
				case <-req.Context().Done():
					return
				}
			}
			r.ServeHTTP(w, req)
		})
		s := openRanged(t, host+"/a:tag", quick(), 4)
		got, err := readAs(t.Context(), s, im.blobs[0])
		require.NoError(t, err)
		require.Equal(t, contentOf(t, im, im.blobs[0]), got)
		assert.Contains(t, parts(r), "bytes=5000-")
	}
}

// Nobody waits long for one connection that is slow.
func TestRangesOverASlowConnection(t *testing.T) {
	content := registrytest.Seeded(1, 300_000)
	r := registrytest.Start(t, registrytest.Options{})
	r.PutContent("a", content)
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Range") == "bytes=50000-59999" {
			w = &bytewise{pacedWriter{w, req.Context(), rate.NewLimiter(100, 1)}} // it would take 100 s
		}
		r.ServeHTTP(w, req)
	})
	sh := quick()
	sh.ranges = small()
	sh.ranges.grace = time.Millisecond
	s, err := OpenRepository(parseRef(t, host+"/a"), insecure(t), sh)
	require.NoError(t, err)
	s.endpoints[0].repo.host.ranges.note(4, time.Now())
	got, err := readAs(t.Context(), s, endpoint.Blob{Digest: content.Digest, Size: content.Size})
	require.NoError(t, err)
	want, err := io.ReadAll(content.Reader())
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.True(t, slices.ContainsFunc(parts(r), func(part string) bool {
		return strings.HasSuffix(part, "-59999") && part != "bytes=50000-59999"
	}), "%q", parts(r))
	assert.Positive(t, s.Stats().Retries)
}

// A segment is late if it takes much longer than others, and than is worth a request.
func TestPaceLate(t *testing.T) {
	p := newPace(small(), 4, 0)
	assert.False(t, p.late(time.Hour), "nothing is known of others")
	p.longest = 2 * time.Second
	assert.False(t, p.late(10*time.Second))
	assert.True(t, p.late(10*time.Second+1))
	p.longest = 3 * time.Second
	assert.False(t, p.late(12*time.Second))
	assert.True(t, p.late(12*time.Second+1))
}

// Where others have all that may be in flight, there are no ranges.
func TestRangesWhenOthersRead(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 3, 200_000, r, "a")
	s := openRanged(t, r.Host()+"/a:tag", &Shared{}, 4)
	s.shared.ranges.most = 3
	for _, b := range im.blobs[1:] {
		stream, err := s.Blob(t.Context(), b)
		require.NoError(t, err)
		defer stream.Close()
	}
	got, err := readAs(t.Context(), s, im.blobs[0])
	require.NoError(t, err)
	require.Equal(t, contentOf(t, im, im.blobs[0]), got)
	assert.Equal(t, []string{"", "", ""}, parts(r))
}

// While one blob finds out how many connections are of use, another one takes one, and it finds out
// itself when that has come to nothing; not where little is left of it.
func TestRangesFindOutOneByOne(t *testing.T) {
	require.NoError(t, clocktest.Longer(func(limit time.Duration) error { return findOutOneByOne(t, limit) }))
}

// findOutOneByOne does so over connections that take so long for a blob. It fails if they are not
// what is waited for.
func findOutOneByOne(t *testing.T, takes time.Duration) error {
	const size = 200_000
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 3, size, r, "a")
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		r.ServeHTTP(&pacedWriter{w, req.Context(), rate.NewLimiter(rate.Limit(size/takes.Seconds()), 32<<10)}, req)
	})
	s := openRanged(t, host+"/a:tag", quick(), 0)
	s.shared.ranges.gains = func(_, _ float64) bool { return true }
	segments := func(b endpoint.Blob) int {
		return r.Count(func(q registrytest.Request) bool {
			return strings.HasSuffix(q.Path, b.Digest.String()) && q.Header.Get("Range") != ""
		})
	}
	first, err := inNoHurry(s.Blob(t.Context(), im.blobs[0]))
	require.NoError(t, err)
	defer first.Close()
	for buf := make([]byte, 1000); segments(im.blobs[0]) == 0; {
		if _, err := first.Read(buf); err != nil {
			return err
		}
	}
	for i, want := range []bool{false, true} {
		b := im.blobs[1+i]
		got, err := readAs(t.Context(), s, b)
		require.NoError(t, err)
		require.Equal(t, contentOf(t, im, b), got)
		if found := segments(b) > 0; want && !found {
			return fmt.Errorf("no ranges: %q", parts(r))
		} else if !want {
			assert.False(t, found, "%q", parts(r))
		}
		require.NoError(t, first.Close())
	}

	content := registrytest.Seeded(1, 105_000)
	r.PutContent("a", content)
	s.endpoints[0].repo.host.ranges.note(0, time.Now())
	short := endpoint.Blob{Digest: content.Digest, Size: content.Size}
	_, err = readAs(t.Context(), s, short)
	require.NoError(t, err)
	assert.Zero(t, segments(short), "%q", parts(r))
	return nil
}

// A segment is asked for as long as the budget of the copy has room for it, beside what the blob
// has of it, and gives that back.
func TestRangesWithinTheBudget(t *testing.T) {
	for size, most := range map[int64]int{1: 1, 2: 1, 4: 2, 6: 3, 100: 4} {
		r := registrytest.Start(t, registrytest.Options{})
		im := newImage(t, 1, 300_000, r, "a")
		s := openRanged(t, r.Host()+"/a:tag", quick(), 4)
		flight := flightOf(s)
		budget := semaphore.NewWeighted(size)
		const weight = 2
		held := min(weight, size)
		require.True(t, budget.TryAcquire(held))
		got, err := readAs(endpoint.WithSpare(t.Context(), budget, weight), s, im.blobs[0])
		require.NoError(t, err)
		require.Equal(t, contentOf(t, im, im.blobs[0]), got)
		assert.LessOrEqual(t, flight.peak, most)
		assert.Equal(t, most > 1, len(parts(r)) > 1, "%q", parts(r))
		assert.True(t, budget.TryAcquire(size-held), "all is given back")
	}
}

// MaxParallel bounds what is asked for at a registry.
func TestRangesMaxParallel(t *testing.T) {
	for parallel, want := range map[int]int{0: 8, 3: 3, 100: 8} {
		assert.Equal(t, want, (&Shared{MaxParallel: parallel}).ranging().most)
	}
}

// However often, and in what pieces, blobs are read at the same time, what arrives is what is read
// without ranges, within the memory for all.
func TestRangesConcurrently(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{Script: registrytest.EveryNth(17, registrytest.CutBody(3000))})
	im := newImage(t, 6, 400_000, r, "a")
	s := openRanged(t, r.Host()+"/a:tag", patient(), 8)
	var most atomic.Int64
	var all sync.WaitGroup
	for i, b := range slices.Concat(im.blobs, im.blobs) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			stream, err := inNoHurry(s.Blob(t.Context(), b))
			if !assert.NoError(t, err) {
				return
			}
			defer stream.Close()
			verifier := b.Digest.Verifier()
			for buf := make([]byte, 30_000); ; {
				n, err := stream.Read(buf[:1+random.IntN(len(buf)-1)])
				_, _ = verifier.Write(buf[:n])
				s.shared.buffers.mu.Lock()
				most.Store(max(most.Load(), s.shared.buffers.used))
				s.shared.buffers.mu.Unlock()
				if err != nil {
					assert.ErrorIs(t, err, io.EOF)
					break
				}
			}
			assert.True(t, verifier.Verified())
		})
	}
	all.Wait()
	assert.Zero(t, s.shared.buffers.used)
	assert.Positive(t, most.Load())
	assert.LessOrEqual(t, most.Load(), small().memory)
}

// Closing, and the end of the context, end all requests; nothing is left.
func TestRangesEnd(t *testing.T) {
	reason := errors.New("reason")
	for _, how := range []string{"close", "cancel"} {
		t.Run(how, func(t *testing.T) {
			r := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
				func(req *http.Request) bool { return req.Header.Get("Range") != "" }, registrytest.FirstN(1000, registrytest.StallBody(5000)))})
			im := newImage(t, 1, 300_000, r, "a")
			shared := quick()
			shared.MaxRequests = 4
			s := openRanged(t, r.Host()+"/a:tag", shared, 4)
			budget := semaphore.NewWeighted(4)
			before := runtime.NumGoroutine()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			stream, err := inNoHurry(s.Blob(endpoint.WithSpare(ctx, budget, 1), im.blobs[0]))
			require.NoError(t, err)
			_, err = io.ReadFull(stream, make([]byte, 12_000))
			require.NoError(t, err)
			if how == "cancel" {
				cancel(reason)
				_, err := io.Copy(io.Discard, stream)
				require.ErrorIs(t, err, reason)
			}
			require.NoError(t, stream.Close())
			require.NoError(t, stream.Close(), "twice")
			_, err = stream.Read(make([]byte, 1))
			require.ErrorContains(t, err, "closed")
			assert.Zero(t, s.shared.buffers.used)
			assert.True(t, budget.TryAcquire(4), "all is given back")
			var others []io.Closer
			for range shared.MaxRequests { // which none of those before takes a place of
				other, err := s.Blob(t.Context(), im.blobs[0])
				require.NoError(t, err)
				others = append(others, other)
			}
			for _, other := range others {
				require.NoError(t, other.Close())
			}
			require.NoError(t, s.shared.Close())
			for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before && time.Now().Before(deadline); {
				runtime.Gosched()
			}
			assert.LessOrEqual(t, runtime.NumGoroutine(), before)
		})
	}
}

// A copy of what arrives wrong in ranges succeeds, in one stream, and so do those after it.
func TestRangesOfTheWrongContent(t *testing.T) {
	from, to := registrytest.Start(t, registrytest.Options{Ranges: registrytest.RangeFalse}), registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 2, 300_000, from, "a")
	s := openRanged(t, from.Host()+"/a:tag", quick(), 4)
	d := openDestination(t, to.Host()+"/b:tag", insecure(t), quick())
	for _, b := range im.blobs {
		open := func(ctx context.Context) (io.ReadCloser, error) {
			stream, err := inNoHurry(s.Blob(ctx, b))
			if err != nil {
				return nil, err
			}
			return endpoint.Verified(stream, b, nil, func(err error) error { return fmt.Errorf("around it: %w", err) }), nil
		}
		attempts := 0
		require.NoError(t, endpoint.Twice(func() error {
			attempts++
			_, err := d.PutBlob(t.Context(), b, open)
			return err
		}))
		assert.Equal(t, b == im.blobs[0], attempts == 2)
	}
	require.NoError(t, d.PutTop(t.Context(), s.Top(), nil))
	requireImage(t, to, "b", im)
	assert.False(t, s.endpoints[0].repo.host.ranges.work(time.Now().Add(1000*time.Hour)), "that is not forgotten")
}

// A blob that is wrong at the registry is read twice, and refused.
func TestRangesOfAWrongBlob(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	newImage(t, 1, 1, r, "a")
	wrong := registrytest.Seeded(77, 300_000)
	wrong.Digest = digest.FromString("what it should be")
	r.PutContent("a", wrong)
	s := openRanged(t, r.Host()+"/a:tag", quick(), 4)
	_, err := readAs(t.Context(), s, endpoint.Blob{Digest: wrong.Digest, Size: wrong.Size})
	require.EqualError(t, err, "its content does not match the digest")
	require.NotErrorIs(t, err, endpoint.ErrReadAgain)
	whole := 0
	for _, part := range parts(r) {
		if part == "" {
			whole++
		}
	}
	assert.Equal(t, 2, whole)
}

// Connections are added as long as each step brings more, and what brings nothing is taken back.
func TestPace(t *testing.T) {
	for _, test := range []struct {
		name  string
		rates []int64 // bytes a second with 1, 2, 4, and 8 connections
		idle  bool    // the reader does not wait for bytes
		want  int
		known bool // about the host
	}{
		{"each adds its own", []int64{10, 20, 40, 80}, false, 8, true},
		{"two fill the line", []int64{10, 20, 22, 22}, false, 2, true},
		{"one fills the line", []int64{10, 11, 11, 11}, false, 1, true},
		{"two are worse", []int64{10, 5, 5, 5}, false, 1, true},
		{"somebody else is slow", []int64{10, 20, 40, 80}, true, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, now := *small(), time.Unix(1, 0)
			g.now = func() time.Time { return now }
			p := newPace(&g, 0, 0)
			received, known := int64(0), false
			for range 10 {
				known = p.judge(received, received) || known
				rate := test.rates[map[int]int{1: 0, 2: 1, 4: 2, 8: 3}[p.wanted]]
				now = now.Add(time.Second * 1_000)
				received += rate * 1_000
				p.ended = p.wanted
				if !test.idle {
					p.waited(time.Second * 600)
				}
			}
			assert.Equal(t, test.want, p.wanted)
			assert.Equal(t, test.known, known)
		})
	}
}

// What is settled is tried again in time.
func TestPaceAgain(t *testing.T) {
	g, now := *small(), time.Unix(1, 0)
	g.now = func() time.Time { return now }
	p := newPace(&g, 1, 0)
	var wanted []int
	for offset := int64(0); offset < 900_000; offset += 5_000 {
		p.judge(offset, offset)
		if len(wanted) == 0 || wanted[len(wanted)-1] != p.wanted {
			wanted = append(wanted, p.wanted)
		}
		now = now.Add(time.Second)
		p.ended = p.wanted
		p.waited(time.Second)
	}
	assert.Equal(t, []int{1, 2, 1, 2, 1}, wanted)
	p.stop()
	p.judge(2_000_000, 2_000_000)
	assert.Equal(t, 1, p.wanted)
}

// What is known of a host about ranges is forgotten in time.
func TestRangeKnowledge(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var k rangeKnowledge
	require.True(t, k.work(now))
	k.refuse(now)
	assert.False(t, k.work(now.Add(factsLast-1)))
	assert.True(t, k.work(now.Add(factsLast)))
	k.note(2, now)
	assert.Equal(t, 2, k.connections(now.Add(factsLast-1)))
	assert.Equal(t, 0, k.connections(now.Add(factsLast)))
}

// BenchmarkRanges reads a blob from a registry that sends each answer at 25 MB/s.
func BenchmarkRanges(b *testing.B) {
	content := registrytest.Seeded(1, 256<<20)
	r := registrytest.Start(b, registrytest.Options{})
	r.PutContent("a", content)
	slow := serve(b, func(w http.ResponseWriter, req *http.Request) {
		r.ServeHTTP(&pacedWriter{w, req.Context(), ocihttp.NewRate(25 << 20)}, req)
	})
	for _, without := range []bool{true, false} {
		b.Run(fmt.Sprintf("NoRanges=%v", without), func(b *testing.B) {
			b.SetBytes(content.Size)
			for b.Loop() {
				s, err := OpenRepository(parseRef(b, slow+"/a"), insecure(b), &Shared{NoRanges: without})
				require.NoError(b, err)
				stream, err := s.Blob(b.Context(), endpoint.Blob{Digest: content.Digest, Size: content.Size})
				require.NoError(b, err)
				_, err = io.Copy(io.Discard, stream)
				require.NoError(b, err)
				require.NoError(b, stream.Close())
			}
		})
	}
}

type pacedWriter struct {
	http.ResponseWriter
	ctx  context.Context
	rate *rate.Limiter
}

func (w *pacedWriter) Write(p []byte) (n int, err error) {
	for piece := range slices.Chunk(p, w.rate.Burst()) {
		if err := w.rate.WaitN(w.ctx, len(piece)); err != nil {
			return n, err
		}
		written, err := w.ResponseWriter.Write(piece)
		if n += written; err != nil {
			return n, err
		}
	}
	return n, nil
}

// bytewise sends each byte at once.
type bytewise struct{ pacedWriter }

func (w *bytewise) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := w.pacedWriter.Write(p[i : i+1]); err != nil {
			return i, err
		}
		if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil {
			return i, err
		}
	}
	return len(p), nil
}
