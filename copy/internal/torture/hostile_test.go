//go:build linux

package torture

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// What a hostile source may cost.
const (
	hostileTime = 5 * time.Minute // however slow the machine: what grows with the square of 10^6 takes hours
	hostileHeap = 256 << 20
)

// bounded runs f, which must end soon and without holding much.
func bounded(t *testing.T, f func()) {
	t.Helper()
	defer hermetictest.DefaultGC()()
	var peak atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), m.HeapAlloc))
			}
		}
	}()
	started := time.Now()
	f()
	close(stop)
	<-stopped
	assert.Less(t, time.Since(started), hostileTime, "hostile documents should cost little more than honest ones")
	assert.Less(t, int64(peak.Load())-int64(before.HeapAlloc), int64(hostileHeap), "bytes held")
}

// flood is a handler that answers some requests with a body that never ends, and counts what it got
// rid of.
type flood struct {
	match  func(*http.Request) bool
	header http.Header
	status int
	prefix string
	sent   atomic.Int64
}

func (f *flood) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !f.match(req) {
			next.ServeHTTP(w, req)
			return
		}
		for k, v := range f.header {
			w.Header()[k] = v
		}
		w.WriteHeader(f.status)
		chunk := bytes.Repeat([]byte(" "), 64<<10)
		_, err := io.WriteString(w, f.prefix)
		for err == nil {
			var n int
			n, err = w.Write(chunk)
			f.sent.Add(int64(n))
		}
	})
}

// TestTortureEndless sends bodies without an end in every place. What is read is bounded: the limit
// of the place, as often as it is tried again, and what fits into the buffers of connections.
func TestTortureEndless(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	manifests := func(req *http.Request) bool { return strings.Contains(req.URL.Path, "/manifests/") }
	blobs := func(req *http.Request) bool { return strings.Contains(req.URL.Path, "/blobs/") }
	const buffers = 16 << 20
	for name, c := range map[string]struct {
		flood *flood
		at    copy.Side
		most  int64
	}{
		"manifest":            {&flood{match: manifests, status: 200, header: http.Header{"Content-Type": {imgspecv1.MediaTypeImageIndex}}}, copy.SourceSide, 4<<20 + buffers},
		"manifest, an object": {&flood{match: manifests, status: 200, prefix: `{"schemaVersion":2,"manifests":[`, header: http.Header{"Content-Type": {imgspecv1.MediaTypeImageIndex}}}, copy.SourceSide, 4<<20 + buffers},
		"blob":                {&flood{match: blobs, status: 200}, copy.SourceSide, 4 * buffers},
		"error":               {&flood{match: manifests, status: 403}, copy.SourceSide, 4<<20 + buffers},
		"error, again":        {&flood{match: manifests, status: 500, prefix: `{"errors":[`}, copy.SourceSide, 8*(4<<20) + 8*buffers},
		"stored":              {&flood{match: func(req *http.Request) bool { return req.Method == http.MethodPut }, status: 201}, copy.DestinationSide, 8 * buffers},
		"upload":              {&flood{match: func(req *http.Request) bool { return req.Method == http.MethodPost }, status: 202}, copy.DestinationSide, 8 * buffers},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			var sourceWrap, destinationWrap func(http.Handler) http.Handler
			if c.at == copy.SourceSide {
				sourceWrap = c.flood.wrap
			} else {
				destinationWrap = c.flood.wrap
			}
			src, dst := copytest.StartPeer(t, registrytest.Options{}, sourceWrap), copytest.StartPeer(t, registrytest.Options{}, destinationWrap)
			f.PushTo(src.Registry, "app", "v1", imagetest.Top)
			bounded(t, func() {
				_, err := e.Image(t.Context(), dst.Ref(t, "app", "v1"), src.Ref(t, "app", "v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
				if c.at == copy.SourceSide {
					require.Error(t, err)
					assert.Empty(t, unclear(err, c.at), "%v", err)
				}
			})
			src.Shut()
			dst.Shut()
			assert.Less(t, c.flood.sent.Load(), c.most)
			t.Logf("%d bytes sent", c.flood.sent.Load())
		})
	}
}

// TestTortureDocuments copies documents that are made to cost much, or to lead astray. None gets
// through, none costs much, and nothing is asked for that no digest names.
func TestTortureDocuments(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	image, _ := f.Document("amd64")
	entry := func(mediaType string, d digest.Digest, size int) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, d, size)
	}
	list := func(entries ...string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, imgspecv1.MediaTypeImageIndex, strings.Join(entries, ","))
	}
	child := entry(imgspecv1.MediaTypeImageManifest, f.Digest("amd64"), len(image))
	config := func(d string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[]}`,
			imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageConfig, d)
	}
	layer := func(d string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":2}]}`,
			imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageConfig, digest.FromString("{}"), imgspecv1.MediaTypeImageLayer, d)
	}
	// chain nests a list in a list, n times; each names the one below it width times.
	chain := func(r *registrytest.Registry, n, width int) string {
		inner := list(child)
		for range n {
			d := r.PutManifest("app", digest.FromString(inner).String(), imgspecv1.MediaTypeImageIndex, []byte(inner))
			var entries []string
			for range width {
				entries = append(entries, entry(imgspecv1.MediaTypeImageIndex, d, len(inner)))
			}
			inner = list(entries...)
		}
		return inner
	}
	plain := func(s string) func(*registrytest.Registry) string {
		return func(*registrytest.Registry) string { return s }
	}
	const isImage = imgspecv1.MediaTypeImageManifest
	inList := func(document string) func(*registrytest.Registry) string {
		return func(r *registrytest.Registry) string {
			d := r.PutManifest("app", digest.FromString(document).String(), isImage, []byte(document))
			return list(entry(isImage, d, len(document)))
		}
	}
	for name, c := range map[string]struct {
		top       func(*registrytest.Registry) string
		mediaType string
		requests  int // to the source, at most
	}{
		"10^6 entries":                        {plain(list(strings.TrimSuffix(strings.Repeat("{},", 1_000_000), ","))), "", 4},
		"10^6 whole entries":                  {plain(list(strings.TrimSuffix(strings.Repeat(child+",", 1_000_000), ","))), "", 4},
		"10^4 levels of JSON":                 {plain(`{"schemaVersion":2,"manifests":[],"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + "}"), "", 4},
		"10^6 levels of JSON":                 {plain(`{"x":` + strings.Repeat("[", 1_000_000)), "", 4},
		"10^6 levels of JSON in an image":     {plain(`{"x":` + strings.Repeat("[", 1_000_000)), isImage, 4},
		"10^4 levels of lists":                {func(r *registrytest.Registry) string { return chain(r, 10_000, 1) }, "", 16},
		"lists that name the same list often": {func(r *registrytest.Registry) string { return chain(r, 7, 1000) }, "", 16},
		"config ../../x":                      {plain(config("../../x")), isImage, 4},
		"config sha256:../../x":               {plain(config("sha256:../../x")), isImage, 4},
		"child's config ../../x":              {inList(config("../../x")), "", 8},
		"child's layer ../../x":               {inList(layer("sha256:../../../../x")), "", 8},
		"child ../../x":                       {plain(list(`{"mediaType":"` + isImage + `","digest":"../../x","size":2}`)), "", 4},
		"child of an unknown algorithm":       {plain(list(`{"mediaType":"` + isImage + `","digest":"md5:00","size":2}`)), "", 4},
		"negative size":                       {plain(list(entry(isImage, f.Digest("amd64"), -5))), "", 8},
		"twice the same key":                  {plain(`{"schemaVersion":2,"manifests":[],"manifests":[` + child + `]}`), "", 4},
		"a list as an image":                  {plain(list(child)), isImage, 8},
		"empty":                               {plain(""), "", 4},
		"null":                                {plain("null"), "", 4},
		"no JSON":                             {plain("\x00\xff\xfe"), isImage, 4},
	} {
		t.Run(name, func(t *testing.T) {
			src := copytest.StartPeer(t, registrytest.Options{}, nil)
			f.PushTo(src.Registry, "app", "", "amd64")
			src.PutBlob("app", []byte("{}"))
			mediaType := c.mediaType
			if mediaType == "" {
				mediaType = imgspecv1.MediaTypeImageIndex
			}
			src.PutManifest("app", "v1", mediaType, []byte(c.top(src.Registry)))
			for _, to := range []string{"registry", "layout"} {
				src.ResetLog()
				e := copytest.NewEnv(t)
				dst := copytest.StartPeer(t, registrytest.Options{}, nil)
				dir := t.TempDir()
				destination := dst.Ref(t, "app", "v1")
				if to == "layout" {
					destination = copytest.LayoutRef(t, filepath.Join(dir, "layout"), "v1")
				}
				bounded(t, func() {
					r, err := e.Image(t.Context(), destination, src.Ref(t, "app", "v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
					if err == nil { // odd, and harmless: then it is whole
						if to == "registry" {
							imagetest.CheckRegistry(t, dst.Registry, "app", imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f})
						}
					} else {
						assert.Empty(t, unclear(err, copy.SourceSide), "%.300v", err)
						assert.Empty(t, dst.Tags("app"))
					}
				})
				for _, q := range src.Requests() {
					assert.NotContains(t, q.Path, "..")
				}
				assert.LessOrEqual(t, len(src.Requests()), c.requests)
				_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
					assert.NotEqual(t, "x", filepath.Base(path))
					return err
				})
			}
		})
	}
}

// TestTortureTagMoves moves the source's tag to something else at each request: the copy is of what
// the tag named at first, or of what it names then, and never of both.
func TestTortureTagMoves(t *testing.T) {
	f, other := imagetest.Platforms(2, 2, 100), imagetest.Platforms(3, 1, 50)
	for n := 1; ; n++ {
		e := copytest.NewEnv(t)
		var src *copytest.Peer
		src = copytest.StartPeer(t, registrytest.Options{Script: func(i int, _ *http.Request) registrytest.Answer {
			if i == n {
				other.PushTo(src.Registry, "app", "v1", imagetest.Top)
			}
			return registrytest.Answer{}
		}}, nil)
		dst := copytest.StartPeer(t, registrytest.Options{Strict: true}, nil)
		f.PushTo(src.Registry, "app", "v1", imagetest.Top)
		r, err := e.Image(t.Context(), dst.Ref(t, "app", "v1"), src.Ref(t, "app", "v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err)
		named := f
		if r.DestinationDigest != f.Digest(imagetest.Top) {
			named = other
			assert.LessOrEqual(t, n, 2, "the tag is read once, at the beginning")
		}
		imagetest.CheckRegistry(t, dst.Registry, "app", imagetest.Want{Tag: "v1", Digest: named.Digest(imagetest.Top), Fixture: named, Only: true})
		if len(src.Requests()) < n {
			return
		}
	}
}

// TestTortureOtherBytes answers each digest with other bytes, of the same and of another length.
func TestTortureOtherBytes(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	all := append(f.Manifests(imagetest.Top)[1:], f.Blobs(imagetest.Top)...)
	for _, d := range all {
		for name, change := range map[string]func([]byte) []byte{
			"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
			"longer":  func(b []byte) []byte { return append(b, ' ') },
			"shorter": func(b []byte) []byte { return b[:len(b)-1] },
			"nothing": func([]byte) []byte { return nil },
		} {
			t.Run(f.Name(d)+"/"+name, func(t *testing.T) {
				e := copytest.NewEnv(t)
				lie := func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
						if !strings.HasSuffix(req.URL.Path, d.String()) {
							next.ServeHTTP(w, req)
							return
						}
						w.Header().Set("Docker-Content-Digest", d.String())
						w.Header().Set("Content-Type", imgspecv1.MediaTypeImageManifest)
						_, _ = w.Write(change(f.Content(f.Name(d))))
					})
				}
				if strings.Contains(f.Name(d), ".") == false { // a manifest
					inner := change
					lie = func(next http.Handler) http.Handler {
						return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
							if !strings.HasSuffix(req.URL.Path, d.String()) {
								next.ServeHTTP(w, req)
								return
							}
							document, mediaType := f.Document(f.Name(d))
							w.Header().Set("Docker-Content-Digest", d.String())
							w.Header().Set("Content-Type", mediaType)
							_, _ = w.Write(inner(bytes.Clone(document)))
						})
					}
				}
				src, dst := copytest.StartPeer(t, registrytest.Options{}, lie), copytest.StartPeer(t, registrytest.Options{}, nil)
				f.PushTo(src.Registry, "app", "v1", imagetest.Top)
				_, err := e.Image(t.Context(), dst.Ref(t, "app", "v1"), src.Ref(t, "app", "v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
				require.Error(t, err)
				assert.Empty(t, unclear(err, copy.SourceSide), "%v", err)
				assert.Empty(t, dst.Tags("app"))
				assert.NotContains(t, dst.Blobs("app"), d)
				assert.NotContains(t, dst.Manifests("app"), d)
			})
		}
	}
}

// TestTortureAlwaysOK answers 200 and a web page to everything, at either side.
func TestTortureAlwaysOK(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	page := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>Please log in</html>")
		})
	}
	for _, side := range []copy.Side{copy.SourceSide, copy.DestinationSide} {
		for name, o := range map[string]copy.Options{"all": {ImageListSelection: copy.CopyAllImages}, "system": {}} {
			t.Run(string(side)+"/"+name, func(t *testing.T) {
				e := copytest.NewEnv(t)
				wraps := map[copy.Side]func(http.Handler) http.Handler{side: page}
				src := copytest.StartPeer(t, registrytest.Options{}, wraps[copy.SourceSide])
				dst := copytest.StartPeer(t, registrytest.Options{}, wraps[copy.DestinationSide])
				f.PushTo(src.Registry, "app", "v1", imagetest.Top)
				_, err := e.Image(t.Context(), dst.Ref(t, "app", "v1"), src.Ref(t, "app", "v1"), o)
				require.Error(t, err)
				assert.Empty(t, unclear(err, side), "%v", err)
			})
		}
	}
}

// TestTortureLayerURLs names layers that are said to be on this machine. Nobody asks there, whether
// the destination leaves such layers alone or not.
func TestTortureLayerURLs(t *testing.T) {
	var asked atomic.Int64
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			_ = conn.Close()
		}
	}()
	f := imagetest.New()
	f.Layer("elsewhere", imagetest.File("a", "b"), imagetest.Foreign("http://"+listener.Addr().String()+"/layer", "http://169.254.169.254/latest"))
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("elsewhere"))
	f.List(imagetest.Top, imagetest.Entries("amd64"))
	for name, omit := range map[string][]string{"the source has it": nil, "the source does not": {"elsewhere"}} {
		for to, newDestination := range copytest.Places {
			t.Run(name+"/"+to, func(t *testing.T) {
				e := copytest.NewEnv(t)
				src, dst := copytest.Places["registry"](t).(copytest.RegistryPlace), newDestination(t)
				src.Push(f, "v1", imagetest.Top)
				if omit != nil {
					src.DeleteBlob(src.Repo, f.Digest("elsewhere"))
				}
				_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
				if err == nil {
					dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
				}
				assert.Zero(t, asked.Load(), "a layer's URL was fetched")
			})
		}
	}
}

// TestTortureCompressed copies layers that claim to be compressed and are not, and ones that would
// fill memory if they were decompressed: both arrive as they are, also when the registry says that
// they are encoded in transit.
func TestTortureCompressed(t *testing.T) {
	var member bytes.Buffer
	w, err := gzip.NewWriterLevel(&member, gzip.BestSpeed)
	require.NoError(t, err)
	_, _ = w.Write(make([]byte, 1<<20))
	require.NoError(t, w.Close())
	bomb := bytes.Repeat(member.Bytes(), 256) // members follow each other (RFC 1952, section 2.2): 256 MiB in all
	f := imagetest.New()
	f.Blob("bomb", imgspecv1.MediaTypeImageLayerGzip, bomb)
	f.Blob("nonsense", imgspecv1.MediaTypeImageLayerGzip, []byte("this is no gzip"))
	f.Blob("zstd", imgspecv1.MediaTypeImageLayerZstd, []byte("this is no zstd"))
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("bomb", "nonsense", "zstd"))
	f.List(imagetest.Top, imagetest.Entries("amd64"))
	encoded := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if strings.Contains(req.URL.Path, "/blobs/") {
				w.Header().Set("Content-Encoding", "gzip")
			}
			next.ServeHTTP(w, req)
		})
	}
	for to, newDestination := range copytest.Places {
		for name, wrap := range map[string]func(http.Handler) http.Handler{"plain": nil, "encoded": encoded} {
			t.Run(to+"/"+name, func(t *testing.T) {
				e := copytest.NewEnv(t)
				src, dst := copytest.StartPeer(t, registrytest.Options{}, wrap), newDestination(t)
				f.PushTo(src.Registry, "app", "v1", imagetest.Top)
				bounded(t, func() {
					_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref(t, "app", "v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
					require.NoError(t, err)
				})
				dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true})
			})
		}
	}
}

// redirects are the requests that are sent on: by method, and by a part of the path.
type redirects struct{ method, path string }

// TestTortureRedirects sends requests that carry credentials on to another host, another port and
// another name of this machine. The credentials do not follow.
func TestTortureRedirects(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	var stolen atomic.Pointer[http.Header]
	thief := copytest.StartPeer(t, registrytest.Options{}, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if len(req.Header["Authorization"])+len(req.Header["Cookie"]) > 0 {
				stolen.Store(&req.Header)
			}
			w.WriteHeader(http.StatusForbidden)
		})
	})
	_, port, err := net.SplitHostPort(thief.Addr)
	require.NoError(t, err)
	for _, auth := range []registrytest.Auth{{}, {Bearer: true}} {
		for _, host := range []string{thief.Addr, "localhost:" + port} {
			for _, c := range []redirects{{"GET", "manifests"}, {"GET", "blobs"}, {"HEAD", "manifests"}, {"POST", "uploads"}, {"PUT", "uploads"}, {"PUT", "manifests"}} {
				for _, status := range []int{301, 302, 303, 307, 308} {
					e := copytest.NewEnv(t)
					auth := auth
					auth.Accounts = []registrytest.Account{{Username: "user", Password: "secret"}}
					script := func(_ int, req *http.Request) registrytest.Answer {
						if req.Method == c.method && strings.Contains(req.URL.Path, "/"+c.path+"/") && req.Header.Get("Authorization") != "" {
							return registrytest.Answer{Status: status, Header: http.Header{"Location": {"http://" + host + "/v2/app/x"}, "Set-Cookie": {"a=b; Domain=localhost"}}}
						}
						return registrytest.Answer{}
					}
					both := registrytest.Options{Auth: &auth, Script: script}
					src, dst := copytest.StartPeer(t, both, nil), copytest.StartPeer(t, both, nil)
					f.PushTo(src.Registry, "app", "v1", imagetest.Top)
					sys := *e.Sys
					sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "user", Password: "secret"}
					_, _ = e.Image(t.Context(), dst.Ref(t, "app", "v1"), src.Ref(t, "app", "v1"), copy.Options{
						ImageListSelection: copy.CopyAllImages, SourceCtx: &sys, DestinationCtx: &sys,
					})
					require.Nil(t, stolen.Load(), "%v %d to %s: credentials followed a redirect", c, status, host)
				}
			}
		}
	}
}
