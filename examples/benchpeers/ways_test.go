package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestIncompleteLayoutsAreNoticed takes away or damages each kind of part of a complete layout.
func TestIncompleteLayoutsAreNoticed(t *testing.T) {
	p, w := newPair(t, environment{}), workload{Name: "layout", Platforms: 2, Layers: 1, Size: 1000, Layout: true}
	p.prepare(w, "")
	f := w.fixture(0)
	layer := filepath.Join("blobs", "sha256", f.Digest("amd64.0").Encoded())
	for what, spoil := range map[string]func(dir string) error{
		"index": func(dir string) error { return os.Remove(filepath.Join(dir, "index.json")) },
		"tag":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "index.json"), []byte("{}"), 0o600) },
		"manifest": func(dir string) error {
			return os.Remove(filepath.Join(dir, "blobs", "sha256", f.Digest("arm64").Encoded()))
		},
		"blob":    func(dir string) error { return os.Remove(filepath.Join(dir, layer)) },
		"content": func(dir string) error { return os.WriteFile(filepath.Join(dir, layer), []byte("x"), 0o600) },
	} {
		t.Run(what, func(t *testing.T) {
			j := p.job(t, w, "")
			require.NoError(t, copyFloorToLayout(t.Context(), j, false))
			require.Empty(t, p.account(w, j.Destination.Repo).Missing)
			require.NoError(t, spoil(j.Destination.Repo))
			assert.NotEmpty(t, p.account(w, j.Destination.Repo).Missing)
		})
	}
}

// TestFloorToLayoutFailsOnDamage damages a layer.
func TestFloorToLayoutFailsOnDamage(t *testing.T) {
	p, w := newPair(t, environment{}), workload{Name: "layout", Platforms: 1, Layers: 1, Size: 1000, Layout: true}
	p.prepare(w, "")
	p.damage(t, w, "amd64.0")
	j := p.job(t, w, "")
	require.ErrorContains(t, copyFloorToLayout(t.Context(), j, true), "has another digest")
	assert.NoFileExists(t, filepath.Join(j.Destination.Repo, "index.json"))
	parts, err := filepath.Glob(filepath.Join(j.Destination.Repo, "blobs", "sha256", ".part*"))
	require.NoError(t, err)
	assert.Empty(t, parts)
}

// TestRunWays starts all three processes for connections with a cap, and for a layout.
func TestRunWays(t *testing.T) {
	var out, errors bytes.Buffer
	status := run(t.Context(), "", []string{
		"-quick", "-links", "none", "-rtt", "0", "-tls", "false", "-tools", "floor,floor@fsync,sparsecopy,regctl", "-workloads", "1x1x1GiB,4x4x64MiB-layout,4x4x64MiB-layouts",
	}, nil, &out, &errors)
	require.Zero(t, status, "%s%s", out.String(), errors.String())
	assert.Contains(t, out.String(), "BenchmarkCopy/workload=1x1x1GiB/rtt=40ms/tls=false/cap=25000000/tool=regctl-")
	assert.Contains(t, out.String(), "\n| 1x1x1GiB, 40ms, 25 MB/s a connection | 0.")
	assert.Contains(t, out.String(), "BenchmarkCopy/workload=4x4x64MiB-layout/rtt=0s/tls=false/tool=floor@fsync-")
	assert.Regexp(t, `BenchmarkCopy/workload=4x4x64MiB-layouts/rtt=0s/tls=false/tool=sparsecopy-.*\t0 src-req\t.*\t0 dst-req\t`, out.String())
	assert.NotContains(t, out.String(), "workload=1x1x1GiB/rtt=0s")
}

// TestRunLinked starts the processes at both ends of a link, or says why it cannot.
func TestRunLinked(t *testing.T) {
	var out, errors bytes.Buffer
	status := run(t.Context(), "", []string{
		"-quick", "-links", "100Mbit", "-rtt", "0", "-tls", "false", "-tools", "floor,sparsecopy,crane", "-workloads", "2of8",
	}, nil, &out, &errors)
	require.Zero(t, status, "%s%s", out.String(), errors.String())
	if reason, _, unmeasured := bytes.Cut(out.Bytes(), []byte("not measured: 20ms, 100Mbit: ")); unmeasured {
		t.Skipf("%s", out.Bytes()[len(reason):])
	}
	for _, name := range []string{floor1, ours, "crane"} {
		assert.Contains(t, out.String(), "BenchmarkCopy/workload=2of8/rtt=20ms/tls=false/link=100Mbit/tool="+name+"-")
	}
	assert.Contains(t, out.String(), "\n| 2of8, 20ms, 100Mbit | 0.")
}

// TestLinksThatCannotBeHad are told, and fail nothing.
func TestLinksThatCannotBeHad(t *testing.T) {
	s, err := parse([]string{"-workloads", "2of8", "-tools", "sparsecopy,crane"}, nil)
	require.NoError(t, err)
	var out bytes.Buffer
	b := &bench{settings: s, out: &out, results: results{}, lacking: map[cell]string{}}
	broken := environment{Link: link{Name: "broken", Loss: 2}}
	require.NoError(t, b.environment(t.Context(), broken, t.TempDir()))
	assert.Regexp(t, `^not measured: 0s, broken: a slow link: .`, out.String())
	assert.Len(t, b.lacking, 2)
	require.NoError(t, b.verdict())

	judged := b.results.judge([]goal{{broken, twoPlatforms, ours, takesTime, []string{crane4}, 1}}, b.lacking)
	require.Len(t, judged, 1)
	assert.Regexp(t, `^not measured: a slow link: .`, judged[0].verdict())
}

// TestLinksAreAskedFor by name, all of them by default.
func TestLinksAreAskedFor(t *testing.T) {
	for _, test := range []struct {
		args []string
		want []environment
	}{
		{nil, links}, {[]string{"-links", "none"}, nil}, {[]string{"-links", "1Gbit,100Mbit"}, links[:2]},
	} {
		s, err := parse(test.args, nil)
		require.NoError(t, err)
		assert.Equal(t, test.want, s.links)
	}
}

// TestGoals: what is met, what is not, and what was not asked for.
func TestGoals(t *testing.T) {
	r := results{}
	add := func(e environment, workload, tool string, u usage) {
		r[cell{e, workload, tool}] = []sample{{usage: u}}
	}
	add(capped, oneHuge, ours, usage{Wall: 11, Peak: 129 << 20})
	add(capped, oneHuge, oras3, usage{Wall: 43})
	r[cell{capped, oneKilled, mirrorItself}] = []sample{{traffic: traffic{Read: 115, Written: 116, Stored: 100}}}
	add(capped, oneHuge, regctl, usage{Wall: 44})
	add(local, intoLayout, floor1, usage{Wall: 50, CPU: 50})
	add(local, intoLayout, floorSync, usage{Wall: 100, CPU: 100})
	add(local, intoLayout, ours, usage{Wall: 105, CPU: 106})
	add(local, intoLayout, oursNoSync, usage{Wall: 53, CPU: 52})
	add(local, intoLayout, upstream, usage{Wall: 104, CPU: 200})
	add(local, intoLayout, oras3, usage{Wall: 52, CPU: 49})
	lossy := links[len(links)-1]
	add(lossy, twoPlatforms, ours, usage{Wall: 105})
	add(lossy, twoPlatforms, oras3, usage{Wall: 101})
	add(lossy, twoPlatforms, crane4, usage{Wall: 100})
	add(links[0], nothingToDo, ours, usage{Wall: 107})
	add(links[0], nothingToDo, crane4, usage{Wall: 100})
	add(links[0], smallLayers, ours, usage{Wall: 107})
	lacking := map[cell]string{
		{capped, oneHuge, upstream}:      "no time was left\nat all",
		{links[0], smallLayers, crane32}: "it failed",
		{links[0], nothingToDo, oras32}:  "it failed",
	}
	var out bytes.Buffer
	b := &bench{settings: settings{goals: true}, out: &out, results: r, lacking: lacking}
	b.printBounds()
	assert.Equal(t, `
Goals, as multiples of what stands beside them:

| | | beside | measured | at most | |
|---|---|---|---:|---:|---|
| 1x1x1GiB, 40ms, 25 MB/s a connection | seconds of sparsecopy | regctl | 0.25 | 0.25 | met |
| 1x1x1GiB, 40ms, 25 MB/s a connection | seconds of sparsecopy | oras | 0.26 | 0.25 | NOT met |
| 1x1x1GiB, 40ms, 25 MB/s a connection | seconds of sparsecopy |  | – | 0.25 | not measured: upstream: no time was left at all |
| 1x1x1GiB, 40ms, 25 MB/s a connection | MiB resident of sparsecopy |  | 129.00 | 128 | NOT met |
| 1x1x1GiB-killed, 40ms, 25 MB/s a connection | % read twice of mirror |  | 15.00 | 15 | met |
| 1x1x1GiB-killed, 40ms, 25 MB/s a connection | % written twice of mirror |  | 16.00 | 15 | NOT met |
| 4x4x64MiB-layout, 0s | seconds of sparsecopy@nosync | floor | 1.06 | 1.05 | NOT met |
| 4x4x64MiB-layout, 0s | CPU seconds of sparsecopy@nosync | floor | 1.04 | 1.05 | met |
| 4x4x64MiB-layout, 0s | seconds of sparsecopy@nosync | oras | 1.02 | 1 | NOT met |
| 4x4x64MiB-layout, 0s | seconds of sparsecopy | floor@fsync | 1.05 | 1.05 | met |
| 4x4x64MiB-layout, 0s | CPU seconds of sparsecopy | floor@fsync | 1.06 | 1.05 | NOT met |
| 4x4x64MiB-layout, 0s | seconds of sparsecopy | upstream | 1.01 | 1 | NOT met |
| 16x10x16KiB, 20ms, 100Mbit | seconds of sparsecopy |  | – | 1.05 | not measured: crane@32: it failed |
| nothing, 20ms, 100Mbit | seconds of sparsecopy | crane | 1.07 | 1.05 | NOT met |
| 2of8, 80ms, 1Gbit-1% | seconds of sparsecopy | crane | 1.05 | 1.05 | met |
`, out.String())
	require.EqualError(t, b.verdict(), "8 of 15 bounds are not met")
}

// TestOnlyWhatGoalsAreAbout is measured where that is asked for.
func TestOnlyWhatGoalsAreAbout(t *testing.T) {
	s, err := parse([]string{"-goals", "-links", "100Mbit"}, nil)
	require.NoError(t, err)
	assert.Equal(t, []environment{local, capped, links[0]}, s.environments())
	contestants := map[string][]string{}
	for _, w := range s.workloads {
		if by := s.contestants(local, w); len(by) > 0 {
			contestants[w.Name] = names(by)
		}
	}
	assert.Equal(t, []string{floor1, ours}, contestants[largeLayers])
	assert.Equal(t, []string{earlier, mirrorItself, craneItself}, contestants[help])
	assert.Equal(t, []string{floor1, floorSync, ours, oursNoSync, earlier, upstream, oras3}, contestants[intoLayout])
	assert.NotContains(t, contestants, hugeLayers)
}

// TestEveryGoalCanBeMeasured: what it names is there, and takes its workload.
func TestEveryGoalCanBeMeasured(t *testing.T) {
	s, err := parse([]string{"-goals"}, nil)
	require.NoError(t, err)
	for _, g := range goals {
		i := slices.IndexFunc(workloads, func(w workload) bool { return w.Name == g.Workload })
		require.GreaterOrEqual(t, i, 0, g.Workload)
		by := names(s.contestants(g.At, workloads[i]))
		assert.Subset(t, by, append(slices.Clone(g.Others), g.Us), "%s, %s", g.At.title(g.Workload), g.What.name)
		assert.Positive(t, g.Most)
	}
}
