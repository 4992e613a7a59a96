package main

import (
	"bytes"
	"os"
	"path/filepath"
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
		"-quick", "-links", "none", "-rtt", "0", "-tls", "false", "-tools", "floor,floor@fsync,sparsecopy,regctl", "-workloads", "1x1x1GiB,4x4x64MiB-layout",
	}, nil, &out, &errors)
	require.Zero(t, status, "%s%s", out.String(), errors.String())
	assert.Contains(t, out.String(), "BenchmarkCopy/workload=1x1x1GiB/rtt=40ms/tls=false/cap=25000000/tool=regctl-")
	assert.Contains(t, out.String(), "\n| 1x1x1GiB, 40ms, 25 MB/s a connection | 0.")
	assert.Contains(t, out.String(), "BenchmarkCopy/workload=4x4x64MiB-layout/rtt=0s/tls=false/tool=floor@fsync-")
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
	var out bytes.Buffer
	b := &bench{out: &out, results: results{}}
	require.NoError(t, b.environment(t.Context(), environment{Link: link{Name: "broken", Loss: 2}}, t.TempDir()))
	require.Len(t, b.unmeasured, 1)
	assert.Regexp(t, `^not measured: 0s, broken: a slow link: .`, b.unmeasured[0])
	require.NoError(t, b.verdict())
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

// TestBoundsOfWays: what is measured over connections with a cap, into layouts and over links.
func TestBoundsOfWays(t *testing.T) {
	r := results{}
	add := func(e environment, workload, tool string, u usage) {
		r[cell{e, workload, tool}] = []sample{{usage: u}}
	}
	add(capped, oneHuge, ours, usage{Wall: 11, Peak: 128 << 20})
	add(capped, oneHuge, "oras", usage{Wall: 43})
	add(capped, oneHuge, regctl, usage{Wall: 44})
	add(local, intoLayout, floor1, usage{Wall: 50, CPU: 50})
	add(local, intoLayout, floorSync, usage{Wall: 100, CPU: 100})
	add(local, intoLayout, ours, usage{Wall: 105, CPU: 106})
	add(local, intoLayout, oursNoSync, usage{Wall: 53, CPU: 52})
	add(local, intoLayout, upstream, usage{Wall: 104, CPU: 200})
	add(local, intoLayout, "oras", usage{Wall: 52, CPU: 49})
	lossy := links[len(links)-1]
	add(lossy, twoPlatforms, ours, usage{Wall: 105})
	add(lossy, twoPlatforms, "oras", usage{Wall: 101})
	add(lossy, twoPlatforms, "crane", usage{Wall: 100})
	add(links[0], nothingToDo, ours, usage{Wall: 107})
	add(links[0], nothingToDo, "crane", usage{Wall: 100})
	var text []string
	for _, b := range r.bounds() {
		text = append(text, b.String())
	}
	assert.Equal(t, []string{
		"NOT met: 1x1x1GiB, 40ms, 25 MB/s a connection: 3.91 times as fast as the fastest peer (oras), more than 4",
		"NOT met: 1x1x1GiB: 128 MiB resident, below 128",
		"met: 4x4x64MiB-layout, 0s: sparsecopy takes 1.05 times the time of floor@fsync, at most 1.05",
		"NOT met: 4x4x64MiB-layout, 0s: sparsecopy takes 1.06 times the CPU time of floor@fsync, at most 1.05",
		"NOT met: 4x4x64MiB-layout, 0s: sparsecopy takes 1.01 times the time of upstream, at most 1.00",
		"NOT met: 4x4x64MiB-layout, 0s: sparsecopy@nosync takes 1.06 times the time of floor, at most 1.05",
		"met: 4x4x64MiB-layout, 0s: sparsecopy@nosync takes 1.04 times the CPU time of floor, at most 1.05",
		"NOT met: 4x4x64MiB-layout, 0s: sparsecopy@nosync takes 1.02 times the time of oras, at most 1.00",
		"NOT met: nothing, 20ms, 100Mbit: sparsecopy takes 1.07 times the time of crane, at most 1.05",
		"met: 2of8, 80ms, 1Gbit-1%: sparsecopy takes 1.05 times the time of crane, at most 1.05",
	}, text)
}
