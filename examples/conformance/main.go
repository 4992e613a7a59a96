// Command conformance runs the conformance suite of the OCI distribution specification against
// plain distribution and against sparse-registry, and compares what it says, test by test: what
// passes with plain distribution has to pass with sparse-registry, whatever its policy, and what
// fails there has to have a reason that is written down here.
//
// The suite, plain distribution's registry and sparse-registry are run as they are built, from the
// directory .bin/conformance of the checkout. The first two have a module of their own, in the
// directory suite: what they require is nobody else's. Reports of the suite are left in
// .bin/conformance/results, in a directory for each server.
//
//	servers.go  the servers, and how they are run
//	results.go  what the suite says
//	compare.go  what is demanded of it, and what is known to fail
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, filepath.Join("..", ".bin", "conformance"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// run runs the programs of a directory, and says on out what they make of each other.
func run(ctx context.Context, dir string, out io.Writer) (err error) {
	programs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	plain, err := judge(ctx, programs, work, plainDistribution)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%-52s %6s %6s %7s\n", "", "passed", "failed", "skipped")
	plain.summary(out)
	reasons := map[string]int{} // how many failures each has
	for _, c := range candidates {
		verdict, judgeErr := judge(ctx, programs, work, c)
		if judgeErr != nil {
			return errors.Join(err, judgeErr)
		}
		verdict.summary(out)
		err = errors.Join(err, verdict.compare(plain, reasons))
	}
	fmt.Fprintln(out, "\nfailures of sparse-registry, in all runs, and whose they are:")
	for _, k := range known {
		fmt.Fprintf(out, "%6d  %s\n", reasons[k.reason], k.reason)
		if reasons[k.reason] == 0 {
			err = errors.Join(err, fmt.Errorf("nothing fails any more for this reason: %s", k.reason))
		}
	}
	return err
}
