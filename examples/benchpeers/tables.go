package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// print prints the tables and what came of the bounds.
func (r results) print(out io.Writer, s settings) {
	for _, tls := range s.tls {
		var of []environment
		for _, e := range s.environments() {
			if e.TLS == tls {
				of = append(of, e)
			}
		}
		over := "plain HTTP"
		if tls {
			over = "TLS"
		}
		r.table(out, s, of, "Seconds over "+over+" (multiples of the floor)", r.seconds)
		r.table(out, s, of, "Requests over "+over+" to source + destination", r.requests)
		r.table(out, s, of, "CPU seconds over "+over, r.cpuSeconds)
		r.table(out, s, of, "Peak resident memory over "+over+", MiB", r.memory)
	}
	r.traffic(out, s)
	if s.quick {
		return
	}
	fmt.Fprint(out, "\nBounds:\n\n")
	for _, b := range r.bounds() {
		fmt.Fprintln(out, "*", b)
	}
}

// table prints a Markdown table with a row for each workload and environment and a column for each tool. Tools and rows
// without any result are left out.
func (r results) table(out io.Writer, s settings, of []environment, title string, format func(cell) string) {
	var shown []tool
	for _, t := range s.tools {
		for c := range r {
			if c.Tool == t.name && c.TLS == of[0].TLS {
				shown = append(shown, t)
				break
			}
		}
	}
	if len(shown) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s:\n\n| | %s |\n|---|%s\n", title, strings.Join(names(shown), " | "), strings.Repeat("---:|", len(shown)))
	for _, w := range s.workloads {
		for _, e := range of {
			if !w.suits(e) {
				continue
			}
			row := []string{fmt.Sprintf("%s, %v", w.Name, e.RTT)}
			for _, t := range shown {
				c := cell{e, w.Name, t.name}
				if len(r[c]) == 0 {
					row = append(row, "–")
				} else {
					row = append(row, format(c))
				}
			}
			fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
		}
	}
}

func (r results) seconds(c cell) string {
	took, _ := middle(r, c, wall)
	text := fmt.Sprintf("%.2f", took.Seconds())
	if floor, ok := r.floor(c.environment, c.Workload); ok && floor != c {
		least, _ := middle(r, floor, wall)
		text += fmt.Sprintf(" (%.2f×)", ratio(took, least))
	}
	return text
}

func (r results) cpuSeconds(c cell) string {
	took, _ := middle(r, c, cpu)
	return fmt.Sprintf("%.2f", took.Seconds())
}

func (r results) memory(c cell) string {
	most, _ := middle(r, c, peak)
	return fmt.Sprintf("%.0f", mebibytes(most))
}

func (r results) requests(c cell) string {
	source, _ := middle(r, c, func(s sample) int { return s.SourceRequests })
	destination, _ := middle(r, c, func(s sample) int { return s.DestinationRequests })
	return fmt.Sprintf("%d + %d", source, destination)
}

// traffic prints what copying two of eight platforms saves.
func (r results) traffic(out io.Writer, s settings) {
	for _, e := range s.environments() {
		all, some := cell{e, largeLayers, ours}, cell{e, twoPlatforms, ours}
		if len(r[all]) == 0 || len(r[some]) == 0 {
			continue
		}
		fmt.Fprint(out, "\nTwo of eight platforms beside all eight, MiB:\n\n| | read | written | stored |\n|---|---:|---:|---:|\n")
		for _, row := range []struct {
			what string
			cell cell
		}{{"2 of 8", some}, {"8 of 8", all}} {
			t := r[row.cell][0].traffic
			fmt.Fprintf(out, "| %s | %.2f | %.2f | %.2f |\n", row.what, mebibytes(t.Read), mebibytes(t.Written), mebibytes(t.Stored))
		}
		return
	}
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
