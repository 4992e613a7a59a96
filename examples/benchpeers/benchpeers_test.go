package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestMain is the program itself where a test has started it as another process.
func TestMain(m *testing.M) {
	if status, plays := playProgram(filepath.Base(os.Args[0]), os.Args[1:]); plays {
		os.Exit(status)
	}
	if os.Getenv(roleVariable) != "" {
		main()
	}
	os.Exit(hermetictest.Main(m.Run))
}

// tiny are workloads of every kind that a tool can meet.
var tiny = []workload{
	{Name: "all", Platforms: 3, Layers: 2, Size: 1000},
	{Name: "upToDate", Platforms: 2, Layers: 1, Size: 1000, UpToDate: true},
	{Name: "stripped", Platforms: 4, Layers: 2, Size: 1000, Wanted: []string{"linux/amd64", "linux/ppc64le"}},
	{Name: "original", Platforms: 4, Layers: 2, Size: 1000, Wanted: []string{"linux/amd64", "linux/ppc64le"}, Original: true, Tools: []string{ours}},
	{Name: "many", Images: 3, Platforms: 2, Layers: 1, Size: 1000},
	{Name: "manyUpToDate", Images: 2, Platforms: 2, Layers: 1, Size: 1000, UpToDate: true},
	{Name: "signed", Platforms: 2, Layers: 2, Size: 1000, Archives: true, Signed: true, Tools: changingTools},
	{Name: "zstd", Platforms: 2, Layers: 2, Size: 1000, Archives: true, Format: zstd, Tools: changingTools},
	{Name: "plain", Platforms: 2, Layers: 2, Size: 1000, Archives: true, Plain: 2, Tools: changingTools},
	{Name: "layout", Platforms: 2, Layers: 2, Size: 1000, Layout: true, Tools: layoutTools},
	{Name: "layouts", Platforms: 2, Layers: 2, Size: 1000, Layout: true, Files: true, Tools: betweenTools},
	{Name: "onePlain", Platforms: 3, Layers: 2, Size: 1000, Archives: true, Plain: 1, Tools: changingTools},
}

// layoutTools write layouts.
var layoutTools = []string{floor1, floorSync, ours, oursNoSync, earlier, upstream, oras3, oras32, crane4, regctl}

// betweenTools copy from layout to layout.
var betweenTools = []string{ours, oursNoSync, oursTrust, earlier, upstream, oras3, regctl}

// pair is a running pair of registries.
type pair struct {
	*registries
	environment
	at       addresses
	certs    string
	programs *workshop
}

// signingKey is the path of a key for all tests: it takes seconds to make.
var signingKey = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "benchpeers")
	if err != nil {
		return "", err
	}
	return writeSigningKey(dir)
})

func newPair(t *testing.T, e environment) *pair {
	p := &pair{environment: e, certs: t.TempDir(), programs: newWorkshop(playedPrograms(t), earlierInTests)}
	var err error
	p.registries, p.at, err = startRegistries(e, "", p.certs)
	require.NoError(t, err)
	t.Cleanup(p.close)
	return p
}

// job is a copy of w to repo.
func (p *pair) job(t *testing.T, w workload, repo string) job {
	j := job{
		Images: w.Images, Source: place{p.at.Source, w.sourceRepo(), tag}, Destination: w.destination(p.at, repo, t.TempDir()),
		TLS: p.TLS, CertsDir: p.certs, Dir: t.TempDir(), Platforms: w.Wanted, UpToDate: w.UpToDate, Again: w.Again, Format: w.Format, Original: w.Original,
	}
	if w.Files {
		from := j
		from.Destination = place{"", filepath.Join(t.TempDir(), "source"), tag}
		require.NoError(t, copyFloorToLayout(t.Context(), from, false))
		p.prepare(w, repo)
		j.Source = from.Destination
	}
	if w.Signed {
		var err error
		j.SigningKey, err = signingKey()
		require.NoError(t, err)
	}
	return j
}

func TestContestants(t *testing.T) {
	for _, tls := range []bool{false, true} {
		p := newPair(t, environment{TLS: tls})
		for i, w := range tiny {
			for j, tool := range tools {
				if tool.overTLS && !tls || !w.takes(tool) {
					continue
				}
				t.Run(fmt.Sprintf("%s/tls=%v/%s", w.Name, tls, tool.name), func(t *testing.T) {
					if raceDetector && tls && strings.HasPrefix(tool.name, "oras") {
						t.Skip("oras-go v2.6.4 and net/http close the body of an upload over HTTP/2 concurrently")
					}
					repo := fmt.Sprintf("mirror/%d-%d", i, j)
					p.prepare(w, repo)
					job := p.job(t, w, repo)
					if tool.program != "" {
						var err error
						job.Program, err = p.programs.program(t.Context(), tool.program)
						require.NoError(t, err)
					}
					require.NoError(t, tool.run(t.Context(), job))
					got := p.account(w, job.Destination.Repo)
					assert.Empty(t, got.Missing)
					assert.Equal(t, w.Files, got.SourceRequests == 0)
					assert.Equal(t, w.Layout, got.DestinationRequests == 0)
					assert.Positive(t, got.Stored)
					assert.Equal(t, w.Files, got.SourceConnections == 0)
					assert.Equal(t, w.Layout, got.DestinationConnections == 0)
				})
			}
		}
	}
}

// TestFloorAsksForNothingElse counts: a blob is one GET, one POST and one PUT, a document one GET
// and one PUT.
func TestFloorAsksForNothingElse(t *testing.T) {
	p, w := newPair(t, environment{}), tiny[0]
	p.prepare(w, "mirror")
	require.NoError(t, copyFloor(t.Context(), []job{p.job(t, w, "mirror")}, false))
	got := p.account(w, "mirror")
	documents, blobs := 1+w.Platforms, w.Platforms*(w.Layers+1)
	assert.Equal(t, documents+blobs, got.SourceRequests)
	assert.Equal(t, documents+2*blobs, got.DestinationRequests)
	assert.Equal(t, got.Read, got.Written)
	assert.Equal(t, got.Written, got.Stored)
}

// TestFloorComparesTags: where there may be nothing to do, it asks what the tag of each side names.
func TestFloorComparesTags(t *testing.T) {
	p, w := newPair(t, environment{}), tiny[5]
	p.prepare(w, "mirror")
	require.NoError(t, copyFloor(t.Context(), p.job(t, w, "mirror").images(), false))
	got := p.account(w, "mirror")
	assert.Equal(t, w.Images, got.SourceRequests)
	assert.Equal(t, w.Images, got.SourceHeads)
	assert.Equal(t, w.Images, got.DestinationRequests)

	require.True(t, p.destination.DeleteTag("mirror/1", tag))
	require.NoError(t, copyFloor(t.Context(), p.job(t, w, "mirror").images(), false))
	assert.Empty(t, p.account(w, "mirror").Missing)
}

// TestRegsyncComparesTags: regsync does the same.
func TestRegsyncComparesTags(t *testing.T) {
	p, w := newPair(t, environment{}), tiny[5]
	p.prepare(w, "mirror")
	require.NoError(t, regsync(t.Context(), p.job(t, w, "mirror").images(), 0))
	got := p.account(w, "mirror")
	assert.Equal(t, w.Images, got.SourceRequests)
	assert.Equal(t, w.Images, got.SourceHeads)
	assert.Equal(t, w.Images, got.DestinationRequests)
}

// TestSparsecopyRemembers: the second call asks the source for nothing but what its tags name, and
// the destination for no more.
func TestSparsecopyRemembers(t *testing.T) {
	p, w := newPair(t, environment{}), tiny[5]
	w.Again = true
	jobs := p.job(t, w, "mirror").images()
	for _, want := range []struct{ heads, others, destination int }{
		{0, w.Images, w.Images * (1 + w.Platforms)}, {w.Images, 0, w.Images},
	} {
		p.prepare(w, "mirror")
		require.NoError(t, copySparsecopyImages(t.Context(), jobs))
		got := p.account(w, "mirror")
		assert.Equal(t, want.heads, got.SourceHeads)
		assert.Equal(t, want.others, got.SourceRequests-got.SourceHeads)
		assert.Equal(t, want.destination, got.DestinationRequests)
	}
}

// damage makes the source hand out another content of a layer.
func (p *pair) damage(t *testing.T, w workload, layer string) {
	d := p.fixtures[w.Name][0].Digest(layer)
	damaged := registrytest.Seeded(99, w.Size)
	damaged.Digest = d
	require.True(t, p.source.DeleteBlob(w.sourceRepo(), d))
	p.source.PutContent(w.sourceRepo(), damaged)
}

// TestFloorFailsOnDamage damages a layer.
func TestFloorFailsOnDamage(t *testing.T) {
	p, w := newPair(t, environment{}), tiny[0]
	p.prepare(w, "mirror")
	p.damage(t, w, "amd64.1")
	require.Error(t, copyFloor(t.Context(), []job{p.job(t, w, "mirror")}, false))
	_, ok := p.destination.Resolve("mirror", tag)
	assert.False(t, ok)
}

// TestIncompleteCopiesAreNoticed takes away each kind of part of a complete copy.
func TestIncompleteCopiesAreNoticed(t *testing.T) {
	p, w := newPair(t, environment{}), tiny[1]
	f := w.fixture(0)
	for what, remove := range map[string]func(repo string) bool{
		"blob":     func(repo string) bool { return p.destination.DeleteBlob(repo, f.Digest("amd64.0")) },
		"manifest": func(repo string) bool { return p.destination.DeleteManifest(repo, f.Digest("arm64")) },
		"tag":      func(repo string) bool { return p.destination.DeleteTag(repo, tag) },
	} {
		t.Run(what, func(t *testing.T) {
			p.prepare(w, what)
			require.Empty(t, p.account(w, what).Missing)
			require.True(t, remove(what))
			assert.NotEmpty(t, p.account(w, what).Missing)
		})
	}
}

// TestUnchangedCopiesAreNoticed takes copies of which nothing was changed for what was asked for.
func TestUnchangedCopiesAreNoticed(t *testing.T) {
	p := newPair(t, environment{})
	for _, w := range tiny {
		if !w.Archives {
			continue
		}
		w.UpToDate = true
		p.prepare(w, w.Name)
		assert.NotEmpty(t, p.account(w, w.Name).Missing, w.Name)
	}
}

// TestCarriage counts what was asked about the images that stay as they are.
func TestCarriage(t *testing.T) {
	p, w := newPair(t, environment{}), tiny[len(tiny)-1]
	p.prepare(w, "mirror")
	require.NoError(t, copySparsecopy(t.Context(), p.job(t, w, "mirror")))
	got := p.account(w, "mirror").Carried
	assert.Equal(t, 2, got.Images)
	assert.Equal(t, 2*(1+w.Layers+1), got.SourceRequests, "manifest, layers and config")
	assert.Equal(t, 2*(2+2*(w.Layers+1)), got.DestinationRequests, "two for the manifest, and for each blob")
	assert.Positive(t, got.Done)

	assert.Greater(t, len(p.source.Requests()), got.SourceRequests, "the image that changes was read, too")
}

// TestManyImages demands images that share nothing, each in a repository of its own, of which none
// may be absent.
func TestManyImages(t *testing.T) {
	p, w := newPair(t, environment{}), tiny[4]
	p.prepare(w, "mirror")
	jobs := p.job(t, w, "mirror").images()
	require.Len(t, jobs, w.Images)
	blobs := map[digest.Digest]bool{}
	for i, one := range jobs {
		assert.Zero(t, one.Images)
		assert.Equal(t, fmt.Sprintf("%s/%d", w.sourceRepo(), i), one.Source.Repo)
		assert.Equal(t, fmt.Sprintf("mirror/%d", i), one.Destination.Repo)
		for _, d := range p.source.Blobs(one.Source.Repo) {
			blobs[d] = true
		}
	}
	assert.Len(t, blobs, w.Images*w.Platforms*(w.Layers+1))

	require.NoError(t, copySparsecopyImages(t.Context(), jobs))
	got := p.account(w, "mirror")
	assert.Empty(t, got.Missing)
	assert.Equal(t, got.Written, got.Stored)
	require.True(t, p.destination.DeleteTag("mirror/2", tag))
	assert.NotEmpty(t, p.account(w, "mirror").Missing)

	jobs[1].Source.Repo = "absent"
	require.ErrorContains(t, copySparsecopyImages(t.Context(), jobs), "mirror/1")
}

// TestEveryWorkloadIsMeasured demands that each workload has contestants, sparsecopy and the floor
// among them, or upstream's copy where images change; nobody else attaches what was stripped.
func TestEveryWorkloadIsMeasured(t *testing.T) {
	for _, w := range workloads {
		var by []string
		for _, tool := range tools {
			if w.takes(tool) {
				by = append(by, tool.name)
			}
		}
		if w.Starts > 0 || w.Killed {
			assert.Contains(t, by, mirrorItself, w.Name)
			continue
		}
		assert.Contains(t, by, ours, w.Name)
		switch {
		case w.Signed || w.transforms(w.Platforms-1):
			assert.Equal(t, []string{ours, upstream}, by, w.Name)
		case w.Files:
			assert.Contains(t, by, upstream, w.Name)
		case w.Original || w.Again && !w.UpToDate:
			assert.Equal(t, []string{ours}, by, w.Name)
		default:
			assert.Contains(t, by, floor1, w.Name)
		}
		assert.Equal(t, w.Name == fewImages, slices.Contains(by, singly), w.Name)
	}
}

// TestRun starts all three processes.
func TestRun(t *testing.T) {
	var out, errors bytes.Buffer
	status := run(t.Context(), "", []string{
		"-quick", "-links", "none", "-rtt", "0,1ms", "-tls", "false", "-tools", "floor,sparsecopy", "-workloads", "8x5x2MiB,2of8", "-profile", t.TempDir(),
	}, nil, &out, &errors)
	require.Zero(t, status, "%s%s", out.String(), errors.String())
	assert.Regexp(t, `(?m)^BenchmarkCopy/workload=2of8/rtt=1ms/tls=false/tool=sparsecopy-\d+\t1\t\d+ ns/op\t\d+ cpu-ns/op\t[\d.]+ peak-MB\t\d+ src-req\t\d+ src-HEAD\t\d+ dst-req\t`,
		out.String())
	assert.Contains(t, out.String(), "\n| | floor | sparsecopy |\n")
	assert.Contains(t, out.String(), "\n| 8x5x2MiB, 1ms | 0.")
}

// TestRunChanging starts all three processes for images that change.
func TestRunChanging(t *testing.T) {
	var out, errors bytes.Buffer
	status := run(t.Context(), "", []string{
		"-quick", "-links", "none", "-rtt", "20ms", "-tls", "false", "-tools", "sparsecopy", "-workloads", "8x5x256KiB,signed,zstd,uncompressed,1of8-uncompressed",
	}, nil, &out, &errors)
	require.Zero(t, status, "%s%s", out.String(), errors.String())
	for _, w := range []string{carried, signed, zstd, plain, onePlain} {
		assert.Contains(t, out.String(), "BenchmarkCopy/workload="+w+"/rtt=20ms/tls=false/tool=sparsecopy-")
	}
}

// TestRunAgain starts all three processes for what was copied before.
func TestRunAgain(t *testing.T) {
	var out, errors bytes.Buffer
	status := run(t.Context(), "", []string{
		"-quick", "-links", "none", "-rtt", "20ms", "-tls", "false", "-workloads", "2of8-original,2of8-again,2of8-original-again",
	}, nil, &out, &errors)
	require.Zero(t, status, "%s%s", out.String(), errors.String())
	assert.Regexp(t, `(?m)^BenchmarkCopy/workload=2of8-again/rtt=20ms/tls=false/tool=sparsecopy-\d+\t.*\t1 src-req\t0 src-HEAD\t3 dst-req\t`, out.String())
	assert.Regexp(t, `(?m)^BenchmarkCopy/workload=2of8-original-again/rtt=20ms/tls=false/tool=sparsecopy-\d+\t.*\t\d+ src-req\t\d+ src-HEAD\t4 dst-req\t`, out.String())
}

// TestRunSettled starts all three processes for images that the destination has, of which the same
// contestant may know something.
func TestRunSettled(t *testing.T) {
	var out, errors bytes.Buffer
	status := run(t.Context(), "", []string{
		"-quick", "-links", "none", "-rtt", "20ms", "-tls", "false", "-workloads", "500-again", "-programs", playedPrograms(t),
	}, nil, &out, &errors)
	require.Zero(t, status, "%s%s", out.String(), errors.String())
	for _, name := range []string{floor1, ours, command, upstreamPool, regsync3, regsync32} {
		assert.Contains(t, out.String(), "BenchmarkCopy/workload=500-again/rtt=20ms/tls=false/tool="+name+"-")
	}
	for _, name := range []string{ours, command} {
		assert.Regexp(t, `(?m)^BenchmarkCopy/workload=500-again/rtt=20ms/tls=false/tool=`+name+`-\d+\t.*\t3 src-req\t3 src-HEAD\t3 dst-req\t`, out.String())
	}
	assert.Regexp(t, `(?m)^\| 500-again, 20ms \| regsync \| [\d.]+ \| [\d.]+ \| 1\.0 \+ 1\.0 \|`, out.String())
}

// TestRunMany prints what copies of many images came to.
func TestRunMany(t *testing.T) {
	var out, errors bytes.Buffer
	status := run(t.Context(), "", []string{
		"-quick", "-links", "none", "-rtt", "20ms", "-tls", "false", "-tools", "sparsecopy,sparsecopy-singly", "-workloads", "50x4x2x16KiB,500x4x2x16KiB",
	}, nil, &out, &errors)
	require.Zero(t, status, "%s%s", out.String(), errors.String())
	assert.Regexp(t, `(?m)^BenchmarkCopy/workload=50x4x2x16KiB/rtt=20ms/tls=false/tool=sparsecopy-singly-\d+\t.*\t51 src-req\t0 src-HEAD\t102 dst-req\t\d+ src-conn\t\d+ dst-conn\t`,
		out.String())
	assert.Regexp(t, `(?m)^\| 50x4x2x16KiB, 20ms \| sparsecopy-singly \| [\d.]+ \| [\d.]+ \| 17\.0 \+ 34\.0 \| \d+ \+ \d+ \| [\d.]+ \| \d+ \|$`, out.String())
	assert.Contains(t, out.String(), "\n| 500x4x2x16KiB, 20ms | sparsecopy | ")
	assert.NotContains(t, out.String(), "\n| 500x4x2x16KiB, 20ms | sparsecopy-singly | ")
	assert.NotContains(t, out.String(), "Seconds over", "that is for single images")
}

func TestBudget(t *testing.T) {
	var out, errors bytes.Buffer
	status := run(t.Context(), "", []string{
		"-quick", "-links", "none", "-rtt", "0", "-tls", "false", "-tools", "floor,sparsecopy,upstream", "-workloads", "2of8", "-budget", "0s",
	}, nil, &out, &errors)
	require.Zero(t, status, errors.String())
	assert.Contains(t, out.String(), "after 0s: only sparsecopy and the floor from here on")
	assert.Contains(t, out.String(), "tool=sparsecopy-")
	assert.NotContains(t, out.String(), "tool=upstream")
}

func TestFailedCopiesFailTheRun(t *testing.T) {
	var out, errors bytes.Buffer
	status := run(t.Context(), "", []string{
		"-quick", "-links", "none", "-rtt", "0", "-tls", "false", "-tools", "floor", "-workloads", "nothing", "-timeout", "1ns",
	}, nil, &out, &errors)
	assert.Equal(t, 1, status)
	assert.Contains(t, out.String(), "tool=floor failed: no end after 1ns")
	assert.Contains(t, errors.String(), "1 of 1 copies failed")
}

func TestBadArguments(t *testing.T) {
	for _, args := range [][]string{
		{"-runs", "0"}, {"-rtt", "fast"}, {"-tls", "maybe"}, {"-tools", "cp"}, {"-workloads", "all"}, {"-links", "wifi"}, {"-unknown"}, {"rest"},
	} {
		var errors bytes.Buffer
		assert.Equal(t, 2, run(t.Context(), "", args, nil, nil, &errors), "%q", args)
		assert.NotEmpty(t, errors.String(), "%q", args)
	}
}

// made returns results with one sample of that wall time for each tool.
func made(e environment, workload string, took map[string]time.Duration) results {
	r := results{}
	for name, d := range took {
		r[cell{e, workload, name}] = []sample{{usage: usage{Wall: d, CPU: d, Peak: int64(d / time.Millisecond)}}}
	}
	return r
}

func TestMedians(t *testing.T) {
	c := cell{near, largeLayers, ours}
	r := results{}
	_, ok := middle(r, c, wall)
	assert.False(t, ok)
	for _, d := range []time.Duration{3, 1, 9} {
		r[c] = append(r[c], sample{usage: usage{Wall: d}})
	}
	median, ok := middle(r, c, wall)
	assert.True(t, ok)
	assert.Equal(t, time.Duration(3), median)
}

func TestBounds(t *testing.T) {
	text := func(r results) (lines []string) {
		for _, b := range r.bounds() {
			lines = append(lines, b.String())
		}
		return lines
	}
	assert.Equal(t, []string{
		"NOT met: 16x10x16KiB, 80ms: 2.00 times the floor's time, at most 1.3",
		"met: 16x10x16KiB, 80ms: 1.50 times as fast as the fastest peer (crane@32), more than 1",
		"NOT met: 16x10x16KiB, 80ms: 14.0 times as fast as upstream's copy, at least 15",
	}, text(made(far, smallLayers, map[string]time.Duration{floor1: 10, ours: 20, upstream: 280, oras32: 40, crane32: 30})))

	overTLS := near
	overTLS.TLS = true
	assert.Equal(t, []string{
		"met: 8x5x2MiB, 20ms over TLS: 1.30 times the floor's time, at most 1.3",
		"NOT met: 8x5x2MiB, 20ms over TLS: 1.92 times as fast as the fastest peer (oras@32), more than 2",
	}, text(made(overTLS, largeLayers, map[string]time.Duration{floor1: 15, floor2: 10, ours: 13, oras32: 25, crane32: 30}))[:2])

	assert.Equal(t, []string{
		"NOT met: 4x4x64MiB, 0s: 1.50 times the floor's time, at most 1.3",
		"NOT met: 4x4x64MiB: 1.50 times the floor's CPU time, at most 1.2 (oras 0.50; oras-go verifies no digest)",
		"met: 4x4x64MiB: 0 MiB resident, below 64 (0 of them before the copy)",
	}, text(made(local, hugeLayers, map[string]time.Duration{floor1: 10, ours: 15, oras3: 5})))

	few := made(near, fewImages, map[string]time.Duration{floor1: 1000e6, ours: 1400e6, singly: 4200e6, upstream: 28e9})
	c := cell{near, manyImages, ours}
	few[c] = []sample{{usage: usage{Peak: 2300}, traffic: traffic{SourceConnections: 70, DestinationConnections: 129}}}
	assert.Equal(t, []string{
		"met: 50x4x2x16KiB, 20ms: 1.40 times the floor's time, at most 1.5",
		"NOT met: 50x4x2x16KiB, 20ms: 3.0 times as fast as copies of ours, one after the other, at least 5",
		"met: 50x4x2x16KiB, 20ms: 20.0 times as fast as upstream's, one after the other, at least 10",
		"NOT met: 500x4x2x16KiB, 20ms: 70 connections to the source and 129 to the destination, at most 128 each",
		"NOT met: 500x4x2x16KiB: 1.64 times the memory of 50x4x2x16KiB, at most 1.5",
	}, text(few))
}

// TestBoundsOfChanges: what is measured of images that change, and is not enough.
func TestBoundsOfChanges(t *testing.T) {
	r := results{}
	add := func(c cell, took, done time.Duration, images, asked, written int) {
		r[c] = []sample{{usage: usage{Wall: took}, traffic: traffic{Carried: carriage{images, asked, written, done}}}}
	}
	add(cell{far, carried, ours}, 1000, 900, 8, 56, 104)
	add(cell{far, signed, ours}, 1600, 0, 0, 0, 0)
	add(cell{far, signed, upstream}, 20000, 0, 0, 0, 0)
	add(cell{far, zstd, ours}, 1500, 0, 0, 0, 0)
	add(cell{far, zstd, upstream}, 11000, 0, 0, 0, 0)
	add(cell{far, onePlain, ours}, 1500, 900, 7, 49, 92)
	r[cell{local, hugeZstd, ours}] = []sample{{usage: usage{Peak: 129 << 20}}}
	var text []string
	for _, b := range r.changing() {
		text = append(text, b.String())
	}
	assert.Equal(t, []string{
		"met: signed, 80ms: 12.5 times as fast as upstream's copy, at least 12",
		"NOT met: signed, 80ms: 1.60 times the time of an unsigned copy, at most 1.5",
		"NOT met: zstd, 80ms: 7.3 times as fast as upstream's copy, at least 8",
		"NOT met: 1of8-uncompressed, 80ms: 49 + 92 requests for the 7 images that stay as they are, and 56 + 104 for the 8 of a copy in which all do",
		"met: 1of8-uncompressed, 80ms: those images are there after 1.00 times the time of that copy's, at most 1.1",
		"NOT met: zstd-64MiB: 129 MiB resident, at most 128",
	}, text)
}

// TestBoundsOfLaterRuns: what it costs to find nothing to do, and costs too much.
func TestBoundsOfLaterRuns(t *testing.T) {
	r := made(near, manyAgain, map[string]time.Duration{floor1: 100_000, regsync3: 500_000})
	r[cell{near, manyAgain, ours}] = []sample{{
		usage{Wall: 121_000, CPU: 800_000}, traffic{SourceRequests: 500, SourceHeads: 500},
	}}
	r[cell{near, mostAgain, ours}] = []sample{{
		usage{Wall: 20 * 242_000, Peak: 100 << 20}, traffic{SourceRequests: 10_000, SourceHeads: 9_999},
	}}
	var text []string
	for _, b := range r.again() {
		text = append(text, b.String())
	}
	assert.Equal(t, []string{
		"met: 500-again, 20ms: 500 HEADs and 0 other requests to the source, exactly 500 and none",
		"NOT met: 500-again, 20ms: 1.21 times the floor's time, at most 1.2",
		"met: 500-again, 20ms: 0.24 times regsync's time, at most 0.25",
		"NOT met: 500-again, 20ms: 1.60 times regsync's CPU time, at most 1.50",
		"NOT met: 10000-again, 20ms: 9999 HEADs and 1 other requests to the source, exactly 10000 and none",
		"NOT met: 10000-again: an image takes 2.00 times as long as one of 500-again, at most 1.2",
		"NOT met: 10000-again: 100 MiB resident, below 100",
	}, text)

	assert.Empty(t, r.as(command).again())
	r[cell{near, manyAgain, command}] = []sample{{usage{Wall: 120_000}, traffic{SourceRequests: 500, SourceHeads: 500}}}
	text = nil
	for _, b := range r.bounds() {
		if strings.HasPrefix(b.text, command) {
			text = append(text, b.String())
		}
	}
	assert.Equal(t, []string{
		"met: mirror-sync: 500-again, 20ms: 500 HEADs and 0 other requests to the source, exactly 500 and none",
		"met: mirror-sync: 500-again, 20ms: 1.20 times the floor's time, at most 1.2",
		"met: mirror-sync: 500-again, 20ms: 0.24 times regsync's time, at most 0.25",
		"met: mirror-sync: 500-again, 20ms: 0.00 times regsync's CPU time, at most 1.50",
	}, text)
}

// TestBoundsOfOriginals: what it costs to attach what was stripped, and costs too much.
func TestBoundsOfOriginals(t *testing.T) {
	r := results{}
	add := func(workload string, took time.Duration, asked, attached, written int) {
		r[cell{far, workload, ours}] = []sample{{usage: usage{Wall: took},
			traffic: traffic{SourceRequests: asked, Attached: attached, DestinationRequests: written}}}
	}
	add(twoPlatforms, 600*time.Millisecond, 13, 3, 20)
	add(withOriginal, 780*time.Millisecond, 15, 4, 25)
	add(twoPlatformsAgain, 160*time.Millisecond, 1, 0, 3)
	add(withOriginalAgain, 240*time.Millisecond, 5, 4, 5)
	var text []string
	for _, b := range r.attaching() {
		text = append(text, b.String())
	}
	assert.Equal(t, []string{
		"met: 2of8-original, 80ms: 6 requests more than 2of8, at most 6",
		"met: 2of8-original, 80ms: 2.25 round trips longer than 2of8, at most 2",
		"NOT met: 2of8-original-again, 80ms: 2 requests more than 2of8-again, at most 1",
		"NOT met: 2of8-original-again, 80ms: 1.00 round trips longer than 2of8-again, at most 0",
	}, text)
}

// TestBoundsThatAreNotMet fail the run.
func TestBoundsThatAreNotMet(t *testing.T) {
	b := &bench{results: made(far, signed, map[string]time.Duration{ours: 10, upstream: 100})}
	require.EqualError(t, b.verdict(), "1 of 1 bounds are not met")
	b.quick = true
	require.NoError(t, b.verdict())
	b.quick, b.results = false, made(far, signed, map[string]time.Duration{ours: 10, upstream: 200})
	require.NoError(t, b.verdict())
}
