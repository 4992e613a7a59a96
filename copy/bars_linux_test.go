package copy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/oci/archive"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/progress"
	"github.com/sparsecopy/sparsecopy/internal/progress/terminaltest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

var blobLine = regexp.MustCompile(`^(Copying (?:blob|config) )sha256:([0-9a-f]+)$`)

// shown returns the lines that a terminal gets, sorted, by those that others get.
func shown(text, outcome string) []string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		if m := blobLine.FindStringSubmatch(line); m != nil {
			lines[i] = (m[1] + m[2])[:len("Copying blob 0123456789ab")] + " " + outcome
		}
	}
	slices.Sort(lines)
	return lines
}

// heldRegistry is a source which does not answer to the first request for a blob before release is
// called.
func heldRegistry(t *testing.T, f *imagetest.Fixture, blob string) (src copytest.RegistryPlace, release func()) {
	held := make(chan struct{})
	src = copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, f.Digest(blob).String()) {
			<-held
		}
		return registrytest.Answer{}
	}}), "team/app")
	src.Push(f, "v1", imagetest.Top)
	release = sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	return src, release
}

// TestBars holds what a terminal shows of copies against the lines that others get: when it is
// done, but for the blobs, nothing differs.
func TestBars(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(3, 2, 1000)
	src, release := heldRegistry(t, f, "arm64.0")
	o := copy.Options{ImageListSelection: copy.CopyAllImages}
	dst := copytest.Places["registry"](t)

	terminal := terminaltest.NewPseudo(t, 100, 10)
	terminal.Resize(80, 10)
	o.ReportWriter = terminal.Writer
	result := make(chan error)
	go func() {
		defer close(result)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		result <- err
	}()
	held := "Copying blob " + f.Digest("arm64.0").Encoded()[:12]
	terminal.WaitFor("\n" + held + ` \[ {27}\] +0 B / [^\n]*\n$`) // the only one that is left
	terminal.Resize(100, 10)
	terminal.WaitFor("\n" + held + ` \[ {40}\] +0 B / [^\n]*\n$`)
	release()
	require.NoError(t, <-result)

	var lines lockedBuffer
	o.ReportWriter = &lines
	_, err := e.Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Equal(t, shown(lines.String(), "done"), sorted(terminal.FinalLines()))

	o.CheckBlobs = true
	lines.b.Reset()
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	terminal = terminaltest.NewPseudo(t, 100, 24)
	o.ReportWriter = terminal.Writer
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Equal(t, shown(lines.String(), "skipped: already exists"), sorted(terminal.FinalLines()))
	assert.False(t, progress.InUse(terminal.Writer))
}

// TestBarsOfPrepared looks at the terminal as soon as Execute returns.
func TestBarsOfPrepared(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	terminal := terminaltest.NewPseudo(t, 80, 24)
	p, err := e.Copier(copy.Options{}).Prepare(t.Context(), e.Policy, copytest.Places["registry"](t).Ref("v1"), src.Ref("v1"), e.Options(copy.Options{
		ImageListSelection: copy.CopyAllImages, ReportWriter: terminal.Writer,
	}))
	require.NoError(t, err)
	assert.False(t, progress.InUse(terminal.Writer))
	_, err = p.Execute(t.Context())
	require.NoError(t, err)
	lines := terminal.FinalLines() // nothing follows: the writer is closed now
	require.NoError(t, p.Close())
	assert.Equal(t, len(f.Blobs(imagetest.Top)), strings.Count(strings.Join(lines, "\n")+"\n", " done\n"))
}

// TestBarsOfFailures ends copies in the middle: no bar stays, and what was copied has its line.
func TestBarsOfFailures(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 2, 1000)
	held := f.Digest("arm64.0")
	bar := "Copying blob " + held.Encoded()[:12] + ` .*\n$`
	for name, c := range map[string]struct {
		fault registrytest.Answer
		end   func(*terminaltest.Pseudo, context.CancelFunc)
		err   func(error) bool
	}{
		"cancelled": {
			registrytest.Answer{Fault: registrytest.FaultStallBody, After: 500},
			func(p *terminaltest.Pseudo, cancel context.CancelFunc) { p.WaitFor(bar); cancel() },
			func(err error) bool { return errors.Is(err, context.Canceled) },
		},
		"failed": {
			registrytest.Fail(http.StatusForbidden, "DENIED", "no"),
			func(*terminaltest.Pseudo, context.CancelFunc) {},
			func(err error) bool { var at *copy.Error; return errors.As(err, &at) && at.Side == copy.SourceSide },
		},
	} {
		t.Run(name, func(t *testing.T) {
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
				if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, held.String()) {
					return c.fault
				}
				return registrytest.Answer{}
			}}), "team/app")
			src.Push(f, "v1", imagetest.Top)
			terminal := terminaltest.NewPseudo(t, 60, 24)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			result := make(chan error)
			var report *copy.Report
			go func() {
				defer close(result)
				var err error
				report, err = e.Image(ctx, copytest.Places["registry"](t).Ref("v1"), src.Ref("v1"), copy.Options{
					ImageListSelection: copy.CopyAllImages, ReportWriter: terminal.Writer,
				})
				result <- err
			}()
			c.end(terminal, cancel)
			err := <-result
			require.True(t, c.err(err), err)
			done := 0
			for _, line := range terminal.FinalLines() {
				assert.NotContains(t, line, " / ")
				assert.NotContains(t, line, held.Encoded()[:12])
				if strings.HasSuffix(line, " done") {
					done++
				}
			}
			assert.Equal(t, report.BlobsCopied, done)
			assert.False(t, progress.InUse(terminal.Writer))
		})
	}
}

// TestBarsOfTerminalThatGoes closes the terminal in the middle of a copy, which does not mind.
func TestBarsOfTerminalThatGoes(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 2, 1000)
	src, release := heldRegistry(t, f, "arm64.0")
	terminal := terminaltest.NewPseudo(t, 60, 24)
	dst := copytest.Places["registry"](t)
	result := make(chan error)
	go func() {
		defer close(result)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, ReportWriter: terminal.Writer})
		result <- err
	}()
	terminal.WaitFor(" 0 B / ")
	terminal.HangUp()
	release()
	require.NoError(t, <-result)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	assert.False(t, progress.InUse(terminal.Writer))
}

// TestBarsOfImages copies many images on one terminal, some of them through upstream, which draws
// nothing there.
func TestBarsOfImages(t *testing.T) {
	e := copytest.NewEnv(t)
	const n = 12
	f := imagetest.Platforms(2, 2, 1000)
	src, release := heldRegistry(t, f, "arm64.0")
	convert := e.Options(copy.Options{ImageListSelection: copy.CopyAllImages, ForceManifestMIMEType: manifest.MediaTypeDockerManifest, RemoveSignatures: true})
	run := func(o copy.Options) {
		dst := registrytest.Start(t, registrytest.Options{})
		o.ImageListSelection = copy.CopyAllImages
		options := e.Options(o)
		convert.ReportWriter = o.ReportWriter
		var jobs []copy.Job
		for i := range n {
			job := copy.Job{Source: src.Ref("v1"), Destination: copytest.RegistryRef(t, dst, fmt.Sprintf("app/%d", i), "v1")}
			if i%3 == 0 {
				job.Options = convert
			}
			jobs = append(jobs, job)
		}
		for _, r := range copy.Images(t.Context(), e.Policy, jobs, &copy.ImagesOptions{Options: options}) {
			assert.NoError(t, r.Err)
		}
	}
	terminal := terminaltest.NewPseudo(t, 50, 7)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(copy.Options{ReportWriter: terminal.Writer})
	}()
	terminal.WaitFor(" 0 B / ")
	release()
	<-ended
	counted := map[string]int{}
	for _, line := range terminal.FinalLines() {
		assert.NotContains(t, line, " / ")
		counted[line]++
	}
	for _, d := range f.Blobs(imagetest.Top) {
		seen := 0
		for _, kind := range []string{"blob", "config"} {
			for _, outcome := range []string{"done", "skipped: already exists"} {
				seen += counted[("Copying " + kind + " " + d.Encoded())[:len("Copying blob 0123456789ab")]+" "+outcome]
			}
		}
		assert.Equal(t, n, seen, f.Name(d))
	}
	assert.False(t, progress.InUse(terminal.Writer))
}

// TestBarsOfUpstream hands a copy over on a terminal: the bars there are upstream's.
func TestBarsOfUpstream(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 2, 1000)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	terminal := terminaltest.NewPseudo(t, 100, 24)
	dated, at := filepath.Join(t.TempDir(), "archive.tar"), time.Unix(1, 0)
	dst, err := archive.NewReference(dated, "v1")
	require.NoError(t, err)
	_, err = e.Image(t.Context(), dst, src.Ref("v1"), copy.Options{
		ImageListSelection: copy.CopyAllImages, DestinationTimestamp: &at, RemoveSignatures: true, ReportWriter: terminal.Writer,
	})
	require.NoError(t, err)
	assert.Regexp(t, `Copying blob `+f.Digest("arm64.0").Encoded()[:12]+` (done|skipped)`, terminal.Raw())
}

// TestNoBars has files that are no terminals, and one that cannot move its cursor: they get lines.
func TestNoBars(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 2, 1000)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	o := copy.Options{ImageListSelection: copy.CopyAllImages}
	run := func(o copy.Options) {
		_, err := e.Image(t.Context(), copytest.Places["registry"](t).Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
	}
	var lines lockedBuffer
	o.ReportWriter = &lines
	run(o)
	want := sorted(strings.Split(strings.TrimSuffix(lines.String(), "\n"), "\n"))

	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer file.Close()
	o.ReportWriter = file
	run(o)
	written, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	assert.Equal(t, want, sorted(strings.Split(strings.TrimSuffix(string(written), "\n"), "\n")))

	dumb := terminaltest.NewPseudo(t, 200, 24)
	t.Setenv("TERM", "dumb")
	o.ReportWriter = dumb.Writer
	run(o)
	assert.Equal(t, want, sorted(dumb.FinalLines()))

	var none *os.File
	o.ReportWriter = none
	run(o)
}

func sorted(lines []string) []string { return slices.Sorted(slices.Values(lines)) }
