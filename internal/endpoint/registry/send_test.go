package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func TestUploadWayAfter(t *testing.T) {
	no := func(status int, codes ...string) *refusal {
		e := &endpoint.RegistryError{Status: status}
		for _, code := range codes {
			e.Errors = append(e.Errors, endpoint.RegistryErrorDetail{Code: code})
		}
		return &refusal{RegistryError: e}
	}
	const mib = 1 << 20
	for name, c := range map[string]struct {
		way  uploadWay
		no   *refusal
		size int64
		next uploadWay
		ok   bool
	}{
		"not found":                     {uploadWay{}, no(404), 9, uploadWay{patch: true}, true},
		"not found, but known":          {uploadWay{known: true}, no(404), 9, uploadWay{}, false},
		"not found by PATCH":            {uploadWay{patch: true}, no(404), 9, uploadWay{}, false},
		"access":                        {uploadWay{}, no(400, "DENIED"), 9, uploadWay{}, false},
		"forbidden":                     {uploadWay{}, no(403), 9, uploadWay{}, false},
		"server error":                  {uploadWay{}, no(500), 9, uploadWay{}, false},
		"too long":                      {uploadWay{known: true}, no(413), 100 * mib, uploadWay{known: true, most: 64 * mib}, true},
		"too long for a small one":      {uploadWay{}, no(413), 2 * mib, uploadWay{most: mib}, true},
		"too long in pieces":            {uploadWay{patch: true, most: 4 * mib}, no(413), 100 * mib, uploadWay{patch: true, most: mib}, true},
		"too long in the smallest ones": {uploadWay{most: 256 << 10}, no(413), 100 * mib, uploadWay{}, false},
		"too long already":              {uploadWay{}, no(413), 1000, uploadWay{}, false},
		"refused in pieces":             {uploadWay{most: mib}, no(405), 100 * mib, uploadWay{}, false},
	} {
		next, ok := c.way.after(c.no, c.size)
		assert.Equal(t, c.ok, ok, name)
		if ok {
			assert.Equal(t, c.next, next, name)
		}
	}
}

// What a host takes is learnt once for all copies, and a registry that takes content in a PUT is
// not taken for another one.
func TestUploadsAreLearnt(t *testing.T) {
	h := &host{}
	h.took(uploadWay{}, 0)
	assert.Equal(t, uploadWay{}, h.uploadWay(), "nothing was sent")
	h.took(uploadWay{patch: true}, 9)
	assert.Equal(t, uploadWay{known: true, patch: true}, h.uploadWay())
	h.noteMost(1000)
	h.noteMost(2000)
	assert.Equal(t, uploadWay{known: true, patch: true, most: 1000}, h.uploadWay())
	h.took(uploadWay{}, 9)
	h.took(uploadWay{patch: true}, 9)
	assert.Equal(t, uploadWay{known: true, most: 1000}, h.uploadWay())
}

// A piece that was read in vain is handed out again, from a stream that begins anew.
func TestPieces(t *testing.T) {
	content := []byte("0123456789")
	opened := 0
	p := &pieces{open: func(from int64) (io.ReadCloser, error) {
		opened++
		return io.NopCloser(bytes.NewReader(content[from:])), nil
	}}
	defer p.close()
	read := func(size, n int64) string {
		t.Helper()
		r, err := p.next(t.Context(), size)
		require.NoError(t, err)
		b, err := io.ReadAll(io.LimitReader(r, n))
		require.NoError(t, err)
		require.NoError(t, r.Close())
		return string(b)
	}
	assert.Equal(t, "0123", read(4, 4))
	require.NoError(t, p.took(t.Context(), 4))
	assert.Equal(t, "45", read(4, 2))
	require.Error(t, p.took(t.Context(), 4), "the registry has answered early")
	assert.Equal(t, "4567", read(4, 4))
	assert.Equal(t, "4567", read(4, 4), "after a redirect")
	require.NoError(t, p.took(t.Context(), 4))
	assert.Equal(t, "89", read(-1, 100))
	require.NoError(t, p.took(t.Context(), -1))
	assert.EqualValues(t, 10, p.sent)
	assert.Equal(t, 3, opened)

	r, err := p.next(t.Context(), 0)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.next(ctx, 0)
	require.ErrorIs(t, err, context.Canceled, "the transport holds the piece before")
	require.NoError(t, r.Close())
}

// Content goes in pieces of ChunkSize where that is set, and whole at registries that do not put
// pieces together, which is learnt once. What the registry itself bounds stays bounded.
func TestChunkSize(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 150_000)
	b := blobOf(content)
	piece := registrytest.Matching(http.MethodPatch, "")
	dropped := func(status int, stated string) registrytest.Script {
		return registrytest.Only(piece, func(_ int, q *http.Request) registrytest.Answer {
			_, _ = io.Copy(io.Discard, q.Body)
			return registrytest.Answer{Status: status, Header: http.Header{"Range": {stated}}}
		})
	}
	for name, c := range map[string]struct {
		options registrytest.Options
		pieces  int // of two blobs
	}{
		"it takes pieces":            {registrytest.Options{}, 6},
		"it moves uploads":           {registrytest.Options{MovingUploads: true}, 6},
		"it takes shorter ones":      {registrytest.Options{MaxBody: 300 << 10}, 1 + 6 + 6},
		"it drops them in silence":   {registrytest.Options{Script: dropped(http.StatusAccepted, "")}, 3},
		"it is still at the start":   {registrytest.Options{Script: dropped(http.StatusAccepted, "0-0")}, 1},
		"it states no range":         {registrytest.Options{Script: dropped(http.StatusAccepted, "all")}, 1},
		"it is done after the first": {registrytest.Options{Script: dropped(http.StatusCreated, "0-599999")}, 1},
		"it refuses long pieces": {registrytest.Options{Script: registrytest.Only(piece, func(_ int, q *http.Request) registrytest.Answer {
			if q.ContentLength <= 300<<10 {
				return registrytest.Answer{}
			}
			_, _ = io.Copy(io.Discard, q.Body)
			return registrytest.Fail(http.StatusRequestedRangeNotSatisfiable, "", "")
		})}, 1 + 6 + 6},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, c.options)
			shared := quick()
			shared.ChunkSize = 600_000
			sys := insecure(t)
			for _, repo := range []string{"a", "b"} {
				d := openDestination(t, r.Host()+"/"+repo+":tag", sys, shared)
				require.NoError(t, d.SendBlob(t.Context(), b, held(content)))
				_, there := r.Blob(repo, b.Digest)
				assert.True(t, there)
			}
			assert.Equal(t, c.pieces, r.Count(registrytest.Is(http.MethodPatch, "")))
		})
	}
}

// Many blobs at once find out together how a registry takes content, while connections break: seven
// times, as all of that may come to one of them, which is tried eight times.
func TestUploadsAtOnce(t *testing.T) {
	from := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 12, 700_000, from, "a")
	for name, o := range map[string]registrytest.Options{
		"in pieces": {MaxBody: 300 << 10}, "by PATCH": {PatchOnly: true}, "both": {PatchOnly: true, MaxBody: 300 << 10, MovingUploads: true},
	} {
		t.Run(name, func(t *testing.T) {
			o.Script = registrytest.Only(registrytest.Matching(http.MethodPatch, ""), func(n int, _ *http.Request) registrytest.Answer {
				switch n {
				case 3, 12, 21, 30:
					return registrytest.CutUpload(100_000)
				case 6, 15, 24:
					return registrytest.LostAnswer()
				}
				return registrytest.Answer{}
			})
			to := registrytest.Start(t, o)
			sys := insecure(t)
			s := openSource(t, from.Host()+"/a:tag", sys, nil)
			mustCopy(t, s, openDestination(t, to.Host()+"/b:tag", sys, quick()), im)
			requireImage(t, to, "b", im)
		})
	}
}

// A blob that was thought to be there is sent without a question, once for all that need it.
func TestSendBlob(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	content := []byte("content")
	b := blobOf(content)
	r.PutBlob("a", content)
	shared := quick()
	d := openDestination(t, r.Host()+"/a:tag", insecure(t), shared)
	result, err := d.PutBlob(t.Context(), b, held(content))
	require.NoError(t, err)
	assert.True(t, result.Reused)
	require.NoError(t, d.SendBlob(t.Context(), b, held(content)))
	assert.Zero(t, r.Count(registrytest.Is(http.MethodPut, "")), "nothing says that it is not there")
	d.repo.host.blobs.forget(d.repo) // as a refused manifest does
	r.ResetLog()
	for range 2 {
		require.NoError(t, d.SendBlob(t.Context(), b, held(content)))
	}
	assert.Equal(t, []string{"POST upload 202", "PUT upload 201"}, summary(r))
}

// A registry that states how long pieces must be gets no shorter ones.
func TestShortestPieces(t *testing.T) {
	const least = 400_000
	var pieces atomic.Int64
	content := registrytest.Seeded(1, 900_000)
	host := serve(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Location", "/v2/a/blobs/uploads/1")
		switch req.Method {
		case http.MethodPost:
			w.Header().Set("OCI-Chunk-Min-Length", fmt.Sprint(least))
			w.WriteHeader(http.StatusAccepted)
		case http.MethodPatch:
			if pieces.Add(1) < 3 {
				assert.EqualValues(t, least, req.ContentLength)
			}
			_, _ = io.Copy(io.Discard, req.Body)
			w.WriteHeader(http.StatusAccepted)
		case http.MethodPut:
			if req.ContentLength > 0 {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			w.WriteHeader(http.StatusCreated)
		}
	})
	d := openDestination(t, host+"/a:tag", insecure(t), quick())
	d.repo.host.noteMost(256 << 10)
	_, err := d.PutBlob(t.Context(), endpoint.Blob{Digest: content.Digest, Size: content.Size}, func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(content.Reader()), nil
	})
	require.NoError(t, err)
	assert.EqualValues(t, 3, pieces.Load())
}

// A registry that has too much to do is asked to mount once more, and others are not.
func TestThrottledMount(t *testing.T) {
	var mounts atomic.Int64
	r := registrytest.Start(t, registrytest.Options{Script: func(_ int, q *http.Request) registrytest.Answer {
		if q.URL.Query().Has("mount") && mounts.Add(1) == 1 {
			return registrytest.FailHTML(http.StatusTooManyRequests)
		}
		return registrytest.Answer{}
	}})
	content := []byte("content")
	r.PutBlob("a", content)
	d := openDestination(t, r.Host()+"/a:tag", insecure(t), &Shared{Retry: RetryPolicy{BaseDelay: time.Millisecond}})
	result, err := d.PutBlob(t.Context(), blobOf(content), held(content))
	require.NoError(t, err)
	assert.True(t, result.Reused)
	assert.EqualValues(t, 2, mounts.Load())
}

// A refusal that comes before the content was sent is seen, however long the content is: the
// connection may be closed under it.
func TestEarlyRefusals(t *testing.T) {
	from := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 2, 24<<20, from, "a")
	for name, o := range map[string]registrytest.Options{
		"by a proxy": {MaxBody: 5 << 20}, "by the registry": {PatchOnly: true},
		"over TLS": {MaxBody: 5 << 20, PatchOnly: true, TLS: true},
	} {
		t.Run(name, func(t *testing.T) {
			o.DiscardBlobs = true
			to := registrytest.Start(t, o)
			sys := insecure(t)
			d := openDestination(t, to.Host()+"/b:tag", sys, quick())
			mustCopy(t, openSource(t, from.Host()+"/a:tag", sys, nil), d, im)
			requireImage(t, to, "b", im)
			assert.Zero(t, d.Stats().Retries, "nothing was taken for a broken connection")
		})
	}
}
