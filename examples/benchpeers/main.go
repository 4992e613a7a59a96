package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// roleVariable is the environment variable that tells a process which one it is; unset for the
// first.
const roleVariable = "BENCHPEERS_ROLE"

const (
	roleRegistries = "registries"
	roleContestant = "contestant"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Getenv(roleVariable), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the process with the given role. It returns the exit status.
func run(ctx context.Context, role string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var err error
	switch role {
	case roleRegistries:
		err = serveRegistries(stdin, stdout)
	case roleContestant:
		err = serveContestant(ctx, stdin, stdout)
	default:
		var s settings
		if s, err = parse(args, stderr); err != nil {
			return 2 // the flag package has said why
		}
		err = measure(ctx, s, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "benchpeers:", err)
		return 1
	}
	return 0
}

// settings are the choices of one run.
type settings struct {
	runs      int           // copies of each kind
	slow      time.Duration // whoever takes longer copies once
	budget    time.Duration // after which only sparsecopy and the floor go on
	timeout   time.Duration // of one copy
	rtts      []time.Duration
	links     []environment
	tls       []bool
	workloads []workload
	tools     []tool
	quick     bool
	goals     bool   // only what goals are about
	profile   string // directory, "" for none
	programs  string // directory, "" for a temporary one
	earlier   string // a revision of this repository
}

// parse reads the command line. It reports errors to stderr itself.
func parse(args []string, stderr io.Writer) (settings, error) {
	s := settings{rtts: []time.Duration{0, 20 * time.Millisecond, 80 * time.Millisecond}, tls: []bool{false, true}}
	flags := flag.NewFlagSet("benchpeers", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&s.runs, "runs", 3, "`number` of copies of each kind, of which medians are shown")
	flags.DurationVar(&s.slow, "slow", 4*time.Second, "whoever took longer copies only once")
	flags.DurationVar(&s.budget, "budget", 30*time.Minute, "`time` after which only sparsecopy and the floor are measured, once each")
	flags.DurationVar(&s.timeout, "timeout", 2*time.Minute, "longest `time` of one copy, which fails then")
	flags.BoolVar(&s.quick, "quick", false, "tiny images, once each: tries the program, and measures nothing of interest")
	flags.BoolVar(&s.goals, "goals", false, "only what the goals are about, and their table")
	flags.StringVar(&s.profile, "profile", "", "write CPU, allocation, blocking and mutex profiles of each copy to this `directory`")
	flags.StringVar(&s.programs, "programs", "", "`directory` with programs that are not built once more, and for those that are built")
	flags.StringVar(&s.earlier, "earlier", "beb6a53", "`revision` of this repository, whose mirror is the contestant earlier")
	flags.Func("rtt", "round-trip `times`, separated by commas (default 0s,20ms,80ms)", func(v string) (err error) {
		s.rtts, err = each(v, time.ParseDuration)
		return err
	})
	flags.Func("tls", "`true`, false or both (default both)", func(v string) error {
		switch v {
		case "both":
			s.tls = []bool{false, true}
		case "true", "false":
			s.tls = []bool{v == "true"}
		default:
			return fmt.Errorf("%q is neither true nor false nor both", v)
		}
		return nil
	})
	linkNames := flags.String("links", "", "`names` of links, separated by commas, or none (default all; they need Linux and root): "+strings.Join(names(links), ", "))
	workloadNames := flags.String("workloads", "", "`names` of workloads, separated by commas (default all): "+strings.Join(names(workloads), ", "))
	toolNames := flags.String("tools", "", "`names` of contestants, separated by commas (default all): "+strings.Join(names(tools), ", "))
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	err := func() (err error) {
		if flags.NArg() > 0 {
			return fmt.Errorf("unexpected argument %q", flags.Arg(0))
		}
		if s.runs < 1 {
			return fmt.Errorf("-runs %d: at least one", s.runs)
		}
		if *linkNames != "none" {
			if s.links, err = choose(links, *linkNames); err != nil {
				return err
			}
		}
		if s.workloads, err = choose(workloads, *workloadNames); err != nil {
			return err
		}
		s.tools, err = choose(tools, *toolNames)
		return err
	}()
	if err != nil {
		fmt.Fprintln(stderr, "benchpeers:", err)
		return s, err
	}
	if s.quick {
		s.runs = 1
		for i := range s.workloads {
			s.workloads[i].shrink()
		}
	}
	return s, nil
}

// each parses a list that is separated by commas.
func each[T any](list string, parse func(string) (T, error)) ([]T, error) {
	var all []T
	for s := range strings.SplitSeq(list, ",") {
		v, err := parse(s)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

type named interface{ id() string }

func names[T named](all []T) []string {
	var names []string
	for _, v := range all {
		names = append(names, v.id())
	}
	return names
}

// choose returns those of all that list names, in the order of all; all if the list is empty.
func choose[T named](all []T, list string) ([]T, error) {
	all = slices.Clone(all)
	if list == "" {
		return all, nil
	}
	wanted := strings.Split(list, ",")
	for _, name := range wanted {
		if !slices.Contains(names(all), name) {
			return nil, fmt.Errorf("%q is none of %s", name, strings.Join(names(all), ", "))
		}
	}
	return slices.DeleteFunc(all, func(v T) bool { return !slices.Contains(wanted, v.id()) }), nil
}
