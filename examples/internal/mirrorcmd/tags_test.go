package mirrorcmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// startTagged starts a registry with an image under each of these tags, each of them a year younger
// than the one before.
func startTagged(t *testing.T, o registrytest.Options, tags ...string) (r *registrytest.Registry, repository string) {
	t.Helper()
	r = registrytest.Start(t, o)
	for i, tag := range tags {
		f := imagetest.New()
		f.Image("image", imagetest.Platform("linux/amd64"), imagetest.Created(fmt.Sprintf("%d-01-01T00:00:00Z", 2014+i)))
		f.PushTo(r, repo, tag, "image")
	}
	return r, "docker://" + r.Host() + "/" + repo
}

// listTags runs mirror tags, and returns what it lists and what it says is left out.
func listTags(t *testing.T, repository string, flags ...string) (tags, leftOut string) {
	t.Helper()
	got := runAll(t.Context(), t, "", append([]string{"tags", "--tls-verify=false", repository}, flags...)...)
	assert.Equal(t, StatusDone, got.status, got.stderr)
	return strings.Join(strings.Fields(got.stdout), " "), strings.TrimSpace(strings.TrimPrefix(got.stderr, "left out: "))
}

func TestTags(t *testing.T) {
	signature := "sha256-" + strings.Repeat("0", 64) + ".sig"
	all := []string{"1.9", "1.10", "latest", "1.10.1-alpine", "2.0.0-rc.1", signature, "v2.0.0"}
	for _, o := range []registrytest.Options{{}, {PageSize: 2}, {PageSize: 3, Links: registrytest.LinkRelative}} {
		_, repository := startTagged(t, o, all...)
		for _, c := range []struct{ flags, tags, leftOut string }{
			{"", "latest 1.9 1.10 1.10.1-alpine 2.0.0-rc.1 v2.0.0", "1 named after digests (--digest-tags shows them)"},
			{"--digest-tags", "latest " + signature + " 1.9 1.10 1.10.1-alpine 2.0.0-rc.1 v2.0.0", ""},
			{"--quiet", "latest 1.9 1.10 1.10.1-alpine 2.0.0-rc.1 v2.0.0", ""},
			{"--glob 1.* --glob lat*", "latest 1.9 1.10 1.10.1-alpine", "3 that do not match"},
			{"--glob *.sig --glob latest", "latest", "5 that do not match, 1 named after digests (--digest-tags shows them)"},
			{"--regexp [0-9.]+", "1.9 1.10", "5 that do not match"},
			{"--semver ^1.9", "1.9 1.10", "5 that do not match"},
			{"--semver >=1 --prereleases", "1.9 1.10 1.10.1-alpine 2.0.0-rc.1 v2.0.0", "2 that do not match"},
			{"--semver >=1 --suffix -alpine", "1.10.1-alpine", "6 that do not match"},
			{"--exclude *-* --exclude-regexp v.*", "latest 1.9 1.10", "4 that do not match"},
			{"--newest 2", "2.0.0-rc.1 v2.0.0", "1 that are no versions, 3 that are older, 1 named after digests (--digest-tags shows them)"},
			{"--semver ^1 --newest 1", "1.10", "5 that do not match, 1 that are older"},
			{"--newest 2 --newest-by created --quiet", "2.0.0-rc.1 v2.0.0", ""},
			{"--newest 3 --newest-by created --exclude v* --quiet", "latest 1.10.1-alpine 2.0.0-rc.1", ""},
			{"--since 2016-01-01 --glob 1.*", "1.10.1-alpine", "4 that do not match, 2 that are older"},
		} {
			tags, leftOut := listTags(t, repository, strings.Fields(c.flags)...)
			assert.Equal(t, c.tags, tags, c.flags)
			assert.Equal(t, c.leftOut, leftOut, c.flags)
		}
	}
}

// TestTagsAsListed leaves them in the order of the registry.
func TestTagsAsListed(t *testing.T) {
	_, repository := startTagged(t, registrytest.Options{}, "10", "9", "b")
	sorted, _ := listTags(t, repository)
	listed, _ := listTags(t, repository, "--order", "listed")
	assert.Equal(t, "b 9 10", sorted)
	assert.Equal(t, "10 9 b", listed)
}

func TestTagsJSON(t *testing.T) {
	f := imagetest.Platforms(1, 1, 10)
	r := registrytest.Start(t, registrytest.Options{ListedTags: []string{"no tag"}})
	d := f.PushTo(r, repo, "1.0", imagetest.Top)
	f.PushTo(r, repo, digesttag.Name(d, ".sig"), "amd64")
	f.PushTo(r, repo, "0.9", imagetest.Top)
	got := runAll(t.Context(), t, "", "tags", "--tls-verify=false", "--output", "json", "--newest", "1", "docker://"+r.Host()+"/"+repo).done(t)
	var report tagsReport
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &report))
	want := tagsReport{
		Schema: tagsSchema, Repository: r.Host() + "/" + repo, Tags: []string{"1.0"}, Listed: 3,
		PassedOver: tagsPassedOver{DigestTags: 1, Older: 1}, Warnings: report.Warnings,
	}
	assert.Equal(t, want, report)
	require.Len(t, report.Warnings, 1)
	assert.Contains(t, report.Warnings[0], `"no tag"`)

	got = runAll(t.Context(), t, "", "tags", "--tls-verify=false", "docker://"+r.Host()+"/"+repo)
	assert.Contains(t, got.stderr, `\"no tag\"`)
	got = runAll(t.Context(), t, "", "tags", "--tls-verify=false", "--log-format", "json", "docker://"+r.Host()+"/"+repo)
	assert.Contains(t, got.stderr, `"msg":"left out: 1 named after digests`)
}

func TestTagsFails(t *testing.T) {
	r, repository := startTagged(t, registrytest.Options{}, "1.0", "latest")
	run := func(flags ...string) outcome {
		return runAll(t.Context(), t, "", append([]string{"tags", "--tls-verify=false"}, flags...)...)
	}
	run("--glob", "3.*", repository).failed(t, StatusFailed, "none of its 2 tags is what was asked for: 2 that do not match")
	run("--newest-by", "created", "--newest", "1", "docker://"+r.Host()+"/absent").failed(t, StatusFailed, "/absent: ", "404")
	for _, c := range [][]string{
		{"--glob", "[", repository}, {"--regexp", "(", repository}, {"--semver", "new", repository}, {"--since", "ever", repository},
		{"--prereleases", repository}, {"--suffix", "-a", repository}, {"--newest-by", "created", repository}, {"--newest", "0", repository},
		{"--exclude", "[", repository}, {"--exclude-regexp", "(", repository}, {"oci:layout:1"}, {}, {repository, repository},
	} {
		run(c...).failed(t, StatusMisused)
	}
	assert.Zero(t, r.Count(func(q registrytest.Request) bool { return q.Method != http.MethodGet && q.Method != http.MethodHead }))

	unknown := registrytest.Start(t, registrytest.Options{})
	imagetest.Platforms(1, 1, 10).PushTo(unknown, repo, "1.0", imagetest.Top)
	run("--since", "2020-01-01", "docker://"+unknown.Host()+"/"+repo).failed(t, StatusFailed, "it is not known when the image of 1.0 was made")
}
