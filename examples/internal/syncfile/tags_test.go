package syncfile

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/transports"

	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
)

// chosenBy returns what the first image of a file chooses, by its bounds too, at a time at which
// each tag was made an hour after the one before it in listed.
func chosenBy(t *testing.T, text, listed string) string {
	t.Helper()
	f, err := parse(text)
	require.NoError(t, err, text)
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	image, tags, created := f.Images[0], strings.Fields(listed), map[string]time.Time{}
	for i, tag := range tags {
		created[tag] = now.Add(time.Duration(i-len(tags)) * time.Hour)
	}
	matched, err := image.Tags.Match(tags)
	require.NoError(t, err)
	within, _, err := image.Tags.Bounds.Choose(matched.Taken, created, now)
	require.NoError(t, err)
	copies, err := image.Copies(within)
	require.NoError(t, err)
	var chosen []string
	for _, c := range copies {
		assert.True(t, image.Wants(c.Tag))
		chosen = append(chosen, strings.TrimPrefix(transports.ImageName(c.Source), "docker://quay.io/a:"))
	}
	return strings.Join(chosen, " ")
}

func TestChoosing(t *testing.T) {
	const listed = "v0.9.0 2.10 v2.9 2.9.1-alpine 3.0-rc1 3.0.0 latest 2.9.9"
	const from = "{source: 'docker://quay.io/a', destination: 'docker://m.example/a', "
	for _, c := range []struct{ defaults, image, want string }{
		{"{}", `tags: ['*']`, "latest v0.9.0 v2.9 2.9.1-alpine 2.9.9 2.10 3.0-rc1 3.0.0"},
		{"{}", `tags: [{semver: ">=2 <3"}]`, "v2.9 2.9.9 2.10"},
		{"{}", `tags: [{semver: ">=2 <3"}], prereleases: true`, "v2.9 2.9.1-alpine 2.9.9 2.10 3.0-rc1"},
		{"{prereleases: true}", `tags: [{semver: ">=2 <3"}], prereleases: false`, "v2.9 2.9.9 2.10"},
		{"{}", `tags: [{semver: "^2", suffix: "-alp*"}, latest]`, "latest 2.9.1-alpine"},
		{"{}", `tags: ["*"], exclude-tags: [{semver: ">=3-0"}, {regexp: "v.*"}, latest]`, "2.9.1-alpine 2.9.9 2.10"},
		{"{}", `tags: [{all: [{semver: ">=2 <3"}, {not: {regexp: "v.*"}}, {not: 2.9.9}]}, latest]`, "latest 2.10"},
		{"{}", `tags: [{all: ["2*", {not: {semver: "<2.10"}}]}, {not: "[v2l]*"}]`, "2.10 3.0-rc1 3.0.0"},
		{"{}", `tags: [{all: [{semver: "^2"}, {regexp: ".*-.*"}]}], prereleases: true`, "2.9.1-alpine"},
		{"{}", `tags: ["*", v0.9.0], newest: 2`, "v0.9.0 3.0-rc1 3.0.0"},
		{"{}", `tags: ["*"], newest: 2, newest-by: created`, "latest 2.9.9"},
		{"{newest: 2, newest-by: created, since: 1h}", `tags: ["*"]`, "2.9.9"},
		{"{newest: 2, newest-by: created, since: 1h}", `tags: ["*"], newest: none, since: 3h`, "latest 2.9.9 3.0.0"},
		{"{newest: 2, newest-by: created, since: 1h}", `tags: ["*"], newest-by: version, since: none`, "3.0-rc1 3.0.0"},
		{"{newest: 2, since: 1h}", `tags: [v9, v8]`, "v8 v9"},
	} {
		assert.Equal(t, c.want, chosenBy(t, "defaults: "+c.defaults+"\nimages:\n- "+from+c.image+"}\n", listed), "%+v", c)
	}
	f, err := parse("defaults: {newest: 3, newest-by: created, since: 90d, prereleases: true}\nimages: [" + from + "tags: [a]}, {source: 'docker://quay.io/a:b', destination: 'docker://m.example/a'}]")
	require.NoError(t, err, "bounds that images have by default may find nothing to choose")
	assert.False(t, f.Images[0].Tags.Bounds.Any() && f.Images[0].Listed())
	assert.Equal(t, first(t, "f.yaml", "images: ["+from+"tags: ['*'], newest: 3, newest-by: created, since: 90d}]").Settings,
		first(t, "f.yaml", "images: ["+from+"tags: [{semver: '*'}], prereleases: true}]").Settings, "what destinations are to have is the same")
}

// TestProblemsOfTags has what is wrong with how tags are chosen, in one clear line each.
func TestProblemsOfTags(t *testing.T) {
	image := func(more string) string {
		return "images:\n- source: docker://a.example/a\n  destination: docker://m.example/a\n  " + more + "\n"
	}
	const quote = `what begins with >, !, | or * needs quotes, such as semver: ">=3.1 <4"`
	for _, c := range []struct{ text, says string }{
		{image(`tags: [{semver: "1.2.3.4"}]`), `f.yaml:4: semver "1.2.3.4": it is no range of versions; write one such as ">=3.1 <4", "^1.27", "~2.4", "1.x || 2.x"`},
		{image(`tags: [{semver: "latest"}]`), `f.yaml:4: semver "latest": it is no range`},
		{image(`tags: [{semver: ""}]`), `f.yaml:4: semver must be a text`},
		{image(`tags: [{semver: "1 ||"}]`), `f.yaml:4: semver "1 ||": a part is empty: write "*" for all versions`},
		{image("tags:\n  - semver: >=3.1 <4\n  - b"), "f.yaml:5: no valid YAML: did not find expected comment or line break; " + quote},
		{image("tags: [{semver: >=3.1 <4}]"), "f.yaml:4: no valid YAML: found character that cannot start any token; " + quote},
		{image("tags:\n  - semver: >\n      3.1"), "f.yaml:5: semver: " + quote},
		{image("tags:\n  - semver: !=1.2 <3"), "f.yaml:5: semver: " + quote},
		{image("tags:\n  - *"), "f.yaml:5: no valid YAML: did not find expected alphabetic or numeric character; " + quote},
		{image("tags: [v1, *-alpine]"), "f.yaml:4: no valid YAML: unknown anchor '-alpine' referenced; " + quote},
		{image("tags: [&a v1]\n  platforms: b: *a"), "f.yaml:5: no valid YAML: mapping values are not allowed in this context"},
		{image(`tags: [">=1.2 <2"]`), `f.yaml:4: ">=1.2 <2" is neither a tag nor a glob; a range of versions is written {semver: ">=1.2 <2"}`},
		{image(`tags: ["^1.2"]`), `a range of versions is written {semver: "^1.2"}`},
		{image(`tags: [{semver: "1", regexp: a}]`), "f.yaml:4: regexp and semver exclude each other"},
		{image(`tags: [{suffix: -alpine}]`), "f.yaml:4: suffix needs semver"},
		{image(`tags: [{regexp: a, suffix: -alpine}]`), "f.yaml:4: suffix needs semver"},
		{image(`tags: [{semver: "1", suffix: "-["}]`), `f.yaml:4: suffix "-[": a [ has no end`},
		{image(`tags: [{semver: "1", prereleases: true}]`), `f.yaml:4: a tag has no key "prereleases"`},
		{image(`tags: [{}]`), "f.yaml:4: a tag has none of regexp, semver, all and not"},
		{image(`tags: [{all: []}]`), "f.yaml:4: all has no elements"},
		{image(`tags: [{all: "*"}]`), "f.yaml:4: all must be a list"},
		{image(`tags: [{all: [{regexp: "("}, a b]}]`), `f.yaml:4: regexp "(": `},
		{image(`tags: [{not: {}}]`), "f.yaml:4: a tag has none of regexp, semver, all and not"},
		{image(`tags: [{not: a, all: [b]}]`), "f.yaml:4: all and not exclude each other"},
		{image(`tags: [&a {all: [*a]}]`), "f.yaml:4: all and not take no alias"},
		{image(`tags: &a [{all: *a}]`), "f.yaml:4: all and not take no alias"},
		{image(`tags: [&a {not: *a}]`), "f.yaml:4: all and not take no alias"},
		{image(`tags: [{all: [a]}]` + "\n  prereleases: true"), "f.yaml:5: prereleases needs tags with semver"},
		{image(`tags: ["*"]` + "\n  newest: 0"), `f.yaml:5: newest: "0" is no number from 1 on; none takes back what the defaults say`},
		{image(`tags: ["*"]` + "\n  newest: some"), `f.yaml:5: newest: "some" is no number`},
		{image(`tags: ["*"]` + "\n  newest-by: size"), `f.yaml:5: newest-by: write created or version, not "size"`},
		{image(`tags: ["*"]` + "\n  newest-by: created"), "f.yaml:5: newest-by needs newest"},
		{image(`tags: ["*"]` + "\n  since: yesterday"), `f.yaml:5: since: "yesterday" is neither a day (2025-01-31), nor a time (2025-01-31T12:00:00Z), nor an age (90d, 720h)`},
		{image("tags: [a]\n  newest: 3"), "f.yaml:5: newest needs tags with a glob, a regexp or semver: what is named in full is always copied"},
		{image("tags: [a]\n  since: 3d"), "f.yaml:5: since needs tags with a glob"},
		{"images:\n- source: docker://a.example/a:1\n  destination: docker://m.example/a\n  newest: 3\n", "f.yaml:4: newest needs tags with a glob"},
		{image(`tags: ["*"]` + "\n  prereleases: true"), "f.yaml:5: prereleases needs tags with semver"},
		{image(`tags: [{semver: "1"}]` + "\n  prereleases: some"), `f.yaml:5: prereleases: write false or true, not "some"`},
	} {
		_, err := parse(c.text)
		if assert.Error(t, err, c.text) {
			assert.Contains(t, err.Error(), c.says, c.text)
		}
	}
}

// TestLookupTakesWhatBoundsMayDrop: whether a tag that was pushed is one of the newest, nobody
// knows before tags are listed.
func TestLookupTakesWhatBoundsMayDrop(t *testing.T) {
	i := first(t, "f.yaml", "images: [{source: 'docker://quay.io/a', destination: 'docker://m.example/a', tags: [{semver: '>=2'}], newest: 1}]")
	assert.True(t, i.Wants("2.0"))
	assert.False(t, i.Wants("1.0"))
	assert.Equal(t, tagselect.Bounds{Newest: 1}, i.Tags.Bounds)
}
