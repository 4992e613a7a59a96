package mirrorcmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A syncTest is two registries and a file.
type syncTest struct {
	*testing.T
	src, dst *registrytest.Registry
	file     string
	state    string
}

func newSyncTest(t *testing.T, source, destination registrytest.Options) *syncTest {
	dir := t.TempDir()
	return &syncTest{
		T: t, src: registrytest.Start(t, source), dst: registrytest.Start(t, destination),
		file: filepath.Join(dir, "images.yaml"), state: filepath.Join(dir, "state"),
	}
}

// write writes the file; SRC and DST in it stand for the registries.
func (s *syncTest) write(text string) {
	s.Helper()
	text = strings.NewReplacer("SRC", "docker://"+s.src.Host(), "DST", "docker://"+s.dst.Host()).Replace(text)
	require.NoError(s, os.WriteFile(s.file, []byte(text), 0o600))
}

func (s *syncTest) sync(args ...string) outcome {
	s.Helper()
	return mirror(s.T, "sync", append([]string{"--state-dir", s.state, s.file}, args...)...)
}

// syncJSON runs a sync and returns its report.
func (s *syncTest) syncJSON(status int, args ...string) syncReport {
	s.Helper()
	r := s.sync(append([]string{"--output", "json"}, args...)...)
	require.Equal(s, status, r.status, "%s", r.stderr)
	var report syncReport
	require.NoError(s, json.Unmarshal([]byte(r.stdout), &report))
	assert.Equal(s, syncReportSchema, report.Schema)
	return report
}

// writes counts requests that change something.
func writes(r *registrytest.Registry) int {
	return r.Count(func(q registrytest.Request) bool { return q.Method != http.MethodGet && q.Method != http.MethodHead })
}

const n20 = 20

func twentyImages(s *syncTest) *imagetest.Fixture {
	f := imagetest.WithAttestations()
	var b strings.Builder
	b.WriteString("defaults:\n  platforms: [linux/amd64, linux/arm64]\n  sparse: strip\n  destination: DST/mirror/{repository}\nimages:\n")
	for i := range n20 {
		f.PushTo(s.src, fmt.Sprintf("app/n%d", i), "1.0", imagetest.Top)
		fmt.Fprintf(&b, "- source: SRC/app/n%d:1.0\n", i)
	}
	s.write(b.String())
	return f
}

// TestSyncTwice copies twenty images, and then finds nothing to do.
func TestSyncTwice(t *testing.T) {
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{Strict: true})
	f := twentyImages(s)

	r := s.sync("--dry-run", "--jobs", "2", "--parallel", "4").done(t)
	assert.Contains(t, r.stdout, "20 images: 20 to be copied")
	assert.Empty(t, s.dst.Repos())
	for _, reg := range []*registrytest.Registry{s.src, s.dst} {
		assert.Less(t, reg.Connections(), n20, "plans share connections")
	}

	r = s.sync().done(t)
	assert.Contains(t, r.stdout, "20 images: 20 copied")
	for i := range n20 {
		repo := fmt.Sprintf("mirror/app/n%d", i)
		got, _ := s.dst.Resolve(repo, "1.0")
		imagetest.CheckRegistry(t, s.dst, repo, imagetest.Want{
			Tag: "1.0", Digest: got, Fixture: f, Only: true,
			Present: []string{"amd64", "arm64", "att-amd64", "att-arm64"}, Absent: []string{"s390x", "att-s390x"},
		})
	}

	s.src.ResetLog()
	s.dst.ResetLog()
	report := s.syncJSON(StatusUnchanged, "--exit-unchanged")
	assert.LessOrEqual(t, s.src.Count(nil), n20, "the digest of each list")
	assert.LessOrEqual(t, s.dst.Count(nil), n20*5, "each list, and the four that it names")
	assert.Equal(t, n20, report.Summary.Present)
	assert.Zero(t, report.Summary.Bytes)
	assert.Zero(t, writes(s.dst))
	assert.Contains(t, s.sync().done(t).stdout, "nothing to do: 20 images: 20 there already")
	assert.Contains(t, s.sync("--dry-run").done(t).stdout, "nothing to do: 20 images: 20 there already")
	assert.Empty(t, s.sync("--quiet").done(t).stdout)
}

// TestSyncGoesOn has one image that fails.
func TestSyncGoesOn(t *testing.T) {
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	twentyImages(s)
	s.src.DeleteTag("app/n7", "1.0")
	r := s.sync()
	r.failed(t, StatusFailed, "1 of 20 images failed", "app/n7", "404")
	assert.Contains(t, r.stdout, "19 copied, 1 failed")
	report := s.syncJSON(StatusFailed)
	assert.Equal(t, 19, report.Summary.Present)
	assert.Equal(t, imageFailed, report.Images[7].Status)
	assert.Equal(t, 13, report.Images[7].Line)
	assert.NotEmpty(t, report.Images[7].Error)
}

// TestSyncRetries has a registry that refuses one image at first.
func TestSyncRetries(t *testing.T) {
	refuse := registrytest.Only(func(req *http.Request) bool {
		return req.Method == http.MethodPut && strings.HasSuffix(req.URL.Path, "/n3/manifests/1.0")
	}, registrytest.FirstN(1, registrytest.Fail(http.StatusForbidden, "DENIED", "come back later")))
	for _, times := range []int{0, 2} {
		s := newSyncTest(t, registrytest.Options{}, registrytest.Options{Script: refuse})
		twentyImages(s)
		refuse = registrytest.Only(func(req *http.Request) bool {
			return req.Method == http.MethodPut && strings.HasSuffix(req.URL.Path, "/n3/manifests/1.0")
		}, registrytest.FirstN(1, registrytest.Fail(http.StatusForbidden, "DENIED", "come back later")))
		report := s.syncJSON(map[int]int{0: StatusFailed, 2: StatusDone}[times], "--retry-times", fmt.Sprint(times))
		assert.Equal(t, min(times, 1)+1, report.Images[3].Attempts)
		assert.Equal(t, 1, report.Images[4].Attempts)
	}
}

// TestSyncRoundsShareTokens lists tags, copies, and copies again what failed: with one token and,
// at the source, one login for everything.
func TestSyncRoundsShareTokens(t *testing.T) {
	for name, auth := range map[string]registrytest.Auth{"basic": {}, "bearer": {Bearer: true}} {
		t.Run(name, func(t *testing.T) {
			auth.Accounts = []registrytest.Account{{Username: "alice", Password: "pw"}}
			refuse := registrytest.Only(func(req *http.Request) bool {
				return req.Method == http.MethodPut && strings.HasSuffix(req.URL.Path, "/manifests/v2")
			}, registrytest.FirstN(1, registrytest.Fail(http.StatusForbidden, "DENIED", "come back later")))
			s := newSyncTest(t, registrytest.Options{Auth: &auth}, registrytest.Options{Auth: &auth, Script: refuse})
			for i, tag := range []string{"v1", "v2", "v3"} {
				// Nothing is shared: a download that is not needed costs its connection.
				imagetest.Platforms(2, 1, 100+int64(i)).PushTo(s.src, "app", tag, imagetest.Top)
			}
			s.write("images:\n- {source: SRC/app, destination: DST/app, tags: ['v*']}\n")
			report := s.syncJSON(StatusDone, "--src-creds", "alice:pw", "--dest-creds", "alice:pw", "--retry-times", "1", "--requests-per-host", "1")
			assert.Equal(t, 2, report.Images[1].Attempts)
			for _, r := range []*registrytest.Registry{s.src, s.dst} {
				assert.Equal(t, map[string]int{"basic": 0, "bearer": 1}[name], r.Count(registrytest.Is(http.MethodGet, registrytest.KindToken)))
				refused := func(q registrytest.Request) bool { return q.Status == http.StatusUnauthorized }
				assert.Equal(t, 1, r.Count(refused), "the challenge")
				assert.Less(t, r.Connections(), 3*2, "one, and one that tries TLS, for the list of tags and both rounds")
			}
		})
	}
}

// TestSyncTags lists tags.
func TestSyncTags(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	s := newSyncTest(t, registrytest.Options{PageSize: 2}, registrytest.Options{})
	for _, tag := range []string{"1.0", "1.1", "1.10", "1.1-rc", "2.0", "latest", "nightly"} {
		f.PushTo(s.src, "app", tag, imagetest.Top)
	}
	s.write(`
images:
- source: SRC/app
  tags: ["1.*", latest, {regexp: "2\\.[0-9]+"}]
  exclude-tags: ["*-rc"]
  destination: DST/app
- source: SRC/app
  tags: [1.10]
  destination: DST/{name}-of-{tag}:x
`)
	s.sync().done(t)
	assert.Equal(t, []string{"1.0", "1.1", "1.10", "2.0", "latest"}, s.dst.Tags("app"))
	assert.Equal(t, []string{"x"}, s.dst.Tags("app-of-1.10"))

	s.write("images:\n- {source: SRC/app, tags: ['3.*'], destination: DST/app}\n")
	s.sync().failed(t, StatusFailed, "no tag of the repository matches \"3.*\"")
}

// TestSyncPassesOverDigestTags has a repository with the tags of cosign and of the referrers tag
// schema, and names that are no tags.
func TestSyncPassesOverDigestTags(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	s := newSyncTest(t, registrytest.Options{PageSize: 3, Links: registrytest.LinkRelative, ListedTags: []string{"no tag"}}, registrytest.Options{})
	hex := strings.Repeat("0", 64)
	literal := "sha256-" + hex + ".att"
	for _, tag := range []string{"1.0", "1.1", "sha256-" + hex, "sha256-" + hex + ".sig", literal, "sha512-" + hex + ".sbom"} {
		f.PushTo(s.src, "app", tag, imagetest.Top)
	}
	s.write("images:\n- {source: SRC/app, tags: ['*', " + literal + "], destination: DST/app}\n- {source: SRC/app, tags: ['1.*'], destination: DST/other}\n")
	r := s.sync().done(t)
	assert.Equal(t, []string{"1.0", "1.1", literal}, s.dst.Tags("app"))
	assert.Contains(t, r.stdout, "passed over: docker://"+s.src.Host()+"/app (line 2): 3 tags named after digests\n")
	assert.Contains(t, r.stdout, `warning: `+s.src.Host()+`/app lists "no tag", which is no valid tag, skipped`)
	assert.Zero(t, s.src.Count(registrytest.Is("", registrytest.KindPing)))

	report := s.syncJSON(StatusDone)
	assert.Equal(t, 3, report.Summary.PassedOver)
	assert.Equal(t, []syncPassedOver{{Line: 2, Source: "docker://" + s.src.Host() + "/app", DigestTags: 3}}, report.PassedOver)
	assert.Len(t, report.Warnings, 2, "one for each listing")

	report = s.syncJSON(StatusDone, "--delete", "--dry-run")
	assert.Empty(t, report.Removals)
}

// TestSyncSendsAWrongPasswordOnce copies 38 images of one host whose password is wrong.
func TestSyncSendsAWrongPasswordOnce(t *testing.T) {
	for name, auth := range map[string]registrytest.Auth{"basic": {}, "bearer": {Bearer: true}} {
		t.Run(name, func(t *testing.T) {
			auth.Accounts = []registrytest.Account{{Username: "alice", Password: "pw"}}
			s := newSyncTest(t, registrytest.Options{Auth: &auth}, registrytest.Options{})
			var b strings.Builder
			b.WriteString("defaults: {destination: 'DST/{repository}'}\nimages:\n")
			for i := range 38 {
				fmt.Fprintf(&b, "- source: SRC/app%d:1\n", i)
			}
			s.write(b.String())
			authfile := filepath.Join(t.TempDir(), "auth.json")
			require.NoError(t, os.WriteFile(authfile, []byte(`{"auths":{"`+s.src.Host()+`":{"auth":"YWxpY2U6d3Jvbmc="}}}`), 0o600))
			r := s.sync("--src-authfile", authfile)
			r.failed(t, StatusFailed, "38 of 38 images failed", "401 Unauthorized", "were looked for in "+authfile, "--src-creds or --src-authfile gives credentials")
			assert.Equal(t, 1, s.src.WrongLogins())
		})
	}
}

// TestSyncListsWhereImagesAreRead has a registries.conf that rewrites the source's name, and one
// that blocks it.
func TestSyncListsWhereImagesAreRead(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	f.PushTo(s.src, "real/app", "1.0", imagetest.Top)
	s.write("images:\n- {source: 'docker://registry.invalid/team/app', tags: ['1.*'], destination: DST/app}\n")
	conf := filepath.Join(t.TempDir(), "registries.conf")
	require.NoError(t, os.WriteFile(conf, []byte("[[registry]]\nprefix = \"registry.invalid/team\"\nlocation = \""+s.src.Host()+"/real\"\ninsecure = true\n"), 0o600))
	s.sync("--registries-conf", conf).done(t)
	assert.Equal(t, []string{"1.0"}, s.dst.Tags("app"))
	conf += ".blocked"
	require.NoError(t, os.WriteFile(conf, []byte("[[registry]]\nprefix = \"registry.invalid/team\"\nlocation = \""+s.src.Host()+"/real\"\nblocked = true\n"), 0o600))
	s.sync("--registries-conf", conf).failed(t, StatusFailed, "is blocked")
}

// TestSyncSingleImages copies single images under platforms.
func TestSyncSingleImages(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	f.PushTo(s.src, "one", "amd64", "amd64")
	f.PushTo(s.src, "one", "arm64", "arm64")
	text := "defaults: {platforms: [linux/amd64], destination: DST/one, single: %s}\nimages:\n- source: SRC/one:amd64\n- source: SRC/one:arm64\n"
	s.write(fmt.Sprintf(text, "check"))
	s.sync().failed(t, StatusFailed, "no instances found for platform linux/amd64", "linux/arm64", "single: copy copies it")
	s.write(fmt.Sprintf(text, "skip"))
	report := s.syncJSON(StatusDone)
	assert.Equal(t, 1, report.Summary.Skipped)
	assert.Equal(t, imagePresent, report.Images[0].Status)
	assert.Contains(t, report.Images[1].Reason, "linux/arm64")
	assert.Equal(t, "image", report.Images[1].Kind)
	assert.Equal(t, "image", s.syncJSON(StatusDone, "--dry-run").Images[1].Kind)
	assert.Equal(t, []string{"amd64"}, s.dst.Tags("one"))
	s.write(fmt.Sprintf(text, "copy"))
	report = s.syncJSON(StatusDone)
	assert.Equal(t, []imageStatus{imagePresent, imageCopied}, []imageStatus{report.Images[0].Status, report.Images[1].Status})
	assert.Equal(t, f.Digest("arm64"), report.Images[1].DestinationDigest)
}

// TestSyncArtifacts copies charts under whatever is said of platforms and single images.
func TestSyncArtifacts(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	f.Artifact("chart", imagetest.NoMediaType())
	for _, single := range []string{"check", "copy", "skip"} {
		s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
		f.PushTo(s.src, "one", "v1", imagetest.Top)
		f.PushTo(s.src, "chart", "v1", "chart")
		s.write("defaults: {platforms: [linux/amd64], required: [linux/amd64], destination: 'DST/{repository}', single: " + single + "}\n" +
			"images:\n- source: SRC/one:v1\n- source: SRC/chart:v1\n")
		report := s.syncJSON(StatusDone)
		assert.Equal(t, 2, report.Summary.Copied)
		assert.Equal(t, f.Digest("chart"), report.Images[1].DestinationDigest)
		assert.Equal(t, []string{"list", copy.KindArtifact}, []string{report.Images[0].Kind, report.Images[1].Kind})
		for _, report := range []syncReport{s.syncJSON(StatusDone), s.syncJSON(StatusDone, "--dry-run")} {
			assert.Equal(t, 2, report.Summary.Present)
			assert.Equal(t, []string{"list", copy.KindArtifact}, []string{report.Images[0].Kind, report.Images[1].Kind})
		}
		assert.Regexp(t, `(?m)^present +artifact +`, s.sync().stdout)
	}
}

// TestSyncLocks keeps two runs from one destination.
func TestSyncLocks(t *testing.T) {
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	twentyImages(s)
	held, err := lockAll(&environment{getenv: os.Getenv}, s.state, []string{"docker://" + s.dst.Host() + "/mirror/app/n5"})
	require.NoError(t, err)
	r := s.sync()
	r.failed(t, StatusFailed, "another run is writing to docker://"+s.dst.Host()+"/mirror/app/n5", fmt.Sprintf("process %d", os.Getpid()))
	assert.Zero(t, writes(s.dst))
	s.sync("--dry-run").done(t)
	held.release()
	s.sync().done(t)
}

func TestDefaultStateDir(t *testing.T) {
	for _, c := range []struct{ state, home, want string }{
		{"/s", "/h", "/s/mirror"}, {"relative", "/h", "/h/.local/state/mirror"}, {"", "", os.TempDir() + fmt.Sprintf("/mirror-%d", os.Getuid())},
	} {
		env := &environment{getenv: func(name string) string { return map[string]string{"XDG_STATE_HOME": c.state, "HOME": c.home}[name] }}
		assert.Equal(t, c.want, defaultStateDir(env))
	}
}

// TestShards checks that the shards of a file are its parts, and stay what they are.
func TestShards(t *testing.T) {
	const keys = 20_000
	key := func(i int) string { return fmt.Sprintf("docker://mirror.example/app/n%d", i) }
	for _, of := range []uint64{1, 2, 3, 7, 16} {
		counts, moved := make([]int, of+1), 0
		for i := range keys {
			now, then := shardOf(key(i), of), shardOf(key(i), of+1)
			counts[now]++
			if now != then {
				moved++
				assert.Equal(t, of, then, "what moves goes to the new shard")
			}
		}
		for _, c := range counts[:of] {
			assert.InEpsilon(t, keys/int(of), c, 0.15)
		}
		assert.InEpsilon(t, keys/int(of+1), moved, 0.15)
	}
	var golden []uint64
	for i := range 8 {
		golden = append(golden, shardOf(key(i), 5))
	}
	assert.Equal(t, []uint64{4, 4, 4, 4, 3, 3, 2, 0}, golden, "shards must be the same in every release")
}

func TestSyncShards(t *testing.T) {
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	twentyImages(s)
	total := 0
	for i := range 3 {
		report := s.syncJSON(StatusDone, "--shard", fmt.Sprintf("%d/3", i))
		assert.Equal(t, report.Summary.Copied, report.Summary.Images)
		total += report.Summary.Copied
	}
	assert.Equal(t, n20, total)
	assert.Equal(t, n20, s.syncJSON(StatusDone).Summary.Present)
}

// TestSyncDelete removes what the file does not name, and nothing that is needed.
func TestSyncDelete(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	other := imagetest.New()
	other.Layer("other")
	other.Image("other-image", imagetest.Platform("linux/amd64"), imagetest.Layers("other"))
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	f.PushTo(s.src, "app", "1", imagetest.Top)
	s.write("images:\n- {source: 'SRC/app:1', destination: DST/app}\n")
	s.sync().done(t)
	f.PushTo(s.dst, "app", "same", imagetest.Top)      // the digest of what is named
	f.PushTo(s.dst, "app", "child", "arm64")           // a child of what is named
	other.PushTo(s.dst, "app", "old", "other-image")   // this one goes
	other.PushTo(s.dst, "app", "older", "other-image") // and with it this one
	other.PushTo(s.dst, "other", "old", "other-image") // not managed
	cosign := "sha256-" + strings.Repeat("0", 64) + ".sig"
	other.PushTo(s.dst, "app", cosign, "other-image")
	s.sync().done(t)
	assert.Len(t, s.dst.Tags("app"), 6, "nothing is removed that nobody asked to remove")

	// cosign's tag names the digest too, so that nothing can go.
	report := s.syncJSON(StatusDone, "--delete", "--yes")
	assert.Empty(t, report.Confirm)
	assert.Len(t, report.Removals, 4)
	assert.Len(t, s.dst.Tags("app"), 6)
	s.dst.DeleteTag("app", cosign)

	r := s.sync("--delete", "--dry-run").done(t)
	assert.Contains(t, r.stdout, "would be removed: "+s.dst.Host()+"/app:old ")
	report = s.syncJSON(StatusDone, "--delete")
	token := report.Confirm
	require.NotEmpty(t, token)
	assert.Contains(t, r.stdout, "--confirm "+token)
	assert.Len(t, s.dst.Tags("app"), 5)
	reasons := map[string]string{}
	for _, m := range report.Removals {
		reasons[m.Tag] = string(m.Status) + " " + m.Reason
	}
	assert.Equal(t, map[string]string{
		"same": "not removed tag 1 names it too", "child": "not removed the list of tag 1 names it",
		"old": "would be removed ", "older": "would be removed ",
	}, reasons)

	other.PushTo(s.dst, "app", "new", "other-image")
	s.sync("--delete", "--confirm", token).failed(t, StatusFailed, "not about what would be removed now")
	assert.Len(t, s.dst.Tags("app"), 6)
	s.dst.DeleteTag("app", "new")

	report = s.syncJSON(StatusDone, "--delete", "--confirm", token)
	assert.Equal(t, 1, report.Summary.Removed, "one manifest, two tags")
	assert.Equal(t, []string{"1", "child", "same"}, s.dst.Tags("app"))
	assert.Equal(t, []string{"old"}, s.dst.Tags("other"))
	imagetest.CheckRegistry(t, s.dst, "app", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// TestSyncDeletesByARegistrysWordOnly: a nested list that is not there needs nothing. That it is
// not there is what the registry says, and not the page of a proxy.
func TestSyncDeletesByARegistrysWordOnly(t *testing.T) {
	f := imagetest.Nested()
	for page, left := range map[bool][]string{false: {"1"}, true: {"1", "old"}} {
		s := newSyncTest(t, registrytest.Options{}, registrytest.Options{AbsentPage: page})
		f.PushTo(s.src, "app", "1", imagetest.Top)
		s.write("images:\n- {source: 'SRC/app:1', destination: DST/app, platforms: [linux/amd64]}\n")
		s.sync().done(t)
		_, _, there := s.dst.Manifest("app", f.Digest("inner").String())
		require.False(t, there)
		f.PushTo(s.dst, "app", "old", "arm64") // which the nested list names
		r := s.sync("--delete", "--yes")
		if page {
			r.failed(t, StatusFailed, "404")
		} else {
			r.done(t)
		}
		assert.Equal(t, left, s.dst.Tags("app"))
	}
}

// TestSyncKeepsWhatAListLeadsTo: an entry may call a nested list an image; what that names stays
// all the same.
func TestSyncKeepsWhatAListLeadsTo(t *testing.T) {
	f := imagetest.New()
	for _, arch := range []string{"amd64", "arm64"} {
		f.Layer(arch+".layer", imagetest.File("name", arch))
		f.Image(arch, imagetest.Platform("linux/"+arch), imagetest.Layers(arch+".layer"))
	}
	f.List("inner", imagetest.Entries("arm64"))
	f.List(imagetest.Top, imagetest.Entries("amd64"), imagetest.Entry("inner", imagetest.EntryMediaType(imgspecv1.MediaTypeImageManifest)))
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	f.PushTo(s.src, "app", "1", imagetest.Top)
	s.write("images:\n- {source: 'SRC/app:1', destination: DST/app}\n")
	s.sync().done(t)
	f.PushTo(s.dst, "app", "grandchild", "arm64")
	report := s.syncJSON(StatusDone, "--delete", "--yes")
	require.Len(t, report.Removals, 1)
	assert.Equal(t, removalKept, report.Removals[0].Status)
	assert.Equal(t, "the list of tag 1 names it", report.Removals[0].Reason)
	imagetest.CheckRegistry(t, s.dst, "app", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f, Irregular: true})
}

// TestSyncReadsImagesToRemoveOnly: where nothing is to be removed, what entries call images is not
// read.
func TestSyncReadsImagesToRemoveOnly(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	f.PushTo(s.src, "app", "1", imagetest.Top)
	s.write("images:\n- {source: 'SRC/app:1', destination: DST/app}\n")
	s.sync().done(t)
	f.PushTo(s.dst, "app", "same", imagetest.Top)
	f.PushTo(s.dst, "app", "child", "arm64")
	reads := func(name string) int {
		return s.dst.Count(func(r registrytest.Request) bool {
			return r.Method == http.MethodGet && strings.HasSuffix(r.Path, f.Digest(name).String())
		})
	}
	s.sync("--delete", "--yes").done(t)
	assert.Equal(t, 1, reads(imagetest.Top))
	assert.Zero(t, reads("amd64"))

	other := imagetest.New()
	other.Image("stray", imagetest.Platform("linux/amd64"))
	other.PushTo(s.dst, "app", "stray", "stray")
	s.sync("--delete", "--yes").done(t)
	assert.Equal(t, 1, reads("amd64"))
	assert.Equal(t, []string{"1", "child", "same"}, s.dst.Tags("app"))
	imagetest.CheckRegistry(t, s.dst, "app", imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// TestSyncDeletesNothingAfterAFailure has an image that fails.
func TestSyncDeletesNothingAfterAFailure(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	f.PushTo(s.src, "app", "1", imagetest.Top)
	f.PushTo(s.dst, "app", "old", "arm64")
	s.write("images:\n- {source: 'SRC/app:1', destination: DST/app}\n- {source: 'SRC/gone:1', destination: DST/gone}\n")
	r := s.sync("--delete", "--yes")
	r.failed(t, StatusFailed, "1 of 2 images failed")
	assert.Contains(t, r.stdout, "removes nothing")
	assert.Equal(t, []string{"1", "old"}, s.dst.Tags("app"))
}

// TestSyncFilesForClients writes what points clients at the mirror.
func TestSyncFilesForClients(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{Strict: true})
	f.PushTo(s.src, "app", "1", imagetest.Top)
	f.PushTo(s.src, "renamed", "1", imagetest.Top)
	s.write(`
defaults: {platforms: [linux/amd64], sparse: strip}
images:
- {source: "SRC/app:1", destination: DST/m/app}
- {source: "SRC/renamed:1", destination: "DST/m/renamed:other", platforms: []}
`)
	dir := t.TempDir()
	digests, idms, conf := filepath.Join(dir, "digests"), filepath.Join(dir, "idms"), filepath.Join(dir, "conf")
	for range 2 { // what was there already counts too
		s.sync("--digest-map", digests, "--idms", idms, "--registries-conf-snippet", conf).done(t)
		var m digestMap
		require.NoError(t, json.Unmarshal(read(t, digests), &m))
		stripped, _ := s.dst.Resolve("m/app", "1")
		assert.Equal(t, digestMap{digestMapSchema, []digestEntry{{
			"docker://" + s.src.Host() + "/app:1", f.Digest(imagetest.Top), "docker://" + s.dst.Host() + "/m/app:1", stripped,
		}}}, m)
		assert.Equal(t, strings.NewReplacer("SRC", s.src.Host(), "DST", s.dst.Host()).Replace(`apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
    name: mirror
spec:
    imageDigestMirrors:
        - mirrors:
            - DST/m/app
          source: SRC/app
        - mirrors:
            - DST/m/renamed
          source: SRC/renamed
`), string(read(t, idms)))
		assert.Equal(t, strings.NewReplacer("SRC", s.src.Host(), "DST", s.dst.Host()).Replace(`[[registry]]
prefix = "SRC/app"
location = "SRC/app"

[[registry.mirror]]
location = "DST/m/app"
insecure = true

[[registry]]
prefix = "SRC/renamed"
location = "SRC/renamed"

[[registry.mirror]]
location = "DST/m/renamed"
pull-from-mirror = "digest-only"
insecure = true

`), string(read(t, conf)))
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return content
}

// TestSyncMisuse has one clear line for everything that is wrong before anything is opened.
func TestSyncMisuse(t *testing.T) {
	good := "images:\n- {source: 'SRC/app:1', destination: DST/app}\n"
	for _, c := range []struct {
		text string
		args []string
		says string
	}{
		{"", nil, "the file is empty"},
		{"images:\n- source: [", nil, "images.yaml:"},
		{"images:\n- {sorce: x}\n", nil, `images.yaml:2: an image has no key "sorce"; did you mean "source"?`},
		{"images:\n- {source: alpine, destination: DST/app}\n", nil, `images.yaml:2: source "alpine" names no transport`},
		{"images:\n- {source: 'docker://user:secret@host/app', destination: DST/app}\n", nil, "has a user before its host"},
		{good, []string{"--jobs", "0"}, "--jobs"},
		{good, []string{"--bytes-per-second", "fast"}, "500k"},
		{good, []string{"--shard", "3/3"}, "shards count from 0"},
		{good, []string{"--shard", "x"}, "I/N"},
		{good, []string{"--yes"}, "--delete"},
		{good, []string{"--delete", "--yes", "--confirm", "x"}, "exclude each other"},
		{good, []string{"--delete", "--dry-run", "--yes"}, "--dry-run"},
		{good, []string{"--dry-run", "--retry-times", "3"}, "--retry-times"},
		{good, []string{"--override-os", "linux"}, "--override-os"},
		{good, []string{"more.yaml"}, "takes one FILE"},
	} {
		s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
		s.write(c.text)
		r := s.sync(c.args...)
		r.failed(t, StatusMisused, c.says)
		assert.NotContains(t, r.stderr, "secret")
		assert.Zero(t, s.src.Count(nil)+s.dst.Count(nil), "something was opened")
	}
	mirror(t, "sync", "/does/not/exist.yaml").failed(t, StatusMisused, "/does/not/exist.yaml")
}

// TestSyncFlags demands that each flag of sync itself has help and an effect.
func TestSyncFlags(t *testing.T) {
	for name, args := range map[string][]string{
		"jobs": {"3"}, "parallel": {"5"}, "requests-per-host": {"7"}, "bytes-per-second": {"1.5M"}, "retry-times": {"2"}, "shard": {"1/2"}, "state": {"s"}, "recheck": {"2h0m0s"}, "state-dir": {"d"},
		"digest-map": {"f"}, "idms": {"f"}, "registries-conf-snippet": {"f"}, "confirm": {"x"},
		"dry-run": nil, "exit-unchanged": nil, "check-blobs": nil, "delete": nil, "yes": nil,
	} {
		before, after := &syncCommand{env: &environment{}}, &syncCommand{env: &environment{}}
		flag := finished(before).Flags().Lookup(name)
		require.NotNil(t, flag, name)
		assert.NotEmpty(t, flag.Usage, name)
		all := append([]string{"--" + name}, args...)
		cmd := finished(after)
		require.NoError(t, cmd.ParseFlags(all))
		before.access, after.access = access{}, access{}
		assert.NotEqual(t, before, after, "--%s changes nothing", name)
		if len(args) == 1 && name != "bytes-per-second" {
			assert.Equal(t, args[0], cmd.Flags().Lookup(name).Value.String())
		}
	}
	var rate uint64
	require.NoError(t, byteCount{&rate}.Set("64K"), "as other programs write it")
	assert.Equal(t, uint64(64_000), rate)
	require.NoError(t, byteCount{&rate}.Set("1.5M"))
	assert.Equal(t, uint64(1_500_000), rate)
}

func TestSyncHelp(t *testing.T) {
	r := runAll(t.Context(), t, "", "sync", "--help").done(t)
	assert.NotContains(t, r.stdout, "--override-os")
	for line := range strings.SplitSeq(r.stdout, "\n") {
		assert.LessOrEqual(t, len(line), 125)
	}
}

// TestFailuresThatStay are not tried again.
func TestFailuresThatStay(t *testing.T) {
	assert.True(t, mayPass(&copy.Error{}))
	for _, err := range []error{&copy.OptionsError{}, &copy.NoMatchError{}, &copy.RequiredError{}, &copy.EmptyError{}, &copy.CannotModifyError{}} {
		assert.False(t, mayPass(fmt.Errorf("copying: %w", err)))
	}
}

// TestRemovalTokens checks that a token stands for digests too.
func TestRemovalTokens(t *testing.T) {
	a := []syncRemoval{{Repository: "r", Tag: "t", Digest: digest.FromString("a"), Status: removable}}
	b := []syncRemoval{{Repository: "r", Tag: "t", Digest: digest.FromString("b"), Status: removable}}
	assert.NotEqual(t, removalToken(a), removalToken(b))
	assert.Equal(t, removalToken(a), removalToken(append(a, syncRemoval{Repository: "r", Tag: "u", Status: removalKept})))
	artifact := syncRemoval{Repository: "r", Digest: digest.FromString("c"), Of: digest.FromString("a"), Status: removable}
	assert.NotEqual(t, removalToken(a), removalToken(append(a, artifact)))
	assert.Empty(t, removalToken(nil))
}
