package mirrorcmd

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A stateTest is a syncTest with a file that remembers.
type stateTest struct {
	*syncTest
	memory string
}

func newStateTest(t *testing.T) *stateTest {
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	return &stateTest{s, filepath.Join(filepath.Dir(s.file), "memory")}
}

// run runs a sync with the state, and returns its report; the logs of the registries begin anew.
func (s *stateTest) run(status int, args ...string) syncReport {
	s.Helper()
	s.src.ResetLog()
	s.dst.ResetLog()
	return s.syncJSON(status, append([]string{"--state", s.memory}, args...)...)
}

// remembered returns what the state says of the only image whose destination ends like that.
func (s *stateTest) remembered(end string) state.Image {
	s.Helper()
	all, err := state.Read(s.memory)
	require.NoError(s, err)
	var found []state.Image
	for _, i := range all {
		if strings.HasSuffix(i.Destination, end) {
			found = append(found, i)
		}
	}
	require.Len(s, found, 1)
	return found[0]
}

// asked counts requests about manifests and blobs by their methods.
func asked(r *registrytest.Registry) map[string]int {
	counts := map[string]int{}
	for _, q := range r.Requests() {
		if q.Kind == registrytest.KindManifest || q.Kind == registrytest.KindBlob {
			counts[q.Method]++
		}
	}
	return counts
}

// oneImage pushes a list of three platforms, of which the file copies two.
func (s *stateTest) oneImage(keys string) *imagetest.Fixture {
	f := imagetest.Platforms(3, 1, 100)
	f.PushTo(s.src, "app/one", "1", imagetest.Top)
	s.file1(keys)
	return f
}

// file1 writes a file with that image.
func (s *stateTest) file1(keys string) {
	s.write("images:\n- {source: SRC/app/one:1, destination: DST/app/one, platforms: [linux/amd64, linux/arm64]" + keys + "}\n")
}

func TestStateAsksForLittle(t *testing.T) {
	s := newStateTest(t)
	twentyImages(s.syncTest)
	report := s.run(0)
	assert.Equal(t, n20, report.Summary.Copied)
	assert.Equal(t, s.memory, report.State)

	report = s.run(StatusUnchanged, "--exit-unchanged")
	assert.Equal(t, n20, report.Summary.Present)
	assert.Equal(t, map[string]int{http.MethodHead: n20}, asked(s.src))
	assert.Equal(t, map[string]int{http.MethodHead: n20}, asked(s.dst))
	for _, i := range report.Images {
		assert.Equal(t, "list", i.Kind)
		assert.Equal(t, "strip", i.Action)
		assert.NotZero(t, i.SourceDigest)
		assert.NotZero(t, i.DestinationDigest)
		assert.False(t, i.VerifiedAt.IsZero())
		assert.Equal(t, int64(2), i.Requests)
	}
	r := s.sync("--state", s.memory).done(t)
	assert.Regexp(t, `(?m)^nothing to do: 20 images: 20 there already; children verified at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ( or later)?; `, r.stdout)
	info, err := os.Stat(s.memory)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestStateIsVoidWhereAnythingIsDifferent(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy.json")
	write := func(t *testing.T, text string) { require.NoError(t, os.WriteFile(policy, []byte(text), 0o600)) }
	places := t.TempDir()
	place := func(t *testing.T, dir string) {
		text := "default-docker: {lookaside: \"file:///none/" + dir + "\"}\n"
		require.NoError(t, os.WriteFile(filepath.Join(places, "all.yaml"), []byte(text), 0o600))
	}
	const accepts = `{"default": [{"type": "insecureAcceptAnything"}]}`
	for name, c := range map[string]struct {
		keys   string
		change func(*testing.T, *stateTest)
		void   bool
	}{
		"nothing":           {"", func(*testing.T, *stateTest) {}, false},
		"a manner":          {"", func(_ *testing.T, s *stateTest) { s.file1(", parallel: 2, check: blobs") }, false},
		"the policy's form": {"", func(t *testing.T, _ *stateTest) { write(t, " "+accepts+"\n") }, false},
		"the action":        {"", func(_ *testing.T, s *stateTest) { s.file1(", sparse: auto") }, true},
		"the policy": {"", func(t *testing.T, _ *stateTest) {
			write(t, `{"default": [{"type": "insecureAcceptAnything"}], "transports": {"dir": {"": [{"type": "reject"}]}}}`)
		}, true},
		"where signatures are": {"", func(t *testing.T, _ *stateTest) { place(t, "elsewhere") }, true},
		"the digest": {"", func(_ *testing.T, s *stateTest) {
			imagetest.Platforms(3, 2, 100).PushTo(s.src, "app/one", "1", imagetest.Top)
		}, true},
		"the mirror's digest": {"", func(_ *testing.T, s *stateTest) {
			imagetest.Platforms(3, 2, 100).PushTo(s.dst, "app/one", "1", imagetest.Top)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStateTest(t)
			s.oneImage(c.keys)
			write(t, accepts)
			place(t, "here")
			sync := func() {
				t.Helper()
				r := runAll(t.Context(), t, "", "sync", "--policy", policy, "--registries.d", places, "--src-tls-verify=false", "--dest-tls-verify=false", "--state-dir", s.state, "--state", s.memory, s.file)
				require.Equal(t, 0, r.status, r.stderr)
			}
			sync()
			c.change(t, s)
			s.src.ResetLog()
			s.dst.ResetLog()
			sync()
			if c.void {
				assert.NotZero(t, asked(s.src)[http.MethodGet])
			} else {
				assert.Equal(t, map[string]int{http.MethodHead: 1}, asked(s.src))
				assert.Equal(t, map[string]int{http.MethodHead: 1}, asked(s.dst))
			}
			got, ok := s.dst.Resolve("app/one", "1")
			want, _ := s.src.Resolve("app/one", "1")
			require.True(t, ok)
			assert.Equal(t, want, got)
			i := s.remembered("app/one:1")
			assert.Equal(t, want, i.SourceDigest)
			assert.Equal(t, state.Mirrored, i.Status)
		})
	}
}

func TestStateOfAnImage(t *testing.T) {
	s := newStateTest(t)
	var refuses atomic.Bool
	s.dst = registrytest.Start(t, registrytest.Options{Script: func(int, *http.Request) registrytest.Answer {
		if refuses.Load() {
			return registrytest.Fail(http.StatusForbidden, "DENIED", "not now")
		}
		return registrytest.Answer{}
	}})
	f := s.oneImage(", sparse: strip")
	report := s.run(0)
	first := s.remembered("app/one:1")
	assert.Equal(t, state.Mirrored, first.Status)
	assert.Equal(t, "strip", first.Action)
	assert.Equal(t, f.Digest(imagetest.Top), first.SourceDigest)
	assert.Equal(t, report.Images[0].DestinationDigest, first.DestinationDigest)
	assert.Equal(t, state.CheckManifests, first.Checked)
	require.Len(t, first.Platforms, 3)
	var size int64
	for n, status := range []state.PlatformStatus{state.PlatformMirrored, state.PlatformMirrored, state.PlatformStripped} {
		assert.Equal(t, status, first.Platforms[n].Status, first.Platforms[n].Platform)
		assert.Equal(t, status == state.PlatformMirrored, first.Platforms[n].Size > 0)
		size += first.Platforms[n].Size
	}
	assert.Equal(t, size, first.Size)
	assert.Equal(t, report.Images[0].Bytes, first.Transferred)
	assert.Equal(t, size/2, first.Saved.Platforms, "as much as a platform has on average")
	assert.Zero(t, first.LagSince)

	s.run(0)
	second := s.remembered("app/one:1")
	assert.True(t, second.Tried.After(first.Tried))
	assert.Equal(t, second.Tried, second.Succeeded)
	second.Tried, second.Succeeded = first.Tried, first.Succeeded
	assert.Equal(t, first, second)

	s.loseChild(f)
	s.run(0, "--recheck", "0s")
	healed := s.remembered("app/one:1")
	assert.True(t, healed.Copied.After(first.Copied))
	assert.Equal(t, first.Saved, healed.Saved, "what is copied once more saves nothing once more")
	assert.Equal(t, first.Platforms, healed.Platforms)

	imagetest.Platforms(3, 2, 100).PushTo(s.src, "app/one", "1", imagetest.Top)
	newer, _ := s.src.Resolve("app/one", "1")
	refuses.Store(true)
	s.syncJSON(1, "--state", s.memory)
	lagging := s.remembered("app/one:1")
	assert.Equal(t, state.Failed, lagging.Status)
	assert.NotEmpty(t, lagging.Error)
	assert.Equal(t, first.Platforms, lagging.Platforms)
	assert.Equal(t, first.SourceDigest, lagging.SourceDigest)
	if lagging.LatestSource != first.SourceDigest { // the source was asked before the destination failed
		assert.Equal(t, newer, lagging.LatestSource)
		assert.False(t, lagging.LagSince.IsZero())
	}
}

func TestStateHeals(t *testing.T) {
	for name, c := range map[string]struct {
		keys  string
		args  []string
		lose  func(*stateTest, *imagetest.Fixture)
		heals bool
	}{
		"not yet":     {"", nil, (*stateTest).loseChild, false},
		"a child":     {"", []string{"--recheck", "0s"}, (*stateTest).loseChild, true},
		"of a strip":  {", sparse: strip", []string{"--recheck", "0s"}, (*stateTest).loseChild, true},
		"tag only":    {", check: tag", []string{"--recheck", "0s"}, (*stateTest).loseChild, false},
		"no blob":     {"", []string{"--recheck", "0s"}, (*stateTest).loseBlob, false},
		"a blob":      {", check: blobs", []string{"--recheck", "0s"}, (*stateTest).loseBlob, true},
		"by the flag": {"", []string{"--recheck", "0s", "--check-blobs"}, (*stateTest).loseBlob, true},
		"flag, later": {"", []string{"--check-blobs"}, (*stateTest).loseBlob, false},
		"in each run": {", check-blobs: true", nil, (*stateTest).loseBlob, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStateTest(t)
			f := s.oneImage(c.keys)
			s.run(0)
			before := s.dst.Snapshot("app/one")
			c.lose(s, f)
			require.NotEqual(t, before, s.dst.Snapshot("app/one"))
			report := s.run(0, c.args...)
			if !c.heals {
				assert.Equal(t, imagePresent, report.Images[0].Status)
				assert.NotEqual(t, before, s.dst.Snapshot("app/one"))
				return
			}
			assert.Equal(t, imageCopied, report.Images[0].Status)
			assert.Equal(t, before, s.dst.Snapshot("app/one"))
			assert.Equal(t, imagePresent, s.run(0, c.args...).Images[0].Status)
		})
	}
}

func (s *stateTest) loseChild(f *imagetest.Fixture) {
	require.True(s, s.dst.DeleteManifest("app/one", f.Digest("amd64")))
}

func (s *stateTest) loseBlob(f *imagetest.Fixture) {
	require.True(s, s.dst.DeleteBlob("app/one", f.Blobs("amd64")[1]))
}

func TestStateOfDamage(t *testing.T) {
	s := newStateTest(t)
	f := s.oneImage("")
	f.PushTo(s.src, "app/two", "1", imagetest.Top)
	s.write("defaults: {platforms: [linux/amd64, linux/arm64], destination: \"DST/{repository}\"}\nimages:\n- source: SRC/app/one:1\n- source: SRC/app/two:1\n- source: SRC/app/none:1\n")
	s.run(1)
	assert.Equal(t, state.Failed, s.remembered("app/none:1").Status)
	s.loseChild(f)
	require.True(t, s.src.DeleteManifest("app/one", f.Digest("amd64")))
	report := s.run(StatusDamaged, "--recheck", "0s")
	assert.Equal(t, []imageStatus{imageDamaged, imagePresent, imageFailed}, []imageStatus{report.Images[0].Status, report.Images[1].Status, report.Images[2].Status})
	assert.Equal(t, 1, report.Summary.Damaged)
	assert.Equal(t, 1, report.Summary.Failed)
	i := s.remembered("app/one:1")
	assert.Equal(t, state.Damaged, i.Status)
	assert.Equal(t, state.PlatformDamaged, i.Platforms[0].Status)
	assert.Equal(t, state.PlatformMirrored, i.Platforms[1].Status)
	assert.Contains(t, i.Error, "damaged")

	r := s.sync("--state", s.memory)
	assert.Equal(t, StatusDamaged, r.status, "it is looked at in each run")
	assert.Contains(t, r.stderr, "1 of 3 images damaged; the first, docker://"+s.dst.Host()+"/app/one:1")
	assert.Regexp(t, `(?m)^damaged: docker://\S+/app/one:1 \(line 3\): `, r.stdout)
	assert.Contains(t, r.stdout, "3 images: 1 there already, 1 damaged, 1 failed")

	f.PushTo(s.src, "app/one", "1", imagetest.Top)
	assert.Equal(t, imageCopied, s.run(1).Images[0].Status)
	assert.Equal(t, state.Mirrored, s.remembered("app/one:1").Status)
	assert.Equal(t, state.PlatformMirrored, s.remembered("app/one:1").Platforms[0].Status)
}

// TestStateOfDamagedBlobs is told of a lost blob by one run, and the next one looks as far.
func TestStateOfDamagedBlobs(t *testing.T) {
	s := newStateTest(t)
	f := s.oneImage("")
	s.run(0)
	s.loseBlob(f)
	require.True(t, s.src.DeleteBlob("app/one", f.Blobs("amd64")[1]))
	assert.Equal(t, imageDamaged, s.run(StatusDamaged, "--recheck", "0s", "--check-blobs").Images[0].Status)
	assert.Equal(t, state.CheckBlobs, s.remembered("app/one:1").Checked)
	assert.Equal(t, imageDamaged, s.run(StatusDamaged).Images[0].Status)
	f.PushTo(s.src, "app/one", "1", imagetest.Top)
	assert.Equal(t, imageCopied, s.run(0).Images[0].Status)
}

func TestStateWithoutSource(t *testing.T) {
	s := newStateTest(t)
	f := s.oneImage("")
	s.run(0)
	require.True(t, s.src.DeleteTag("app/one", "1"))
	report := s.run(0)
	assert.Equal(t, imagePresent, report.Images[0].Status)
	require.Len(t, report.Images[0].Warnings, 1)
	i := s.remembered("app/one:1")
	assert.Equal(t, state.Mirrored, i.Status)
	assert.Equal(t, f.Digest(imagetest.Top), i.SourceDigest)
	assert.NotEmpty(t, i.Warnings)

	s.loseChild(f)
	assert.Equal(t, imageDamaged, s.run(StatusDamaged, "--recheck", "0s").Images[0].Status)
}

func TestStateOfAnotherProcess(t *testing.T) {
	s := newStateTest(t)
	s.oneImage("")
	s.run(0)
	before := s.remembered("app/one:1")
	held, warning, err := state.Open(s.memory)
	require.NoError(t, err)
	require.Empty(t, warning)
	report := s.run(0)
	require.Len(t, report.Warnings, 1)
	assert.Contains(t, report.Warnings[0], "another process uses it")
	assert.Empty(t, report.State)
	assert.Equal(t, 1, asked(s.src)[http.MethodGet], "it knows nothing")
	require.NoError(t, held.Close())
	assert.Equal(t, before, s.remembered("app/one:1"))
}

func TestStateThatCannotBeUsed(t *testing.T) {
	s := newStateTest(t)
	s.oneImage("")
	require.NoError(t, os.WriteFile(s.memory, []byte("rubbish"), 0o600))
	report := s.run(0)
	require.Len(t, report.Warnings, 1)
	assert.Contains(t, report.Warnings[0], s.memory+".aside")
	assert.Empty(t, s.run(0).Warnings)

	s.sync("--state", t.TempDir()).failed(t, StatusMisused, "--state", "is no file")
	s.sync("--state", s.file).failed(t, StatusMisused, "--state", "FILE itself")
	s.sync("--state", s.memory, "--recheck", "-1s").failed(t, StatusMisused, "--recheck", "from zero")
}

func TestStateAndDryRuns(t *testing.T) {
	s := newStateTest(t)
	s.oneImage("")
	report := s.syncJSON(0, "--state", s.memory, "--dry-run")
	assert.Equal(t, 1, report.Summary.Planned)
	assert.NoFileExists(t, s.memory)
}

// TestStateForgets what the file does not name, and nothing else.
func TestStateForgets(t *testing.T) {
	s := newStateTest(t)
	twentyImages(s.syncTest)
	s.run(0)
	names := func() (names []string) {
		all, err := state.Read(s.memory)
		require.NoError(t, err)
		for _, i := range all {
			names = append(names, i.Destination)
		}
		return names
	}
	require.Len(t, names(), n20)
	s.write("defaults:\n  platforms: [linux/amd64, linux/arm64]\n  sparse: strip\n  destination: DST/mirror/{repository}\nimages:\n- source: SRC/app/n3:1.0\n- {source: SRC/app/absent, tags: ['*']}\n")
	s.run(1)
	assert.Len(t, names(), n20, "one list of tags is not known")
	s.write("defaults:\n  platforms: [linux/amd64, linux/arm64]\n  sparse: strip\n  destination: DST/mirror/{repository}\nimages:\n- source: SRC/app/n3:1.0\n")
	s.run(0, "--shard", "0/2")
	left := len(names())
	assert.Less(t, left, n20)
	assert.Greater(t, left, 1, "those of the other shard are there")
	s.run(0)
	assert.Equal(t, []string{"docker://" + s.dst.Host() + "/mirror/app/n3:1.0"}, names())
}

func TestWhenImagesAreDue(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	m := &memory{recheck: 24 * time.Hour, now: func() time.Time { return now }}
	early, due := 0, make([]int, 25)
	for n := range 1000 {
		i := state.Image{Destination: fmt.Sprintf("docker://mirror.example/a%d:1", n), Status: state.Mirrored}
		for hours := range 25 {
			i.Verified = now.Add(-time.Duration(hours) * time.Hour)
			if m.due(&i, syncfile.CheckManifests) {
				due[hours]++
			}
		}
		if i.Verified = now.Add(time.Hour); !m.due(&i, syncfile.CheckManifests) {
			early++
		}
	}
	assert.Zero(t, early, "what was verified in the future was not verified")
	assert.Zero(t, due[11])
	assert.Equal(t, 1000, due[24])
	for hours := 13; hours <= 24; hours++ { // about as many each hour
		assert.InDelta(t, 1000/12, due[hours]-due[hours-1], 40, "after %d hours", hours)
	}
	i := state.Image{Destination: "docker://mirror.example/a:1"}
	assert.True(t, m.due(&i, syncfile.CheckManifests), "never verified")
	i.Verified = now
	assert.False(t, m.due(&i, syncfile.CheckManifests))
	i.Status = state.Damaged
	assert.True(t, m.due(&i, syncfile.CheckManifests))
	assert.True(t, m.due(&i, syncfile.CheckTag))
	m.recheck, i.Status = 0, state.Mirrored
	assert.False(t, m.due(&i, syncfile.CheckTag))
	assert.True(t, m.due(&i, syncfile.CheckManifests))
}

// TestChecksOfLessDoNotCount where blobs are to be checked: what is asked for besides is no check
// of them, and does not put it off.
func TestChecksOfLessDoNotCount(t *testing.T) {
	then, now := time.Unix(1_800_000_000, 0).UTC(), time.Unix(1_800_040_000, 0).UTC()
	report := &copy.Report{VerifiedAt: now, Checked: copy.CheckedChildren}
	for _, c := range []struct {
		check  syncfile.Check
		due    bool
		before time.Time
		want   time.Time
		level  state.Level
	}{
		{syncfile.CheckManifests, false, then, now, state.CheckManifests},
		{syncfile.CheckBlobs, false, then, then, state.CheckBlobs},
		{syncfile.CheckBlobs, true, then, now, state.CheckBlobs},
		{syncfile.CheckBlobs, false, time.Time{}, now, state.CheckManifests},
	} {
		known := state.Image{Verified: c.before}
		if !c.before.IsZero() {
			known.Checked = state.CheckBlobs
		}
		done := &task{Copy: syncfile.Copy{Image: &syncfile.Image{}}, entry: &syncImage{Status: imagePresent}, recalled: recalled{known: known, check: c.check, due: c.due}}
		after := noted(done, nil, report, now)
		assert.Equal(t, c.want, after.Verified, "%+v", c)
		assert.Equal(t, c.level, after.Checked, "%+v", c)
	}
}

func TestKeysOfImages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pub")
	key := func(content, common, settings string) digest.Digest {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		image := &syncfile.Image{Settings: digest.FromString(settings), Files: []string{path}}
		k := &keys{common: common}
		first := k.of(image)
		assert.Equal(t, first, k.of(image))
		return first
	}
	want := key("a", "b", "c")
	assert.Equal(t, want, key("a", "b", "c"))
	assert.NotEqual(t, want, key("x", "b", "c"))
	assert.NotEqual(t, want, key("a", "x", "c"))
	assert.NotEqual(t, want, key("a", "b", "x"))
	require.NoError(t, os.Remove(path))
	k := &keys{common: "b"}
	assert.NotEqual(t, want, k.of(&syncfile.Image{Settings: digest.FromString("c"), Files: []string{path}}))
}

// TestKeysOfPolicies reads the files that a policy names.
func TestKeysOfPolicies(t *testing.T) {
	assert.Equal(t, []string{"/a", "/b", "/c", "/d"}, pathsIn(map[string]any{
		"default":    []any{map[string]any{"type": "x", "keyPath": "/a"}, map[string]any{"keyPaths": []any{"/b", "/c"}, "keyData": "/x"}},
		"transports": map[string]any{"docker": map[string]any{"": []any{map[string]any{"fulcio": map[string]any{"caPath": "/d"}}}}},
	}))
}
