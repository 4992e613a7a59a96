// Command benchregistry measures pushes to and pulls from sparse-registry beside plain
// distribution, which answers by net/http alone, with the same storage and the same configuration.
//
//	go -C examples run ./benchregistry
//
// Every run is a new server process over an empty directory: one image of 8 platforms with 5 layers
// of 2 MiB each is pushed, then pulled five times, of which the middle one counts, because a single
// pull takes less than what else happens on a machine. Runs alternate between the two. The output
// is in the format of Go benchmarks, one line for each run and direction, then a table of medians,
// interquartile ranges and the ratio. The exit status is 1 if sparse-registry takes more than 3 %
// longer than distribution, beyond the interquartile ranges.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"time"
)

// pulls is how often a run pulls.
const pulls = 5

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		exit(serve(role, os.Args[1], os.Stdin))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	runs := flag.Int("runs", 9, "`number` of runs of each server")
	most := flag.Float64("most", 3, "how many `percent` longer sparse-registry may take")
	flag.Parse()
	exit(measure(ctx, newImage(8, 5, 2<<20), *runs, *most, os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchregistry:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// measure runs all servers in turn, and reports to out.
func measure(ctx context.Context, image *image, runs int, most float64, out io.Writer) error {
	var results results
	for i := range runs {
		for n := range servers {
			name := servers[(i+n)%len(servers)].name // nobody is always the first
			r, err := runOnce(ctx, name, image)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			r.print(out)
			results = append(results, r)
		}
	}
	return results.report(out, most)
}

// A result is what one run took.
type result struct {
	server           string
	push, pull       time.Duration // pull is the middle one
	pushCPU, pullCPU time.Duration // of the server's process; pullCPU is for one pull
}

func (r result) print(out io.Writer) {
	fmt.Fprintf(out, "BenchmarkRegistry/server=%s/do=push\t1\t%d ns/op\t%d cpu-ns/op\n", r.server, r.push.Nanoseconds(), r.pushCPU.Nanoseconds())
	fmt.Fprintf(out, "BenchmarkRegistry/server=%s/do=pull\t%d\t%d ns/op\t%d cpu-ns/op\n", r.server, pulls, r.pull.Nanoseconds(), r.pullCPU.Nanoseconds())
}

// runOnce starts a server, pushes, pulls, and stops it.
func runOnce(ctx context.Context, server string, image *image) (r result, err error) {
	storage, err := os.MkdirTemp("", "benchregistry-*")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(storage)
	p, err := startProcess(ctx, server, storage)
	if err != nil {
		return r, err
	}
	r, err = transfer(ctx, p, image)
	r.server = server
	return r, errors.Join(err, p.stop())
}

func transfer(ctx context.Context, p *process, image *image) (r result, err error) {
	c := newClient(p.url)
	defer c.http.CloseIdleConnections()
	r.push, r.pushCPU, err = p.timed(func() error { return c.push(ctx, image) })
	if err != nil {
		return r, err
	}
	var walls []time.Duration
	for range pulls {
		wall, cpu, err := p.timed(func() error { return c.pull(ctx, image) })
		if err != nil {
			return r, err
		}
		walls = append(walls, wall)
		r.pullCPU += cpu / pulls
	}
	slices.Sort(walls)
	r.pull = walls[pulls/2]
	return r, nil
}
