package mirrorcmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A regsyncTest holds what a file of regsync's brings to a registry by regsync itself against what
// it brings by mirror sync --from regsync.
type regsyncTest struct {
	*testing.T
	program        string
	src, evidence  *registrytest.Registry
	theirs, ours   *registrytest.Registry
	fixture        *imagetest.Fixture
	tags           bool // the registries have no referrers API
	theirLog, said string
}

// regsyncProgram builds the program, in the version that go.mod has.
func regsyncProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "github.com/regclient/regclient/cmd/regsync")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return filepath.Join(dir, "regsync")
}

func newRegsyncTest(t *testing.T, program string, o registrytest.Options) *regsyncTest {
	r := &regsyncTest{
		T: t, program: program, fixture: regsyncFixture(), tags: o.NoReferrers,
		src: registrytest.Start(t, o), evidence: registrytest.Start(t, o), theirs: registrytest.Start(t, o), ours: registrytest.Start(t, o),
	}
	t.Setenv("HUB_ORG", "org")
	return r
}

// regsyncFixture has a list, with attestations in it and with artifacts that belong to it and to an
// image of it, and single images.
func regsyncFixture() *imagetest.Fixture {
	f := imagetest.WithAttestations()
	f.Artifact("sbom of the list", imagetest.ArtifactType("application/vnd.example.sbom"), imagetest.Subject(imagetest.Top))
	f.Artifact("signature of the sbom", imagetest.ArtifactType("application/vnd.example.signature"), imagetest.Subject("sbom of the list"))
	f.Artifact("sbom of amd64", imagetest.ArtifactType("application/vnd.example.sbom"), imagetest.Subject("amd64"))
	f.Artifact("signature", imagetest.ArtifactType("application/vnd.example.signature"))
	f.Artifact("attestation", imagetest.ArtifactType("application/vnd.example.attestation"))
	for subject, name := range regsyncReferrers {
		f.List("referrers of "+subject, imagetest.Entry(name, imagetest.NoPlatform()))
	}
	f.Image("single", imagetest.Platform("linux/s390x"))
	f.Image("other", imagetest.Platform("linux/amd64"))
	return f
}

// referrers are the artifacts of the fixture, by what they belong to.
var regsyncReferrers = map[string]string{imagetest.Top: "sbom of the list", "sbom of the list": "signature of the sbom", "amd64": "sbom of amd64"}

// push puts images into a repository of the source, by their tags, and what belongs to them: into
// the source, too, or into another registry.
func (r *regsyncTest) push(repo string, images map[string]string, to *registrytest.Registry) {
	r.Helper()
	f := r.fixture
	for tag, name := range images {
		f.PushTo(r.src, repo, tag, name)
	}
	f.PushTo(r.src, repo, digestTag(f, imagetest.Top)+".sig", "signature")
	f.PushTo(r.src, repo, digestTag(f, "arm64")+".odd", "attestation")
	for subject, name := range regsyncReferrers {
		if f.PushTo(to, repo, "", name); r.tags {
			f.PushTo(to, repo, digestTag(f, subject), "referrers of "+subject)
		}
	}
}

func digestTag(f *imagetest.Fixture, name string) string {
	return strings.Replace(f.Digest(name).String(), ":", "-", 1)
}

// regsyncCreds is where a file begins to say how registries are reached.
var regsyncCreds = regexp.MustCompile(`(?m)^creds:\n( *)-`)

// run writes a file for each of the two, and has each of them copy.
func (r *regsyncTest) run(text string) {
	r.Helper()
	file := func(dst *registrytest.Registry) string {
		hosts := []string{r.src.Host(), r.evidence.Host(), dst.Host()}
		var plain string
		for _, host := range hosts {
			plain += "${1}- {registry: '" + host + "', tls: disabled}\n"
		}
		r.Setenv("REGISTRY_ENDPOINT", dst.Host())
		text := strings.NewReplacer(
			"hub.example", hosts[0], "ghcr.example", hosts[0], "evidence.example", hosts[1],
			"mirror.example", hosts[2], "second.example:5000", hosts[2]+"/second",
		).Replace(text)
		if !regsyncCreds.MatchString(text) {
			text += "\ncreds:\n- registry: other.example\n"
		}
		text = regsyncCreds.ReplaceAllString(text, "creds:\n"+plain+"$1-")
		name := filepath.Join(r.TempDir(), "regsync.yaml")
		require.NoError(r, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	regsync := exec.CommandContext(r.Context(), r.program, "once", "--config", file(r.theirs))
	output, err := regsync.CombinedOutput()
	r.theirLog = string(output)
	require.NoError(r, err, "%s", output)
	sync := mirror(r.T, "sync", "--state-dir", r.TempDir(), "--from", "regsync", "--accept-lost", file(r.ours))
	r.said = sync.stdout + sync.stderr
	require.Equal(r, StatusDone, sync.status, "%s", r.said)
}

// same fails unless both have copied the same.
func (r *regsyncTest) same() {
	r.Helper()
	assert.NotEmpty(r, r.theirs.Repos())
	assert.Equal(r, r.theirs.Repos(), r.ours.Repos())
	for _, repo := range r.theirs.Repos() {
		theirs, ours := r.named(r.theirs.Snapshot(repo)), r.named(r.ours.Snapshot(repo))
		assert.Equal(r, theirs, ours, "%s\n%s\n%s", repo, r.theirLog, r.said)
	}
}

// named is a text with the names of things in the place of their digests.
func (r *regsyncTest) named(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		for i, field := range fields {
			if strings.HasPrefix(field, "sha256:") {
				fields[i] = r.fixture.Name(digest.Digest(field))
			}
		}
		lines = append(lines, strings.Join(fields, " "))
	}
	return strings.Join(lines, "\n")
}

// realRegsync is a file in the shape of a real one.
func realRegsync(t *testing.T, n string) string {
	t.Helper()
	archive, err := txtar.ParseFile("../foreign/testdata/real/regsync-" + n + ".txtar")
	require.NoError(t, err)
	return string(archive.Files[0].Data)
}

// TestRegsyncCopiesTheSame runs files in the shape of real ones, and one with what these have not,
// through regsync and through mirror sync.
func TestRegsyncCopiesTheSame(t *testing.T) {
	program := regsyncProgram(t)
	for name, o := range map[string]registrytest.Options{"referrers API": {}, "referrers tags": {NoReferrers: true}} {
		t.Run(name, func(t *testing.T) {
			t.Run("1", func(t *testing.T) {
				r := newRegsyncTest(t, program, o)
				r.push("team/agent", map[string]string{
					"latest": imagetest.Top, "v0.9.1": "single", "v1.6.3": "single", "v1.7.0": imagetest.Top, "v2.0.1": "other", "v2.0.1-rc": "other", "edge": "other",
				}, r.src)
				r.run(realRegsync(t, "1"))
				r.same()
			})
			t.Run("2", func(t *testing.T) {
				r := newRegsyncTest(t, program, o)
				r.push("team/operator", map[string]string{"v1.0.1": imagetest.Top, "v1.0.2": "single", "v1.0.4-rc4": "other", "v1x0.2": "other", "v1.0.3": "other"}, r.src)
				r.push("team/driver", map[string]string{"v0.1.1": imagetest.Top, "v0.1.2": "single"}, r.src)
				r.push("team/logging", map[string]string{"3.10": imagetest.Top, "3.1": "single", "3.8.2": "other"}, r.src)
				r.push("team/shell", map[string]string{"v0.1": "single"}, r.src)
				r.run(strings.NewReplacer(
					"- 3.10", "- '3.10'", // which regsync takes for 3.1 otherwise
					"reqPerSec: 50", "reqPerSec: 5000", // which would take its time
				).Replace(realRegsync(t, "2")))
				r.same()
			})
			t.Run("3", func(t *testing.T) {
				r := newRegsyncTest(t, program, o)
				r.push("org/node", map[string]string{"26-debian13": imagetest.Top, "24-alpine": imagetest.Top, "24-alpine-dev": "other", "20-alpine": "other"}, r.evidence)
				r.push("org/tools", map[string]string{"edge": imagetest.Top, "v3.5.1": "single", "3.6.0": imagetest.Top, "3.6.0-alpine": "other", "4.0.0": "other", "3.5": "other"}, r.src)
				r.run(realRegsync(t, "3"))
				r.same()
			})
			t.Run("all else", func(t *testing.T) {
				r := newRegsyncTest(t, program, o)
				r.push("team/all", map[string]string{"1": imagetest.Top, "1.2.3": imagetest.Top, "1.2.3-rc1": "single", "2.0.0-rc1": "other", "v2.0.0": "other", "latest": "other", "last": "single"}, r.src)
				r.run(regsyncElse)
				r.same()
			})
		})
	}
}

// regsyncElse is a file with what those in the shape of real ones have not.
const regsyncElse = `
defaults: {digestTags: true, referrers: true}
sync:
- {source: hub.example/team/all:1, target: mirror.example/one/platform:1, type: image, platform: linux/arm64}
- {source: hub.example/team/all:last, target: mirror.example/one/platform:single, type: image, platform: linux/arm64}
- {source: hub.example/team/all:1, target: mirror.example/some/platforms:1, type: image, platforms: [linux/x86_64, linux/arm64/v8, linux/riscv64]}
- {source: hub.example/team/all:last, target: mirror.example/some/platforms:single, type: image, platforms: [linux/amd64]}
- {source: hub.example/team/all:1, target: mirror.example/some/attestations:1, type: image, platforms: [linux/amd64, unknown/unknown]}
- {source: hub.example/team/all:1, target: mirror.example/to/latest, type: image, referrers: false, digestTags: false}
- source: hub.example/team/all
  target: mirror.example/{{ index (split .Sync.Source "/") 1 }}/{{ upper "x" | lower }}
  type: repository
  tags: {allow: ['1|v2.*', 'la.t|nothing']}
- {source: hub.example/team/all, target: mirror.example/everything, type: repository, referrers: false, digestTags: false}
- {source: hub.example/team/all, target: mirror.example/ranges/tilde, type: repository, tags: {semverRange: ['~1.2']}}
- {source: hub.example/team/all, target: mirror.example/ranges/caret, type: repository, tags: {semverRange: ['^1', '=2']}}
- source: hub.example/team/all
  target: mirror.example/sets
  type: repository
  tagSets:
  - {allow: ['1.*'], deny: ['.*rc.*']}
  - {semverRange: ['>1'], deny: ['v.*']}
- source: hub.example/team/all:1
  target: mirror.example/filtered:1
  type: image
  referrerFilters: [{artifactType: application/vnd.example.sbom}]
`

// TestRegsyncCopiesWhatIsExported runs a sync file through mirror sync, and what mirror export
// makes of it through regsync.
func TestRegsyncCopiesWhatIsExported(t *testing.T) {
	r := newRegsyncTest(t, regsyncProgram(t), registrytest.Options{})
	r.push("team/all", map[string]string{
		"1": imagetest.Top, "1.2.3": imagetest.Top, "1.2.3-rc1": "single", "1.3.0": "single", "2.0.0": "other", "latest": "other", "last": "single", "a.b": "other", "axb": "single",
	}, r.src)
	file := func(dst *registrytest.Registry) string {
		name := filepath.Join(t.TempDir(), "images.yaml")
		text := strings.NewReplacer("SRC", r.src.Host(), "DST", dst.Host()).Replace(ownFile)
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	mirror(t, "sync", "--state-dir", t.TempDir(), file(r.ours)).done(t)

	exported := runAll(t.Context(), t, "", "export", "regsync", file(r.theirs)).done(t).stdout
	name := filepath.Join(t.TempDir(), "regsync.yaml")
	require.NoError(t, os.WriteFile(name, []byte(strings.ReplaceAll(exported, "tls: insecure", "tls: disabled")), 0o600))
	output, err := exec.CommandContext(t.Context(), r.program, "once", "--config", name).CombinedOutput()
	require.NoError(t, err, "%s\n%s", output, exported)
	r.theirLog = exported
	r.same()
}

// ownFile has what regsync can do, too.
const ownFile = `
registries:
- {registry: 'SRC', tls-verify: false}
- {registry: 'DST', tls-verify: false}
defaults: {destination: 'docker://DST/mirror/{name}'}
images:
- source: docker://SRC/team/all:1
  platforms: [linux/amd64, linux/arm64]
  attestations: drop
  referrers: true
- {source: 'docker://SRC/team/all:1', destination: 'docker://DST/one:{tag}-arm64', system: linux/arm64, digest-tags: all}
- {source: 'docker://SRC/team/all', tags: [a.b, "la*", {regexp: "1|2.*"}], exclude-tags: [last], destination: 'docker://DST/chosen'}
- {source: 'docker://SRC/team/all', tags: ["*"], destination: 'docker://DST/everything:{tag}', digest-tags: all}
- {source: 'docker://SRC/team/all', tags: ["*"], destination: 'docker://DST/images'}
- {source: 'docker://SRC/team/all', tags: [{semver: ">=1.2 <2 || =2.0.0"}], destination: 'docker://DST/{registry}/versions'}
- {source: 'docker://SRC/team/all', tags: [{semver: "^1"}], prereleases: true, destination: 'docker://DST/prereleases'}
- {source: 'docker://SRC/team/all', tags: [{all: [{semver: "^1"}, {not: "1.2*"}]}, {not: "[1l]*"}], destination: 'docker://DST/combined'}
- {source: 'docker://SRC/team/all:1', destination: 'docker://DST/filtered:one', referrers: [application/vnd.example.sbom]}
`
