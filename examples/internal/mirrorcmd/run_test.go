package mirrorcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

const (
	repo = "library/image"
	tag  = "1"
)

// An outcome is what a run of the command left.
type outcome struct {
	status         int
	stdout, stderr string
}

// mirror runs the command against registries without TLS, with a policy that accepts anything.
func mirror(t *testing.T, command string, args ...string) outcome {
	t.Helper()
	all := append([]string{command, "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"}, args...)
	return runAll(t.Context(), t, "", all...)
}

func runAll(ctx context.Context, t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	hermetictest.Home(t)
	var stdout, stderr bytes.Buffer
	status := Run(ctx, args, strings.NewReader(stdin), &stdout, &stderr)
	return outcome{status, stdout.String(), stderr.String()}
}

// done demands success, without a word on stderr.
func (r outcome) done(t *testing.T) outcome {
	t.Helper()
	assert.Equal(t, StatusDone, r.status)
	assert.Empty(t, progressLines.ReplaceAllString(r.stderr, ""))
	return r
}

// progressLines is what a run that takes long writes to stderr now and then.
var progressLines = regexp.MustCompile(`(?m)^images \d+/\d+ .*\n`)

// failed demands a status, and one line on stderr, progress aside, that has all these parts.
func (r outcome) failed(t *testing.T, status int, parts ...string) {
	t.Helper()
	r.stderr = progressLines.ReplaceAllString(r.stderr, "")
	assert.Equal(t, status, r.status)
	assert.True(t, strings.HasPrefix(r.stderr, "mirror: "), "stderr: %q", r.stderr)
	assert.Equal(t, 1, strings.Count(r.stderr, "\n"), "stderr: %q", r.stderr)
	assert.Less(t, len(r.stderr), maxLine+100)
	for _, part := range parts {
		assert.Contains(t, r.stderr, part)
	}
}

func refTo(r *registrytest.Registry) string { return "docker://" + r.Host() + "/" + repo + ":" + tag }

// pushOld makes the tag of a registry name some other image, and returns its digest.
func pushOld(r *registrytest.Registry) digest.Digest {
	old := imagetest.New()
	old.Layer("old")
	old.Image("old-image", imagetest.Platform("linux/amd64"), imagetest.Layers("old"))
	return old.PushTo(r, repo, tag, "old-image")
}

func TestCopyStrip(t *testing.T) {
	f := imagetest.WithAttestations()
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{Strict: true})
	f.PushTo(src, repo, tag, imagetest.Top)
	digestFile := filepath.Join(t.TempDir(), "digest")

	r := mirror(t, "copy", "--platform", "linux/amd64,linux/arm64", "--sparse", "strip", "--digestfile", digestFile, refTo(src), refTo(dst)).done(t)

	got, _ := dst.Resolve(repo, tag)
	imagetest.CheckRegistry(t, dst, repo, imagetest.Want{
		Tag: tag, Digest: got, Fixture: f, Only: true,
		Present: []string{"amd64", "arm64", "att-amd64", "att-arm64"}, Absent: []string{"s390x", "att-s390x"},
	})
	written, err := os.ReadFile(digestFile)
	require.NoError(t, err)
	assert.Equal(t, got.String(), string(written))

	lines := strings.Split(r.stdout, "\n")
	assert.Equal(t, []string{"PLATFORM", "DIGEST", "RESULT", "BYTES", "TIME"}, strings.Fields(lines[0]))
	row := strings.Fields(lines[1])
	assert.Equal(t, []string{"linux/amd64", shortDigest(f.Digest("amd64")), "copied"}, row[:3])
	assert.Equal(t, []string{"linux/s390x", shortDigest(f.Digest("s390x")), "stripped", "-", "-"}, strings.Fields(lines[3]))
	assert.Equal(t, "attestation of linux/arm64", strings.Join(strings.Fields(lines[5])[:3], " "))
	assert.Contains(t, r.stdout, "  "+f.Digest(imagetest.Top).String()+"  docker://"+src.Host())
	assert.Contains(t, r.stdout, "→ "+got.String()+"  docker://"+dst.Host())

	dst.ResetLog()
	r = mirror(t, "copy", "--platform", "linux/amd64,linux/arm64", "--sparse", "strip", refTo(src), refTo(dst)).done(t)
	assert.Contains(t, r.stdout, "nothing to do")
	assert.Contains(t, r.stdout, "present")
	assert.Zero(t, dst.Count(func(r registrytest.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }))
}

func TestCopyKeep(t *testing.T) {
	f := imagetest.Platforms(3, 1, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)

	r := mirror(t, "copy", "--platform", "linux/arm64", refTo(src), refTo(dst)).done(t)

	imagetest.CheckRegistry(t, dst, repo, imagetest.Want{
		Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f,
		Present: []string{"arm64"}, Absent: []string{"amd64", "arm/v7"}, Optional: []string{"amd64", "arm/v7"},
	})
	assert.Equal(t, 2, strings.Count(r.stdout, " not copied, entry kept "))
	assert.Contains(t, r.stdout, "(unchanged)")
}

func TestCopyKeepIsRefused(t *testing.T) {
	f := imagetest.Platforms(3, 1, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{Strict: true})
	f.PushTo(src, repo, tag, imagetest.Top)
	old := pushOld(dst)

	r := mirror(t, "copy", "--platform", "linux/arm64", "--sparse", "keep", refTo(src), refTo(dst))

	r.failed(t, StatusFailed, "refuses the sparse list "+f.Digest(imagetest.Top).String(), "MANIFEST_BLOB_UNKNOWN", f.Digest("amd64").String(), "--sparse strip")
	assert.NotContains(t, r.stderr, "may be")
	imagetest.CheckUnchanged(t, dst, repo, tag, old)

	dst = registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.Zot})
	r = mirror(t, "copy", "--platform", "linux/arm64", "--sparse", "keep", refTo(src), refTo(dst))
	r.failed(t, StatusFailed, "MANIFEST_INVALID", "that may be because it is sparse, since the destination lacks 2 of what it names", "--sparse strip")
}

func TestCopyAuto(t *testing.T) {
	f := imagetest.Platforms(3, 1, 1000)
	src := registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	for name, strict := range map[string]bool{"lax": false, "strict": true} {
		t.Run(name, func(t *testing.T) {
			dst := registrytest.Start(t, registrytest.Options{Strict: strict})
			r := mirror(t, "copy", "--platform", "linux/arm64", "--sparse", "auto", refTo(src), refTo(dst)).done(t)
			got, _ := dst.Resolve(repo, tag)
			assert.Equal(t, strict, got != f.Digest(imagetest.Top))
			assert.Equal(t, strict, strings.Contains(r.stdout, "because the destination refused the sparse list"), r.stdout)
			again := mirror(t, "copy", "--platform", "linux/arm64", "--sparse", "auto", refTo(src), refTo(dst)).done(t)
			assert.Equal(t, strict, strings.Contains(again.stdout, "action strip: the destination names the stripped list already"), again.stdout)
		})
	}
}

// TestCopyWidensAtQuay adds a platform to a list at a registry that collects what is added.
func TestCopyWidensAtQuay(t *testing.T) {
	f := imagetest.Platforms(3, 1, 1000)
	src := registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	dst := registrytest.Start(t, registrytest.Options{Announce: &registrytest.Announcement{Sparse: true}})
	mirror(t, "copy", "--platform", "linux/amd64", refTo(src), refTo(dst)).done(t)
	before := dst.Snapshot(repo)

	more := []string{"--platform", "linux/amd64,linux/arm64", refTo(src), refTo(dst)}
	mirror(t, "copy", more...).failed(t, StatusFailed, "does not keep what is added to it", f.Digest("arm64").String(), "--widened-child-tags")
	assert.Equal(t, before, dst.Snapshot(repo))

	more = append([]string{"--widened-child-tags"}, more...)
	planned := mirror(t, "plan", append([]string{"--compare"}, more...)...).done(t)
	child := strings.Replace(f.Digest("arm64").String(), ":", "-", 1) + ".child"
	assert.Contains(t, planned.stdout, "tag "+child)
	assert.Equal(t, before, dst.Snapshot(repo))
	mirror(t, "copy", more...).done(t)
	dst.Collect(repo)
	imagetest.CheckRegistry(t, dst, repo, imagetest.Want{
		Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"amd64", "arm64"}, Absent: []string{"arm/v7"}, Late: []string{"arm64"},
	})
	assert.Contains(t, dst.Tags(repo), child)
}

func TestCopyWithoutSelectionTakesOneImage(t *testing.T) {
	f := imagetest.Platforms(3, 1, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)

	r := mirror(t, "copy", "--override-os", "linux", "--override-arch", "arm", "--override-variant", "v7", refTo(src), refTo(dst)).done(t)

	imagetest.CheckRegistry(t, dst, repo, imagetest.Want{Tag: tag, Digest: f.Digest("arm/v7"), Fixture: f, Only: true})
	assert.Contains(t, r.stdout, shortDigest(f.Digest("arm/v7")))
}

func TestCopySkipsMissing(t *testing.T) {
	f := imagetest.Platforms(3, 1, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{Strict: true})
	f.PushTo(src, repo, tag, imagetest.Top, "arm64")

	r := mirror(t, "copy", "--platform", "linux/amd64,linux/arm64", "--sparse", "strip", "--skip-missing", refTo(src), refTo(dst)).done(t)

	assert.Regexp(t, `linux/arm64 .* missing, stripped +- +-`, r.stdout)
	assert.Regexp(t, `linux/arm/v7 .* stripped +- +-`, r.stdout)
	imagetest.CheckRegistry(t, dst, repo, imagetest.Want{Tag: tag, Fixture: f, Only: true, Present: []string{"amd64"}, Absent: []string{"arm64", "arm/v7"}})
}

func TestCopyToLayout(t *testing.T) {
	f := imagetest.Platforms(3, 1, 1000)
	src := registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	dir := filepath.Join(t.TempDir(), "layout")

	mirror(t, "copy", "--all", refTo(src), "oci:"+dir+":"+tag).done(t)

	imagetest.CheckLayout(t, dir, imagetest.Want{Tag: tag, Digest: f.Digest(imagetest.Top), Fixture: f})
}

func TestCopyPrintsJSON(t *testing.T) {
	f := imagetest.Platforms(2, 1, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{Strict: true})
	f.PushTo(src, repo, tag, imagetest.Top)

	var report copy.Report
	r := mirror(t, "copy", "--all", "--output", "json", refTo(src), refTo(dst)).done(t)
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &report))
	assert.Equal(t, copy.ReportSchema, report.Schema)
	assert.Equal(t, f.Digest(imagetest.Top), report.DestinationDigest)

	r = mirror(t, "copy", "--platform", "linux/s390x", "--output", "json", refTo(src), refTo(dst))
	r.failed(t, StatusFailed)
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &report))
	assert.Contains(t, report.Error, "linux/s390x")
}

func TestCopyQuiet(t *testing.T) {
	f := imagetest.Platforms(2, 1, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	r := mirror(t, "copy", "--all", "--quiet", refTo(src), refTo(dst)).done(t)
	assert.Empty(t, r.stdout)
}

func TestPlan(t *testing.T) {
	f := imagetest.Platforms(3, 1, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	selected := []string{"--platform", "linux/arm64", "--sparse", "strip", refTo(src), refTo(dst)}

	r := mirror(t, "plan", selected...).done(t)
	assert.Contains(t, r.stdout, "copy "+refTo(src)+" to "+refTo(dst))
	assert.Zero(t, dst.Count(nil), "the destination was asked something")

	r = mirror(t, "plan", append([]string{"--output", "json"}, selected...)...).done(t)
	var plan copy.Plan
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &plan))
	assert.Equal(t, []digest.Digest{f.Digest("arm64")}, plan.Copies)
	assert.Empty(t, dst.Repos())

	mirror(t, "copy", selected...).done(t)
	got, _ := dst.Resolve(repo, tag)
	assert.Equal(t, plan.Digest, got)

	dst.ResetLog()
	r = mirror(t, "plan", append([]string{"--compare", "--output", "json"}, selected...)...).done(t)
	plan = copy.Plan{}
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &plan))
	assert.Equal(t, got, plan.Digest)
	assert.NotZero(t, dst.Count(nil))
}

func TestStopped(t *testing.T) {
	f := imagetest.Platforms(2, 1, 1000)
	cause := errors.New("interrupt signal received")
	ctx, cancel := context.WithCancelCause(t.Context())
	src := registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindBlob), func(int, *http.Request) registrytest.Answer {
			cancel(cause)
			return registrytest.Stall()
		}),
	})
	dst := registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	old := pushOld(dst)

	r := runAll(ctx, t, "", "copy", "--all", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", refTo(src), refTo(dst))

	r.failed(t, StatusFailed, "stopped: interrupt signal received")
	assert.Empty(t, r.stdout)
	imagetest.CheckUnchanged(t, dst, repo, tag, old)
}

// TestStoppedAtThePassword stops a run that waits for somebody to type.
func TestStoppedAtThePassword(t *testing.T) {
	stdin, nobody := io.Pipe()
	defer nobody.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	var stderr bytes.Buffer
	asked := readerFunc(func(p []byte) (int, error) {
		cancel(errors.New("interrupt signal received"))
		return stdin.Read(p)
	})
	status := Run(ctx, []string{"copy", "--all", "--insecure-policy", "--src-creds", "me", "docker://127.0.0.1:1/a:1", "docker://127.0.0.1:1/b:1"},
		asked, io.Discard, &stderr)
	assert.Equal(t, StatusFailed, status)
	assert.Equal(t, "mirror: stopped: interrupt signal received\n", stderr.String())
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestCommandTimeout(t *testing.T) {
	src := registrytest.Start(t, registrytest.Options{Script: registrytest.EveryNth(1, registrytest.Stall())})
	dst := registrytest.Start(t, registrytest.Options{})
	old := pushOld(dst)
	mirror(t, "copy", "--all", "--command-timeout", "50ms", refTo(src), refTo(dst)).failed(t, StatusFailed, "stopped", "--command-timeout (50ms)")
	mirror(t, "plan", "--all", "--command-timeout", "50ms", refTo(src), refTo(dst)).failed(t, StatusFailed, "stopped", "--command-timeout (50ms)")
	imagetest.CheckUnchanged(t, dst, repo, tag, old)
}

func TestDebugLogs(t *testing.T) {
	f := imagetest.Platforms(2, 1, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	r := mirror(t, "copy", "--all", "--debug", refTo(src), refTo(dst))
	assert.Equal(t, StatusDone, r.status)
	assert.Contains(t, r.stderr, "level=debug")
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"copy", "--help"}, {"plan", "--help"}} {
		r := runAll(t.Context(), t, "", args...).done(t)
		assert.Contains(t, r.stdout, "Usage:")
		for line := range strings.SplitSeq(r.stdout, "\n") {
			assert.LessOrEqual(t, len(line), 125)
		}
	}
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	hermetictest.Home(t)
	f := imagetest.Platforms(2, 1, 1000)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f.PushTo(src, repo, tag, imagetest.Top)
	for _, command := range []string{"copy", "plan"} {
		var stderr bytes.Buffer
		status := Run(t.Context(), []string{command, "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", "--all", refTo(src), refTo(dst)},
			strings.NewReader(""), brokenWriter{}, &stderr)
		outcome{status, "", stderr.String()}.failed(t, StatusFailed, io.ErrClosedPipe.Error())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
