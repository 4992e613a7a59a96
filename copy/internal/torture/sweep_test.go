//go:build linux

package torture

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/types"
	"golang.org/x/time/rate"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// A workload is a copy that is made to fail in every way.
type workload struct {
	name     string
	fixture  *imagetest.Fixture
	from     string // "registry" or "layout"
	to       string // "registry", "layout", "dir" or "archive"
	options  copy.Options
	strict   bool          // the destination refuses sparse lists
	omit     []string      // what the source does not have
	before   *copy.Options // of an earlier copy of the same; nil: the destination has something else
	late     []string      // what this copy adds to a list that the earlier one has written
	absent   []string      // what is not copied
	repos    int           // how many images are copied in one call of Images; 0: one, with Image
	signed   bool          // with sigstore signatures
	signs    bool          // makes sigstore signatures
	zstd     bool          // layers are wanted to be zstd
	attached bool          // with referrers and cosign's tags
	tagged   bool          // the destination has referrers tags instead of the API
	blobs    bool          // the destination takes lists of blobs, if they are there
	cosigned bool          // the source has a list that cosign has signed, in both of its formats
	plain    bool          // the destination takes plain images only
	resumes  bool          // an upload that an earlier process has begun

	ranged     bool   // the source has a layer that is read in ranges
	redirected bool   // it leads requests for blobs elsewhere
	chunk      uint64 // bytes that one request brings to the destination at most; 0 for no bound
	share      int    // of the sample; sampleShare if 0
}

// A long layer is read in ranges of a piece each.
const (
	long  = 320 << 10
	piece = 64 << 10
)

// cosignatures is how many signatures the list has that cosign has signed.
const cosignatures = 4

// workloads are the copies of the sweep.
func workloads() []workload {
	two := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"), MaxParallelDownloads: 4}
	one := two
	one.InstancePlatforms = copytest.Platforms("linux/amd64")
	strip, auto := two, two
	strip.SparseManifestListAction = copy.StripSparseManifestList
	auto.SparseManifestListAction = copy.AutoSparseManifestList
	all := copy.Options{ImageListSelection: copy.CopyAllImages, MaxParallelDownloads: 4}
	inner := two
	inner.InstancePlatforms = copytest.Platforms("linux/arm/v6", "linux/s390x")
	inner.SparseManifestListAction = copy.StripSparseManifestList
	skip := all
	skip.MissingInstances = copy.SkipMissing
	skip.SparseManifestListAction = copy.StripSparseManifestList
	check := all
	check.CheckBlobs = true
	attached := strip
	attached.Referrers, attached.DigestTags = copy.AllReferrers, true
	suffixes := attached
	suffixes.DigestTagSuffixes = copy.AllDigestTags
	entries := strip
	entries.EntriesAsReferrers = true
	docker := all
	docker.ForceManifestMIMEType = manifest.MediaTypeDockerManifest
	drop := strip
	drop.ChangedSubjects = copy.DropChangedSubjects
	original := strip
	original.AttachOriginal = true
	signed := imagetest.SignedLists()
	unselected := []string{"arm/v7", "ppc64le", "s390x", "riscv64", "386", "arm/v6"}
	small := imagetest.Platforms(3, 2, 100, imagetest.SharedBase())
	large := imagetest.Platforms(2, 2, 300_000)
	layer := imagetest.Platforms(1, 1, long, imagetest.SeededLayers())
	last := []string{"arm/v7"}
	return []workload{
		{name: "fresh", fixture: small, from: "registry", to: "registry", options: all, strict: true},
		{name: "incremental", fixture: small, from: "registry", to: "registry", options: all, strict: true, before: &one, late: []string{"arm64", "arm/v7"}},
		{name: "widening", fixture: small, from: "registry", to: "registry", options: two, before: &one, late: []string{"arm64"}, absent: last},
		{name: "keep", fixture: small, from: "registry", to: "registry", options: two, absent: last},
		{name: "strip", fixture: small, from: "registry", to: "registry", options: strip, strict: true, absent: last},
		{name: "auto", fixture: small, from: "registry", to: "registry", options: auto, strict: true, absent: last},
		{name: "nested", fixture: imagetest.Nested(), from: "registry", to: "registry", options: all, strict: true},
		{name: "nested strip", fixture: imagetest.Nested(), from: "registry", to: "registry", options: inner, strict: true, absent: []string{"amd64", "arm64", "arm/v7"}},
		{name: "attestations", fixture: imagetest.WithAttestations(), from: "registry", to: "registry", options: strip, strict: true, absent: []string{"s390x", "att-s390x"}},
		{name: "missing", fixture: imagetest.WithAttestations(), from: "registry", to: "registry", options: skip, strict: true, omit: []string{"s390x", "att-arm64"}, absent: []string{"s390x", "att-arm64"}},
		{name: "check blobs", fixture: small, from: "registry", to: "registry", options: check, strict: true, before: &all},
		{name: "large", fixture: large, from: "registry", to: "registry", options: all, strict: true},
		{name: "resumed", fixture: imagetest.Platforms(1, 1, 300_000), from: "registry", to: "registry", options: all, strict: true, resumes: true},
		{name: "single", fixture: small, from: "registry", to: "registry", options: copy.Options{}, absent: []string{"arm64", "arm/v7"}},
		{name: "signed", fixture: imagetest.Platforms(2, 1, 100), from: "registry", to: "registry", options: all, strict: true, signed: true},
		{name: "referrers", fixture: copytest.AttachedFixture(), from: "registry", to: "registry", options: attached, strict: true, attached: true, absent: []string{"arm/v7", "ppc64le"}},
		{name: "referrers tags", fixture: copytest.AttachedFixture(), from: "registry", to: "registry", options: attached, strict: true, attached: true, tagged: true, absent: []string{"arm/v7", "ppc64le"}},
		{name: "all digest tags", fixture: copytest.AttachedFixture(), from: "registry", to: "registry", options: suffixes, strict: true, attached: true, absent: []string{"arm/v7", "ppc64le"}},
		{name: "entries as referrers", fixture: copytest.BuildKitFixture(), from: "registry", to: "registry", options: entries, strict: true, tagged: true, absent: []string{"s390x", "att-s390x", "ppc64le", "of inner"}},
		{name: "cache", fixture: imagetest.Cache(2, 100), from: "registry", to: "registry", options: auto, blobs: true},
		{name: "cache, again", fixture: imagetest.Cache(2, 100), from: "registry", to: "registry", options: auto, blobs: true, before: &all},
		{name: "many", fixture: imagetest.Platforms(2, 1, 100), from: "registry", to: "registry", options: all, strict: true, repos: 3},
		{name: "transformed", fixture: partlyPlain(), from: "registry", to: "registry", options: all, strict: true},
		{name: "transformed, again", fixture: partlyPlain(), from: "registry", to: "registry", options: all, strict: true, before: &all},
		{name: "transformed, strip", fixture: partlyPlain(), from: "registry", to: "registry", options: drop, strict: true, absent: last},
		{name: "transformed, auto", fixture: partlyPlain(), from: "registry", to: "registry", options: auto, strict: true, zstd: true, absent: last},
		{name: "transformed, nested", fixture: imagetest.Nested(), from: "registry", to: "registry", options: inner, strict: true, zstd: true, absent: []string{"amd64", "arm64", "arm/v7"}},
		{name: "transformed to a layout", fixture: partlyPlain(), from: "registry", to: "layout", options: two, absent: last},
		{name: "converted", fixture: small, from: "registry", to: "registry", options: docker, strict: true},
		{name: "signing", fixture: small, from: "registry", to: "registry", options: all, strict: true, signs: true},
		{name: "signing, again", fixture: small, from: "registry", to: "registry", options: all, strict: true, signs: true, before: &all},
		{name: "signing, strip", fixture: small, from: "registry", to: "registry", options: strip, strict: true, signs: true, absent: last},
		{name: "signing, nested", fixture: imagetest.Nested(), from: "registry", to: "registry", options: all, strict: true, signs: true},
		{name: "signing what is transformed", fixture: partlyPlain(), from: "registry", to: "registry", options: all, strict: true, signs: true, zstd: true},
		{name: "original", fixture: signed, from: "registry", to: "registry", options: original, strict: true, cosigned: true, absent: unselected},
		{name: "original, by the tag", fixture: signed, from: "registry", to: "registry", options: original, strict: true, cosigned: true, tagged: true, absent: unselected},
		{name: "original as a plain image", fixture: signed, from: "registry", to: "registry", options: original, strict: true, cosigned: true, plain: true, absent: unselected},
		{name: "original to a layout", fixture: signed, from: "registry", to: "layout", options: original, cosigned: true, absent: unselected},
		{name: "to a layout", fixture: small, from: "registry", to: "layout", options: strip, absent: last},
		{name: "to a layout, widening", fixture: small, from: "registry", to: "layout", options: two, before: &one, late: []string{"arm64"}, absent: last},
		{name: "from a layout", fixture: imagetest.WithAttestations(), from: "layout", to: "registry", options: strip, strict: true, absent: []string{"s390x", "att-s390x"}},
		{name: "to a directory", fixture: small, from: "registry", to: "dir", options: strip, absent: last},
		{name: "to an archive", fixture: small, from: "registry", to: "archive", options: strip, absent: last},
		{name: "ranges", fixture: layer, from: "registry", to: "registry", options: all, ranged: true, share: 32},
		{name: "ranges elsewhere", fixture: layer, from: "registry", to: "layout", options: all, ranged: true, redirected: true, share: 20},
		{name: "chunks", fixture: layer, from: "registry", to: "registry", options: all, chunk: piece, share: 26},
		{name: "ranges into chunks", fixture: layer, from: "registry", to: "registry", options: all, ranged: true, chunk: piece, share: 8},
	}
}

// partlyPlain has two images with layers that registries want compressed, and one without.
func partlyPlain() *imagetest.Fixture {
	f := imagetest.New()
	f.Layer("base", imagetest.Random(1, 100))
	f.Layer("plain", imagetest.Random(2, 100), imagetest.Uncompressed())
	for _, name := range []string{"amd64", "arm64"} {
		f.Layer(name+".plain", imagetest.Random(3, 100), imagetest.File("name", name), imagetest.Uncompressed())
		f.Image(name, imagetest.Platform("linux/"+name), imagetest.Layers("base", "plain", name+".plain"))
	}
	f.Image("arm/v7", imagetest.Platform("linux/arm/v7"), imagetest.Layers("base"))
	f.List(imagetest.Top, imagetest.Entries("amd64", "arm64", "arm/v7"))
	return f
}

// A fault is a way in which one request goes wrong.
type fault struct {
	name    string
	answer  registrytest.Answer
	method  func(string) bool // of requests that can go wrong in this way; nil: all
	again   bool              // the same request goes wrong whenever it comes again
	refuse  bool              // the port is closed from then on
	slow    bool              // takes as long as the stall timeout
	denies  bool              // says that the object is not there, as a healthy registry would
	page    bool              // a web page with status 200
	like404 bool              // what some registries say of an API that they do not have
	passes  bool              // that a copy survives: it tries again
}

func download(method string) bool { return method == http.MethodGet }
func upload(method string) bool   { return method == http.MethodPut || method == http.MethodPatch }
func chunk(method string) bool    { return method == http.MethodPatch }

// passing are the statuses that registries recover from.
var passing = []int{408, 429, 500, 502, 503, 504}

// sweepFaults are the faults of the sweep.
func sweepFaults() []fault {
	all := []fault{
		{name: "refused", refuse: true},
		{name: "closed", answer: registrytest.Close(), passes: true},
		{name: "closed for ever", answer: registrytest.Close(), again: true},
		{name: "lost", answer: registrytest.LostAnswer(), passes: true},
		{name: "lost for ever", answer: registrytest.LostAnswer(), again: true},
		{name: "stall", answer: registrytest.Stall(), slow: true, passes: true},
		{name: "stall for ever", answer: registrytest.Stall(), slow: true, again: true},
		{name: "404 denied", answer: registrytest.Fail(404, "DENIED", "hidden")},
		{name: "404 not there", answer: registrytest.Fail(404, "MANIFEST_UNKNOWN", "unknown"), denies: true},
		{name: "404 page", answer: registrytest.FailHTML(404), denies: true},
		{name: "200 page", answer: registrytest.FailHTML(200), page: true},
		{name: "200 page for ever", answer: registrytest.FailHTML(200), again: true, page: true, like404: true},
		{name: "503 page", answer: registrytest.FailHTML(503), passes: true},
		{name: "redirect loop", again: true, answer: registrytest.Answer{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {""}}}},
		{name: "redirect nowhere", answer: registrytest.Answer{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}},
	}
	for _, at := range []int64{0, 50, 150_000} {
		all = append(all,
			fault{name: fmt.Sprintf("cut after %d", at), answer: registrytest.CutBody(at), method: download, passes: true},
			fault{name: fmt.Sprintf("cut after %d for ever", at), answer: registrytest.CutBody(at), method: download, again: true},
			fault{name: fmt.Sprintf("upload cut after %d", at), answer: registrytest.CutUpload(at), method: upload, passes: true},
			fault{name: fmt.Sprintf("upload cut after %d for ever", at), answer: registrytest.CutUpload(at), method: upload, again: true},
			fault{name: fmt.Sprintf("wrong byte at %d", at), answer: registrytest.Corrupt(at), method: download},
			fault{name: fmt.Sprintf("wrong byte at %d for ever", at), answer: registrytest.Corrupt(at), method: download, again: true},
			fault{name: fmt.Sprintf("stall after %d", at), answer: registrytest.StallBody(at), method: download, slow: true, passes: true},
			fault{name: fmt.Sprintf("upload stalls after %d", at), answer: registrytest.StallUpload(at), method: upload, slow: true, passes: true},
		)
	}
	for _, delta := range []int64{-50, -1, 1, 1000} {
		all = append(all, fault{name: fmt.Sprintf("length %+d", delta), answer: registrytest.WrongLength(delta), method: download})
	}
	for _, status := range []int{400, 401, 403, 405, 408, 409, 412, 413, 416, 429, 500, 502, 503, 504} {
		answer := registrytest.Fail(status, "UNKNOWN", "a fault")
		all = append(all,
			fault{name: fmt.Sprint(status), answer: answer, passes: slices.Contains(passing, status)},
			fault{name: fmt.Sprint(status, " for ever"), answer: answer, again: true, like404: status == 400 || status == 405})
	}
	return all
}

// rangeFaults are answers to requests for ranges that are none, or of something else. None fails a
// copy.
func rangeFaults() []fault {
	var all []fault
	for _, f := range []struct {
		name string
		form registrytest.RangeForm
	}{
		{"range ignored", registrytest.RangeIgnored}, {"range refused", registrytest.RangeRefused}, {"another range", registrytest.RangeFirst},
		{"range of other bytes", registrytest.RangeFalse}, {"range coded", registrytest.RangeCoded}, {"range of no size", registrytest.RangeWithoutSize},
		{"moving tag", registrytest.RangeMovingTag}, {"weak tag", registrytest.RangeWeakTag},
	} {
		answer := registrytest.Answer{Ranges: f.form}
		all = append(all,
			fault{name: f.name, answer: answer, method: download, passes: true},
			fault{name: f.name + " for ever", answer: answer, method: download, again: true, passes: true})
	}
	return all
}

// chunkFaults are answers to a chunk that is not kept. None fails a copy.
func chunkFaults() []fault {
	var all []fault
	for _, f := range []struct {
		name   string
		answer registrytest.Answer
	}{
		{"chunk stored as all", registrytest.Answer{Status: http.StatusCreated}},
		{"chunk not kept", registrytest.Answer{Status: http.StatusAccepted, Header: http.Header{"Range": {"0-0"}}}},
		{"chunk lost", registrytest.Answer{Status: http.StatusAccepted}},
	} {
		all = append(all,
			fault{name: f.name, answer: f.answer, method: chunk, passes: true},
			fault{name: f.name + " for ever", answer: f.answer, method: chunk, again: true, passes: true})
	}
	return all
}

// faults are those of the sweep that can happen to w.
func (w *workload) faults() []fault {
	all := sweepFaults()
	if w.ranged {
		all = append(all, rangeFaults()...)
	}
	if w.chunk > 0 {
		all = append(all, chunkFaults()...)
	}
	return all
}

// A sweepCase is one fault at one request of one side of a workload.
type sweepCase struct {
	w     *prepared
	side  copy.Side
	n     int
	fault fault
}

func (c sweepCase) String() string {
	return fmt.Sprintf("%s/%s/%d/%s", c.w.name, c.side, c.n, c.fault.name)
}

// prepared is a workload with everything that its runs begin with and should end with.
type prepared struct {
	workload
	env         *copytest.Env
	source      *registrytest.Registry // content; nil if the source is a layout
	sourceDir   string
	destination *registrytest.Registry // content before; nil if the destination is none
	destDir     string                 // content before: the layout, or what dir or archive is in
	oldTop      digest.Digest
	newTop      digest.Digest
	snapshot    map[string]string            // of each repository after a copy without faults
	methods     map[copy.Side]map[int]string // of the requests of such a copy
}

// repo is the name of the i-th repository.
func repo(i int) string { return fmt.Sprintf("team/app%d", i) }

func (w *prepared) repositories() int { return max(w.repos, 1) }

// prepare makes what the runs of a workload begin with, and runs it once without a fault.
func (w workload) prepare(t *testing.T) *prepared {
	p := &prepared{workload: w, snapshot: map[string]string{}, methods: map[copy.Side]map[int]string{}}
	if w.signed || w.signs {
		p.env = copytest.NewAttachmentsEnv(t)
	} else {
		p.env = copytest.NewEnv(t)
	}
	dir := t.TempDir()
	switch {
	case w.from == "layout":
		p.sourceDir = filepath.Join(dir, "source")
		require.NoError(t, w.fixture.WriteLayout(p.sourceDir, "v1", imagetest.Top, w.omit...))
	case w.signed:
		signed := copytest.SignedSource(t, p.env, w.fixture, registrytest.Options{})
		p.source = registrytest.NewHandler(registrytest.Options{})
		for _, d := range signed.Blobs("app") {
			content, _ := signed.Content("app", d)
			p.source.PutContent(repo(0), content)
		}
		for _, tag := range signed.Tags("app") {
			b, mediaType, _ := signed.Manifest("app", tag)
			p.source.PutManifest(repo(0), tag, mediaType, b)
		}
		for _, d := range signed.Manifests("app") {
			b, mediaType, _ := signed.Manifest("app", d.String())
			p.source.PutManifest(repo(0), d.String(), mediaType, b)
		}
	case w.cosigned:
		p.source = registrytest.NewHandler(registrytest.Options{})
		imagetest.PushSigned(p.source, repo(0), imagetest.SignedTags, imagetest.SignedBundles)
	case w.attached:
		p.source = registrytest.NewHandler(registrytest.Options{})
		copytest.PushAttached(t, w.fixture, copytest.RegistryAt(t, p.source, repo(0)), true)
	default:
		p.source = registrytest.NewHandler(registrytest.Options{})
		for i := range p.repositories() {
			w.fixture.PushTo(p.source, repo(i), "v1", imagetest.Top, w.omit...)
		}
	}
	p.destDir = filepath.Join(dir, "destination")
	require.NoError(t, os.Mkdir(p.destDir, 0o700))
	if w.to == "registry" {
		p.destination = registrytest.NewHandler(registrytest.Options{})
	}
	p.makeOld(t)
	p.learn(t)
	return p
}

// old is what a destination has when a run begins, unless an earlier copy has written it.
var old = imagetest.Platforms(1, 1, 50)

func (w *prepared) makeOld(t *testing.T) {
	if w.before == nil && w.to == "registry" {
		for i := range w.repositories() {
			w.oldTop = old.PushTo(w.destination, repo(i), "v1", "amd64")
		}
		return
	}
	r := w.begin(t, registrytest.Options{}, registrytest.Options{}, 0)
	defer r.end()
	if w.before != nil {
		require.NoError(t, r.copy(*w.before)[0])
	} else {
		src := copytest.StartPeer(t, registrytest.Options{}, nil)
		old.PushTo(src.Registry, repo(0), "v1", "amd64")
		r.source = func(int) types.ImageReference { return src.Ref(t, repo(0), "v1") }
		require.NoError(t, r.copy(copy.Options{})[0])
	}
	w.oldTop = r.top(0)
	if w.to == "registry" {
		kept := registrytest.NewHandler(registrytest.Options{})
		(&copytest.Peer{Registry: kept}).Fill(r.dst.Registry)
		w.destination = kept
		return
	}
	w.destDir = filepath.Join(t.TempDir(), "destination")
	require.NoError(t, os.CopyFS(w.destDir, os.DirFS(r.dir)))
}

// learn runs the workload without a fault and notes what it leads to.
func (w *prepared) learn(t *testing.T) {
	r := w.begin(t, registrytest.Options{}, registrytest.Options{Strict: w.strict}, 0)
	defer r.end()
	for _, err := range r.copy(w.options) {
		require.NoError(t, err, w.name)
	}
	w.newTop = r.top(0)
	require.Empty(t, r.incomplete(w.newTop), w.name)
	for side, p := range map[copy.Side]*copytest.Peer{copy.SourceSide: r.src, copy.DestinationSide: r.dst} {
		if p == nil {
			continue
		}
		w.methods[side] = map[int]string{}
		for _, q := range p.Requests() {
			w.methods[side][q.N-r.earlier.requests(r, p)] = q.Method
		}
	}
	if r.dst != nil {
		for _, name := range r.dst.Repos() {
			w.snapshot[name] = r.dst.Snapshot(name)
		}
	}
}

// A run is a workload with ends of its own.
type run struct {
	*prepared
	t        testing.TB
	src, dst *copytest.Peer // nil where the end is none
	dir      string
	source   func(int) types.ImageReference
	copier   *copy.Copier
	earlier  *earlierProcess // nil if there was none
	// fewer is set if a copy may have left behind signatures of an original that the source did not
	// tell of, and catchesUp once the next may bring them, to a list that has its tag.
	fewer, catchesUp bool
}

// redirecting leads requests for blobs to another name of the host, by a signed URL, unless script
// has something else for them.
func redirecting(script registrytest.Script) registrytest.Script {
	blobs := registrytest.Matching(http.MethodGet, registrytest.KindBlob)
	return func(n int, req *http.Request) (a registrytest.Answer) {
		if script != nil {
			a = script(n, req)
		}
		if !blobs(req) || req.URL.RawQuery != "" || a.Status != 0 || a.Fault != registrytest.FaultNone || a.Ranges != registrytest.RangeComplete {
			return a
		}
		_, port, _ := net.SplitHostPort(req.Host)
		to := "http://localhost:" + port + req.URL.Path + "?signature=" + rand.Text()
		return registrytest.Answer{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {to}}}
	}
}

// paced brings each answer at 8 MiB in a second: otherwise what a connection brings first is all
// there before another one has begun.
func paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		next.ServeHTTP(&pacedWriter{w, req.Context(), rate.NewLimiter(8<<20, pacedPiece)}, req)
	})
}

type pacedWriter struct {
	http.ResponseWriter
	ctx   context.Context
	limit *rate.Limiter
}

// pacedPiece is how many bytes are written at once.
const pacedPiece = 16 << 10

func (w *pacedWriter) Write(p []byte) (n int, err error) {
	for piece := range slices.Chunk(p, pacedPiece) {
		if err := w.limit.WaitN(w.ctx, len(piece)); err != nil {
			return n, err
		}
		m, err := w.ResponseWriter.Write(piece)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begin makes the ends of a run.
func (w *prepared) begin(t testing.TB, so, do registrytest.Options, stall time.Duration) *run {
	r := &run{prepared: w, t: t}
	if w.resumes {
		r.earlier = newEarlierProcess(t, &so, &do)
	}
	r.copier = r.impatient(stall)
	if w.source != nil {
		var wrap func(http.Handler) http.Handler
		if w.ranged {
			wrap = paced
		}
		if w.redirected {
			so.Script = redirecting(so.Script)
		}
		r.src = copytest.NewPeer(t, so, wrap)
		r.src.Fill(w.source)
		r.source = func(i int) types.ImageReference { return r.src.Ref(t, repo(i), "v1") }
	} else {
		r.source = func(int) types.ImageReference { return copytest.LayoutRef(t, w.sourceDir, "v1") }
	}
	if w.to == "registry" {
		do.NoReferrers = w.tagged
		if w.blobs {
			do.ListPolicy = registrytest.Distribution28
		}
		if w.plain {
			do.TypePolicy = registrytest.QuayTypes(nil)
		}
		r.dst = copytest.NewPeer(t, do, nil)
		r.dst.Fill(w.destination)
		if w.resumes {
			r.earlier.run(r)
		}
		return r
	}
	dir, err := os.MkdirTemp("", "torture")
	require.NoError(t, err)
	r.dir = filepath.Join(dir, "destination")
	require.NoError(t, os.CopyFS(r.dir, os.DirFS(w.destDir)))
	return r
}

// impatient is what the copies of r share.
func (r *run) impatient(stall time.Duration) *copy.Copier {
	o := impatience(stall, r.options)
	o.ChunkSize = r.chunk
	if r.earlier != nil {
		o.ResumeDir = r.earlier.dir
	}
	return copy.NewCopier(o)
}

func (r *run) end() {
	_ = r.copier.Close()
	if r.earlier != nil {
		_ = os.RemoveAll(r.earlier.dir)
	}
	for _, p := range []*copytest.Peer{r.src, r.dst} {
		if p != nil {
			p.Stop()
		}
	}
	if r.dir != "" {
		_ = os.RemoveAll(filepath.Dir(r.dir))
	}
}

// Where in r.dir what is written is.
func (r *run) layout() string  { return filepath.Join(r.dir, "layout") }
func (r *run) archive() string { return filepath.Join(r.dir, "image.tar") }

func (r *run) destinationRef(i int) types.ImageReference {
	switch r.to {
	case "registry":
		return r.dst.Ref(r.t, repo(i), "v1")
	case "layout":
		return copytest.LayoutRef(r.t, r.layout(), "v1")
	case "dir":
		return copytest.DirRef(r.t, r.layout())
	}
	return copytest.ArchiveRef(r.t, r.archive(), "v1")
}

// copy copies, and returns an error for each image.
func (r *run) copy(o copy.Options) []error {
	ctx := r.t.Context()
	sys := *r.env.Sys
	if r.zstd {
		sys.CompressionFormat = &compression.Zstd
	}
	o.SourceCtx, o.DestinationCtx = &sys, &sys
	if r.signs {
		signers := signerPool(r.t)
		s := <-signers
		defer func() { signers <- s }()
		o.Signers, o.SignIdentity = []*signer.Signer{s}, signedAs // each run has a port of its own
	}
	// Policies serve one copy at a time, and runs are concurrent.
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	require.NoError(r.t, err)
	defer func() { _ = policy.Destroy() }()
	if r.repos == 0 {
		_, err := r.copier.Image(ctx, policy, r.destinationRef(0), r.source(0), &o)
		return []error{err}
	}
	var jobs []copy.Job
	for i := range r.repos {
		jobs = append(jobs, copy.Job{Destination: r.destinationRef(i), Source: r.source(i)})
	}
	var errs []error
	for _, result := range copy.Images(ctx, policy, jobs, &copy.ImagesOptions{Options: &o}) {
		errs = append(errs, result.Err)
	}
	return errs
}

// store is the i-th destination for the checker. done must be called.
func (r *run) store() (s imagetest.Store, done func()) {
	switch r.to {
	case "layout":
		return imagetest.LayoutStore(r.layout()), func() {}
	case "dir":
		return dirStore(r.layout()), func() {}
	}
	dir, err := os.MkdirTemp("", "torture")
	require.NoError(r.t, err)
	if err := untar(r.archive(), dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Errorf("%s: %v", r.archive(), err)
	}
	return imagetest.LayoutStore(dir), func() { _ = os.RemoveAll(dir) }
}

func untar(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		header, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(header.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
}

// top is what the tag of the i-th destination names, "" if nothing.
func (r *run) top(i int) digest.Digest {
	if r.to == "registry" {
		d, _ := r.dst.Resolve(repo(i), "v1")
		return d
	}
	s, done := r.store()
	defer done()
	top, err := s.Top("v1")
	if err != nil {
		return ""
	}
	return top.Digest
}

// incomplete says what is wrong with the destinations after a copy that succeeded.
func (r *run) incomplete(top digest.Digest) []string {
	var all []string
	for i := range r.repositories() {
		all = append(all, r.incompleteAt(i, imagetest.Want{
			Tag: "v1", Digest: top, Fixture: r.fixture, Absent: r.absent, Late: r.late,
		})...)
	}
	return all
}

func (r *run) incompleteAt(i int, want imagetest.Want) []string {
	var c complaints
	if r.cosigned {
		want.Original, want.OriginalSignatures, want.OriginalOptional = imagetest.Top, cosignatures, want.Digest == "" || r.fewer
	}
	switch r.to {
	case "registry":
		if r.catchesUp {
			c = append(c, imagetest.Inspect(imagetest.RegistryStore(r.dst.Registry, repo(i)), want)...)
		} else {
			imagetest.CheckRegistry(&c, r.dst.Registry, repo(i), want)
		}
		if want.Digest == "" {
			break
		}
		if r.signs { // new signatures are never the same
			return append(c, r.unsigned(i)...)
		}
		if r.cosigned { // nor are originals of sources at other ports
			return append(c, r.unattached(i)...)
		}
		there := r.dst.Snapshot(repo(i))
		for line := range strings.SplitSeq(r.snapshot[repo(i)], "\n") {
			if !strings.Contains(there, line) {
				c.Errorf("a copy without faults leaves %q here", line)
			}
		}
	case "layout":
		imagetest.CheckLayout(&c, r.layout(), want)
	default:
		s, done := r.store()
		defer done()
		c = append(c, imagetest.Inspect(s, want)...)
	}
	return c
}

// unattached says what nobody finds of the original that is attached to the i-th destination.
func (r *run) unattached(i int) []string {
	found, err := r.copier.AttachedOriginal(r.t.Context(), r.destinationRef(i), &copy.ReadOptions{SystemContext: r.env.Sys, Side: copy.DestinationSide})
	switch {
	case err != nil:
		return []string{fmt.Sprintf("looking for the original: %v", err)}
	case len(found.Artifacts) == 0 || len(found.Artifacts) != 1+cosignatures && !r.fewer:
		return []string{fmt.Sprintf("the original and its signatures are found in %d artifacts, and not in %d", len(found.Artifacts), 1+cosignatures)}
	}
	return nil
}

// All is not what the checker asks of a directory: it looks for what should be absent.
func (s dirStore) All() []digest.Digest {
	var all []digest.Digest
	entries, _ := os.ReadDir(string(s))
	for _, entry := range entries {
		if d := digest.NewDigestFromEncoded(digest.SHA256, strings.TrimSuffix(entry.Name(), ".manifest.json")); d.Validate() == nil {
			all = append(all, d)
		}
	}
	if top, err := s.Top(""); err == nil {
		all = append(all, top.Digest)
	}
	return all
}

func (s dirStore) Blob(d digest.Digest) (io.ReadCloser, int64, bool) {
	f, err := os.Open(filepath.Join(string(s), d.Encoded()))
	if err != nil {
		return nil, 0, false
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, false
	}
	return f, info.Size(), true
}

// neitherOldNorNew says what is wrong with the i-th destination after a copy that failed.
func (r *run) neitherOldNorNew(i int, newTop digest.Digest) []string {
	switch top := r.top(i); {
	case top == r.oldTop && r.before == nil:
		var c complaints
		if r.to == "registry" {
			imagetest.CheckUnchanged(&c, r.dst.Registry, repo(i), "v1", r.oldTop)
		}
		return append(c, r.incompleteOld(i)...)
	case top == r.oldTop:
		return r.incompleteOld(i)
	case top == newTop:
		return r.incompleteAt(i, imagetest.Want{Tag: "v1", Fixture: r.fixture, Absent: r.absent, Late: r.late})
	default:
		return []string{fmt.Sprintf("the tag names %q, which is neither the old %s nor the new %s", top, r.oldTop, newTop)}
	}
}

// incompleteOld says what is missing of what the tag named before.
func (r *run) incompleteOld(i int) []string {
	want := imagetest.Want{Tag: "v1", Digest: r.oldTop, Fixture: old}
	if r.before != nil { // by a copy that left out what this one adds
		want.Fixture, want.Optional, want.Late = r.fixture, append(append([]string{}, r.late...), r.absent...), r.late
	}
	var c complaints
	if r.to == "registry" {
		c = append(c, imagetest.Inspect(imagetest.RegistryStore(r.dst.Registry, repo(i)), want)...)
		return c
	}
	s, done := r.store()
	defer done()
	return append(c, imagetest.Inspect(s, want)...)
}

// sweepStall is the StallTimeout of runs with faults that stall: long enough for a machine that
// stands still for some seconds to be told apart from a stall. The full form has thousands of such
// runs, and is for a machine that has nothing else to do.
func sweepStall() time.Duration {
	if fullTorture() {
		return 3 * time.Second
	}
	return 10 * time.Second
}

// play runs a case, and reports whether the fault was injected and what is wrong afterwards.
func (c sweepCase) play(t testing.TB) (injected bool, violations []string) {
	var over, fired atomic.Bool
	var again atomic.Pointer[http.Request]
	var victim *copytest.Peer
	script := func(n int, req *http.Request) registrytest.Answer {
		if over.Load() {
			return registrytest.Answer{}
		}
		if first := again.Load(); first != nil {
			if c.fault.again && first.Method == req.Method && first.URL.Path == req.URL.Path {
				return c.fault.answerTo(req)
			}
			return registrytest.Answer{}
		}
		if n != c.n || c.fault.method != nil && !c.fault.method(req.Method) {
			return registrytest.Answer{}
		}
		again.Store(req)
		fired.Store(true)
		if c.fault.refuse {
			victim.Shut()
			return registrytest.Close()
		}
		return c.fault.answerTo(req)
	}
	so, do := registrytest.Options{}, registrytest.Options{Strict: c.w.strict}
	if c.side == copy.SourceSide {
		so.Script = script
	} else {
		do.Script = script
	}
	stall := time.Duration(0)
	if c.fault.slow {
		stall = sweepStall()
	}
	r := c.w.begin(t, so, do, stall)
	defer r.end()
	victim = r.src
	if c.side == copy.DestinationSide {
		victim = r.dst
	}

	r.fewer = r.cosigned && c.side == copy.SourceSide
	errs := r.copy(c.w.options)
	over.Store(true)
	for i, err := range errs {
		switch {
		case err == nil && c.side == copy.SourceSide && (c.fault.denies || c.fault.like404 && c.fault.again && isReferrers(again.Load())):
			// What follows its subject may be missing: then another list is written, complete.
			// Registries without the referrers API have all kinds of answers.
			violations = append(violations, r.incompleteAt(i, imagetest.Want{Tag: "v1", Fixture: r.fixture, Late: r.late, Optional: r.absent})...)
		case err == nil:
			violations = append(violations, r.incompleteAt(i, imagetest.Want{Tag: "v1", Digest: r.newTop, Fixture: r.fixture, Absent: r.absent, Late: r.late})...)
		default:
			if why := unclear(err, c.side); why != "" {
				violations = append(violations, fmt.Sprintf("%s: %v", why, err))
			}
			violations = append(violations, r.neitherOldNorNew(i, r.newTop)...)
			if c.fault.passes && fired.Load() {
				violations = append(violations, "a fault that passes failed the copy")
			}
		}
	}
	for i := range violations {
		violations[i] = fmt.Sprintf("first run (%v): %s", errors.Join(errs...), violations[i])
	}
	if err := victim.Open(); err != nil {
		t.Errorf("%v: the port cannot be opened again: %v", c, err)
	}
	_ = r.copier.Close()
	r.copier = r.impatient(0)
	r.fewer, r.catchesUp = false, r.fewer
	for _, err := range r.copy(c.w.options) {
		if err != nil {
			violations = append(violations, fmt.Sprintf("second run: %v", err))
		}
	}
	for _, v := range r.incomplete(r.newTop) {
		violations = append(violations, "after the second run: "+v)
	}
	return fired.Load(), violations
}

func isReferrers(req *http.Request) bool {
	return req != nil && strings.Contains(req.URL.Path, "/referrers/")
}

func (f fault) answerTo(req *http.Request) registrytest.Answer {
	if f.name == "redirect loop" {
		a := f.answer
		a.Header = http.Header{"Location": {req.URL.RequestURI()}}
		return a
	}
	return f.answer
}

// unclear says why an error does not say enough about a fault at side, "" if it does.
func unclear(err error, side copy.Side) string {
	var (
		missing  *copy.MissingError
		required *copy.RequiredError
		empty    *copy.EmptyError
		noMatch  *copy.NoMatchError
		fixed    *copy.CannotModifyError // whether the list is signed could not be asked
		refused  *copy.SparseRefusedError
		at       *copy.Error
	)
	switch {
	case errors.As(err, &missing), errors.As(err, &required), errors.As(err, &empty), errors.As(err, &noMatch), errors.As(err, &fixed):
		if side != copy.SourceSide {
			return "an error about the source"
		}
		return ""
	case errors.As(err, &refused):
		if side != copy.DestinationSide {
			return "an error about the destination"
		}
		return ""
	case !errors.As(err, &at):
		return "an error without operation, side and object"
	case at.Op == "" || at.Object == "":
		return "an error without operation or object"
	case at.Side != side:
		return "an error that blames the " + string(at.Side)
	}
	return ""
}

// TestTortureSweep makes every request of every workload go wrong in every way that applies. Each
// time the copy must succeed with a complete destination, or fail with an error that says where,
// and with the tag as it was; a second run must complete it.
func TestTortureSweep(t *testing.T) {
	seed := tortureSeed(t)
	var cases []sweepCase
	for _, w := range workloads() {
		p := w.prepare(t)
		for _, side := range []copy.Side{copy.SourceSide, copy.DestinationSide} {
			cases = append(cases, p.cases(side)...)
		}
	}
	possible := len(cases)
	cases = sample(cases, seed)
	tally := playAll(t, cases, func(t *testing.T, c sweepCase) { c.report(t, seed) })
	t.Logf("seed %d: %d faults injected into %d workloads (of %d possible cases), %d violations",
		seed, tally.faults.Load(), len(workloads()), possible, tally.violations.Load())
}

// cases are the cases of a workload at one side.
func (w *prepared) cases(side copy.Side) []sweepCase {
	var cases []sweepCase
	methods := w.methods[side]
	for n := 1; n <= len(methods); n++ {
		for _, f := range w.faults() {
			c := sweepCase{w, side, n, f}
			switch {
			case f.method != nil && !f.method(methods[n]):
			case w.repos > 0 && (f.slow || f.again || f.refuse): // Images is as patient as its callers need it
			case strings.Contains(c.String(), tortureCase()):
				cases = append(cases, c)
			}
		}
	}
	return cases
}

// tally counts what a sweep did.
type tally struct{ faults, violations atomic.Int64 }

var swept tally

// report plays a case and reports its violations.
func (c sweepCase) report(t *testing.T, seed uint64) {
	injected, violations := c.play(t)
	if injected {
		swept.faults.Add(1)
	}
	if len(violations) > 0 {
		swept.violations.Add(int64(len(violations)))
		t.Errorf("%v:\n\t%s\n\tto repeat: %s", c, strings.Join(violations, "\n\t"), howToRepeat(t, seed, c.String()))
	}
}

// Sizes of the sample, which the short form makes do with.
const (
	sampleShare = 4  // of each workload, however many requests it has
	sampleSlow  = 12 // in all, of those that take as long as the stall timeout
)

// sample returns all cases in the full form, in a random order, and some in the short one: as far
// as the shares go, each fault at each side, and then more.
func sample(cases []sweepCase, seed uint64) []sweepCase {
	byLot(cases, seed)
	if fullTorture() {
		return cases
	}
	var some []sweepCase
	slow, taken := 0, map[*prepared]int{}
	chosen, tried := make([]bool, len(cases)), map[string]bool{}
	for _, onlyNew := range []bool{true, false} {
		for i, c := range cases {
			what := string(c.side) + "/" + c.fault.name
			switch {
			case chosen[i], onlyNew && tried[what], taken[c.w] == cmp.Or(c.w.share, sampleShare), c.fault.slow && slow == sampleSlow:
				continue
			case c.fault.slow:
				slow++
			}
			chosen[i], tried[what] = true, true
			taken[c.w]++
			some = append(some, c)
		}
	}
	return some
}

// timeIsUp reports whether the test has to come to its end: what was not tried by then is not
// tried. The order is random, so what was tried is a sample of everything.
func timeIsUp(t *testing.T) bool {
	deadline, ok := t.Deadline()
	return ok && time.Until(deadline) < time.Minute
}

// playAll plays cases concurrently, as subtests: those that stall, which need no processor, apart
// from the others.
func playAll(t *testing.T, cases []sweepCase, play func(*testing.T, sweepCase)) *tally {
	var workers sync.WaitGroup
	start := func(n int, slow bool) {
		queue := make(chan sweepCase)
		for range n {
			workers.Go(func() {
				for c := range queue {
					t.Run(c.String(), func(t *testing.T) { play(t, c) })
				}
			})
		}
		workers.Go(func() {
			defer close(queue)
			for _, c := range cases {
				if timeIsUp(t) {
					return
				}
				if c.fault.slow == slow {
					queue <- c
				}
			}
		})
	}
	start(4*runtime.GOMAXPROCS(0), false)
	start(32, true)
	workers.Wait()
	return &swept
}
