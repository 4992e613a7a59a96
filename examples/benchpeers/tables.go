package main

import (
	"fmt"
	"io"
	"slices"
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
	r.many(out, s)
	r.traffic(out, s)
}

// table prints a Markdown table with a row for each workload of a single image and environment and
// a column for each tool. Tools without any result are left out.
func (r results) table(out io.Writer, s settings, of []environment, title string, format func(cell) string) {
	var shown []tool
	for _, t := range s.tools {
		if t.copy != nil && slices.ContainsFunc(of, func(e environment) bool { return r.has(s, e, t) }) {
			shown = append(shown, t)
		}
	}
	if len(shown) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s:\n\n| | %s |\n|---|%s\n", title, strings.Join(names(shown), " | "), strings.Repeat("---:|", len(shown)))
	for _, w := range s.workloads {
		for _, e := range of {
			if w.Images > 0 || !w.suits(e) {
				continue
			}
			row := []string{environment{RTT: e.RTT, Cap: e.Cap, Link: e.Link}.title(w.Name)} // the title tells TLS
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

// has reports whether t has copied a single image in e.
func (r results) has(s settings, e environment, t tool) bool {
	return slices.ContainsFunc(s.workloads, func(w workload) bool { return w.Images == 0 && len(r[cell{e, w.Name, t.name}]) > 0 })
}

// many prints a table with a row for everything that copied many images.
func (r results) many(out io.Writer, s settings) {
	var rows []string
	for _, e := range s.environments() {
		for _, w := range s.workloads {
			for _, t := range s.tools {
				if c := (cell{e, w.Name, t.name}); w.Images > 0 && len(r[c]) > 0 {
					rows = append(rows, r.manyRow(c, w.Images))
				}
			}
		}
	}
	if rows != nil {
		fmt.Fprintf(out, "\nMany images in one process, to source + destination where there are two numbers:\n\n"+
			"| | | seconds | ms an image | requests an image | connections | CPU ms an image | peak MiB |\n|---|---|%s\n%s",
			strings.Repeat("---:|", 6), strings.Join(rows, ""))
	}
}

func (r results) manyRow(c cell, images int) string {
	took, _ := middle(r, c, wall)
	used, _ := middle(r, c, cpu)
	source, _ := middle(r, c, func(s sample) int { return s.SourceConnections })
	destination, _ := middle(r, c, func(s sample) int { return s.DestinationConnections })
	asked, _ := middle(r, c, func(s sample) int { return s.SourceRequests })
	written, _ := middle(r, c, func(s sample) int { return s.DestinationRequests })
	each := func(n int) float64 { return float64(n) / float64(images) }
	return fmt.Sprintf("| %s | %s | %.2f | %.1f | %.1f + %.1f | %d + %d | %.1f | %s |\n",
		c.title(c.Workload), c.Tool, took.Seconds(), 1000*took.Seconds()/float64(images), each(asked), each(written), source, destination,
		1000*used.Seconds()/float64(images), r.memory(c))
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
