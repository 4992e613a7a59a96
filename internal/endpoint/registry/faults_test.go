package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// patient is quick for what goes wrong again and again.
func patient() *Shared {
	return &Shared{Retry: RetryPolicy{BaseDelay: 5 * time.Millisecond, Attempts: 12}}
}

// Copies through faults succeed, with at most half as many requests again; with more where all come
// at once, as each burst of refusals halves the next.
func TestFaults(t *testing.T) {
	const blobs = 48
	undisturbedFrom, undisturbedTo := 1+blobs, 2*blobs+1
	tooBusy := registrytest.Fail(http.StatusServiceUnavailable, "UNAVAILABLE", "")
	upload := registrytest.Matching(http.MethodPut, registrytest.KindUpload)
	for _, test := range []struct {
		name   string
		o      registrytest.Options
		atOnce int // requests, 0 for no bound
	}{
		{"throttled above 8", registrytest.Options{Throttle: 8, RetryAfter: "-"}, 16},
		{"all at once, throttled above 8", registrytest.Options{Throttle: 8, RetryAfter: "-"}, 0},
		{"every 20th fails", registrytest.Options{Script: registrytest.EveryNth(20, tooBusy)}, 0},
		{"every 10th body is cut", registrytest.Options{Script: registrytest.EveryNth(10, registrytest.CutBody(500))}, 0},
		{"every 10th upload is cut", registrytest.Options{Script: registrytest.Only(upload, registrytest.EveryNth(10, registrytest.CutUpload(5000)))}, 0},
		{"every 10th is closed", registrytest.Options{Script: registrytest.EveryNth(10, registrytest.Close())}, 0},
		{"every 10th answer is lost", registrytest.Options{Script: registrytest.EveryNth(10, registrytest.LostAnswer())}, 0},
		{"every 10th page", registrytest.Options{Script: registrytest.EveryNth(10, registrytest.FailHTML(http.StatusBadGateway))}, 0},
	} {
		for _, side := range []string{"source", "destination"} {
			t.Run(test.name+" "+side, func(t *testing.T) {
				var fromOptions, toOptions registrytest.Options
				if side == "source" {
					fromOptions = test.o
				} else {
					toOptions = test.o
				}
				from, to := registrytest.NewHandler(fromOptions), registrytest.Start(t, toOptions)
				im := newImage(t, blobs, 20_000, from, "a")
				sys, patientFrom, patientTo := insecure(t), patient(), patient()
				patientFrom.MaxRequests, patientTo.MaxRequests = test.atOnce, test.atOnce
				s := openSource(t, serveOnce(t, from)+"/a:tag", sys, patientFrom)
				d := openDestination(t, to.Host()+"/b:tag", sys, patientTo)
				mustCopy(t, s, d, im)
				requireImage(t, to, "b", im)
				moreFrom, moreTo := undisturbedFrom/2, undisturbedTo/2
				if test.o.Throttle > 0 && test.atOnce == 0 {
					moreFrom, moreTo = 2*blobs, 2*blobs
				}
				assert.LessOrEqual(t, len(from.Requests()), undisturbedFrom+moreFrom)
				assert.LessOrEqual(t, len(to.Requests()), undisturbedTo+moreTo)
				if strings.Contains(test.name, "upload") != (side == "source") && test.o.Throttle == 0 {
					assert.Positive(t, s.Stats().Retries+d.Stats().Retries)
				}
			})
		}
	}
}

// serveOnce serves r on plain HTTP, a connection for each request, and returns its host. What is
// lost on a connection that was used before, net/http sends again itself.
func serveOnce(t *testing.T, r *registrytest.Registry) string {
	return serve(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Connection", "close")
		r.ServeHTTP(w, req)
	})
}

// What does not pass ends with the last answer, after as many attempts as allowed, of which a host
// has two until it has shown what it is.
func TestRetriesEnd(t *testing.T) {
	writing := func(req *http.Request) bool { return req.Method == http.MethodPost || req.Method == http.MethodPut }
	r := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(writing, registrytest.FirstN(1000, registrytest.Fail(502, "UNKNOWN", "down")))})
	shared := &Shared{Retry: RetryPolicy{BaseDelay: time.Millisecond, Attempts: 4}}
	d := openDestination(t, r.Host()+"/a:tag", insecure(t), shared)
	requireStatus(t, d.PutTop(context.Background(), endpoint.Document{Digest: digest.FromString("x"), Bytes: []byte("x")}, nil), http.StatusBadGateway)
	assert.Equal(t, int64(1), d.Stats().Retries)
	there, err := openDestination(t, r.Host()+"/a:tag", insecure(t), shared).HasManifest(context.Background(), digest.FromString("x"))
	require.NoError(t, err)
	require.False(t, there)

	d = openDestination(t, r.Host()+"/a:tag", insecure(t), shared)
	_, err = d.PutBlob(context.Background(), blobOf([]byte("x")), held([]byte("x")))
	requireStatus(t, err, http.StatusBadGateway)
	assert.Equal(t, int64(3), d.Stats().Retries)
	r.ResetLog()
	require.Error(t, d.PutTop(context.Background(), endpoint.Document{Digest: digest.FromString("x"), Bytes: []byte("x")}, nil))
	assert.Len(t, r.Requests(), 4)
}

func TestNotRetried(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 405, 409, 413, 501} {
		r := registrytest.Start(t, registrytest.Options{Script: registrytest.FirstN(1000, registrytest.Fail(status, "X", ""))})
		_, err := OpenSource(context.Background(), parseRef(t, r.Host()+"/a:tag"), insecure(t), quick())
		requireStatus(t, err, status)
		assert.LessOrEqual(t, r.Count(registrytest.Is("GET", registrytest.KindManifest)), 1)
	}
}

func TestUnreachable(t *testing.T) {
	var clock clocktest.Hasty
	_, err := OpenSource(context.Background(), parseRef(t, "127.0.0.1:1/a:tag"), insecure(t), &Shared{Clock: &clock})
	require.ErrorContains(t, err, "refused")
	require.NotErrorIs(t, err, endpoint.ErrNotFound)
	assert.Less(t, clock.Waited(), 5*time.Second, "who was never there is not waited for")
}

// A stall becomes an error after one of the limits, twice, wherever it is.
func TestStalls(t *testing.T) {
	const timeout = 400 * time.Millisecond
	content := make([]byte, 8<<20) // more than fits into the buffers of a connection
	for _, test := range []struct {
		name   string
		method string
		kind   registrytest.Kind
		answer registrytest.Answer
	}{
		{"manifest", "GET", registrytest.KindManifest, registrytest.Stall()},
		{"manifest body", "GET", registrytest.KindManifest, registrytest.StallBody(1)},
		{"blob", "GET", registrytest.KindBlob, registrytest.Stall()},
		{"blob body", "GET", registrytest.KindBlob, registrytest.StallBody(100)},
		{"start of upload", "POST", registrytest.KindUpload, registrytest.Stall()},
		{"upload", "PUT", registrytest.KindUpload, registrytest.StallUpload(100_000)},
		{"upload, before anything is read", "PUT", registrytest.KindUpload, registrytest.Stall()},
		{"answer to an upload", "PUT", registrytest.KindUpload, registrytest.StallUpload(8<<20 - 1)},
		{"end", "PUT", registrytest.KindManifest, registrytest.Stall()},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
				registrytest.Matching(test.method, test.kind), registrytest.FirstN(1000, test.answer))})
			b := blobOf(content)
			r.PutBlob("a", content)
			top := endpoint.Document{Digest: digest.FromString("{}"), Bytes: []byte("{}")}
			r.PutManifest("a", "tag", "application/vnd.oci.image.manifest.v1+json", top.Bytes)
			shared := &Shared{StallTimeout: timeout, BlobTimeout: timeout, AnswerTimeout: timeout, Retry: RetryPolicy{BaseDelay: time.Millisecond}}
			sys := insecure(t)
			start := time.Now()
			err := func() error {
				s, err := OpenSource(context.Background(), parseRef(t, r.Host()+"/a:tag"), sys, shared)
				if err != nil {
					return err
				}
				d := openDestination(t, r.Host()+"/b:tag", sys, shared)
				if _, err := d.PutBlob(context.Background(), b, opener(s, b)); err != nil {
					return err
				}
				return d.PutTop(context.Background(), top, nil)
			}()
			require.ErrorIs(t, err, ocihttp.ErrStalled)
			assert.Greater(t, time.Since(start), timeout)
			asked := r.Count(func(q registrytest.Request) bool { return q.Method == test.method && q.Kind == test.kind })
			assert.LessOrEqual(t, asked, 2*maxStalls, "twice for each of two attempts to send a blob, and to begin with that")
		})
	}
}

// A long upload to which there is no answer is not repeated.
func TestStallAfterLongUpload(t *testing.T) {
	const timeout = 200 * time.Millisecond
	release := make(chan struct{})
	defer close(release)
	var puts atomic.Int64
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			w.Header().Set("Location", "/v2/a/blobs/uploads/1")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		if req.Method == http.MethodPut {
			puts.Add(1)
			_, _ = io.Copy(io.Discard, req.Body)
			select {
			case <-release:
			case <-req.Context().Done():
			}
		}
	})
	d := openDestination(t, host+"/a:tag", insecure(t), &Shared{BlobTimeout: timeout})
	d.repo.host.noteMounts(mountsWork)
	start := time.Now()
	_, err := d.PutBlob(context.Background(), blobOf(make([]byte, ocihttp.LongUpload+1)), held(make([]byte, ocihttp.LongUpload+1)))
	require.ErrorIs(t, err, ocihttp.ErrStalledAtEnd)
	assert.GreaterOrEqual(t, time.Since(start), timeout)
	assert.Equal(t, int64(1), puts.Load())
}

// One stall is got over.
func TestStallOnce(t *testing.T) {
	for name, answer := range map[string]registrytest.Answer{
		"nothing": registrytest.Stall(), "download": registrytest.StallBody(50_000), "upload": registrytest.StallUpload(50_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, clocktest.Longer(func(limit time.Duration) error {
				get := registrytest.Only(registrytest.Matching("GET", registrytest.KindBlob), registrytest.OnNth(1, answer))
				put := registrytest.Only(registrytest.Matching("PUT", registrytest.KindUpload), registrytest.OnNth(1, answer))
				r := registrytest.Start(t, registrytest.Options{Script: func(n int, req *http.Request) registrytest.Answer {
					if a := get(n, req); a.Fault != registrytest.FaultNone {
						return a
					}
					return put(n, req)
				}})
				im := newImage(t, 1, 100_000, r, "a")
				shared := &Shared{StallTimeout: limit, BlobTimeout: limit, Retry: RetryPolicy{BaseDelay: time.Millisecond}}
				sys := insecure(t)
				s, err := OpenSource(t.Context(), parseRef(t, r.Host()+"/a:tag"), sys, shared)
				if err != nil {
					return err
				}
				defer s.Close()
				if err := copyImage(t, s, openDestination(t, r.Host()+"/b:tag", sys, shared), im); err != nil {
					return err
				}
				requireImage(t, r, "b", im)
				return nil
			}))
		})
	}
}

// Who reads or gives slowly on our own side is no stall.
func TestSlowOwnSide(t *testing.T) {
	t.Parallel()
	r := registrytest.Start(t, registrytest.Options{})
	content := make([]byte, 8<<20)
	b := blobOf(content)
	r.PutBlob("a", content)
	newImage(t, 1, 10, r, "a")
	sys := insecure(t)
	require.NoError(t, clocktest.Longer(func(limit time.Duration) error {
		shared := &Shared{StallTimeout: limit}
		s, err := OpenSource(t.Context(), parseRef(t, r.Host()+"/a:tag"), sys, shared)
		if err != nil {
			return err
		}
		defer s.Close()
		d := openDestination(t, r.Host()+"/b:tag", sys, shared)
		_, err = d.PutBlob(context.Background(), b, func(ctx context.Context) (io.ReadCloser, error) {
			body, err := opener(s, b)(ctx)
			return &pausing{ReadCloser: body, pause: limit * 7 / 10}, err
		})
		if again := s.Stats().Retries + d.Stats().Retries; err == nil && again > 0 {
			err = fmt.Errorf("%d retries", again)
		}
		if err != nil {
			r.DeleteBlob("b", b.Digest)
		}
		return err
	}))
}

// pausing pauses before its first two Reads.
type pausing struct {
	io.ReadCloser
	pause time.Duration
	reads int
}

func (p *pausing) Read(b []byte) (int, error) {
	if p.reads++; p.reads <= 2 {
		<-time.After(p.pause)
	}
	return p.ReadCloser.Read(b)
}

// A download goes on where it stopped; without ranges, from its start, and the bytes that were
// there already are skipped.
func TestResume(t *testing.T) {
	for _, test := range []struct {
		name    string
		o       registrytest.Options
		largest int64 // that the registry may send
	}{
		{"ranges", registrytest.Options{}, 110_000},
		{"no ranges", registrytest.Options{Ranges: registrytest.RangeIgnored}, 400_000},
		{"ranges refused", registrytest.Options{Ranges: registrytest.RangeRefused}, 400_000},
		{"other ranges", registrytest.Options{Ranges: registrytest.RangeFirst}, 400_000},
		{"coded ranges", registrytest.Options{Ranges: registrytest.RangeCoded}, 400_000},
		{"redirects", registrytest.Options{RedirectBlobs: true}, 110_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.o.Script = registrytest.Only(registrytest.Matching("GET", registrytest.KindBlob),
				func(n int, _ *http.Request) registrytest.Answer {
					if n <= 4 {
						return registrytest.CutBody(int64(30_000))
					}
					return registrytest.Answer{}
				})
			r := registrytest.Start(t, test.o)
			im := newImage(t, 1, 100_000, r, "a")
			s := openSource(t, r.Host()+"/a:tag", insecure(t), quick())
			body, err := opener(s, im.blobs[0])(context.Background())
			require.NoError(t, err)
			got, err := io.ReadAll(body)
			require.NoError(t, err)
			require.NoError(t, body.Close())
			assert.Equal(t, im.blobs[0].Digest, digest.FromBytes(got))
			assert.Positive(t, s.Stats().Retries)
			var sent int64
			for _, q := range r.Requests() {
				sent += q.BytesOut
			}
			assert.LessOrEqual(t, sent, test.largest)
		})
	}
}

// A connection that ends early without a sign, as HTTP/1.0 allows, is noticed by the size.
func TestTruncationWithoutLength(t *testing.T) {
	content := strings.Repeat("x", 100_000)
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if strings.Contains(req.URL.Path, "manifests") {
			_, _ = w.Write([]byte(`{"schemaVersion":2}`))
			return
		}
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		from := 0
		_, _ = fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &from)
		if from == 0 {
			_, _ = buffer.WriteString("HTTP/1.0 200 OK\r\n\r\n" + content[:60_000])
		} else {
			_, _ = fmt.Fprintf(buffer, "HTTP/1.0 206 Partial Content\r\nContent-Range: bytes %d-99999/100000\r\n\r\n%s", from, content[from:])
		}
		_ = buffer.Flush()
	})
	s := openSource(t, host+"/a:tag", insecure(t), quick())
	body, err := opener(s, blobOf([]byte(content)))(context.Background())
	require.NoError(t, err)
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	assert.Len(t, got, len(content))
}

func TestLyingAboutBlobs(t *testing.T) {
	content := []byte(strings.Repeat("x", 1000))
	for _, test := range []struct {
		name   string
		answer func(w http.ResponseWriter, req *http.Request)
		want   string
	}{
		{"too long", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "2000")
			_, _ = w.Write(make([]byte, 2000))
		}, "2000 bytes, not 1000"},
		{"wrong range", func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Range") == "" {
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write(content[:500])
				return
			}
			w.Header().Set("Content-Range", "bytes 0-999/1000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(content)
		}, "unexpected EOF"}, // it is the whole that is asked for then, and breaks off
		{"without end", func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				_, _ = w.Write(content)
				_ = http.NewResponseController(w).Flush()
			}
		}, "does not match"},
	} {
		t.Run(test.name, func(t *testing.T) {
			host := serve(t, func(w http.ResponseWriter, req *http.Request) {
				if strings.Contains(req.URL.Path, "manifests") {
					_, _ = w.Write([]byte(`{"schemaVersion":2}`))
					return
				}
				test.answer(w, req)
			})
			s := openSource(t, host+"/a:tag", insecure(t), quick())
			b := blobOf(content)
			if test.name == "without end" {
				b.Digest = digest.FromString("something else")
			}
			got := func() error {
				body, err := opener(s, b)(context.Background())
				if err != nil {
					return err
				}
				defer body.Close()
				_, err = io.Copy(io.Discard, body)
				return err
			}()
			require.ErrorContains(t, got, test.want)
		})
	}
}

// Where the registry says that it stored something else, nothing is claimed.
func TestStoredSomethingElse(t *testing.T) {
	other := digest.FromString("other")
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		if req.Method == http.MethodPost {
			w.Header().Set("Location", "/v2/a/blobs/uploads/1?_state=secret")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Docker-Content-Digest", other.String())
		w.WriteHeader(http.StatusCreated)
	})
	d := openDestination(t, host+"/a:tag", insecure(t), nil)
	_, err := d.PutBlob(context.Background(), blobOf([]byte("x")), held([]byte("x")))
	require.ErrorContains(t, err, "stored "+other.String())
	requireNoSecrets(t, err)
	err = d.PutTop(context.Background(), endpoint.Document{Digest: digest.FromString("{}"), Bytes: []byte("{}")}, nil)
	require.ErrorContains(t, err, "stored "+other.String())
}

func TestBadUploadAnswers(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"no location": func(w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted) },
		"no URL": func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://a b/secret")
			w.WriteHeader(http.StatusAccepted)
		},
		"other scheme": func(w http.ResponseWriter) {
			w.Header().Set("Location", "ftp://x/secret")
			w.WriteHeader(http.StatusAccepted)
		},
		"unexpected status": func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
	} {
		t.Run(name, func(t *testing.T) {
			host := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w) })
			d := openDestination(t, host+"/a:tag", insecure(t), quick())
			_, err := d.PutBlob(context.Background(), blobOf([]byte("x")), held([]byte("x")))
			require.Error(t, err)
			requireNoSecrets(t, err)
		})
	}
}

// Errors name URLs without what they carry.
func TestErrorsWithoutSecrets(t *testing.T) {
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			w.Header().Set("Location", "/v2/a/blobs/uploads/1?_state=secret")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		panic(http.ErrAbortHandler)
	})
	d := openDestination(t, host+"/a:tag", insecure(t), &Shared{Retry: RetryPolicy{Attempts: 1}})
	_, err := d.PutBlob(context.Background(), blobOf([]byte("x")), held([]byte("x")))
	require.ErrorIs(t, err, io.EOF)
	requireNoSecrets(t, err)
	require.ErrorContains(t, err, "/v2/a/blobs/uploads/1")
}

// Cancelling ends everything soon, with the reason, and leaves nothing behind.
func TestCancel(t *testing.T) {
	before := runtime.NumGoroutine()
	reason := errors.New("reason")
	t.Run("copy", func(t *testing.T) {
		r := registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
			if req.Method == http.MethodPut || req.Method == http.MethodGet && strings.Contains(req.URL.Path, "blobs") {
				return registrytest.Stall()
			}
			return registrytest.Answer{}
		}})
		im := newImage(t, 10, 1000, r, "a")
		sys := insecure(t)
		s := openSource(t, r.Host()+"/a:tag", sys, nil)
		d := openDestination(t, r.Host()+"/b:tag", sys, nil)
		ctx, cancel := context.WithCancelCause(context.Background())
		defer cancel(nil)
		done := make(chan error)
		for _, b := range im.blobs {
			go func() {
				_, err := d.PutBlob(ctx, b, opener(s, b))
				done <- err
			}()
		}
		for r.Count(registrytest.Is("GET", registrytest.KindBlob)) < len(im.blobs) {
			runtime.Gosched()
		}
		cancel(reason)
		for range im.blobs {
			require.ErrorIs(t, <-done, reason)
		}
	})
	http.DefaultClient.CloseIdleConnections()
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	assert.LessOrEqual(t, runtime.NumGoroutine(), before)
}

// Content that was opened for nothing is closed.
func TestEarlyContentIsClosed(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	content := []byte("x")
	r.PutBlob("a", content)
	d := openDestination(t, r.Host()+"/a:tag", insecure(t), nil)
	closed := make(chan struct{})
	result, err := d.PutBlob(context.Background(), blobOf(content), func(context.Context) (io.ReadCloser, error) {
		return &closing{closed: closed}, nil
	})
	require.NoError(t, err)
	assert.True(t, result.Reused)
	<-closed
}

type closing struct {
	io.Reader
	once   atomic.Bool
	closed chan struct{}
}

func (c *closing) Close() error {
	if c.once.CompareAndSwap(false, true) {
		close(c.closed)
	}
	return nil
}
