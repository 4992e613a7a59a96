package registry

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/internal/unfinished"
)

const (
	mib       = 1 << 20
	largeSize = 4*mib + 12345
	brokenAt  = 3 * mib
	notes     = mib / 2 // bytes between two points
	ofUse     = 4       // connections, for blobs that are read in ranges
)

func init() { LowerNotes(notes) }

// A resumption is the upload of a large blob by one process after the other.
type resumption struct {
	t        *testing.T
	from, to *registrytest.Registry
	blob     endpoint.Blob
	dir      string
	chunk    int64
	ranges   *ranging // nil for the usual ones
	attempts int      // of one process; 0 for 1
	stats    Stats    // of the last process
}

// newResumption prepares an upload to a registry that breaks off the n-th request with content
// after so many of its bytes.
func newResumption(t *testing.T, o registrytest.Options, n int, after int64) *resumption {
	t.Helper()
	content := registrytest.Seeded(1, largeSize)
	r := &resumption{
		t: t, from: registrytest.Start(t, registrytest.Options{}), dir: filepath.Join(t.TempDir(), "dir"),
		blob: endpoint.Blob{Digest: content.Digest, Size: content.Size},
	}
	r.from.PutContent("a", content)
	breaks := registrytest.Only(sendsContent, registrytest.OnNth(n, registrytest.CutUpload(after)))
	other := o.Script
	o.Script = func(i int, q *http.Request) registrytest.Answer {
		if other != nil {
			if a := other(i, q); a.Status != 0 || a.Fault != 0 {
				return a
			}
		}
		return breaks(i, q)
	}
	r.to = registrytest.Start(t, o)
	return r
}

func sendsContent(q *http.Request) bool {
	return q.ContentLength != 0 && (q.Method == http.MethodPut || q.Method == http.MethodPatch) && strings.Contains(q.URL.Path, "/uploads/")
}

// process makes one attempt with nothing in memory.
func (r *resumption) process() error {
	r.t.Helper()
	sys := insecure(r.t)
	shared := &Shared{
		Retry: RetryPolicy{Attempts: max(r.attempts, 1), BaseDelay: time.Millisecond}, ChunkSize: r.chunk, ranges: r.ranges,
		Unfinished: unfinished.New(r.dir, time.Now),
	}
	r.from.PutManifest("a", "tag", "application/vnd.oci.image.manifest.v1+json", []byte(`{"schemaVersion":2}`))
	s := openSource(r.t, r.from.Host()+"/a:tag", sys, shared)
	s.endpoints[0].repo.host.ranges.note(ofUse, time.Now())
	d := openDestination(r.t, r.to.Host()+"/b:tag", sys, shared)
	defer func() { r.stats = d.Stats() }()
	_, err := d.PutBlob(r.t.Context(), r.blob, func(ctx context.Context) (io.ReadCloser, error) {
		stream, err := inNoHurry(s.Blob(ctx, r.blob))
		if err != nil {
			return nil, err
		}
		return endpoint.Verified(stream, r.blob, nil, func(err error) error { return err }), nil
	})
	return err
}

// dies is a process that ends in the middle.
func (r *resumption) dies() {
	r.t.Helper()
	require.Error(r.t, r.process())
	assert.NotEmpty(r.t, r.files(".json"))
	r.to.ResetLog()
	r.from.ResetLog()
}

// succeeds is a process that comes to the end, and leaves nothing.
func (r *resumption) succeeds() {
	r.t.Helper()
	require.NoError(r.t, r.process())
	_, there := r.to.Blob("b", r.blob.Digest)
	assert.True(r.t, there)
	assert.Empty(r.t, r.files(""))
}

// files are the files that are remembered whose names end so.
func (r *resumption) files(end string) []string {
	files, err := filepath.Glob(filepath.Join(r.dir, "*"+end))
	require.NoError(r.t, err)
	return files
}

// read is how many bytes of the blob the source has handed out since ResetLog.
func (r *resumption) read() (bytes int64) {
	for _, q := range r.from.Requests() {
		if q.Kind == registrytest.KindBlob {
			bytes += q.BytesOut
		}
	}
	return bytes
}

// received is how many bytes the destination has got since ResetLog.
func (r *resumption) received() (bytes int64) {
	for _, q := range r.to.Requests() {
		bytes += q.BytesIn
	}
	return bytes
}

// What the registry has is not sent again, and what comes well before it is not read again.
func TestResumeUpload(t *testing.T) {
	for name, c := range map[string]struct {
		options registrytest.Options
		chunk   int64
		n       int // of the request that is broken off, after that many bytes
		after   int64
	}{
		"in one request":            {registrytest.Options{}, 0, 1, brokenAt},
		"relative locations":        {registrytest.Options{Location: registrytest.LocationRelative}, 0, 1, brokenAt},
		"another host":              {registrytest.Options{Location: registrytest.LocationSecond}, 0, 1, brokenAt},
		"in chunks":                 {registrytest.Options{}, mib, 4, 0},
		"in chunks that move":       {registrytest.Options{MovingUploads: true}, mib, 4, 0},
		"in the middle of a chunk":  {registrytest.Options{}, 2 * mib, 2, mib},
		"by PATCH":                  {registrytest.Options{PatchOnly: true}, 0, 2, brokenAt},
		"where mounts are ignored":  {registrytest.Options{IgnoreMounts: true}, 0, 1, brokenAt},
		"where bodies may be 1 MiB": {registrytest.Options{MaxBody: mib}, 0, 6, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResumption(t, c.options, c.n, c.after)
			r.chunk = c.chunk
			r.dies()
			r.succeeds()
			assert.EqualValues(t, largeSize-brokenAt, r.received(), "of the rest")
			asked := int64(largeSize - brokenAt + notes)
			if c.options.MaxBody > 0 {
				asked *= 2 // what has turned out to be too long was asked for
			}
			assert.LessOrEqual(t, r.read(), asked, "only the rest is asked for")
			assert.EqualValues(t, 1, r.stats.Resumed)
			assert.Zero(t, r.stats.BegunAnew)
		})
	}
}

// However much a Read returns, points lie where it has passed multiples of a length.
func TestNotesDoNotDrift(t *testing.T) {
	for _, piece := range []int64{1000, 110_000, notes - 1} {
		m := &memory{state: unfinished.State{Location: "http://registry.example/uploads/1"}}
		r := &notingReader{Resumable: &steps{piece: piece}, memory: m, next: afterNote(0)}
		for r.read < largeSize {
			_, err := r.Read(nil)
			require.NoError(t, err)
		}
		for at := int64(notes); at < largeSize; at += notes {
			assert.GreaterOrEqual(t, m.before(at+piece-1).Offset, at, "%d bytes at a time", piece)
		}
	}
}

// steps is a reader that returns as many bytes each time, but for the bytes.
type steps struct {
	endpoint.Resumable
	piece, read int64
}

func (s *steps) Read([]byte) (int, error) {
	s.read += s.piece
	return int(s.piece), nil
}

func (s *steps) Checkpoint() (endpoint.Checkpoint, error) {
	return endpoint.Checkpoint{Offset: s.read}, nil
}

// What is left of a blob is read in ranges, too, if there is enough of it.
func TestResumeUploadFromRanges(t *testing.T) {
	r := newResumption(t, registrytest.Options{}, 1, brokenAt)
	r.ranges = small()
	r.dies()
	r.succeeds()
	assert.EqualValues(t, largeSize-brokenAt, r.received())
	asked := parts(r.from)
	assert.Greater(t, len(asked), ofUse)
	for _, header := range asked {
		start, _, _ := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
		from, err := strconv.Atoi(start)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, from, brokenAt-notes)
	}
}

// What the registry could not do at the moment goes on where it is.
func TestResumeUploadAfterRefusal(t *testing.T) {
	r := newResumption(t, registrytest.Options{Script: registrytest.Only(func(q *http.Request) bool {
		return sendsContent(q) && strings.HasPrefix(q.Header.Get("Content-Range"), "3145728-")
	}, registrytest.OnNth(1, registrytest.Fail(http.StatusServiceUnavailable, "UNAVAILABLE", "")))}, 99, 0)
	r.chunk, r.attempts = mib, 2
	r.succeeds()
	posts := r.to.Count(func(q registrytest.Request) bool { return q.Method == http.MethodPost })
	assert.Equal(t, 1, posts)
	assert.EqualValues(t, 1, r.stats.Resumed)
}

// The next upload to a registry that has gone on with one goes in pieces.
func TestPiecesWhereUploadsGoOn(t *testing.T) {
	h := &host{}
	assert.False(t, h.uploadWay().splits(1<<30))
	h.resumed()
	assert.True(t, h.uploadWay().splits(1<<30))
	assert.False(t, h.uploadWay().splits(pieceSizes[0]))
	assert.True(t, h.losesPieces(1<<30))
	assert.False(t, h.uploadWay().splits(1<<30))
}

// Where only the end of an upload is missing, nothing is sent again.
func TestResumeUploadAtItsEnd(t *testing.T) {
	r := newResumption(t, registrytest.Options{Script: registrytest.Only(func(q *http.Request) bool {
		return q.Method == http.MethodPut && q.ContentLength == 0 && strings.Contains(q.URL.Path, "/uploads/")
	}, registrytest.OnNth(1, registrytest.Close()))}, 99, 0)
	r.chunk = mib
	r.dies()
	r.succeeds()
	assert.Zero(t, r.received())
}

// One process goes on with what it has begun itself, without a new upload.
func TestResumeUploadInOneProcess(t *testing.T) {
	r := newResumption(t, registrytest.Options{}, 1, brokenAt)
	r.attempts = 3
	r.succeeds()
	posts := r.to.Count(func(q registrytest.Request) bool { return q.Method == http.MethodPost })
	assert.Equal(t, 1, posts)
	assert.LessOrEqual(t, r.received(), int64(largeSize+1))
}

// Any doubt, and the upload begins anew.
func TestResumeUploadInDoubt(t *testing.T) {
	status := func(a registrytest.Answer) registrytest.Script {
		return registrytest.Only(func(q *http.Request) bool {
			return q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/uploads/")
		}, registrytest.EveryNth(1, a))
	}
	says := func(location, stated string) registrytest.Script {
		return status(registrytest.Answer{Status: http.StatusNoContent, Header: http.Header{"Location": {location}, "Range": {stated}}})
	}
	const here = "/v2/b/blobs/uploads/x"
	for name, script := range map[string]registrytest.Script{
		"it is not known":       status(registrytest.Fail(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "")),
		"it may not be seen":    status(registrytest.Fail(http.StatusForbidden, "DENIED", "")),
		"nobody answers":        status(registrytest.Close()),
		"a page":                status(registrytest.FailHTML(http.StatusOK)),
		"nothing is there":      says(here, "0-0"),
		"more than there is":    says(here, "0-99999999"),
		"no range":              says(here, ""),
		"a range from within":   says(here, "9-99"),
		"a negative range":      says(here, "0--9"),
		"no location":           says("", "0-99"),
		"another host":          says("http://registry.example/v2/b/blobs/uploads/x", "0-99"),
		"a location of nothing": says(here, "0-99"),
		"the digest is refused": registrytest.Only(func(q *http.Request) bool {
			return q.Method == http.MethodPut && q.ContentLength == 0 // which nothing else ends so
		}, registrytest.EveryNth(1, registrytest.Fail(http.StatusBadRequest, "DIGEST_INVALID", ""))),
		"the rest is refused": registrytest.Only(func(q *http.Request) bool {
			return q.Header.Get("Content-Range") != ""
		}, registrytest.EveryNth(1, registrytest.Fail(http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID", ""))),
	} {
		t.Run(name, func(t *testing.T) {
			r := newResumption(t, registrytest.Options{Script: script}, 1, brokenAt)
			r.dies()
			r.succeeds()
			assert.GreaterOrEqual(t, r.received(), int64(largeSize))
			assert.EqualValues(t, 1, r.stats.BegunAnew)
			assert.Zero(t, r.stats.Resumed)
		})
	}
	for name, change := range map[string]func(content string) string{
		"the hash is of something else": func(content string) string {
			return regexp.MustCompile(`("hash":".{8})....`).ReplaceAllString(content, "${1}AAAA")
		},
		"the hash is none":    func(content string) string { return strings.ReplaceAll(content, `"hash":"`, `"hash":"AAAA`) },
		"the file is damaged": func(content string) string { return content[:len(content)/2] },
	} {
		t.Run(name, func(t *testing.T) {
			r := newResumption(t, registrytest.Options{}, 1, brokenAt)
			r.dies()
			for _, file := range r.files(".json") {
				content, err := os.ReadFile(file)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(file, []byte(change(string(content))), 0o600))
			}
			r.succeeds()
			assert.GreaterOrEqual(t, r.received(), int64(largeSize))
		})
	}
}

// While one process is at an upload, another one sends the blob itself.
func TestResumeUploadOfAnother(t *testing.T) {
	r := newResumption(t, registrytest.Options{}, 1, brokenAt)
	r.dies()
	key := unfinished.Key{Registry: r.to.Host(), Repository: "b", Digest: r.blob.Digest}
	u, err := unfinished.New(r.dir, time.Now).Take(key)
	require.NoError(t, err)
	require.NoError(t, r.process())
	assert.EqualValues(t, largeSize, r.received())
	_, ok := u.State()
	assert.True(t, ok)
	assert.NotEmpty(t, r.files(".json"), "it is the other's")
	u.Release()
}
