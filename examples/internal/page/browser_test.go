package page

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

var screenshots = flag.String("screenshots", "", "write what the browser shows into this directory")

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

// startBrowser returns a context for tabs, until the test ends. The test is skipped where there is
// no browser.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("there is no Chromium on this machine; its distribution has a package")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.NoSandbox) // which root has not, nor many a container; the pages are ours
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	ctx, _ = chromedp.NewExecAllocator(ctx, options...)
	ctx, _ = chromedp.NewContext(ctx)
	require.NoError(t, chromedp.Do(ctx), "it starts")
	t.Cleanup(func() { assert.NoError(t, chromedp.Cancel(ctx)) })
	return ctx
}

// A tab shows a page, and notes what its console says and what is asked for.
type tab struct {
	*testing.T
	ctx     context.Context
	url     string
	console func(func(chromedp.ConsoleMessage, error) bool)

	mu        sync.Mutex
	requested []string
}

// width and height are those of the window, in CSS pixels.
const width, height = 1280, 900

// open opens the page of m in a tab of its own, as a server would send it.
func open(browser context.Context, t *testing.T, m Mirror, prepare ...chromedp.Action[chromedp.Void]) *tab {
	t.Helper()
	var document bytes.Buffer
	require.NoError(t, Write(&document, m))
	b := &tab{T: t}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.requested = append(b.requested, r.URL.Path)
		b.mu.Unlock()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", ContentSecurityPolicy)
		_, _ = w.Write(document.Bytes())
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	b.ctx, _ = chromedp.NewContext(browser)
	t.Cleanup(func() {
		// A tab that is not closed within chromedp's five seconds is closed with the browser.
		if err := chromedp.Cancel(b.ctx); !errors.Is(err, context.DeadlineExceeded) {
			assert.NoError(t, err)
		}
	})
	b.console = chromedp.Console(b.ctx)
	b.do(chromedp.EmulateViewport(width, height))
	b.do(prepare...)
	b.do(chromedp.Navigate(b.url))
	return b
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	require.NoError(b, chromedp.Do(b.ctx, actions...))
}

// evaluate returns the value of an expression in the page.
func evaluate[T any](b *tab, expression string) T {
	b.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(b, err, expression)
	return value
}

// rendered waits until the browser has rendered what is in the rows, which must all fit into the
// window: before its first frames it leaves out what may not be in sight.
func (b *tab) rendered() {
	b.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](`new Promise((rendered) => {
		const look = () => [...document.querySelectorAll("tbody td")].every((e) => e.checkVisibility({contentVisibilityAuto: true}))
			? rendered() : requestAnimationFrame(look);
		look();
	})`, chromedp.EvalAwaitPromise))
}

// names are the names of the images that can be seen, from the top.
func (b *tab) names() []string {
	b.Helper()
	return evaluate[[]string](b, `[...document.querySelectorAll("tbody tr")].filter((r) => getComputedStyle(r).display !== "none")
		.map((r) => r.querySelector("bdi").textContent.replace(/^mirror\//, ""))`)
}

// assertQuiet says that the console has said nothing, and that only the page was asked for.
func (b *tab) assertQuiet() {
	b.Helper()
	const end = "that was all"
	b.do(chromedp.Evaluate[chromedp.Void](`console.log("` + end + `")`))
	for message, err := range b.console {
		require.NoError(b, err)
		if message.Text == end {
			break
		}
		b.Errorf("the console says %s", message)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Equal(b, []string{"/"}, b.requested)
}

// screenshot writes what can be seen into the directory of the flag, if there is one.
func (b *tab) screenshot(name string) {
	b.Helper()
	if *screenshots == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(*screenshots+"/"+name+".png", png, 0o644))
}

// media lets the page be shown on paper, or with a color scheme.
func media(medium, scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Media: medium, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	})
}

// withoutScripts lets the page run none.
var withoutScripts = chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
	_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	return err
})

// openUntilLoaded opens the page of m, and stops its timers when it is loaded: what it means to do
// afterwards, it does not do. It returns how long the page has computed, in milliseconds; what else
// runs on the machine does not count.
func openUntilLoaded(browser context.Context, t *testing.T, m Mirror, prepare ...chromedp.Action[chromedp.Void]) (b *tab, took float64) {
	t.Helper()
	measured := chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: `addEventListener("load", () => { window.setTimeout = () => 0; })`,
		})
		if err == nil {
			_, err = chromedp.Call(ctx, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
		}
		return err
	})
	b = open(browser, t, m, append(prepare, measured)...)
	metrics, err := chromedp.Call(b.ctx, performance.GetMetrics, cdp.Empty{})
	require.NoError(t, err)
	for _, metric := range metrics.Metrics {
		if metric.Name == "TaskDuration" {
			took = 1000 * metric.Value
		}
	}
	require.Positive(t, took)
	return b, took
}

// rows is how many rows there are.
func (b *tab) rows() int {
	b.Helper()
	return evaluate[int](b, `document.querySelectorAll("tbody tr").length`)
}

func TestInABrowser(t *testing.T) {
	browser := startBrowser(t)

	t.Run("loads", func(t *testing.T) {
		b := open(browser, t, example())
		assert.Equal(t, "14 images: 1 damaged, 1 failed, 1 postponed, 1 behind, 1 incomplete, 1 pending · production.yaml", evaluate[string](b, `document.title`))
		assert.Equal(t, []string{
			"redis:7.2", "grafana:13", "python:3.14", "node:24", "golang:1.26", "traefik:v3", "alpine:3", "busybox:1.37", "debian:13",
			"hello-world:latest", "memcached:1.6", "nginx:1.29", "postgres:18", "nanoserver:ltsc2025",
		}, b.names(), "the worst come first")
		assert.Equal(t, "14 of 14", evaluate[string](b, `document.querySelector("output").textContent`))
		b.assertQuiet()
		b.screenshot("light")
		b.do(chromedp.EmulateViewport(1200, 660))
		b.screenshot("page")
	})

	t.Run("filters by state, with the keyboard", func(t *testing.T) {
		b := open(browser, t, example())
		b.do(chromedp.Focus(chromedp.CSS("#show-all")), chromedp.KeyEvent(kb.ArrowRight))
		assert.Equal(t, []string{"redis:7.2"}, b.names())
		assert.Equal(t, "1 of 14", evaluate[string](b, `document.querySelector("output").textContent`))
		for _, c := range []struct {
			kind string
			want []string
		}{
			{"failed", []string{"grafana:13"}}, {"postponed", []string{"python:3.14"}},
			{"behind", []string{"grafana:13", "python:3.14", "node:24"}}, {"incomplete", []string{"redis:7.2", "golang:1.26"}},
			{"pending", []string{"traefik:v3"}}, {"skipped", []string{"nanoserver:ltsc2025"}},
		} {
			b.do(chromedp.Click(chromedp.CSS("label[for=show-" + c.kind + "]")))
			assert.Equal(t, c.want, b.names(), c.kind)
		}
		b.do(chromedp.Click(chromedp.CSS("label[for=show-mirrored]")))
		assert.Len(t, b.names(), 9)
		b.do(chromedp.Click(chromedp.CSS("label[for=show-all]")))
		assert.Len(t, b.names(), 14)
		b.assertQuiet()
	})

	t.Run("finds words", func(t *testing.T) {
		b := open(browser, t, example())
		find := func(text string) {
			b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#find").select()`), chromedp.SendKeys(chromedp.CSS("#find"), text))
		}
		find("Docker.io 503")
		assert.Equal(t, []string{"grafana:13"}, b.names(), "all of the words, in any case, in errors too")
		find(evaluate[string](b, `document.querySelectorAll("tbody tr:nth-child(4) code.dst")[0].textContent`))
		assert.Equal(t, []string{"node:24"}, b.names(), "a digest")
		find("windows/amd64")
		b.do(chromedp.Click(chromedp.CSS("label[for=show-skipped]")))
		assert.Equal(t, []string{"nanoserver:ltsc2025"}, b.names(), "what was found is filtered further")
		assert.Equal(t, "1 of 14", evaluate[string](b, `document.querySelector("output").textContent`))
		assert.False(t, evaluate[bool](b, `document.querySelector(".none").checkVisibility()`))
		find("nowhere")
		b.do(chromedp.KeyEvent(kb.Enter))
		assert.Empty(t, b.names())
		assert.True(t, evaluate[bool](b, `document.querySelector(".none").checkVisibility()`))
		b.assertQuiet()
	})

	t.Run("sorts", func(t *testing.T) {
		b := open(browser, t, example())
		sorted := func() string {
			return evaluate[string](b, `[...document.querySelectorAll("[aria-sort]")].map((h) => h.textContent + " " + h.ariaSort).join()`)
		}
		assert.Equal(t, "State ascending", sorted())
		for _, c := range []struct {
			column, order string
			first, last   string
		}{
			{"Image", "ascending", "alpine:3", "traefik:v3"},
			{"Image", "descending", "traefik:v3", "alpine:3"},
			{"Size", "descending", "node:24", "nanoserver:ltsc2025"},
			{"Size", "ascending", "traefik:v3", "node:24"},
			{"Last success", "ascending", "traefik:v3", "nanoserver:ltsc2025"},
			{"Behind", "descending", "grafana:13", "nanoserver:ltsc2025"},
			{"Platforms", "descending", "grafana:13", "nanoserver:ltsc2025"},
			{"State", "ascending", "redis:7.2", "nanoserver:ltsc2025"},
			{"State", "descending", "nanoserver:ltsc2025", "redis:7.2"},
		} {
			b.do(chromedp.Evaluate[chromedp.Void](`[...document.querySelectorAll("th button")].find((b) => b.textContent === "`+c.column+`").focus()`), chromedp.KeyEvent(kb.Enter))
			assert.Equal(t, c.column+" "+c.order, sorted())
			names := b.names()
			require.Len(t, names, 14)
			assert.Equal(t, []string{c.first, c.last}, []string{names[0], names[13]}, sorted())
		}
		b.assertQuiet()
	})

	t.Run("can be read without scripts", func(t *testing.T) {
		b := open(browser, t, example(), withoutScripts)
		assert.Len(t, b.names(), 14)
		assert.False(t, evaluate[bool](b, `document.querySelector("#find").checkVisibility()`), "what needs a script is not offered")
		assert.Equal(t, 0, evaluate[int](b, `document.querySelectorAll("th button").length`))
		b.do(chromedp.Click(chromedp.CSS("label[for=show-behind]")))
		assert.Equal(t, []string{"grafana:13", "python:3.14", "node:24"}, b.names())
		assert.Len(t, open(browser, t, large(atOnce+50), withoutScripts).names(), atOnce+50)
	})

	t.Run("fits a telephone", func(t *testing.T) {
		b := open(browser, t, example(), chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile))
		b.screenshot("narrow")
		assert.Empty(t, evaluate[[]string](b, tooWide))
		assert.Empty(t, evaluate[[]string](b, `[...document.querySelectorAll("td li, td bdi, td p, h1, th:not(:last-child), label")]
			.filter((e) => { const box = e.getBoundingClientRect(); return box.width && (box.left < 0 || box.right > 360 || e.scrollWidth > e.clientWidth + 1 && e.clientWidth); })
			.map((e) => e.textContent)`), "nothing is cut off")
		assert.GreaterOrEqual(t, evaluate[float64](b, `Math.min(...[...document.querySelectorAll("td li")].map((e) => parseFloat(getComputedStyle(e).fontSize)))`), 12.0)
		b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("table").scrollIntoView()`))
		b.screenshot("narrow-rows")
		b.assertQuiet()
	})

	t.Run("fits windows", func(t *testing.T) {
		b := open(browser, t, example())
		for _, w := range []int64{320, 360, 500, 799, 801, 1000, 1183, 1185, 1280, 1920, 3000} {
			b.do(chromedp.EmulateViewport(w, height))
			assert.Empty(t, evaluate[[]string](b, tooWide), w)
		}
	})

	for _, scheme := range []string{"light", "dark"} {
		t.Run("can be read in "+scheme+" colors", func(t *testing.T) {
			m := example()
			m.Notices = []string{"production.yaml cannot be read any more, and what it said before goes on: line 3: unknown key"}
			b := open(browser, t, m, media("screen", scheme))
			b.screenshot("with a notice, " + scheme)
			assert.Empty(t, evaluate[[]string](b, tooFaint))
			b.assertQuiet()
		})
	}

	t.Run("prints", func(t *testing.T) {
		b := open(browser, t, example(), media("print", "dark"), chromedp.EmulateViewport(718, 1050))
		b.screenshot("print")
		assert.Len(t, b.names(), 14)
		assert.False(t, evaluate[bool](b, `document.querySelector(".tools").checkVisibility()`))
		assert.Equal(t, "rgb(255, 255, 255)", evaluate[string](b, `getComputedStyle(document.body).backgroundColor`))
		assert.Empty(t, evaluate[[]string](b, `[...document.querySelectorAll("code")].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.textContent)`), "digests are whole")
		assert.Empty(t, evaluate[[]string](b, tooFaint))
	})

	t.Run("can be heard", func(t *testing.T) {
		b := open(browser, t, example(), chromedp.EmulateViewport(width, 2*height))
		b.rendered()
		tree, err := chromedp.Call(b.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
		require.NoError(t, err)
		heard := map[string][]string{} // names by role
		for _, node := range tree.Nodes {
			if node.Ignored || node.Role == nil {
				continue
			}
			role, name := text(t, node.Role), ""
			if node.Name != nil {
				name = text(t, node.Name)
			}
			heard[role] = append(heard[role], name)
		}
		assert.Equal(t, []string{"The images of the mirror"}, heard["table"])
		assert.Len(t, heard["row"], 15)
		assert.Equal(t, []string{"State", "Image", "Platforms", "Digest", "Size", "Last success", "Behind", "Notes"}, heard["columnheader"])
		assert.Len(t, heard["cell"], 14*7+4, "and the notes of four")
		assert.Equal(t, []string{"Find"}, heard["searchbox"])
		assert.Contains(t, heard["radio"], "Damaged 1")
		spoken := strings.Join(heard["StaticText"], "|")
		for _, words := range []string{"mirrored: |amd64|, signed, attested", "damaged: |arm64", "not copied, stripped: |s390x", "missing at the source: |windows/amd64"} {
			assert.Contains(t, spoken, words)
		}
	})

	t.Run("shows texts of strangers as texts", func(t *testing.T) {
		b := open(browser, t, hostile())
		assert.False(t, evaluate[bool](b, `"pwned" in window`))
		assert.Equal(t, 0, evaluate[int](b, `document.querySelectorAll("main :is(script, img, a, iframe, style, svg, [onclick], [onerror], [style])").length`))
		shown := evaluate[string](b, `document.body.textContent`)
		assert.Contains(t, shown, `<img src=x onerror=pwned=1>`)
		assert.Contains(t, shown, `"><script>pwned=1</script>`)
		for _, secret := range []string{"hunter2", "robot", "token", "\u202e", "\x1b"} {
			assert.NotContains(t, shown, secret)
		}
		assert.Empty(t, evaluate[[]string](b, tooWide))
		b.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile))
		assert.Empty(t, evaluate[[]string](b, tooWide))
		b.assertQuiet()
	})

	t.Run("opens with 10,000 images in half the time of 5,000 rows", func(t *testing.T) {
		const images, rows, tries = 10_000, 5000, 3
		few, most := openUntilLoaded(browser, t, large(rows), withoutScripts)
		require.Equal(t, rows, few.rows(), "without scripts, all images become rows at once")
		var b *tab
		var took float64
		for range tries { // who else computes takes the caches away
			if b, took = openUntilLoaded(browser, t, large(images)); took < most/2 {
				break
			}
		}
		t.Logf("%.0f ms of a processor, and %.0f ms with rows", took, most)
		assert.Less(t, took, most/2, "milliseconds of a processor, and half of those with rows")
		assert.Equal(t, atOnce, b.rows())
		b.do(chromedp.Evaluate[chromedp.Void](`const f = document.querySelector("#find"); f.value = "service-9998"; f.dispatchEvent(new Event("input"))`))
		assert.Equal(t, []string{"team-103/service-9998:v1.1"}, b.names(), "whether it was a row already or not")
		assert.Equal(t, "1 of 10,000", evaluate[string](b, `document.querySelector("output").textContent`))
		b.assertQuiet()
	})

	t.Run("makes rows of the others by itself", func(t *testing.T) {
		b := open(browser, t, large(1000))
		made := chromedp.Poll[bool](`document.querySelectorAll("tbody tr").length === 1000`, chromedp.WithPollingMutation(), chromedp.WithPollingTimeout(0))
		_, err := chromedp.Run(b.ctx, made)
		require.NoError(t, err)
		b.assertQuiet()
	})
}

// tooWide is an expression for the elements that are cut off at the right.
const tooWide = `[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5
	|| e.matches("td") && e.getBoundingClientRect().right > e.parentElement.getBoundingClientRect().right).map((e) => e.outerHTML)`

// tooFaint is an expression for the texts whose contrast with what is behind them is below that of
// WCAG 2.2, level AA.
const tooFaint = `(() => {
	const parse = (c) => c.match(/[\d.]+/g).map(Number);
	const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
	const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
	const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
	return [...document.querySelectorAll("body *:not(script)")].filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).flatMap((e) => {
		const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(behind(e))], ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		return ratio < 4.5 ? [e.textContent + ": " + ratio.toFixed(2)] : [];
	});
})()`

func text(t *testing.T, value *accessibility.Value) string {
	t.Helper()
	var s string
	require.NoError(t, json.Unmarshal(value.Value, &s))
	return s
}

// hostile is a mirror of images whose every text is by somebody who means harm.
func hostile() Mirror {
	const element, attribute = `<img src=x onerror=pwned=1>`, `"><script>pwned=1</script>`
	i := image("x", 1)
	i.Destination, i.Source = "docker://registry.example/"+attribute+strings.Repeat("a", 300), "docker://robot:hunter2@docker.io/"+element
	i.Status, i.Error = state.Failed, "javascript:pwned=1 "+element+" https://robot:hunter2@host/path?token=1#token \u202eevil\x1b[31m GET /v2/x?token=2"
	i.Warnings = []string{attribute, "</p></td></table></main>" + element}
	i.Action, i.SourceDigest, i.LatestSource, i.DestinationDigest = attribute, attribute, attribute, element
	i.Platforms = []state.Platform{{Platform: element, Status: attribute}, {Platform: strings.Repeat("w", 200), Status: state.PlatformMirrored}}
	for range 200 {
		i.Platforms = append(i.Platforms, state.Platform{Platform: attribute, Status: state.PlatformKept})
	}
	j := image("y", 1)
	j.Status, j.Checked = attribute, element
	return Mirror{Name: element, At: now, Images: []state.Image{i, j}, Notices: []string{attribute}, Limits: []Limit{{Registry: element}}}
}
