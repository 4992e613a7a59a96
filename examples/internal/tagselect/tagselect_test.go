package tagselect_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
)

// list is a list of tags, in one text.
func list(text string) []string { return strings.Fields(text) }

func text(tags []string) string { return strings.Join(tags, " ") }

func TestOrder(t *testing.T) {
	for _, order := range []string{
		"edge latest sha-abc1234 20240115 20240329 1 1.9 1.10 1.10.1",
		"12ab34c 123abcd RELEASE.2025-01-31T00-00-00Z latest 0123456 1234567 1-alpine 1 2",
		"v1.2.3-alpha v1.2.3-alpha.1 v1.2.3-alpha.beta v1.2.3-beta.2 v1.2.3-beta.11 v1.2.3-rc.1 v1.2.3",
		"3.14.0a4 3.14.0b1 3.14.0rc1 3.14.0-rc2 3.14.0-rc10 3.14.0 3.14.0_1 3.14.0_2 3.14.0_10 3.14.1",
		"1.2.2 1.2.3-debian-12-r4 1.2.3-debian-12-r10 1.2.3-debian-13-r0 1.2.3",
		"1.2 1.2.0 v1.2.0 1.2.0_build",
		"2024.01.15 2024.1.15 2024.2.1 2024.10.1",
		"1.2.3 1.2.3.4 1.2.3.10 1.2.4",
		"99999999999999999998.1 99999999999999999999.1 1.0 99999.1",
		"4.1.0.Beta1 4.1.0.Final 4.1.0",
		"jammy-20240111 jammy-20240212 noble-20240114",
		"v20231011-8b53cabe0 v20250101-aaaaaaa v1.6.4",
	} {
		want := list(order)
		backwards := slices.Clone(want)
		slices.Reverse(backwards)
		assert.Equal(t, order, text(tagselect.Sorted(backwards)))
		assert.Equal(t, order, text(tagselect.Sorted(slices.Concat(want, backwards))), "each once")
	}
}

func TestEqualVersions(t *testing.T) {
	for _, equal := range []string{"1 1.0 v1.0.0 01.0 1.0.0.0", "1.2.3-rc1 1.2.3rc1 v1.2.3-rc01", "1.2_build v1.2.0_build"} {
		for _, tag := range list(equal) {
			one, ok := tagselect.ParseVersion(tag)
			require.True(t, ok, tag)
			other, _ := tagselect.ParseVersion(list(equal)[0])
			assert.Zero(t, one.Compare(other), tag)
		}
	}
	for _, tag := range list("latest v sha-abc1234 12ab34c 1. 1.2- 1.2_ .1 v.1 vv1 V1 1..2 release-1.2 RELEASE.2025-01-31 8jdk") {
		_, ok := tagselect.ParseVersion(tag)
		assert.False(t, ok, tag)
	}
}

func TestRanges(t *testing.T) {
	nginx := "latest alpine perl 1 1.26 1.26.3 1.26.3-alpine 1.27 1.27.3 v1.27.4 1.27.3-perl 1.28-rc.1 1.28.0rc2 1.28_build 1.27.3.9 2024.01.15 20240115 240115 20240115.1 1234567 12ab34c 99999999999999999999.1"
	for _, c := range []struct {
		text, suffix string
		prereleases  bool
		want         string
	}{
		{text: ">=1.27 <2", want: "1.27 1.27.3 v1.27.4 1.28_build 1.27.3.9"},
		{text: ">=1.27, <2", want: "1.27 1.27.3 v1.27.4 1.28_build 1.27.3.9"},
		{text: ">=1.27 <2", prereleases: true, want: "1.27 1.27.3 v1.27.4 1.27.3-perl 1.28-rc.1 1.28.0rc2 1.28_build 1.27.3.9"},
		{text: ">=1.28-0 <2", want: "1.28-rc.1 1.28.0rc2 1.28_build"},
		{text: "1.26.x", want: "1.26 1.26.3"},
		{text: "~1.26.1 || 2024.x", want: "1.26.3 2024.01.15"},
		{text: "1.26 - 1.27", want: "1.26 1.26.3 1.27 1.27.3 v1.27.4 1.27.3.9"},
		{text: "1.27.3", want: "1.27.3 1.27.3.9"},
		{text: "*", want: "1 1.26 1.26.3 1.27 1.27.3 v1.27.4 1.28_build 1.27.3.9 2024.01.15"},
		{text: "*", suffix: "-alpine", want: "1.26.3-alpine"},
		{text: ">=1.27", suffix: "-[ap]*", want: "1.27.3-perl"},
		{text: "*", suffix: "-*", want: "1.26.3-alpine 1.27.3-perl 1.28-rc.1"},
		{text: ">2030", want: ""},
	} {
		p, err := tagselect.Range(c.text, tagselect.RangeOptions{Prereleases: c.prereleases, Suffix: c.suffix})
		require.NoError(t, err)
		var taken []string
		for _, tag := range list(nginx) {
			if p.Takes(tag) {
				taken = append(taken, tag)
			}
		}
		assert.Equal(t, c.want, text(taken), "%s, suffix %q, prereleases %t", c.text, c.suffix, c.prereleases)
	}
	for _, wrong := range []string{"", " ", "1.2 ||", ">=", "latest", ">=1.2 &&", "=>=1", "1.2.3.4", "[1,2)", strings.Repeat("1", 600)} {
		_, err := tagselect.Range(wrong, tagselect.RangeOptions{})
		assert.Error(t, err, wrong)
	}
	_, err := tagselect.Range("*", tagselect.RangeOptions{Suffix: "[a"})
	assert.EqualError(t, err, `suffix "[a": a [ has no end`)
	_, err = tagselect.Range("abc", tagselect.RangeOptions{})
	assert.EqualError(t, err, `semver "abc": it is no range of versions; write one such as ">=3.1 <4", "^1.27", "~2.4", "1.x || 2.x"`)
}

func must(p tagselect.Pattern, err error) tagselect.Pattern {
	if err != nil {
		panic(err)
	}
	return p
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern tagselect.Pattern
		want    string
	}{
		{must(tagselect.Glob("[!0-9]*")), "latest v1"},
		{must(tagselect.Glob("[^0-9]*")), "latest v1"},
		{must(tagselect.Glob("[0-9v]*")), "1 10 v1"},
		{must(tagselect.Glob("?[!1-9]")), "10"},
		{must(tagselect.Regexp("1|v1")), "1 v1"},
		{must(tagselect.Regexp("(?i)V.")), "v1"},
	} {
		var taken []string
		for _, tag := range list("1 10 latest v1") {
			if c.pattern.Takes(tag) {
				taken = append(taken, tag)
			}
		}
		assert.Equal(t, c.want, text(taken), c.pattern.String())
	}
	for _, wrong := range []string{"1)|(v", "1)|(?:v", "(", "?:1"} {
		_, err := tagselect.Regexp(wrong)
		assert.ErrorContains(t, err, "error parsing regexp", wrong)
	}
}

func TestMatch(t *testing.T) {
	signature := "sha256-" + strings.Repeat("0", 64) + ".sig"
	listed := append(list("1.10 1.9 1.9-alpine latest 2.0-rc1 2.0 2.0"), signature)
	semver := func(text string) tagselect.Pattern { return must(tagselect.Range(text, tagselect.RangeOptions{})) }
	for _, c := range []struct {
		name      string
		selection tagselect.Selection
		want, err string
	}{
		{name: "nothing", want: "names  taken  passed over "},
		{
			name:      "everything",
			selection: tagselect.Selection{Patterns: []tagselect.Pattern{must(tagselect.Glob("*"))}},
			want:      "names  taken latest 1.9-alpine 1.9 1.10 2.0-rc1 2.0 passed over " + signature,
		},
		{
			name:      "a name is no pattern's",
			selection: tagselect.Selection{Names: []string{"1.9", signature, "absent"}, Patterns: []tagselect.Pattern{must(tagselect.Glob("*"))}, Exclude: []tagselect.Pattern{must(tagselect.Regexp("[0-9.]+-.*"))}},
			want:      "names absent " + signature + " 1.9 taken latest 1.10 2.0 passed over ",
		},
		{
			name:      "ranges",
			selection: tagselect.Selection{Patterns: []tagselect.Pattern{semver("<2"), tagselect.Name("latest")}, Exclude: []tagselect.Pattern{semver("1.9")}},
			want:      "names  taken latest 1.10 passed over ",
		},
		{
			name:      "no pattern takes it",
			selection: tagselect.Selection{Patterns: []tagselect.Pattern{must(tagselect.Regexp("sha.*"))}},
			err:       `no tag of the repository matches regexp "sha.*", but for 1 that are named after digests, which patterns do not take`,
		},
		{
			name:      "it is excluded",
			selection: tagselect.Selection{Patterns: []tagselect.Pattern{must(tagselect.Glob("1.1*"))}, Exclude: []tagselect.Pattern{tagselect.Name("1.10")}},
			err:       `no tag of the repository matches "1.1*", but for 1 that are excluded`,
		},
		{
			name:      "it is a pre-release",
			selection: tagselect.Selection{Patterns: []tagselect.Pattern{semver(">1.10 <2")}},
			err:       `no tag of the repository matches semver ">1.10 <2", but for 1 with a suffix, as pre-releases have: prereleases takes all of them, and suffix those with a certain one`,
		},
	} {
		m, err := c.selection.Match(listed)
		if c.err != "" {
			assert.EqualError(t, err, c.err, c.name)
			continue
		}
		require.NoError(t, err, c.name)
		assert.Equal(t, c.want, "names "+text(m.Names)+" taken "+text(m.Taken)+" passed over "+text(m.PassedOver), c.name)
		for _, tag := range m.Taken {
			assert.True(t, c.selection.Takes(tag), c.name)
		}
	}
}

func TestBounds(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	created := map[string]time.Time{}
	for i, tag := range list("latest 1.9 2.0 v2.0.0 1.10 1.8 2.1") { // a backport was made last but one
		created[tag] = now.AddDate(0, 0, i-10)
	}
	created["latest"] = created["2.1"]
	tags := tagselect.Sorted(list("latest 1.8 1.9 1.10 2.0 v2.0.0 2.1"))
	since := func(text string) tagselect.Since {
		s, err := tagselect.ParseSince(text)
		require.NoError(t, err)
		return s
	}
	for _, c := range []struct {
		name             string
		bounds           tagselect.Bounds
		want, candidates string
		left             tagselect.Left
	}{
		{name: "none", want: "latest 1.8 1.9 1.10 2.0 v2.0.0 2.1"},
		{name: "versions", bounds: tagselect.Bounds{Newest: 2}, want: "2.0 v2.0.0 2.1", left: tagselect.Left{Older: 3, NoVersions: 1}},
		{name: "more than there are", bounds: tagselect.Bounds{Newest: 9}, want: "1.8 1.9 1.10 2.0 v2.0.0 2.1", left: tagselect.Left{NoVersions: 1}},
		{
			name: "times", bounds: tagselect.Bounds{Newest: 2, By: tagselect.ByCreated}, want: "latest 1.8 2.1",
			candidates: "latest 1.8 1.9 1.10 2.0 v2.0.0 2.1", left: tagselect.Left{Older: 4},
		},
		{
			name: "age", bounds: tagselect.Bounds{Since: since("7d")}, want: "latest 1.8 1.10 v2.0.0 2.1",
			candidates: "latest 1.8 1.9 1.10 2.0 v2.0.0 2.1", left: tagselect.Left{Older: 2},
		},
		{
			name: "both", bounds: tagselect.Bounds{Newest: 2, Since: since("2026-01-24")}, want: "v2.0.0 2.1",
			candidates: "2.0 v2.0.0 2.1", left: tagselect.Left{Older: 4, NoVersions: 1},
		},
		{
			name: "nothing is new", bounds: tagselect.Bounds{Since: since("1h")}, want: "",
			candidates: "latest 1.8 1.9 1.10 2.0 v2.0.0 2.1", left: tagselect.Left{Older: 7},
		},
	} {
		within, left, err := c.bounds.Choose(tags, created, now)
		require.NoError(t, err, c.name)
		assert.Equal(t, c.want, text(within), c.name)
		assert.Equal(t, c.left, left, c.name)
		assert.Equal(t, c.candidates, text(c.bounds.Candidates(tags)), c.name)
	}

	delete(created, "1.9")
	_, _, err := tagselect.Bounds{Since: since("1h")}.Choose(tags, created, now)
	assert.EqualError(t, err, "it is not known when the image of 1.9 was made")
	_, _, err = tagselect.Bounds{Newest: 2, Since: since("1h")}.Choose(tags, created, now)
	assert.NoError(t, err, "it is none of the newest")
	_, _, err = tagselect.Bounds{Newest: 1}.Choose(list("edge latest"), nil, now)
	assert.EqualError(t, err, "none of the 2 tags that patterns take is a version, such as latest")
	_, _, err = tagselect.Bounds{Newest: 1}.Choose(nil, nil, now)
	assert.NoError(t, err)
}

func TestSince(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for given, want := range map[string]string{
		"2025-01-31": "2025-01-31T00:00:00Z", "2025-01-31T10:00:00+02:00": "2025-01-31T08:00:00Z",
		"90d": "2025-11-02T12:00:00Z", "36h": "2026-01-30T00:00:00Z", "99999d": "1752-04-18T12:00:00Z",
	} {
		s, err := tagselect.ParseSince(given)
		require.NoError(t, err, given)
		assert.False(t, s.IsZero())
		assert.Equal(t, want, s.From(now).UTC().Format(time.RFC3339), given)
	}
	for _, wrong := range list("0d -1d 1y 90 d 100000d 0h -3h 2025-02-30 31.01.2025 yesterday 0001-01-01") {
		_, err := tagselect.ParseSince(wrong)
		assert.Error(t, err, wrong)
	}
	assert.True(t, tagselect.Since{}.IsZero())
}
