package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

type results []result

// rows are what is compared.
var rows = []struct {
	name string
	of   func(result) time.Duration
	held bool // to the bound
}{
	{"push", func(r result) time.Duration { return r.push }, true},
	{"pull", func(r result) time.Duration { return r.pull }, true},
	{"CPU of the server, push", func(r result) time.Duration { return r.pushCPU }, false},
	{"CPU of the server, pull", func(r result) time.Duration { return r.pullCPU }, false},
}

// A spread is the middle of some durations.
type spread struct{ low, median, high time.Duration }

func (s spread) rangeOf() time.Duration { return s.high - s.low }

func (r results) spread(server string, of func(result) time.Duration) spread {
	var all []time.Duration
	for _, one := range r {
		if one.server == server {
			all = append(all, of(one))
		}
	}
	slices.Sort(all)
	at := func(part float64) time.Duration { return all[int(part*float64(len(all)-1)+0.5)] }
	return spread{at(0.25), at(0.5), at(0.75)}
}

// report prints a table, and fails if sparse-registry takes more than most percent longer, beyond
// the larger of the two interquartile ranges.
func (r results) report(out io.Writer, most float64) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "\n\t%s\t(range)\t%s\t(range)\tratio\tallowed\n", plain, sparse)
	var slow []string
	for _, row := range rows {
		theirs, ours := r.spread(plain, row.of), r.spread(sparse, row.of)
		ratio, allowed := float64(ours.median)/float64(theirs.median), "-"
		if row.held {
			bound := 1 + most/100 + float64(max(theirs.rangeOf(), ours.rangeOf()))/float64(theirs.median)
			allowed = fmt.Sprintf("%.3f", bound)
			if ratio > bound {
				slow = append(slow, row.name)
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%.3f\t%s\n", row.name,
			ms(theirs.median), ms(theirs.rangeOf()), ms(ours.median), ms(ours.rangeOf()), ratio, allowed)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if slow != nil {
		return fmt.Errorf("%s takes too long for %s", sparse, strings.Join(slow, ", "))
	}
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
