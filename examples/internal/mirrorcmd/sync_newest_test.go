package mirrorcmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// ages are tags, and the days of March 2025 on which their lists were made: those of linux/amd64, a
// week before those of windows/amd64. What was made on day 0 does not say when.
var ages = map[string]int{"1.9": 1, "1.10": 3, "1.10.0": 4, "1.11": 6, "1.8.7": 8, "latest": 6, "edge-0123abc": 7}

// pushAged puts an image to a tag of a repository app that was made on a day of March 2025.
func pushAged(r *registrytest.Registry, tag string, day int) {
	f := imagetest.New()
	at := func(day int) imagetest.Option {
		if day <= 0 {
			return imagetest.Created("1970-01-01T00:00:00Z")
		}
		return imagetest.Created(fmt.Sprintf("2025-03-%02dT12:00:00Z", day))
	}
	later := day
	if day > 0 {
		later += 7
	}
	f.Image("linux", imagetest.Platform("linux/amd64"), at(day))
	f.Image("windows", imagetest.Platform("windows/amd64"), at(later))
	f.List(imagetest.Top, imagetest.Entries("linux", "windows"))
	f.PushTo(r, "app", tag, imagetest.Top)
}

func newAgedTest(t *testing.T) *syncTest {
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	for tag, day := range ages {
		pushAged(s.src, tag, day)
	}
	return s
}

// copiedTags are the tags that a report has, in its order.
func copiedTags(report syncReport) string {
	var tags []string
	for _, i := range report.Images {
		tags = append(tags, i.Source[strings.LastIndex(i.Source, ":")+1:])
	}
	return strings.Join(tags, " ")
}

// TestSyncChoosesTags: a dry run, a sync, its second run, a bundle, a verification and shards
// choose the same, and --delete removes all else.
func TestSyncChoosesTags(t *testing.T) {
	for _, c := range []struct {
		keys, want       string
		older, noVersion int
	}{
		{keys: `tags: ["*"]`, want: "edge-0123abc latest 1.8.7 1.9 1.10 1.10.0 1.11"},
		{keys: `tags: [{semver: "^1.9"}]`, want: "1.9 1.10 1.10.0 1.11"},
		{keys: `tags: ["*", latest], newest: 2`, want: "latest 1.10 1.10.0 1.11", older: 2, noVersion: 1},
		{keys: `tags: ["*"], exclude-tags: [edge-*], newest: 2, newest-by: created, platforms: [linux/amd64]`, want: "latest 1.8.7 1.11", older: 3},
		{keys: `tags: ["*"], since: 2025-03-06, platforms: [linux/*]`, want: "edge-0123abc latest 1.8.7 1.11", older: 3},
		{keys: `tags: ["1.*"], system: linux/amd64, since: 2025-03-06T12:00:00Z`, want: "1.8.7 1.11", older: 3},
		{keys: `tags: ["*"], since: 2025-03-13T12:00:00Z`, want: "edge-0123abc latest 1.8.7 1.11", older: 3},
		{keys: `tags: ["1.*"], newest: 3, since: 2025-03-04, platforms: [linux/amd64]`, want: "1.10.0 1.11", older: 3},
	} {
		t.Run(c.keys, func(t *testing.T) {
			s := newAgedTest(t)
			pushAged(s.dst, "old", 20)
			s.write("images:\n- {source: SRC/app, destination: DST/app, " + c.keys + "}\n")
			dry := s.syncJSON(StatusDone, "--dry-run")
			assert.Equal(t, c.want, copiedTags(dry), "the order is that of versions")
			if c.older+c.noVersion > 0 {
				assert.Equal(t, []syncPassedOver{{Line: 2, Source: "docker://" + s.src.Host() + "/app", Older: c.older, NoVersions: c.noVersion}}, dry.PassedOver)
			}
			report := s.syncJSON(StatusDone, "--delete", "--yes")
			assert.Equal(t, c.want, copiedTags(report))
			assert.Equal(t, 1, report.Summary.Removed)
			assert.ElementsMatch(t, strings.Fields(c.want), s.dst.Tags("app"))
			assert.Equal(t, report.Summary.Images, s.syncJSON(StatusDone).Summary.Present)

			r := mirror(t, "verify", "--output", "json", s.file)
			var found fileVerification
			require.NoError(t, json.Unmarshal([]byte(r.stdout), &found), r.stderr)
			assert.Equal(t, report.Summary.Images, found.Summary.Verified)

			path := filepath.Join(t.TempDir(), "bundle")
			r = runAll(t.Context(), t, "", "bundle", "create", "--insecure-policy", "--src-tls-verify=false", "--file", s.file, path)
			require.Equal(t, StatusDone, r.status, r.stderr)
			assert.Equal(t, len(strings.Fields(c.want)), strings.Count(r.stdout, s.src.Host()+"/app:"))

			total := 0
			for shard := range 3 {
				total += s.syncJSON(StatusDone, "--shard", fmt.Sprintf("%d/3", shard)).Summary.Images
			}
			assert.Equal(t, report.Summary.Images, total)
		})
	}
}

// TestSyncShardsOfNewest: the newest are those of the whole list, also where each tag has a
// repository of its own and so a shard.
func TestSyncShardsOfNewest(t *testing.T) {
	s := newAgedTest(t)
	s.write("images:\n- {source: SRC/app, destination: 'DST/app-{tag}:x', tags: ['1.*'], newest: 3, newest-by: created}\n")
	var got []string
	for shard := range 3 {
		if tags := copiedTags(s.syncJSON(StatusDone, "--shard", fmt.Sprintf("%d/3", shard))); tags != "" {
			got = append(got, strings.Fields(tags)...)
		}
	}
	assert.ElementsMatch(t, strings.Fields("1.10.0 1.8.7 1.11"), got)
}

// TestSyncNewestMovesOn: a new version has the oldest fall out, which --delete removes then.
func TestSyncNewestMovesOn(t *testing.T) {
	s := newAgedTest(t)
	s.write("images:\n- {source: SRC/app, destination: DST/app, tags: ['1.*'], newest: 2}\n")
	s.sync("--delete", "--yes").done(t)
	assert.Equal(t, []string{"1.10", "1.10.0", "1.11"}, s.dst.Tags("app"))
	pushAged(s.src, "1.12", 20)
	r := s.sync("--delete").done(t)
	assert.Contains(t, r.stdout, "passed over: docker://"+s.src.Host()+"/app (line 2): 4 tags too old for newest or since\n")
	assert.Contains(t, r.stdout, "would be removed: "+s.dst.Host()+"/app:1.10.0 ")
	assert.Equal(t, []string{"1.10", "1.10.0", "1.11", "1.12"}, s.dst.Tags("app"))
	s.sync("--delete", "--yes").done(t)
	assert.Equal(t, []string{"1.11", "1.12"}, s.dst.Tags("app"))
}

// TestNothingIsRemovedWithoutTimes: what cannot be read, and what no image says, fails the element.
func TestNothingIsRemovedWithoutTimes(t *testing.T) {
	for name, c := range map[string]struct {
		refused string // in paths of what is read
		silent  bool
		text    string
	}{
		"an image does not say": {silent: true, text: "1 of 8 images do not say when they were made, or state a time that builds take which can be repeated; the first is zero: exclude-tags leaves them out, and newest-by: version needs no times"},
		"a manifest is refused": {refused: "/manifests/1.10", text: "403"},
		"configs are refused":   {refused: "/blobs/", text: "config"},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			refused := ""
			s := newSyncTest(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
				mu.Lock()
				defer mu.Unlock()
				if refused != "" && req.Method == http.MethodGet && strings.Contains(req.URL.Path, refused) {
					return registrytest.Answer{Status: http.StatusForbidden}
				}
				return registrytest.Answer{}
			}}, registrytest.Options{})
			for tag, day := range ages {
				pushAged(s.src, tag, day)
			}
			s.write("images:\n- {source: SRC/app, destination: DST/app, tags: ['*'], newest: 2, newest-by: created}\n- {source: 'SRC/app:1.9', destination: DST/app}\n")
			s.sync("--delete", "--yes").done(t)
			before := s.dst.Tags("app")
			pushAged(s.dst, "old", 1)
			mu.Lock()
			refused = c.refused
			if c.silent {
				pushAged(s.src, "zero", 0)
			}
			mu.Unlock()
			s.sync("--delete", "--yes").failed(t, StatusFailed, "1 of 2 images failed", c.text)
			assert.ElementsMatch(t, append(before, "old"), s.dst.Tags("app"))
			report := s.syncJSON(StatusFailed, "--delete", "--yes")
			assert.Contains(t, report.Warnings, "--delete removes nothing, because an image failed")
		})
	}
}

// TestSinceLeavesNothing: an element that stands for nothing is warned of, and nothing is removed
// where nothing is copied to any more.
func TestSinceLeavesNothing(t *testing.T) {
	s := newAgedTest(t)
	s.write("images:\n- {source: SRC/app, destination: DST/app, tags: ['*'], since: 90d}\n")
	pushAged(s.dst, "old", 1)
	report := s.syncJSON(StatusDone, "--delete", "--yes")
	assert.Empty(t, report.Images)
	assert.Equal(t, []string{"docker://" + s.src.Host() + "/app (line 2): no image of the 7 tags that patterns take was made since then"}, report.Warnings)
	assert.Equal(t, []string{"old"}, s.dst.Tags("app"))

	s.write("images:\n- {source: SRC/app, destination: DST/app, tags: ['e*'], newest: 2}\n")
	s.sync().failed(t, StatusFailed, "none of the 1 tags that patterns take is a version, such as edge-0123abc; newest-by: created goes by the times of images")
}

// TestTimesAreRemembered: what a tag named before costs one HEAD.
func TestTimesAreRemembered(t *testing.T) {
	s := newAgedTest(t)
	hermetictest.Home(t)
	plan := func(keys string) (heads, others int) {
		t.Helper()
		s.write("images:\n- {source: SRC/app, destination: DST/app, platforms: [linux/amd64], " + keys + "}\n")
		s.src.ResetLog()
		run(t, "sync", "--dry-run", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", s.file).done(t)
		for _, q := range s.src.Requests() {
			switch {
			case q.Method == http.MethodHead:
				heads++
			case q.Kind != registrytest.KindTags:
				others++
			}
		}
		return heads, others
	}
	const newest = "tags: ['*'], newest: 1, newest-by: created"
	_, others := plan(newest)
	assert.InDelta(t, 3*len(ages), others, 3, "a list, a manifest and a config of each; two are the same")
	alone, others := plan("tags: [1.8.7]")
	assert.Zero(t, others, "the copy has its documents from there")
	for range 2 {
		heads, others := plan(newest)
		assert.Equal(t, alone+len(ages), heads)
		assert.Zero(t, others)
	}
	pushAged(s.src, "1.12", 20)
	_, others = plan(newest)
	assert.Equal(t, 3, others, "list, manifest and config of the new one")
}

// TestTimesUnderARateLimit has a source that allows few pulls: the element is postponed, and the
// next run goes on where this one ended.
func TestTimesUnderARateLimit(t *testing.T) {
	clock := clocktest.New(time.Time{})
	limit := &registrytest.RateLimit{Limit: 8, Window: 6 * time.Hour, States: registrytest.DockerHubLimit, Clock: clock}
	s := newSyncTest(t, registrytest.Options{RateLimit: limit}, registrytest.Options{})
	for tag, day := range ages {
		pushAged(s.src, tag, day)
	}
	s.write("images:\n- {source: SRC/app, destination: DST/app, tags: ['*'], newest: 1, newest-by: created, platforms: [linux/amd64]}\n")
	hermetictest.Home(t)
	run := func(status int) (report syncReport) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		e := &environment{ctx: t.Context(), stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: os.Getenv, clock: clock}
		got := e.run([]string{"sync", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", "--state-dir", s.state, "--output", "json", "--delete", s.file})
		require.Equal(t, status, got, "%s%s", &stdout, &stderr)
		require.NoError(t, json.Unmarshal(stdout.Bytes(), &report))
		return report
	}
	report := run(StatusPostponed)
	require.Len(t, report.Images, 1)
	assert.Equal(t, imagePostponed, report.Images[0].Status)
	assert.Equal(t, clocktest.Start.Add(6*time.Hour), report.Images[0].PostponedUntil)
	assert.Contains(t, report.Warnings, "--delete removes nothing, because an image failed")
	clock.Advance(6 * time.Hour)
	assert.Equal(t, 1, run(StatusDone).Summary.Copied)
}

// TestServeHoldsPushesAgainstBounds: a backport that is pushed is none of the newest, the next
// version is, and what is named in full is always.
func TestServeHoldsPushesAgainstBounds(t *testing.T) {
	s := newServeTest(t)
	listed := make(chan struct{}, 100)
	s.src = registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if strings.HasSuffix(req.URL.Path, "/tags/list") {
			listed <- struct{}{}
		}
		return registrytest.Answer{}
	}})
	for _, tag := range []string{"1.9", "1.10", "1.11", "0.1"} {
		s.push("team/app", tag, 1)
	}
	s.write(notified(s, "- {source: 'SRC/team/app', tags: ['*', 0.1], newest: 2, destination: 'DST/m/app'}\n"))
	s.begin()
	s.wait("copied", 3)
	<-listed
	push := func(tag string) {
		s.push("team/app", tag, 1)
		body := bytes.ReplaceAll(document(t, "quay-push.json", s.dst), []byte(`"1.10", "latest"`), []byte(`"`+tag+`"`))
		require.Equal(t, http.StatusAccepted, s.notify(notify.Quay, senderSecret, body))
	}
	push("1.9.1")
	select {
	case <-listed:
	case <-time.After(patience):
		require.FailNow(t, "it is not held against the list")
	}
	push("1.12")
	s.wait("copied", 4)
	s.same("team/app", "m/app", "1.12")
	push("0.1")
	s.wait("copied", 5)
	assert.Equal(t, StatusDone, s.end())
	assert.Equal(t, []string{"0.1", "1.10", "1.11", "1.12"}, s.dst.Tags("m/app"))
	assert.Len(t, listed, 1, "only 1.12 was looked for in the list; the others are known")
}

// TestServeAsksPushesForTheirAge: with since alone, a push costs what its own image does, however
// many tags there are.
func TestServeAsksPushesForTheirAge(t *testing.T) {
	s := newServeTest(t)
	for day := range 20 {
		pushAged(s.src, fmt.Sprintf("1.%d", day), day+1)
	}
	s.write(notified(s, "- {source: 'SRC/app', tags: ['*'], since: 2025-03-20, platforms: [linux/amd64], destination: 'DST/m/app'}\n"))
	s.begin()
	s.wait("copied", 1)
	s.src.ResetLog()
	for _, pushed := range []struct {
		tag string
		day int
	}{{"2.0", 19}, {"2.1", 21}} {
		tag := pushed.tag
		pushAged(s.src, tag, pushed.day)
		body := strings.NewReplacer(`"1.10", "latest"`, `"`+tag+`"`, "team/app", "app").Replace(string(document(t, "quay-push.json", s.dst)))
		require.Equal(t, http.StatusAccepted, s.notify(notify.Quay, senderSecret, []byte(body)))
	}
	s.wait("copied", 2)
	assert.Equal(t, StatusDone, s.end())
	assert.Equal(t, []string{"1.19", "2.1"}, s.dst.Tags("m/app"))
	for _, q := range s.src.Requests() {
		assert.NotEqual(t, registrytest.KindTags, q.Kind)
		assert.NotContains(t, q.Path, "/manifests/1.")
	}
}

// TestDeleteKnowsHosts: what one image copies to a repository is no stray of another that writes
// its host otherwise.
func TestDeleteKnowsHosts(t *testing.T) {
	s := newAgedTest(t)
	port := s.dst.Host()[strings.LastIndex(s.dst.Host(), ":"):]
	s.write("images:\n- {source: 'SRC/app:1.9', destination: 'docker://localhost" + port + "/app'}\n- {source: 'SRC/app:1.10', destination: 'docker://LOCALHOST" + port + "/app'}\n")
	pushAged(s.dst, "old", 20)
	s.sync("--delete", "--yes").done(t)
	assert.Equal(t, []string{"1.10", "1.9"}, s.dst.Tags("app"))
}
