package copy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

// A hostileRegistry answers questions about referrers as it likes, and all others as a registry
// does.
type hostileRegistry struct {
	*registrytest.Registry
	t         testing.TB
	host      string
	referrers func(w http.ResponseWriter, req *http.Request, subject string)
	sent      atomic.Int64 // bytes about referrers
	asked     atomic.Int64 // questions about them
}

func newHostileRegistry(t testing.TB, referrers func(w http.ResponseWriter, req *http.Request, subject string)) *hostileRegistry {
	h := &hostileRegistry{t: t, Registry: registrytest.NewHandler(registrytest.Options{}), referrers: referrers}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, subject, ok := strings.Cut(req.URL.Path, "/referrers/")
		if !ok || h.referrers == nil {
			h.Registry.ServeHTTP(w, req)
			return
		}
		h.asked.Add(1)
		w.Header().Set("Content-Type", imgspecv1.MediaTypeImageIndex)
		h.referrers(countedWriter{w, &h.sent}, req, subject)
	}))
	t.Cleanup(server.Close)
	h.host = strings.TrimPrefix(server.URL, "http://")
	return h
}

type countedWriter struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (w countedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.sent.Add(int64(n))
	return n, err
}

func (h *hostileRegistry) ref() types.ImageReference {
	ref, err := docker.ParseReference("//" + h.host + "/app:v1")
	require.NoError(h.t, err)
	return ref
}

// page is an index of entries, each with some text, which is quoted as it is: to quote many
// megabytes takes long under the race detector.
func page(w http.ResponseWriter, from, n int, text string) {
	var b strings.Builder
	b.WriteString(`{"schemaVersion":2,"manifests":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"mediaType":"%s","digest":"%s","size":1,"annotations":{"text":"%s"}}`,
			imgspecv1.MediaTypeImageManifest, digest.FromString(strconv.Itoa(from+i)), text)
	}
	b.WriteString("]}")
	_, _ = w.Write([]byte(b.String()))
}

// next links to the next page.
func next(w http.ResponseWriter, req *http.Request, query string) {
	w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, req.URL.Path, query))
}

// peakHeap runs f and returns by how many bytes the heap has grown at most meanwhile.
func peakHeap(f func()) uint64 {
	defer hermetictest.DefaultGC()()
	var peak uint64
	var group sync.WaitGroup
	stop := make(chan struct{})
	measure := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	before := measure()
	group.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			peak = max(peak, measure())
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	f()
	close(stop)
	group.Wait()
	return peak - min(peak, before)
}

// TestReferrersBombs end soon, with an error that says what there was too much of, and hold little.
func TestReferrersBombs(t *testing.T) {
	const mebi = 1 << 20
	f := imagetest.Platforms(8, 1, 100)
	fat := strings.Repeat("x", 2*mebi)
	for _, c := range []struct {
		name      string
		top       string // what is copied
		referrers func(w http.ResponseWriter, req *http.Request, subject string)
		says      string
		asked     int64 // at most
		sent      int64 // bytes, at most
		heap      uint64
	}{
		{"a million entries on pages of 5,000", "amd64", func(w http.ResponseWriter, req *http.Request, _ string) {
			var n int
			_, _ = fmt.Sscanf(req.URL.Query().Get("n"), "%d", &n)
			if n < 1_000_000 {
				next(w, req, fmt.Sprintf("n=%d", n+5000))
			}
			page(w, n, 5000, "")
		}, "more than 10000", 3, 5 * mebi, 64 * mebi},
		{"many entries on one page", imagetest.Top, func(w http.ResponseWriter, _ *http.Request, _ string) { page(w, 0, 12_000, "") },
			"more than 10000", 9, 40 * mebi, 192 * mebi},
		{"an oversized page", imagetest.Top, func(w http.ResponseWriter, _ *http.Request, _ string) { page(w, 0, 3, fat) },
			"limit of 4194304", 9, 60 * mebi, 320 * mebi},
		{"fat pages without end", "amd64", func(w http.ResponseWriter, req *http.Request, _ string) {
			next(w, req, "again="+req.URL.Query().Get("again")+"1")
			page(w, 0, 1, fat)
		}, "bytes of pages", 9, 20 * mebi, 128 * mebi},
		{"empty pages without end", "amd64", func(w http.ResponseWriter, req *http.Request, _ string) {
			var n int
			_, _ = fmt.Sscanf(req.URL.Query().Get("n"), "%d", &n)
			next(w, req, fmt.Sprintf("n=%d", n+1))
			page(w, 0, 0, "")
		}, "more than 1000 pages", 1001, mebi, 64 * mebi},
		{"the same page again and again", "amd64", func(w http.ResponseWriter, req *http.Request, _ string) {
			next(w, req, "the=same")
			page(w, 0, 1, "")
		}, "page after page is the same", 3, mebi, 64 * mebi},
		{"many for each of many subjects", imagetest.Top, func(w http.ResponseWriter, _ *http.Request, subject string) {
			page(w, int(subject[10])*5000, 5000, "")
		}, "number exceeds the limit of 20000", 9, 10 * mebi, 128 * mebi},
		{"another host", "amd64", func(w http.ResponseWriter, _ *http.Request, _ string) {
			w.Header().Set("Link", `<http://localhost:1/v2/app/referrers/x>; rel="next"`)
			page(w, 0, 1, "")
		}, "no usable link", 1, mebi, 64 * mebi},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := newHostileRegistry(t, c.referrers)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			f.PushTo(src.Registry, "app", "v1", c.top)
			var err error
			heap := peakHeap(func() {
				_, err = e.Image(t.Context(), dst.Ref("v1"), src.ref(), copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers})
			})
			require.ErrorContains(t, err, c.says)
			var at *copy.Error
			require.ErrorAs(t, err, &at)
			assert.Equal(t, copy.SourceSide, at.Side)
			assert.LessOrEqual(t, src.asked.Load(), c.asked)
			assert.LessOrEqual(t, src.sent.Load(), c.sent)
			assert.Less(t, heap, c.heap)
			assert.Empty(t, dst.Snapshot("app"))
			t.Logf("%d questions, %d bytes, heap %d bytes", src.asked.Load(), src.sent.Load(), heap)
		})
	}
}

// TestAttachedManifestsAreBounded: however few there are, they may not be too large in all.
func TestAttachedManifestsAreBounded(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", "amd64")
	subject, mediaType := f.Document("amd64")
	fat := strings.Repeat("x", 4<<20-1000) // which is put into what is marshalled without: that takes long under the race detector
	config := []byte("{}")
	template, err := json.Marshal(imgspecv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest, ArtifactType: copytest.SbomType,
		Config: imgspecv1.Descriptor{MediaType: copytest.SbomType, Digest: src.PutBlob("app", config), Size: int64(len(config))},
		Layers: []imgspecv1.Descriptor{{
			MediaType: copytest.SbomType, Digest: digest.FromBytes(config), Size: int64(len(config)), Annotations: map[string]string{"n": "NUMBER", "text": "TEXT"},
		}},
		Subject: &imgspecv1.Descriptor{MediaType: mediaType, Digest: f.Digest("amd64"), Size: int64(len(subject))},
	})
	require.NoError(t, err)
	var listed []imgspecv1.Descriptor
	for i := range 17 {
		content := []byte(strings.NewReplacer("NUMBER", strconv.Itoa(i), "TEXT", fat).Replace(string(template)))
		d := digest.FromBytes(content)
		src.PutManifest("app", d.String(), imgspecv1.MediaTypeImageManifest, content)
		listed = append(listed, imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageManifest, Digest: d, Size: 4 << 20})
	}
	index, _, err := endpoint.MergeReferrers(nil, listed)
	require.NoError(t, err)
	src.PutManifest("app", endpoint.ReferrersTag(f.Digest("amd64")), imgspecv1.MediaTypeImageIndex, index)
	// The registry is in the same process; it holds each manifest once, and what it sends once
	// more.
	heap := peakHeap(func() {
		_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{Referrers: copy.AllReferrers, MaxParallelDownloads: 4})
	})
	var limit *copy.AttachmentLimitError
	require.ErrorAs(t, err, &limit)
	assert.Equal(t, "bytes of manifests", limit.What)
	assert.Less(t, heap, uint64(400<<20))
	assert.Empty(t, dst.Snapshot("app"))
}

// TestDigestTagChains: a chain that bites its own tail ends, a long one is refused.
func TestDigestTagChains(t *testing.T) {
	e := copytest.NewEnv(t)
	f := copytest.AttachedFixture()
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", "amd64")
	src.Push(f, copytest.DigestTag(f.Digest("amd64"), ".att"), "cosign-amd64")
	src.Push(f, copytest.DigestTag(f.Digest("cosign-amd64"), ".att"), "cosign-ppc64le")
	src.Push(f, copytest.DigestTag(f.Digest("cosign-ppc64le"), ".att"), "amd64")
	src.Push(f, copytest.DigestTag(f.Digest("cosign-ppc64le"), ".sig"), "cosign-ppc64le")
	for to, newDestination := range copytest.AttachablePlaces {
		t.Run(to, func(t *testing.T) {
			dst := newDestination(t)
			for range 2 {
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{DigestTags: true})
				require.NoError(t, err)
				assert.Len(t, r.Attached, 4)
			}
			assert.Equal(t, f.Digest("amd64"), dst.Top(copytest.DigestTag(f.Digest("cosign-ppc64le"), ".att")))
			assert.Equal(t, f.Digest("cosign-ppc64le"), dst.Top(copytest.DigestTag(f.Digest("cosign-ppc64le"), ".sig")))
		})
	}

	d := f.Digest("amd64")
	for i := range 20 {
		d = copytest.PutArtifact(t, src, copytest.DigestTag(d, ".sbom"), imgspecv1.Manifest{Annotations: map[string]string{"n": fmt.Sprint(i)}}, copytest.SbomType, []byte("{}"))
	}
	_, err := e.Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), src.Ref("v1"), copy.Options{DigestTags: true})
	var limit *copy.AttachmentLimitError
	require.ErrorAs(t, err, &limit)
	assert.Equal(t, "depth", limit.What)
}

// TestReferrerTypes are asked for, left out where the registry lists them all the same, and take
// nothing with them.
func TestReferrerTypes(t *testing.T) {
	f := copytest.AttachedFixture()
	for name, c := range map[string]struct {
		types  []string
		copied []string
		listed int // attachments in the plan
		filter bool
	}{
		"one":      {[]string{copytest.SbomType}, []string{"sbom-amd64"}, 1, true},
		"of those": {[]string{copytest.SignatureType}, nil, 0, true},
		"two":      {[]string{copytest.SbomType, copytest.SignatureType}, []string{"sbom-amd64", "sig-sbom-amd64"}, 2, false},
		"no such":  {[]string{"a/b", "c/d"}, nil, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			copytest.PushAttached(t, f, src, true)
			src.Push(f, "one", "amd64")
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("one"), copy.Options{Referrers: copy.AllReferrers, ReferrerTypes: c.types})
			require.NoError(t, err)
			assert.Len(t, r.Attached, c.listed)
			for _, attached := range []string{"sbom-amd64", "sig-sbom-amd64"} {
				assert.Equal(t, slices.Contains(c.copied, attached), copytest.ManifestAt(dst, f.Digest(attached)) != nil, attached)
			}
			assert.Equal(t, c.filter, src.Count(func(q registrytest.Request) bool { return strings.Contains(q.Query, "artifactType=") }) > 0)
		})
	}
}

// TestAttachedLists carries a list that is a referrer, such as an SBOM for each platform, with what
// is in it and what is attached to that. Children that are missing are an error, or left out on
// request.
func TestAttachedLists(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	for _, name := range []string{"a", "b"} {
		f.Blob("text "+name, copytest.SbomType, []byte(name))
		f.Artifact("sbom "+name, imagetest.ArtifactType(copytest.SbomType), imagetest.Layers("text "+name))
	}
	f.Blob("text sig", copytest.SignatureType, []byte("sig"))
	f.List("inner", imagetest.Entries("sbom b"))
	f.List("sboms", imagetest.ArtifactType(copytest.SbomType), imagetest.Entries("sbom a", "inner"), imagetest.Subject(imagetest.Top))
	f.Artifact("sig of b", imagetest.ArtifactType(copytest.SignatureType), imagetest.Subject("sbom b"), imagetest.Layers("text sig"))
	all := []string{"sboms", "sbom a", "inner", "sbom b", "sig of b"}
	o := copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers}
	for from, newSource := range copytest.AttachablePlaces {
		for to, newDestination := range copytest.AttachablePlaces {
			t.Run(from+" to "+to, func(t *testing.T) {
				e := copytest.NewEnv(t)
				src, dst := newSource(t), newDestination(t)
				src.Push(f, "v1", imagetest.Top)
				copytest.AttachTo(t, src, f, imagetest.Top, "sboms")
				copytest.AttachTo(t, src, f, "sbom b", "sig of b")
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.Len(t, r.Attached, len(all))
				for _, name := range all {
					content, _ := f.Document(name)
					assert.Equal(t, content, copytest.ManifestAt(dst, f.Digest(name)), name)
				}
				again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.Zero(t, again.ManifestsCopied)
			})
		}
	}
	t.Run("missing children", func(t *testing.T) {
		e := copytest.NewEnv(t)
		src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
		src.Push(f, "v1", imagetest.Top)
		src.Push(f, "", "sboms", "sbom a")
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		var missing *copy.MissingError
		require.ErrorAs(t, err, &missing)
		assert.Empty(t, dst.Snapshot("app"))
		skip := o
		skip.MissingInstances = copy.SkipMissing
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), skip)
		require.NoError(t, err)
		assert.Len(t, r.Warnings, 1)
		assert.NotNil(t, copytest.ManifestAt(dst, f.Digest("sbom b")))
	})
}

// TestArtifacts are mirrored byte for byte, natively, whatever they are part of.
func TestArtifacts(t *testing.T) {
	f := imagetest.New()
	empty := []byte("{}")
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	f.Artifact("chart", imagetest.Annotation("org.opencontainers.image.title", "chart"))
	f.Blob("module", "application/wasm", []byte("\x00asm"))
	f.Artifact("wasm", imagetest.Config("application/vnd.wasm.config.v0+json", []byte(`{"architecture":"wasm","os":"wasip1"}`)), imagetest.Layers("module"))
	f.Blob("nothing", imgspecv1.MediaTypeEmptyJSON, empty)
	f.Artifact("empty", imagetest.ArtifactType("application/vnd.example.flag"), imagetest.Config(imgspecv1.MediaTypeEmptyJSON, empty), imagetest.Layers("nothing"),
		imagetest.Unknown("vendor", `{"k":1.50}`), imagetest.Indent("   "))
	f.Blob("plain", "text/plain", []byte("uncompressed"))
	f.Artifact("imagelike", imagetest.Config(imgspecv1.MediaTypeImageConfig,
		fmt.Appendf(nil, `{"rootfs":{"type":"layers","diff_ids":[%q]}}`, f.Digest("plain"))), imagetest.Layers("plain"))
	names := []string{"chart", "wasm", "empty", "imagelike"}
	f.List(imagetest.Top, imagetest.Entries(append([]string{"amd64"}, names...)...), imagetest.ArtifactType("application/vnd.example.bundle"))
	f.List("around", imagetest.Entries(imagetest.Top))
	for _, name := range names {
		f.Artifact(name+" referrer", imagetest.ArtifactType("application/vnd.example."+name), imagetest.Subject(name), imagetest.Layers("module"))
	}

	for from, newSource := range copytest.AttachablePlaces {
		for to, newDestination := range copytest.AttachablePlaces {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				e := copytest.NewEnv(t)
				src := newSource(t)
				for _, name := range append([]string{imagetest.Top, "around"}, names...) {
					src.Push(f, "v-"+name, name)
				}
				for _, name := range names {
					copytest.AttachTo(t, src, f, name, name+" referrer")
				}
				for _, name := range append([]string{imagetest.Top, "around"}, names...) {
					dst := newDestination(t)
					r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v-"+name), copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers})
					require.NoError(t, err, name)
					assert.Equal(t, copy.Native, r.Plan.Way, name)
					dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(name), Fixture: f})
					for _, d := range f.Manifests(name) {
						assert.Equal(t, copytest.ManifestAt(src, d), copytest.ManifestAt(dst, d))
					}
					for _, attached := range r.Attached {
						assert.Equal(t, copytest.ManifestAt(src, attached.Digest), copytest.ManifestAt(dst, attached.Digest))
					}
					want := map[string]int{imagetest.Top: 4, "around": 4}
					want["chart"], want["wasm"], want["empty"], want["imagelike"] = 1, 1, 1, 1
					assert.Len(t, r.Attached, want[name], name)
				}
				// A selection by platform finds the image, and leaves the artifacts.
				dst := newDestination(t)
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v-"+imagetest.Top), copy.Options{
					ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"), SparseManifestListAction: copy.StripSparseManifestList, Referrers: copy.AllReferrers,
				})
				require.NoError(t, err)
				assert.Empty(t, r.Attached)
			})
		}
	}
}

// TestJunkReferrers: what is listed and is no manifest is left out, with a warning.
func TestJunkReferrers(t *testing.T) {
	e := copytest.NewEnv(t)
	f := copytest.AttachedFixture()
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", "amd64")
	var listed []imgspecv1.Descriptor
	for _, junk := range []string{"no JSON", `{"schemaVersion":2,"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[]}`} {
		d := src.PutManifest("app", digest.FromString(junk).String(), imgspecv1.MediaTypeImageManifest, []byte(junk))
		listed = append(listed, imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageManifest, Digest: d, Size: int64(len(junk))})
	}
	index, _, err := endpoint.MergeReferrers(nil, listed)
	require.NoError(t, err)
	src.PutManifest("app", endpoint.ReferrersTag(f.Digest("amd64")), imgspecv1.MediaTypeImageIndex, index)
	src.PutManifest("app", copytest.DigestTag(f.Digest("amd64"), ".sig"), imgspecv1.MediaTypeImageManifest, []byte(`{"layers":1}`))
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{Referrers: copy.AllReferrers, DigestTags: true})
	require.NoError(t, err)
	assert.Len(t, r.Warnings, 3)
	assert.Empty(t, r.Attached)
}
