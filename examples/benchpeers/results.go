package main

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A cell is what is measured several times.
type cell struct {
	environment
	Workload, Tool string
}

const benchName = "BenchmarkCopy"

// name is the name of a Go benchmark, whose keys benchstat understands.
func (c cell) name() string {
	way := ""
	if c.Cap != 0 {
		way += fmt.Sprintf("/cap=%d", c.Cap)
	}
	if c.Link.Name != "" {
		way += "/link=" + c.Link.Name
	}
	return fmt.Sprintf("%s/workload=%s/rtt=%v/tls=%v%s/tool=%s", benchName, c.Workload, c.RTT, c.TLS, way, c.Tool)
}

// short is the name without what all have in common.
func (c cell) short() string { return strings.TrimPrefix(c.name(), benchName+"/") }

// A sample is one copy.
type sample struct {
	usage
	traffic
}

// line is s in the format of Go benchmarks.
func (s sample) line(c cell) string {
	return fmt.Sprintf("%s-%d\t1\t%d ns/op\t%d cpu-ns/op\t%.1f peak-MB\t%d src-req\t%d src-HEAD\t%d dst-req\t%d src-conn\t%d dst-conn\t%d src-B\t%d dst-B\t%d stored-B",
		c.name(), runtime.GOMAXPROCS(0), s.Wall, s.CPU, float64(s.Peak)/(1<<20), s.SourceRequests, s.SourceHeads, s.DestinationRequests,
		s.SourceConnections, s.DestinationConnections, s.Read, s.Written, s.Stored)
}

// benchHeader is what stands before the lines of Go benchmarks.
func benchHeader() string {
	return fmt.Sprintf("goos: %s\ngoarch: %s\npkg: github.com/sparsecopy/sparsecopy/examples/benchpeers\ncpu: %s\n",
		runtime.GOOS, runtime.GOARCH, cpuModel())
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// results are the samples of all copies that succeeded.
type results map[cell][]sample

// middle returns the median over the samples of c; ok is false if there are none.
func middle[T cmp.Ordered](r results, c cell, value func(sample) T) (median T, ok bool) {
	var all []T
	for _, s := range r[c] {
		all = append(all, value(s))
	}
	if len(all) == 0 {
		return median, false
	}
	slices.Sort(all)
	return all[(len(all)-1)/2], true
}

func wall(s sample) time.Duration { return s.Wall }
func cpu(s sample) time.Duration  { return s.CPU }
func peak(s sample) int64         { return s.Peak }

// floor is the faster one of the floor's modes, ok is false if it was not measured.
func (r results) floor(e environment, workload string) (c cell, ok bool) {
	c = cell{e, workload, floor1}
	best, ok := middle(r, c, wall)
	other := cell{e, workload, floor2}
	if second, measured := middle(r, other, wall); measured && (!ok || second < best) {
		return other, true
	}
	return c, ok
}
