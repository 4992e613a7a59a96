//go:build linux

package torture

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// A questioned is a workload of which every question is refused, at ends that want credentials.
type questioned struct {
	workload
	announce *registrytest.Announcement // of the destination
}

// questionedWorkloads are those of the sweep between registries, and others whose outcome depends
// on answers.
func questionedWorkloads() []questioned {
	var all []questioned
	for _, w := range workloads() {
		if w.from == "registry" && w.to == "registry" && w.repos == 0 {
			all = append(all, questioned{workload: w})
		}
	}
	two := copytest.Auto("linux/amd64", "linux/arm64")
	two.MaxParallelDownloads = 4
	one := two
	one.InstancePlatforms = copytest.Platforms("linux/amd64")
	strip, guarded, keep, tags := two, two, two, two
	strip.SparseManifestListAction = copy.StripSparseManifestList
	guarded.SparseManifestListAction, guarded.ListSignatures = copy.StripSparseManifestList, copy.GuardListSignatures
	keep.SparseManifestListAction = copy.KeepSparseManifestList
	tags.SparseManifestListAction, tags.WidenedChildTags = copy.KeepSparseManifestList, true
	lean := one
	lean.SparseManifestListAction = copy.KeepSparseManifestList
	base := workload{fixture: platformsOfQuestions, from: "registry", to: "registry", absent: []string{"arm/v7"}}
	with := func(name string, change func(*questioned)) questioned {
		q := questioned{workload: base}
		q.name = name
		change(&q)
		return q
	}
	demands := &registrytest.Announcement{Sparse: true, Widening: true, Architectures: []string{"amd64"}}
	return append(all,
		with("settled strip", func(q *questioned) { q.options, q.before, q.strict = strip, &strip, true }),
		with("settled auto", func(q *questioned) { q.options, q.before, q.strict = two, &strip, true }),
		with("settled keep", func(q *questioned) { q.options, q.before = keep, &keep }),
		with("guarded", func(q *questioned) { q.options, q.strict = guarded, true }),
		with("auto, announced", func(q *questioned) { q.options, q.announce, q.strict = two, &registrytest.Announcement{}, true }),
		with("auto, demanded is there", func(q *questioned) {
			q.options, q.before, q.announce = two, &lean, demands
			q.options.InstancePlatforms = copytest.Platforms("linux/arm64")
			q.late = []string{"arm64"}
		}),
		with("tags of what is added", func(q *questioned) {
			q.options, q.before, q.announce, q.late = tags, &lean, &registrytest.Announcement{Sparse: true}, []string{"arm64"}
		}),
	)
}

// platformsOfQuestions is one fixture for many workloads.
var platformsOfQuestions = imagetest.Platforms(3, 1, 100)

// asked is a question: a request that asks whether something is there, what a tag or digest tag
// names, what a registry can do, or for a token, and reads no content.
type asked struct {
	side   copy.Side
	method string
	path   string
	kind   registrytest.Kind
	from   int // the first time that it is refused, from 1: tokens are asked for many times
}

func (a asked) String() string { return fmt.Sprintf("%s/%s %s/%d", a.side, a.method, a.path, a.from) }

// isQuestion reports whether a request is one. What the source's reference names, manifests and
// blobs are content.
func isQuestion(q registrytest.Request) bool {
	switch q.Kind {
	case registrytest.KindPing, registrytest.KindToken, registrytest.KindTags, registrytest.KindReferrers, registrytest.KindOther:
		return true
	case registrytest.KindManifest:
		return q.Method == http.MethodHead || q.Method == http.MethodGet && copy.IsDigestTag(q.Ref)
	}
	return q.Method == http.MethodHead
}

// A notAnswer is something that a registry sends and that does not answer the question.
type notAnswer struct {
	name   string
	answer registrytest.Answer
	// noAPI is set if registries without the referrers API, or without capabilities, answer so to
	// that, and absent if a registry in the field answers so for a tag that is not there.
	noAPI, absent bool
}

func refusalsOfQuestions() []notAnswer {
	nowhere := registrytest.Answer{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}
	all := []notAnswer{
		{"closed", registrytest.Close(), false, false},
		{"404 page", registrytest.FailHTML(404), true, true},
		{"404 denied", registrytest.Fail(404, "DENIED", "hidden"), false, false},
		{"200 page", registrytest.FailHTML(200), true, false},
		{"503 page", registrytest.FailHTML(503), false, false},
		{"redirect to nowhere", nowhere, false, false},
	}
	for status, code := range map[int]string{
		400: "UNSUPPORTED", 401: "UNAUTHORIZED", 403: "DENIED", 405: "UNSUPPORTED", 408: "UNKNOWN", 429: "TOOMANYREQUESTS", 500: "UNKNOWN", 502: "UNKNOWN", 504: "UNKNOWN",
	} {
		all = append(all, notAnswer{fmt.Sprint(status), registrytest.Fail(status, code, "a refusal"), status == 400 || status == 405, false})
	}
	return all
}

// A questionCase is one question of a workload that gets no answer, for as long as a copy runs.
type questionCase struct {
	w       *questionedPrepared
	asked   asked
	refusal notAnswer
}

func (c questionCase) String() string {
	return fmt.Sprintf("%s/%s/%s", c.w.name, c.asked, c.refusal.name)
}

type questionedPrepared struct {
	*prepared
	announce *registrytest.Announcement
	asked    []asked
}

// options are those of the ends. Tokens end soon, so that they are asked for often.
func (w *questionedPrepared) options() (src, dst registrytest.Options) {
	auth := &registrytest.Auth{Bearer: true, TokenRequests: 4, Accounts: []registrytest.Account{{Username: "user", Password: "secret"}}}
	return registrytest.Options{Auth: auth}, registrytest.Options{Auth: auth, Strict: w.strict, Announce: w.announce}
}

// prepareQuestions runs a workload without a fault, and notes what it leads to and which questions
// it asks.
func (q questioned) prepareQuestions(t *testing.T) *questionedPrepared {
	p := &questionedPrepared{prepared: q.prepare(t), announce: q.announce}
	p.env.Sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "user", Password: "secret"}
	so, do := p.options()
	r := p.begin(t, so, do, 0)
	defer r.end()
	var report copy.Report
	o := p.prepared.options
	o.Report = &report
	require.NoError(t, r.copy(o)[0], q.name)
	p.newTop = r.top(0)
	require.Empty(t, r.incomplete(p.newTop), q.name)
	p.snapshot = map[string]string{repo(0): r.dst.Snapshot(repo(0))}
	seen := map[asked]int{}
	for side, end := range map[copy.Side]*copytest.Peer{copy.SourceSide: r.src, copy.DestinationSide: r.dst} {
		for _, request := range end.Requests() {
			if !isQuestion(request) {
				continue
			}
			a := asked{side: side, method: request.Method, path: request.Path, kind: request.Kind}
			if seen[a]++; seen[a] == 1 || request.Kind == registrytest.KindToken && seen[a] <= 4 {
				a.from = seen[a]
				p.asked = append(p.asked, a)
			}
		}
	}
	return p
}

// play runs a case and says what is wrong afterwards: nothing must have been concluded from the
// refusal.
func (c questionCase) play(t testing.TB) (asked bool, violations []string) {
	var over atomic.Bool
	var times atomic.Int64
	script := func(_ int, req *http.Request) registrytest.Answer {
		if over.Load() || req.Method != c.asked.method || req.URL.Path != c.asked.path || int(times.Add(1)) < c.asked.from {
			return registrytest.Answer{}
		}
		return c.refusal.answer
	}
	so, do := c.w.options()
	if c.asked.side == copy.SourceSide {
		so.Script = script
	} else {
		do.Script = script
	}
	r := c.w.begin(t, so, do, 0)
	defer r.end()
	own := *r.prepared // its snapshot is left out where less is right
	own.snapshot = c.leaves()
	r.prepared = &own
	var report copy.Report
	o := c.w.prepared.options
	o.Report = &report
	err := r.copy(o)[0]
	over.Store(true)
	violation := func(format string, args ...any) { violations = append(violations, fmt.Sprintf(format, args...)) }
	top := r.top(0)
	switch {
	case err != nil:
		if why := concluded(err); why != "" {
			violation("%s: %v", why, err)
		}
		if why := unclear(err, c.asked.side); why != "" && !saysUnknown(err.Error()) {
			violation("%s: %v", why, err)
		}
		if top != c.w.oldTop {
			violation("the copy failed, and the tag names %s: %v", top, err)
		}
		violations = append(violations, r.incompleteOld(0)...)
	case top != c.w.newTop:
		violation("the tag names %s, and not %s (warnings %q)", top, c.w.newTop, report.Warnings)
	case !c.lessIsRight() && !slices.ContainsFunc(report.Warnings, saysUnknown):
		violations = append(violations, r.incomplete(top)...) // with all that a copy without refusals leaves
	default:
		r.snapshot = nil
		r.fewer = r.cosigned
		violations = append(violations, r.incomplete(top)...)
	}
	r.fewer, r.catchesUp = false, r.fewer
	r.snapshot = c.leaves()
	_ = r.copier.Close()
	r.copier = impatient(0, c.w.prepared.options)
	if err := r.copy(c.w.prepared.options)[0]; err != nil {
		violation("second run: %v", err)
	}
	for _, v := range r.incomplete(c.w.newTop) {
		violation("after the second run: %s", v)
	}
	return int(times.Load()) >= c.asked.from, violations
}

// saysUnknown says whether a text says that something was not answered.
func saysUnknown(text string) bool {
	return strings.Contains(text, "could not be asked") || strings.Contains(text, "not all could be asked")
}

// lessIsRight reports whether the refusal is an answer, from registries that answer so: then
// nothing is attached, or there is no API.
func (c questionCase) lessIsRight() bool {
	return c.asked.side == copy.SourceSide && (c.refusal.noAPI && c.asked.kind == registrytest.KindReferrers || c.refusal.absent && c.asked.kind == registrytest.KindManifest)
}

// leaves is what a copy without the refusal leaves at the destination. Where the refusal is how
// registries answer that announce nothing, and so are taken to keep what is added to a list, that
// is all but the tags of children.
func (c questionCase) leaves() map[string]string {
	announcesNothing := c.asked.kind == registrytest.KindOther && (c.refusal.noAPI || c.refusal.answer.Status == http.StatusNotFound)
	if !announcesNothing {
		return c.w.snapshot
	}
	without := map[string]string{}
	for name, snapshot := range c.w.snapshot {
		lines := slices.DeleteFunc(strings.Split(snapshot, "\n"), func(line string) bool {
			return strings.HasPrefix(line, "tag ") && strings.Contains(line, ".child ")
		})
		without[name] = strings.Join(lines, "\n")
	}
	return without
}

// concluded says what an error concludes, which no refusal of a question says.
func concluded(err error) string {
	var (
		missing  *copy.MissingError
		required *copy.RequiredError
		empty    *copy.EmptyError
		noMatch  *copy.NoMatchError
		refused  *copy.SparseRefusedError
		widen    *copy.WidenError
		changed  *copy.ChangedError
	)
	for what, is := range map[string]bool{
		"something is missing": errors.As(err, &missing) || errors.As(err, &required) || errors.As(err, &empty), "nothing matches": errors.As(err, &noMatch),
		"the list was refused": errors.As(err, &refused), "children do not stay": errors.As(err, &widen), "something has changed": errors.As(err, &changed),
	} {
		if is {
			return what
		}
	}
	return ""
}

// questionSample is how many cases the short form plays.
const questionSample = 60

// TestTortureQuestions refuses every question of every workload in every way. Nothing is concluded
// from it: the copy leaves what it would leave otherwise, or says what could not be asked, or fails
// with the tag as it was.
func TestTortureQuestions(t *testing.T) {
	seed := tortureSeed(t)
	var cases []questionCase
	for _, q := range questionedWorkloads() {
		w := q.prepareQuestions(t)
		for _, a := range w.asked {
			for _, refusal := range refusalsOfQuestions() {
				c := questionCase{w, a, refusal}
				isAbsence := refusal.name == "404 denied" && a.method == http.MethodHead // without a body, nobody can tell
				if !isAbsence && strings.Contains(c.String(), tortureCase()) {
					cases = append(cases, c)
				}
			}
		}
	}
	possible := len(cases)
	byLot(cases, seed)
	if !fullTorture() {
		cases = cases[:min(len(cases), questionSample)]
	}
	var refused, wrong atomic.Int64
	queue := make(chan questionCase)
	var workers sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for c := range queue {
				t.Run(c.String(), func(t *testing.T) {
					was, violations := c.play(t)
					if was {
						refused.Add(1)
					}
					if len(violations) > 0 {
						wrong.Add(1)
						t.Errorf("%v:\n\t%s\n\tto repeat: %s", c, strings.Join(violations, "\n\t"), howToRepeat(t, seed, c.String()))
					}
				})
			}
		})
	}
	for _, c := range cases {
		if timeIsUp(t) {
			break
		}
		queue <- c
	}
	close(queue)
	workers.Wait()
	t.Logf("seed %d: %d questions refused in %d workloads (of %d possible cases), %d violations", seed, refused.Load(), len(questionedWorkloads()), possible, wrong.Load())
}
