package registries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// timeHabits are ways of taking time.
var timeHabits = []habit{
	{"zscaler-scans-first", func(t *testing.T) { slowBlobs(t, false) }},
	{"proxy-header-before-the-scan", func(t *testing.T) { slowBlobs(t, true) }},
	{"s3-slow-commit", slowCommits},
	{"cdn-caps-connections", cappedConnections},
	{"range-answered-otherwise", func(t *testing.T) {
		for _, o := range []registrytest.Options{{Ranges: registrytest.RangeIgnored}, {Ranges: registrytest.RangeRefused}, {Ranges: registrytest.RangeFirst}, {Ranges: registrytest.RangeCoded}} {
			c := copyInRanges(t, o, refused)
			assert.EqualValues(t, 1, c.report.Source.Retries, "one attempt, in vain")
			assert.Equal(t, 1, c.requests()[false])
		}
	}},
	{"range-of-other-bytes", func(t *testing.T) {
		again := func(c *timed) bool { return c.requests()[false] == 2 }
		copyInRanges(t, registrytest.Options{Ranges: registrytest.RangeFalse}, again)
	}},
	{"load-balancer-forgets-connections", stallsOnce},
	{"gateway-503-from-the-start", downFromTheStart},
	{"nobody-listens", nobodyListens},
	{"docker-hub-429-for-hours", retryAfterHours},
	{"docker-hub-pulls", dockerHubPulls},
	{"docker-hub-no-number", limitWithoutNumber},
	{"docker-hub-retry-after-a-time", retryAfterTime},
	{"ratelimit-in-other-words", limitsInOtherWords},
	{"retry-after-a-date", retryAfterDate},
	{"ghcr-429-without-a-header", throttledWithoutHeader},
	{"429-at-uploads", throttledUploads},
	{"429-of-the-token-service", throttledTokens},
	{"deadline-during-retries", deadlineDuringRetries},
}

// quick are retries that wait as long as a test can afford, where the registry does not say how
// long.
var quick = copy.RetryPolicy{BaseDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond}

// timed is a copy of all platforms of an image between two registries.
type timed struct {
	*copytest.Env
	f        *imagetest.Fixture
	src, dst copytest.RegistryPlace
	report   *copy.Report // of the last copy
}

func newTimed(t *testing.T, src, dst registrytest.Options) *timed {
	c := &timed{
		Env: copytest.NewEnv(t), f: imagetest.Platforms(2, 2, 100_000),
		src: copytest.RegistryAt(t, registrytest.Start(t, src), "app"), dst: copytest.RegistryAt(t, registrytest.Start(t, dst), "app"),
	}
	c.src.Push(c.f, "v1", imagetest.Top)
	return c
}

func (c *timed) copy(ctx context.Context, o copy.CopierOptions) error {
	c.T.Helper()
	r, err := c.ImageWith(ctx, copytest.NewCopier(c.T, o), c.dst.Ref("v1"), c.src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	c.report = r
	if err != nil {
		assert.Empty(c.T, c.dst.Top("v1"))
	} else {
		c.dst.Check(imagetest.Want{Tag: "v1", Digest: c.f.Digest(imagetest.Top), Fixture: c.f, Only: true})
	}
	return err
}

// patient are options with which nothing but a blob may take longer than the limit.
func patient(limit time.Duration) copy.CopierOptions {
	return copy.CopierOptions{StallTimeout: limit, AnswerTimeout: limit, Retries: quick}
}

// once is an error unless there were as many requests as blobs, and no retries.
func once(requests, blobs int, retries int64) error {
	if requests != blobs || retries > 0 {
		return fmt.Errorf("%d requests for %d blobs, %d retries", requests, blobs, retries)
	}
	return nil
}

func slowBlobs(t *testing.T, headerFirst bool) {
	require.NoError(t, clocktest.Longer(func(limit time.Duration) error {
		c := newTimed(t, registrytest.Options{BlobWait: limit * 3 / 2, BlobHeaderFirst: headerFirst}, registrytest.Options{})
		if err := c.copy(t.Context(), patient(limit)); err != nil {
			return err
		}
		return once(c.src.Count(registrytest.Is(http.MethodGet, registrytest.KindBlob)), len(c.src.Blobs("app")), c.report.Source.Retries)
	}))

	c := newTimed(t, registrytest.Options{BlobWait: time.Hour, BlobHeaderFirst: headerFirst}, registrytest.Options{})
	err := c.copy(t.Context(), copy.CopierOptions{BlobTimeout: 100 * time.Millisecond, Retries: quick})
	assert.ErrorContains(t, err, "no answer about a blob within 100ms (BlobTimeout)")
	var failed *copy.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, copy.SourceSide, failed.Side)
}

// Layers of large bytes, and down to half of that, are read in ranges by the tests of this package,
// in segments of so many.
const (
	large   = 640 << 10
	segment = 64 << 10
)

// newCapped is a copy of an image with one large layer, of which a connection brings so few bytes
// in a second.
func newCapped(t *testing.T, src registrytest.Options, rate int64) *timed {
	src.Rate = rate
	c := &timed{
		Env: copytest.NewEnv(t), f: imagetest.Platforms(1, 1, large, imagetest.SeededLayers()),
		src: copytest.RegistryAt(t, registrytest.Start(t, src), "app"),
		dst: copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"),
	}
	c.src.Push(c.f, "v1", imagetest.Top)
	return c
}

// refused reports whether a request for a range has brought nothing.
func refused(c *timed) bool { return c.report.Source.Retries > 0 }

// asked reports whether a range was asked for.
func asked(c *timed) bool { return c.requests()[true] > 0 }

// copyInRanges copies that until what is wanted has happened. It may not have where the copy is
// slower than one connection, as the machine has so much else to do, or where the other one brings
// nothing: connections get slower and slower.
func copyInRanges(t *testing.T, src registrytest.Options, wanted func(*timed) bool) *timed {
	for rate := int64(4 << 20); rate > 32<<10; rate /= 2 {
		c := newCapped(t, src, rate)
		require.NoError(t, c.copy(t.Context(), copy.CopierOptions{Retries: quick}))
		if wanted(c) {
			return c
		}
	}
	require.FailNow(t, "at no rate")
	return nil
}

// requests counts those for the layer, with a range or without.
func (c *timed) requests() map[bool]int {
	n := map[bool]int{}
	for _, q := range c.src.Requests() {
		if q.Method == http.MethodGet && q.Ref == c.f.Digest("amd64.0").String() {
			n[q.Header.Get("Range") != ""]++
		}
	}
	return n
}

func cappedConnections(t *testing.T) {
	assert.Equal(t, 1, copyInRanges(t, registrytest.Options{}, asked).requests()[false])
	c := newCapped(t, registrytest.Options{}, 2<<20)
	require.NoError(t, c.copy(t.Context(), copy.CopierOptions{Retries: quick, NoRanges: true}))
	assert.Equal(t, map[bool]int{false: 1}, c.requests())
}

func slowCommits(t *testing.T) {
	require.NoError(t, clocktest.Longer(func(limit time.Duration) error {
		c := newTimed(t, registrytest.Options{}, registrytest.Options{CommitWait: limit * 3 / 2})
		if err := c.copy(t.Context(), patient(limit)); err != nil {
			return err
		}
		return once(c.dst.Count(registrytest.Is(http.MethodPut, registrytest.KindUpload)), len(c.dst.Blobs("app")), c.report.Destination.Retries)
	}))
}

// stallsOnce has transfers in both directions that stop in the middle, and a question without an
// answer: each is made again.
func stallsOnce(t *testing.T) {
	const stopsAt = 50_000 // bytes: no config is as long
	layer := imagetest.Platforms(2, 2, 100_000).Digest("amd64.0").String()
	first := func(match func(*http.Request) bool, a registrytest.Answer) func() registrytest.Options {
		return func() registrytest.Options {
			return registrytest.Options{Script: registrytest.Only(match, registrytest.FirstN(1, a))}
		}
	}
	none := func() registrytest.Options { return registrytest.Options{} }
	for name, c := range map[string]struct{ src, dst func() registrytest.Options }{
		"download": {first(func(q *http.Request) bool {
			return q.Method == http.MethodGet && strings.HasSuffix(q.URL.Path, layer)
		}, registrytest.StallBody(stopsAt)), none},
		"upload": {none, first(func(q *http.Request) bool {
			return bringsContent(q) && q.ContentLength > stopsAt
		}, registrytest.StallUpload(stopsAt))},
		"question": {none, first(registrytest.Matching(http.MethodHead, ""), registrytest.Stall())},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, clocktest.Longer(func(limit time.Duration) error {
				o := patient(limit)
				if name == "upload" { // which fits into the buffers of a connection: it is the answer that is waited for
					o.BlobTimeout = limit
				}
				d := newTimed(t, c.src(), c.dst())
				if err := d.copy(t.Context(), o); err != nil {
					return err
				}
				assert.Positive(t, d.report.Source.Retries+d.report.Destination.Retries)
				return nil
			}))
		})
	}
}

// downFromTheStart has registries that have never answered with success, and default retries.
func downFromTheStart(t *testing.T) {
	down := registrytest.Fail(http.StatusServiceUnavailable, "UNAVAILABLE", "down")
	tokens := &registrytest.Auth{Bearer: true, AnonymousPull: true}
	for name, c := range map[string]struct {
		src, dst registrytest.Options
		asked    func(*timed) int
	}{
		"source": {
			src: registrytest.Options{Script: func(int, *http.Request) registrytest.Answer { return down }},
			asked: func(c *timed) int {
				return c.src.Count(func(q registrytest.Request) bool { return q.Status == down.Status })
			},
		},
		"source that closes connections": {
			src:   registrytest.Options{Script: func(int, *http.Request) registrytest.Answer { return registrytest.Close() }},
			asked: func(c *timed) int { return 0 }, // net/http tries again, too
		},
		"token service": {
			src: registrytest.Options{Auth: tokens, Script: registrytest.Only(registrytest.Matching("", registrytest.KindToken), func(int, *http.Request) registrytest.Answer { return down })},
			asked: func(c *timed) int {
				return c.src.Count(registrytest.Is(http.MethodGet, registrytest.KindToken))
			},
		},
		"destination": {
			dst: registrytest.Options{Script: func(int, *http.Request) registrytest.Answer { return down }},
			asked: func(c *timed) int {
				return c.dst.Count(registrytest.Is(http.MethodHead, registrytest.KindManifest)) / (1 + 2)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTimed(t, c.src, c.dst)
			var clock clocktest.Hasty
			err := d.copy(t.Context(), copy.CopierOptions{Clock: &clock})
			require.Error(t, err)
			if !errors.Is(err, io.EOF) {
				require.ErrorContains(t, err, "503")
			}
			assert.Positive(t, clock.Waited())
			assert.Less(t, clock.Waited(), 3*time.Second)
			assert.LessOrEqual(t, c.asked(d), 2)
		})
	}
}

func nobodyListens(t *testing.T) {
	const host = "127.0.0.1:1" // a port that the system gives to nobody
	e, place, nowhere := copytest.NewEnv(t), copytest.Places["registry"](t), copytest.ParseName("docker://"+host+"/app:v1")
	place.Push(imagetest.Platforms(2, 1, 100), "v1", imagetest.Top)
	for side, ends := range map[copy.Side][2]types.ImageReference{copy.SourceSide: {place.Ref("v2"), nowhere}, copy.DestinationSide: {nowhere, place.Ref("v1")}} {
		var clock clocktest.Hasty
		_, err := e.ImageWith(t.Context(), copytest.NewCopier(t, copy.CopierOptions{Clock: &clock}), ends[0], ends[1], copy.Options{ImageListSelection: copy.CopyAllImages})
		assert.ErrorContains(t, err, "connection refused")
		var failed *copy.Error
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, side, failed.Side)
		assert.Less(t, clock.Waited(), 3*time.Second)
	}
}

func retryAfterHours(t *testing.T) {
	limit := registrytest.Fail(http.StatusTooManyRequests, "TOOMANYREQUESTS", "you have reached your limit")
	limit.Header = http.Header{"Retry-After": {"21600"}}
	for name, asked := range map[string]struct {
		match func(*http.Request) bool
		words string
	}{
		"from the start": {registrytest.Matching("", ""), "nothing can be pulled from "},
		"later":          {registrytest.Matching(http.MethodGet, registrytest.KindBlob), "it wants to be asked again after 6h0m0s, at 20"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTimed(t, registrytest.Options{Script: registrytest.Only(asked.match, func(int, *http.Request) registrytest.Answer { return limit })}, registrytest.Options{})
			err := c.copy(t.Context(), copy.CopierOptions{})
			var refused *copy.RegistryError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, 6*time.Hour, refused.RetryAfter)
			assert.ErrorContains(t, err, asked.words)
			seen := map[string]int{}
			for _, q := range c.src.Requests() {
				if seen[q.Path]++; q.Status == limit.Status {
					assert.Equal(t, 1, seen[q.Path], "%s is asked for once", q.Path)
				}
			}
		})
	}
}

// retryAfterDate has a registry whose clock is an hour ahead.
func retryAfterDate(t *testing.T) {
	ahead := time.Now().Add(time.Hour).UTC()
	c := newTimed(t, registrytest.Options{Script: registrytest.FirstN(1, registrytest.Answer{Status: http.StatusServiceUnavailable, Header: http.Header{
		"Date":        {ahead.Format(http.TimeFormat)},
		"Retry-After": {ahead.Add(time.Second).Format(http.TimeFormat)},
	}})}, registrytest.Options{})
	var clock clocktest.Hasty
	require.NoError(t, c.copy(t.Context(), copy.CopierOptions{Clock: &clock, Retries: quick}))
	assert.Equal(t, []time.Duration{time.Second}, clock.Waits())
}

func throttledWithoutHeader(t *testing.T) {
	o := registrytest.Options{Throttle: 1, RetryAfter: "-"}
	require.NoError(t, newTimed(t, o, o).copy(t.Context(), copy.CopierOptions{Retries: copy.RetryPolicy{Attempts: 30, BaseDelay: 5 * time.Millisecond}}))
}

// throttledUploads refuses each kind of request that an upload consists of, once.
func throttledUploads(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch} {
			busy := registrytest.Answer{Status: status, Header: http.Header{"Retry-After": {"1"}}}
			c := newTimed(t, registrytest.Options{}, registrytest.Options{
				PatchOnly: method == http.MethodPatch,
				Script:    registrytest.Only(registrytest.Matching(method, registrytest.KindUpload), registrytest.FirstN(1, busy)),
			})
			var clock clocktest.Hasty
			require.NoError(t, c.copy(t.Context(), copy.CopierOptions{Clock: &clock, Retries: quick}))
			assert.Equal(t, []time.Duration{time.Second}, clock.Waits(), "%d to %s", status, method)
		}
	}
}

// throttledTokens has a token service that wants to be left alone when many requests need a token
// at once.
func throttledTokens(t *testing.T) {
	busy := registrytest.Answer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}
	c := newTimed(t, registrytest.Options{
		Auth:   &registrytest.Auth{Bearer: true, AnonymousPull: true, TokenRequests: 7},
		Script: registrytest.Only(registrytest.Matching("", registrytest.KindToken), registrytest.OnNth(2, busy)),
	}, registrytest.Options{})
	c.f = imagetest.Platforms(5, 3, 100)
	c.src.Push(c.f, "v1", imagetest.Top)
	begun := time.Now()
	require.NoError(t, c.copy(t.Context(), copy.CopierOptions{Retries: quick}))
	assert.GreaterOrEqual(t, time.Since(begun), time.Second)
	var refused time.Time
	for _, q := range c.src.Requests() {
		switch {
		case q.Kind != registrytest.KindToken:
		case q.Status == busy.Status:
			refused = q.Start
		case !refused.IsZero():
			assert.GreaterOrEqual(t, q.Start.Sub(refused), time.Second, "it is left alone")
		}
	}
}

// deadlineDuringRetries ends copies while they wait.
func deadlineDuringRetries(t *testing.T) {
	busy := registrytest.Fail(http.StatusTooManyRequests, "TOOMANYREQUESTS", "slow down")
	busy.Header = http.Header{"Retry-After": {"60"}}
	always := func(method string, kind registrytest.Kind) registrytest.Options {
		return registrytest.Options{Script: registrytest.Only(registrytest.Matching(method, kind), func(int, *http.Request) registrytest.Answer { return busy })}
	}
	for name, o := range map[string]struct{ src, dst registrytest.Options }{
		"images":    {src: registrytest.Options{Script: registrytest.Only(func(req *http.Request) bool { return strings.Contains(req.URL.Path, "/manifests/sha256:") }, func(int, *http.Request) registrytest.Answer { return busy })}},
		"blobs":     {src: always(http.MethodGet, registrytest.KindBlob)},
		"uploads":   {dst: always(http.MethodPost, registrytest.KindUpload)},
		"manifests": {dst: always(http.MethodPut, registrytest.KindManifest)},
	} {
		t.Run(name, func(t *testing.T) {
			var refused *copy.RegistryError
			var err error
			require.NoError(t, clocktest.Longer(func(limit time.Duration) error {
				over := errors.New("the time is over")
				ctx, cancel := context.WithTimeoutCause(t.Context(), limit, over)
				defer cancel()
				err = newTimed(t, o.src, o.dst).copy(ctx, copy.CopierOptions{})
				require.ErrorIs(t, err, over)
				if !errors.As(err, &refused) {
					return fmt.Errorf("nothing was refused within %s: %w", limit, err)
				}
				return nil
			}))
			assert.Equal(t, busy.Status, refused.Status)
			assert.ErrorContains(t, err, "the time is over; the last answer was: ")
			assert.ErrorContains(t, err, "slow down")
		})
	}
}
