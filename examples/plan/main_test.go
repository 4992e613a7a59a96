package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

const lists = "../../testdata/lists/"

// runPlan runs the program and returns what it prints.
func runPlan(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(args, strings.NewReader(stdin), &out, &err)
	return status, out.String(), err.String()
}

// plan runs the program, which must succeed, and returns the plan.
func plan(t *testing.T, args ...string) *copy.Plan {
	t.Helper()
	status, stdout, stderr := runPlan(t, "", append(args, "--output", "json")...)
	require.Zero(t, status, stderr)
	assert.Empty(t, stderr)
	var p copy.Plan
	require.NoError(t, json.Unmarshal([]byte(stdout), &p))
	assert.Equal(t, copy.PlanSchema, p.Schema)
	return &p
}

// copied are the positions of what is copied.
func copied(l *copy.ListPlan) []int {
	var positions []int
	for _, ip := range l.Instances {
		if ip.Decision == copy.Copy {
			positions = append(positions, ip.Index)
		}
	}
	return positions
}

// TestDocumentedOutput holds the package comment and the program together.
func TestDocumentedOutput(t *testing.T) {
	b, err := os.ReadFile("main.go")
	require.NoError(t, err)
	comment, _, _ := strings.Cut(string(b), "package main")
	comment = strings.ReplaceAll(comment, "//\t", "")
	t.Chdir(lists)
	status, stdout, stderr := runPlan(t, "", "--platform", "linux/arm64", "--sparse", "strip", "buildkit-attestations.json")
	require.Zero(t, status, stderr)
	assert.Contains(t, comment, stdout)
}

func TestStandardInput(t *testing.T) {
	b, err := os.ReadFile(lists + "compact.json")
	require.NoError(t, err)
	for _, args := range [][]string{nil, {"-"}} {
		status, stdout, stderr := runPlan(t, string(b), args...)
		require.Zero(t, status, stderr)
		assert.Contains(t, stdout, "copy standard input to the destination\n")
		assert.Contains(t, stdout, digest.FromBytes(b).String())
	}
}

func TestSelectors(t *testing.T) {
	const list = lists + "buildkit-attestations.json" // amd64, arm/v7, arm64/v8 and their attestations
	digestOf := func(i int) string { return plan(t, list).List.Instances[i].Digest.String() }
	for _, c := range []struct {
		args []string
		want []int
	}{
		{nil, []int{0, 1, 2, 3, 4, 5}},
		{[]string{"--platform", "linux/arm"}, []int{1, 4}},
		{[]string{"--platform", "linux/amd64", "--platform", "linux/arm"}, []int{0, 1, 3, 4}},
		{[]string{"--exclude", "linux/amd64"}, []int{1, 2, 4, 5}},
		{[]string{"--platform", "!linux/amd64"}, []int{1, 2, 4, 5}},
		{[]string{"--digest", digestOf(2)}, []int{2}},
		{[]string{"--digest", digestOf(2), "--attestations", "follow"}, []int{2, 5}},
		{[]string{"--index", "1", "--index", "3"}, []int{1, 3}},
		{[]string{"--platform", "linux/*", "--attestations", "drop"}, []int{0, 1, 2}},
		{[]string{"--platform", "linux/arm", "--attestations", "all"}, []int{1, 3, 4, 5}},
		{[]string{"--platform", "linux/arm", "--attestations", "keep"}, []int{1, 3, 4, 5}}, // the word of before
		{[]string{"--platform", "linux/arm", "--optional", "linux/s390x", "--required", "linux/arm"}, []int{1, 4}},
		{[]string{"--platform", "linux/*", "--missing", digestOf(2), "--skip-missing"}, []int{0, 1, 3, 4}},
		{[]string{"--platform", "linux/*", "--missing", digestOf(2), "--present", digestOf(2)}, []int{0, 1, 2, 3, 4, 5}},
	} {
		p := plan(t, append(c.args, list)...)
		assert.Equal(t, c.want, copied(p.List), "%q", c.args)
	}
	for action, want := range map[string][]int{"strip": {0}, "keep": {0, 1, 2, 3}} {
		assert.Equal(t, want, copied(plan(t, "--platform", "linux/amd64", "--platformless-entries", action, lists+"no-platform.json").List), action)
	}
}

func TestSparseActions(t *testing.T) {
	const list = lists + "compact.json"
	assert.Equal(t, copy.KeepSparseManifestList, plan(t, "--index", "0", list).Action)
	assert.Equal(t, copy.StripSparseManifestList, plan(t, "--index", "0", "--sparse", "strip", list).Action)
	auto := plan(t, "--index", "0", "--sparse", "auto", list)
	assert.Equal(t, copy.KeepSparseManifestList, auto.Action)
	assert.Equal(t, copy.StripSparseManifestList, auto.IfRefused.Action)
}

// layout writes documents as the blobs of an OCI layout, and returns its directory and their
// digests.
func layout(t *testing.T, documents ...string) (string, []digest.Digest) {
	t.Helper()
	dir := t.TempDir()
	blobs := filepath.Join(dir, "blobs", "sha256")
	require.NoError(t, os.MkdirAll(blobs, 0o755))
	digests := make([]digest.Digest, len(documents))
	for i, document := range documents {
		digests[i] = digest.FromString(document)
		require.NoError(t, os.WriteFile(filepath.Join(blobs, digests[i].Encoded()), []byte(document), 0o644))
	}
	return dir, digests
}

func TestDocuments(t *testing.T) {
	config := `{"os":"linux","architecture":"arm64"}`
	image := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`,
		digest.FromString(config), len(config))
	inner := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":%q,"size":%d,"platform":{"os":"linux","architecture":"arm64"}}]}`,
		digest.FromString(image), len(image))
	top := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":%q,"size":%d}]}`,
		digest.FromString(inner), len(inner))
	dir, digests := layout(t, config, image, inner, top, strings.Repeat("a layer", 1<<20))
	file := func(i int) string { return filepath.Join(dir, "blobs", "sha256", digests[i].Encoded()) }

	p := plan(t, "--documents", dir, file(3))
	assert.Equal(t, digests[1:2], p.Copies)
	assert.Equal(t, int64(len(config)), p.Bytes)
	assert.Zero(t, p.Unread)

	p = plan(t, "--documents", file(2), file(3))
	assert.Equal(t, 1, p.Unread)

	status, _, stderr := runPlan(t, "", file(3))
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "--documents")

	// A single image is held against the filters by its config.
	p = plan(t, "--documents", dir, "--platform", "linux/arm64", file(1))
	assert.Equal(t, "linux/arm64", p.Image.Platform)
	status, _, stderr = runPlan(t, "", "--documents", dir, "--platform", "linux/amd64", file(1))
	assert.Equal(t, 1, status)
	assert.Equal(t, "plan: no instances found for platform linux/amd64; the source has linux/arm64\n", stderr)
	assert.Equal(t, p.Digest, plan(t, "--platform", "linux/amd64", "--single", "copy", file(1)).Digest)
}

func TestErrorsAreOneLine(t *testing.T) {
	const list = lists + "compact.json"
	for _, c := range []struct {
		status int
		stderr string
		args   []string
	}{
		{2, `unknown flag: --sparce`, []string{"--sparce", "strip", list}},
		{2, `accepts at most 1 arg`, []string{list, list}},
		{2, `--platform: platform "linux"`, []string{"--platform", "linux", list}},
		{2, `--exclude: platform ""`, []string{"--exclude", "", list}},
		{2, `--optional: `, []string{"--optional", "a/b/c/d/e,", list}},
		{2, `--required: `, []string{"--required", "amd64", list}},
		{2, `--digest "x"`, []string{"--digest", "x", list}},
		{2, `--missing "x"`, []string{"--missing", "x", list}},
		{2, `--present "x"`, []string{"--present", "x", list}},
		{2, `invalid argument "one"`, []string{"--index", "one", list}},
		{2, `negative position -1`, []string{"--index", "-1", list}},
		{2, `--sparse: unknown sparse action "purge"`, []string{"--sparse", "purge", list}},
		{2, `--attestations "some": write default, follow, drop or all`, []string{"--attestations", "some", list}},
		{2, `--platformless-entries "drop": write strip or keep`, []string{"--platformless-entries", "drop", list}},
		{2, `--single "skip": write check or copy`, []string{"--single", "skip", list}},
		{2, `--output "yaml"`, []string{"--output", "yaml", list}},
		{2, `OptionalPlatforms`, []string{"--optional", "!linux/amd64", list}},
		{1, `no such file`, []string{"absent.json"}},
		{1, `no such file`, []string{"--documents", "absent", list}},
		{1, `byte 0`, []string{"-"}},
		{1, `no instances found for platform linux/s390x/z9`, []string{"--platform", "linux/s390x/z9", list}},
		{1, `required platform linux/mips`, []string{"--required", "linux/mips", list}},
		{1, `nothing left`, []string{"--platform", "linux/*", "--exclude", "linux/*", list}},
		{1, `no instances found for platform linux/amd64; the source has nothing`, []string{"--platform", "linux/amd64", lists + "empty.json"}},
	} {
		status, stdout, stderr := runPlan(t, "", c.args...)
		assert.Equal(t, c.status, status, "%q", c.args)
		assert.Empty(t, stdout, "%q", c.args)
		assert.Contains(t, stderr, c.stderr)
		assert.Regexp(t, `^plan: [^\n]+\n$`, stderr)
	}
}

func TestHelp(t *testing.T) {
	status, stdout, stderr := runPlan(t, "", "--help")
	assert.Zero(t, status)
	assert.Empty(t, stderr)
	assert.Contains(t, stdout, "--platform PLATFORM")
}
