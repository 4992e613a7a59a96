//go:build linux

package torture

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// A scenario is a copy that was made up: a tree of lists, a source that may lack parts of it,
// options, a destination that is of some kind and has something already, and faults. Everything
// follows from seed and size; a smaller size makes a smaller tree.
type scenario struct {
	seed uint64
	size int

	rng       *rand.Rand
	completed bool // by the run without faults
	fixture   *imagetest.Fixture
	images    []string
	omit      []string
	options   copy.Options
	earlier   *copy.Options // of a copy before
	policy    registrytest.Row
	faults    registrytest.Script
	faulty    copy.Side
	layout    bool // the destination is a layout
}

var randomPlatforms = []string{
	"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/s390x", "linux/ppc64le", "windows/amd64", "freebsd/amd64",
}

func newScenario(seed uint64, size int) *scenario {
	s := &scenario{seed: seed, size: size, rng: seededRand(seed)}
	s.tree()
	s.options = s.someOptions()
	if s.rng.IntN(3) == 0 {
		earlier := s.someOptions()
		s.earlier = &earlier
	}
	rows := registrytest.Registries()
	s.policy = rows[s.rng.IntN(len(rows))]
	s.layout = s.rng.IntN(4) == 0
	s.someFaults()
	return s
}

// tree makes lists in lists, with images that share blobs, are named twice, are described by
// attestations, or are absent.
func (s *scenario) tree() {
	s.fixture = imagetest.New()
	for i := range 1 + s.size/3 {
		s.fixture.Layer(fmt.Sprint("shared", i), imagetest.Random(uint64(i), int64(s.rng.IntN(3000))))
	}
	var level []string
	for i := range 1 + s.rng.IntN(s.size) {
		name := fmt.Sprint("image", i)
		layers := []string{fmt.Sprint("shared", s.rng.IntN(1+s.size/3))}
		for j := range s.rng.IntN(3) {
			layer := fmt.Sprint(name, ".", j)
			s.fixture.Layer(layer, imagetest.Random(s.rng.Uint64(), int64(s.rng.IntN(2000))))
			layers = append(layers, layer)
		}
		if s.rng.IntN(5) == 0 {
			layers = append(layers, layers[0]) // twice the same
		}
		s.fixture.Image(name, imagetest.Platform(randomPlatforms[s.rng.IntN(len(randomPlatforms))]), imagetest.Layers(layers...))
		s.images = append(s.images, name)
		level = append(level, name)
	}
	for i := range s.rng.IntN(s.size) {
		name := fmt.Sprint("attestation", i)
		s.fixture.Attestation(name, s.images[s.rng.IntN(len(s.images))])
		level = append(level, name)
	}
	for i := range s.rng.IntN(1 + s.size/3) {
		if len(level) < 3 {
			break
		}
		s.rng.Shuffle(len(level), func(a, b int) { level[a], level[b] = level[b], level[a] })
		n := 1 + s.rng.IntN(len(level)-1)
		name := fmt.Sprint("list", i)
		s.fixture.List(name, imagetest.Entries(level[:n]...))
		level = append(slices.Clone(level[n:]), name)
	}
	if len(level) > 0 && s.rng.IntN(3) == 0 {
		level = append(level, level[s.rng.IntN(len(level))]) // the same digest once more
	}
	s.fixture.List(imagetest.Top, imagetest.Entries(level...))
	for _, name := range level {
		if s.rng.IntN(8) == 0 && len(level) > 1 {
			s.omit = append(s.omit, name)
		}
	}
}

func (s *scenario) someOptions() copy.Options {
	o := copy.Options{ImageListSelection: copy.CopyAllImages, MaxParallelDownloads: uint(1 + s.rng.IntN(8))}
	if s.rng.IntN(4) > 0 {
		o.ImageListSelection = copy.CopySpecificImages
		for range 1 + s.rng.IntN(3) {
			o.OptionalPlatforms = append(o.OptionalPlatforms, copytest.Platforms(randomPlatforms[s.rng.IntN(len(randomPlatforms))])...)
		}
		if s.rng.IntN(4) == 0 {
			o.Instances = append(o.Instances, s.fixture.Digest(s.images[s.rng.IntN(len(s.images))]))
		}
	}
	o.SparseManifestListAction = copy.SparseManifestListAction(s.rng.IntN(3))
	o.MissingInstances = copy.MissingInstanceAction(s.rng.IntN(2))
	o.Attestations = copy.AttestationAction(s.rng.IntN(4))
	o.CheckBlobs = s.rng.IntN(5) == 0
	return o
}

func (s *scenario) someFaults() {
	all := slices.DeleteFunc(sweepFaults(), func(f fault) bool { return f.slow || f.refuse || f.denies || f.again })
	chosen := all[s.rng.IntN(len(all))]
	every := 2 + s.rng.IntN(20)
	s.faulty = []copy.Side{copy.SourceSide, copy.DestinationSide}[s.rng.IntN(2)]
	s.faults = func(n int, req *http.Request) registrytest.Answer {
		if n%every != 0 || chosen.method != nil && !chosen.method(req.Method) {
			return registrytest.Answer{}
		}
		return chosen.answerTo(req)
	}
}

func (s *scenario) String() string {
	names := func(o *copy.Options) string {
		if o == nil {
			return "nothing"
		}
		return fmt.Sprintf("{selection %d platforms %v instances %v %v missing %d attestations %d check %v}", o.ImageListSelection,
			o.OptionalPlatforms, o.Instances, o.SparseManifestListAction, o.MissingInstances, o.Attestations, o.CheckBlobs)
	}
	document, _ := s.fixture.Document(imagetest.Top)
	return fmt.Sprintf("seed %d size %d: omit %v, options %s, earlier %s, to %s (layout %v), faults at the %s, top %s",
		s.seed, s.size, s.omit, names(&s.options), names(s.earlier), s.policy.Name, s.layout, s.faulty, document)
}

// randomRun is a scenario with ends.
type randomRun struct {
	*scenario
	t          testing.TB
	env        *copytest.Env
	src, dst   *copytest.Peer
	layoutDir  string
	violations []string
}

// play copies: perhaps once before; with faults; without; and once more, which has nothing to do.
// It returns what is wrong.
func (s *scenario) play(t testing.TB) []string {
	r := &randomRun{scenario: s, t: t, env: copytest.NewEnv(t), layoutDir: filepath.Join(t.TempDir(), "layout")}
	var healed atomic.Bool
	script := func(n int, req *http.Request) registrytest.Answer {
		if healed.Load() {
			return registrytest.Answer{}
		}
		return s.faults(n, req)
	}
	so, do := registrytest.Options{}, registrytest.Options{ListPolicy: s.policy.Policy}
	r.src, r.dst = copytest.NewPeer(t, so, nil), copytest.NewPeer(t, do, nil)
	defer r.src.Stop()
	defer r.dst.Stop()
	s.fixture.PushTo(r.src.Registry, "app", "v1", imagetest.Top, s.omit...)
	if s.earlier != nil {
		_, _ = r.copy(*s.earlier)
	}
	before := r.top()

	// With faults, through registries with the same content.
	if s.faulty == copy.SourceSide {
		so.Script = script
	} else {
		do.Script = script
	}
	badSrc, badDst := copytest.NewPeer(t, so, nil), copytest.NewPeer(t, do, nil)
	badSrc.Fill(r.src.Registry)
	badDst.Fill(r.dst.Registry)
	defer badSrc.Stop()
	defer badDst.Stop()
	r.src.Stop()
	r.dst.Stop()
	r.src, r.dst = badSrc, badDst
	report, err := r.copy(s.options)
	r.judge("with faults", before, report, err)

	healed.Store(true)
	report, err = r.copy(s.options)
	r.judge("without faults", before, report, err)
	if err == nil {
		s.completed = true
		r.relations(report)
	}
	return r.violations
}

func (r *randomRun) violation(format string, args ...any) {
	r.violations = append(r.violations, fmt.Sprintf(format, args...))
}

func (r *randomRun) destination() types.ImageReference {
	if r.layout {
		return copytest.LayoutRef(r.t, r.layoutDir, "v1")
	}
	return r.dst.Ref(r.t, "app", "v1")
}

func (r *randomRun) copy(o copy.Options) (*copy.Report, error) {
	return r.copyTo(r.destination(), o, r.src.Ref(r.t, "app", "v1"))
}

func (r *randomRun) copyTo(dst types.ImageReference, o copy.Options, src types.ImageReference) (*copy.Report, error) {
	sys := *r.env.Sys
	report := &copy.Report{}
	o.SourceCtx, o.DestinationCtx, o.Report = &sys, &sys, report
	c := impatient(0, o)
	defer c.Close()
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	require.NoError(r.t, err)
	defer policy.Destroy()
	_, err = c.Image(r.t.Context(), policy, dst, src, &o)
	return report, err
}

func (r *randomRun) top() digest.Digest {
	if r.layout {
		top, _ := imagetest.LayoutStore(r.layoutDir).Top("v1")
		return top.Digest
	}
	d, _ := r.dst.Resolve("app", "v1")
	return d
}

// judge holds what a copy says it did against what is there.
func (r *randomRun) judge(when string, before digest.Digest, report *copy.Report, err error) {
	if err != nil {
		if now := r.top(); now != before && !report.Written {
			// Its answer may have been lost: then it is what was planned.
			if report.Plan == nil || now != report.Plan.Digest && (report.Plan.IfRefused == nil || now != report.Plan.IfRefused.Digest) {
				r.violation("%s: the tag names %s, before it was %q: %v", when, now, before, err)
			}
		}
		return
	}
	if report.DestinationDigest != r.top() || report.DestinationDigest != report.Plan.Digest {
		r.violation("%s: reported %s, planned %s, there is %s", when, report.DestinationDigest, report.Plan.Digest, r.top())
	}
	want := imagetest.Want{Tag: "v1", Digest: report.DestinationDigest, Fixture: r.fixture}
	copied := map[digest.Digest]bool{}
	for _, i := range report.Instances {
		if i.Outcome == copy.Copied || i.Outcome == copy.Present {
			copied[i.Digest] = true
		}
	}
	for _, i := range report.Instances {
		if !copied[i.Digest] {
			want.Optional = append(want.Optional, i.Digest.String())
		} else if !i.Nested {
			want.Present = append(want.Present, i.Digest.String())
		}
	}
	var store imagetest.Store = imagetest.LayoutStore(r.layoutDir)
	if !r.layout {
		store = imagetest.RegistryStore(r.dst.Registry, "app")
	}
	for _, v := range imagetest.Inspect(store, want) {
		r.violation("%s: %s", when, v)
	}
}

// relations hold the copy against others that should come to the same.
func (r *randomRun) relations(report *copy.Report) {
	snapshot := r.dst.Snapshot("app")
	again, err := r.copy(r.options)
	switch {
	case err != nil:
		r.violation("again: %v", err)
	case again.DestinationDigest != report.DestinationDigest, again.BlobsCopied > 0, !r.layout && r.dst.Snapshot("app") != snapshot:
		r.violation("again: it is not the same: %s and %s, %d blobs", report.DestinationDigest, again.DestinationDigest, again.BlobsCopied)
	}
	// One at a time, into an empty place of another kind.
	one := r.options
	one.MaxParallelDownloads = 1
	one.SparseManifestListAction = report.Action
	other, err := r.copyTo(copytest.LayoutRef(r.t, filepath.Join(r.t.TempDir(), "other"), "v1"), one, r.src.Ref(r.t, "app", "v1"))
	if err != nil {
		r.violation("to a layout: %v", err)
	} else if other.DestinationDigest != report.DestinationDigest {
		r.violation("to a layout: %s instead of %s", other.DestinationDigest, report.DestinationDigest)
	}
	// On from there, everything that is there: nothing changes.
	if report.Action == copy.StripSparseManifestList || !report.Plan.Sparse() {
		end := copytest.NewPeer(r.t, registrytest.Options{}, nil)
		defer end.Stop()
		on, err := r.copyTo(end.Ref(r.t, "app", "v1"), copy.Options{ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing}, r.destination())
		if err != nil {
			r.violation("on: %v", err)
		} else if on.DestinationDigest != report.DestinationDigest {
			r.violation("on: %s instead of %s", on.DestinationDigest, report.DestinationDigest)
		}
	}
}

// TestTortureRandom copies what was made up. A scenario that goes wrong is made smaller before it
// is reported.
func TestTortureRandom(t *testing.T) {
	seed := tortureSeed(t)
	n, size := 60, 8
	if fullTorture() {
		n, size = 1000, 14
	}
	failed, completed := 0, 0
	for i := range n {
		s := newScenario(seed+uint64(i), 1+i%size)
		violations := s.play(t)
		if s.completed {
			completed++
		}
		if len(violations) == 0 {
			continue
		}
		failed++
		for smaller := 1; smaller < s.size; smaller++ {
			candidate := newScenario(s.seed, smaller)
			if v := candidate.play(t); len(v) > 0 {
				s, violations = candidate, v
				break
			}
		}
		t.Errorf("%v\n\t%s\n\tto repeat: SPARSECOPY_TORTURE_SEED=%d go test -count=1 -run '^TestTortureRandom$' ./copy/internal/torture", s,
			strings.Join(violations, "\n\t"), seed)
		if failed == 5 {
			break
		}
	}
	t.Logf("seed %d: %d scenarios, %d of them copies that succeed, %d went wrong", seed, n, completed, failed)
	require.Greater(t, completed, n/3, "most copies should be possible")
}
