package page

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

var update = flag.Bool("update", false, "write the golden page anew")

func written(t *testing.T, m Mirror) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, Write(&b, m))
	return b.String()
}

// TestGolden holds the page of a mirror with an image of each kind, but for its style and script,
// against testdata/example.html.
func TestGolden(t *testing.T) {
	got := regexp.MustCompile(`(?s)<(style|script)>.*?</(style|script)>`).ReplaceAllString(written(t, example()), "<$1></$1>")
	got = regexp.MustCompile(`content="default-src[^"]*"`).ReplaceAllString(got, `content="…"`)
	golden := filepath.Join("testdata", "example.html")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "-update writes it anew")
}

// TestTextsOfStrangers looks for what the texts of strangers have become: texts, and nothing else.
// They are among the first rows, and among those that a noscript has.
func TestTextsOfStrangers(t *testing.T) {
	m := hostile()
	m.Images = append(large(atOnce).Images, m.Images...)
	for n := range m.Images[:atOnce] {
		m.Images[n].Status = state.Damaged // and so comes first
	}
	for _, m := range []Mirror{hostile(), m} {
		text := written(t, m)
		assert.Equal(t, 1, strings.Count(text, "<script"))
		assert.Equal(t, 1, strings.Count(text, "</script"))
		assert.LessOrEqual(t, strings.Count(text, "</noscript"), 1)
		tree, err := html.ParseWithOptions(strings.NewReader(text), html.ParseOptionEnableScripting(false))
		require.NoError(t, err)
		elements := map[string]bool{}
		for node := range tree.Descendants() {
			if node.Type != html.ElementNode {
				continue
			}
			elements[node.Data] = true
			for _, a := range node.Attr {
				assert.False(t, strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" || a.Key == "href" && node.Data != "link", "%s %s=%q", node.Data, a.Key, a.Val)
			}
		}
		assert.NotContains(t, elements, "img")
		assert.NotContains(t, elements, "a")
	}
}

// TestLines demands that each row is a line: the script makes rows of lines.
func TestLines(t *testing.T) {
	m := large(atOnce + 5)
	for n := range m.Images {
		m.Images[n].Error = "first\nsecond\r\nthird\u2028fourth"
	}
	_, more, found := strings.Cut(written(t, m), `<noscript id="more">`)
	require.True(t, found)
	more, _, _ = strings.Cut(more, "</noscript>")
	_, more, _ = strings.Cut(more, "<tbody>\n")
	rows, _, _ := strings.Cut(more, "</tbody>")
	lines := strings.Split(strings.TrimSuffix(rows, "\n"), "\n")
	assert.Len(t, lines, 5)
	for _, line := range lines {
		assert.True(t, strings.HasPrefix(line, "<tr ") && strings.HasSuffix(line, "</tr>"), line)
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name                string
		mirror              Mirror
		verdict, tone, show string
	}{
		{"nothing", Mirror{}, "No images so far", "wait", "All 0"},
		{"one image", Mirror{Images: []state.Image{image("a", 1)}}, "1 image, all as they should be", "good", "All 1, Mirrored 1"},
		{"many images", large(700), "700 images, all as they should be", "good", "All 700, Mirrored 700"},
		{"one failure", large(701), "701 images: 1 failed", "bad", "All 701, Failed 1, Mirrored 700"},
		{"a notice", Mirror{Images: []state.Image{image("a", 1)}, Notices: []string{"the file is broken"}}, "1 image, all as they should be", "bad", "All 1, Mirrored 1"},
		{"thousands", large(1400), "1,400 images: 1 failed", "bad", "All 1,400, Failed 1, Mirrored 1,399"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.mirror.At = now
			v := viewOf(c.mirror)
			assert.Equal(t, c.verdict, v.Verdict)
			assert.Equal(t, c.tone, v.Tone)
			var shown []string
			for _, tally := range v.Tallies {
				shown = append(shown, tally.Label+" "+tally.Count)
			}
			assert.Equal(t, c.show, strings.Join(shown, ", "))
			if c.name != "nothing" {
				assert.Equal(t, "0.00", v.Bar[0].From)
			}
		})
	}
	behind := image("a", 1)
	behind.LagSince = ago(time.Hour)
	v := viewOf(Mirror{At: now, Images: []state.Image{behind}})
	assert.Equal(t, []string{"1 image: 1 behind", "wait"}, []string{v.Verdict, v.Tone})
	future := image("a", 1)
	future.LagSince, future.Succeeded = now.Add(time.Hour), now.Add(time.Hour) // clocks go wrong
	v = viewOf(Mirror{At: now, Images: []state.Image{future}})
	assert.Equal(t, []string{"1 image, all as they should be", "good", "1 min"}, []string{v.Verdict, v.Tone, strings.ReplaceAll(v.Rows[0].Success.Human, "\u00a0", " ")})
}

func TestFigures(t *testing.T) {
	unseen := image("unseen", 5)
	unseen.Verified = time.Time{}
	for _, c := range []struct {
		images []state.Image
		want   string
	}{
		{nil, ""},
		{[]state.Image{image("a", 1)}, "8 min ago|all verified within 7 h"},
		{[]state.Image{image("a", 1), unseen}, "8 min ago|1 never verified"},
		{[]state.Image{image("a", 1), {Destination: "b", Status: state.Pending}}, "8 min ago|1 never, all verified within 7 h"},
	} {
		got := ""
		for _, f := range viewOf(Mirror{At: now, Images: c.images}).Figures {
			if f.Label == "Oldest success" {
				got = f.Value + "|" + f.Note
			}
		}
		assert.Equal(t, c.want, strings.ReplaceAll(got, "\u00a0", " "))
	}
}

// TestSizesOfStrangers sums up what is more than a number can be.
func TestSizesOfStrangers(t *testing.T) {
	huge := image("huge", 1)
	huge.Size, huge.Transferred = math.MaxInt64, math.MaxInt64
	huge.Saved = state.Saved{Platforms: math.MaxInt64, Present: math.MaxInt64}
	v := viewOf(Mirror{At: now, Images: []state.Image{huge, huge}})
	const most = "9.2 EB"
	assert.Equal(t, figure{"At the mirror", most, most + " copied so far"}, v.Figures[1])
	assert.Equal(t, figure{"Saved", most, most + " of other platforms, " + most + " already there"}, v.Figures[2])
	assert.Equal(t, most+" saved", v.Rows[0].Saved)
}

func TestLimits(t *testing.T) {
	assert.Equal(t, []figure{
		{"Pulls left", "3 of 1,000", "docker.io, until 30 Nov 2026 00:10 UTC"}, {"Pulls left", "0", "quay.io"},
	}, limits([]Limit{{Registry: "docker.io", Remaining: 3, Limit: 1000, Until: now.Add(time.Hour)}, {Registry: "quay.io"}}))
}

func TestHosts(t *testing.T) {
	a, b := image("a", 1), image("b", 1)
	v := viewOf(Mirror{At: now, Images: []state.Image{a, b}})
	assert.Equal(t, []string{"registry.example", "", "mirror/a"}, []string{v.Host, v.Rows[0].Host, v.Rows[0].Name}, "what all have in common is said once")
	b.Destination = "docker://other.example:5000/b"
	v = viewOf(Mirror{At: now, Images: []state.Image{a, b}})
	assert.Equal(t, []string{"", "other.example:5000", "b"}, []string{v.Host, v.Rows[0].Host, v.Rows[0].Name})
	b.Destination = "oci:/srv/layout:b"
	v = viewOf(Mirror{At: now, Images: []state.Image{a, b}})
	assert.Equal(t, []string{"", "", "oci:/srv/layout:b"}, []string{v.Host, v.Rows[1].Host, v.Rows[1].Name})
}

func TestDigests(t *testing.T) {
	const a, b, c = digest.Digest("sha256:a"), digest.Digest("sha256:b"), digest.Digest("sha256:c")
	for _, test := range []struct {
		name         string
		image        state.Image
		same, at, to digest.Digest
	}{
		{"the same", state.Image{SourceDigest: a, LatestSource: a, DestinationDigest: a}, a, "", ""},
		{"stripped", state.Image{SourceDigest: a, LatestSource: a, DestinationDigest: b}, "", a, b},
		{"behind", state.Image{SourceDigest: a, LatestSource: c, DestinationDigest: a}, "", c, a},
		{"never copied", state.Image{LatestSource: a}, "", a, ""},
		{"the source was not asked since", state.Image{SourceDigest: a, DestinationDigest: a}, a, "", ""},
		{"nothing", state.Image{}, "", "", ""},
	} {
		same, at, to := digestsOf(&test.image)
		assert.Equal(t, []digest.Digest{test.same, test.at, test.to}, []digest.Digest{same, at, to}, test.name)
	}
}

// TestManyPlatforms shows the most telling ones of a list that has more than anybody looks at.
func TestManyPlatforms(t *testing.T) {
	var all []state.Platform
	for range maxPlatforms {
		all = append(all, state.Platform{Platform: "linux/other", Status: state.PlatformStripped})
	}
	all = append(all, state.Platform{Platform: "linux/amd64", Status: state.PlatformMirrored}, state.Platform{Platform: "linux/zebra", Status: state.PlatformDamaged})
	elements, beyond := platforms(all, rank([]state.Image{{Platforms: all}}))
	assert.Equal(t, 2, beyond)
	assert.Equal(t, maxPlatforms, strings.Count(string(elements), "<li"))
	assert.True(t, strings.HasPrefix(string(elements), `<li class="m">amd64<li class="x">other`), elements)
	assert.True(t, strings.HasSuffix(string(elements), `<li class="x">other<li class="d">zebra`), elements)
	assert.Equal(t, state.Platform{Platform: "linux/other", Status: state.PlatformStripped}, all[0], "the caller's are as they were")
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "1 min", 0: "1 min", 119 * time.Minute: "119 min", 2 * time.Hour: "2 h", 47 * time.Hour: "47 h", 48 * time.Hour: "2 d", 24 * 1234 * time.Hour: "1,234 d",
	} {
		assert.Equal(t, strings.ReplaceAll(want, " ", "\u00a0"), span(d))
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		assert.Equal(t, want, count(n))
	}
}

// FuzzForeign looks for texts that are shown with a user, or with what nobody sees.
func FuzzForeign(f *testing.F) {
	for _, seed := range []string{"GET https://user:secret@host/v2/?n=1: 503", "docker://name@sha256:abcd", "a\u202eb\x1b\xff", "//a@b@c//d@e?f=g#h@i"} {
		f.Add(seed)
	}
	user := regexp.MustCompile(`[a-z]://[^/?#\s"'<>]*@(sha\d+:)?`)
	f.Fuzz(func(t *testing.T, text string) {
		shown := foreign(text)
		assert.LessOrEqual(t, utf8.RuneCountInString(shown), maxText+1)
		for _, r := range shown {
			assert.True(t, unicode.IsPrint(r), "%q", shown)
		}
		for _, match := range user.FindAllStringSubmatch(shown, -1) {
			assert.NotEmpty(t, match[1], "%q", shown)
		}
	})
}

func TestForeign(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		"as it is: 503 (five times)":     "as it is: 503 (five times)",
		"docker://host/name@sha256:abcd": "docker://host/name@sha256:abcd",
		"GET https://user:secret@host/v2/?n=1&token=secret: 503": "GET https://host/v2/: 503",
		`Get "https://host/v2/?token=secret": EOF`:               `Get "https://host/v2/": EOF`,
		"https://user@host":                    "https://host",
		"docker://name@sha256:abcd, or not":    "docker://name@sha256:abcd, or not",
		`{"u":"https:\/\/user:secret@host\/"}`: `{"u":"https:\/\/host\/"}`,
		"see //user:secret@host/path":          "see //host/path",
		"https://us%40er:se@cret@host/a@b":     "https://host/a@b",
		"https://host/path#secret, and more":   "https://host/path, and more",
		"HTTPS://user:secret@host?a=b":         "HTTPS://host",
		"GET /token?service=secret, 401":       "GET /token, 401",
		"what is this? nothing":                "what is this? nothing",
		"two\nlines\tand\r\nmore":              "two lines and  more",
		"a\u202eb\x1b[31mc\u200bd":             "a\ufffdb\ufffd[31mc\ufffdd",
		"\xff":                                 "\ufffd",
		"Größe ≥ 1":                            "Größe ≥ 1",
		strings.Repeat("a", maxText):           strings.Repeat("a", maxText),
		strings.Repeat("ä", maxText+1):         strings.Repeat("ä", maxText) + "…",
	} {
		assert.Equal(t, want, foreign(text))
	}
}

// TestPolicy holds the policy of a header, and that of the document, against what they allow.
func TestPolicy(t *testing.T) {
	assert.True(t, strings.HasPrefix(ContentSecurityPolicy, "default-src 'none'; style-src 'sha256-"))
	assert.NotContains(t, ContentSecurityPolicy, "unsafe")
	assert.NotContains(t, ContentSecurityPolicy, "http")
	document, err := html.Parse(strings.NewReader(written(t, example())))
	require.NoError(t, err)
	for node := range document.Descendants() {
		if node.Data == "meta" && node.Attr[0].Val == "Content-Security-Policy" {
			assert.Equal(t, directives, node.Attr[1].Val)
			return
		}
	}
	t.Error("the document has no policy")
}

// errFull says that a disk is full.
var errFull = errors.New("no space left on device")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestWriteFails(t *testing.T) {
	assert.ErrorIs(t, Write(fullDisk{}, example()), errFull)
	assert.ErrorIs(t, Write(fullDisk{}, large(1000)), errFull)
}

func BenchmarkWrite(b *testing.B) {
	m := large(10_000)
	var size bytes.Buffer
	require.NoError(b, Write(&size, m))
	b.SetBytes(int64(size.Len()))
	for b.Loop() {
		require.NoError(b, Write(io.Discard, m))
	}
}
