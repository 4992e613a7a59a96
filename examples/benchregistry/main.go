// Command benchregistry measures pushes to and pulls from sparse-registry beside plain
// distribution, which answers by net/http alone, with the same storage and the same configuration.
//
//	go -C examples run ./benchregistry
//
// Every run is a new server process over an empty directory: one image of 8 platforms with 5 layers
// of 2 MiB each is pushed, then pulled. Runs alternate between the two. The output is in the format
// of Go benchmarks, one line for each run and direction, then a table of medians, interquartile
// ranges and the ratio. The exit status is 1 if sparse-registry takes more than 3 % longer than
// distribution, beyond the interquartile ranges.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// roleVariable is the environment variable that makes the process a server: its name. storage is
// the first argument then.
const roleVariable = "BENCHREGISTRY_ROLE"

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		exit(serve(role, os.Args[1]))
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
	server     string
	push, pull time.Duration
	cpu        time.Duration // of the server's process
}

func (r result) print(out io.Writer) {
	fmt.Fprintf(out, "BenchmarkRegistry/server=%s/do=push\t1\t%d ns/op\n", r.server, r.push.Nanoseconds())
	fmt.Fprintf(out, "BenchmarkRegistry/server=%s/do=pull\t1\t%d ns/op\n", r.server, r.pull.Nanoseconds())
	fmt.Fprintf(out, "BenchmarkRegistry/server=%s/do=both\t1\t%d cpu-ns/op\n", r.server, r.cpu.Nanoseconds())
}

// runOnce starts a server, pushes, pulls, and stops it.
func runOnce(ctx context.Context, server string, image *image) (r result, err error) {
	storage, err := os.MkdirTemp("", "benchregistry-*")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(storage)
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, self, storage)
	cmd.Env = append(os.Environ(), roleVariable+"="+server)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // the server ends with it
	if err != nil {
		return r, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		r, err = transfer(ctx, strings.TrimSpace(url), image)
	}
	_ = stdin.Close()
	if ended := cmd.Wait(); err == nil {
		err = ended
	}
	r.server, r.cpu = server, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
	return r, err
}

func transfer(ctx context.Context, url string, image *image) (r result, err error) {
	c := newClient(url)
	defer c.http.CloseIdleConnections()
	start := clock.System.Now()
	if err := c.push(ctx, image); err != nil {
		return r, err
	}
	pushed := clock.System.Now()
	err = c.pull(ctx, image)
	r.push, r.pull = pushed.Sub(start), clock.Since(clock.System, pushed)
	return r, err
}
