package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// A goal is a bound on what one contestant takes: beside others, or by itself.
type goal struct {
	At       environment
	Workload string
	Us       string
	What     quantity
	Others   []string // those that take least count; none for a bound that stands by itself
	Most     float64  // of What; with others, of how many times theirs
}

// A quantity is one of the numbers of a sample.
type quantity struct {
	name  string
	value func(sample) float64
}

var (
	takesTime   = quantity{"seconds", func(s sample) float64 { return s.Wall.Seconds() }}
	takesCPU    = quantity{"CPU seconds", func(s sample) float64 { return s.CPU.Seconds() }}
	takesMemory = quantity{"MiB resident", func(s sample) float64 { return mebibytes(s.Peak) }}
	readsTwice  = quantity{"% read twice", func(s sample) float64 { return twice(s.Read, s.Stored) }}
	writesTwice = quantity{"% written twice", func(s sample) float64 { return twice(s.Written, s.Stored) }}
)

// twice is how many percent of n bytes have travelled more than once.
func twice(travelled, n int64) float64 { return 100 * float64(travelled-n) / float64(max(n, 1)) }

// chance is how many times the time of the fastest peer a copy over a link may take: no more, but
// for which packets are lost, and when.
const chance = 1.05

// goals are all there are, in the order of their table.
var goals = slices.Concat(
	besideEach(goal{At: capped, Workload: oneHuge, Us: ours, What: takesTime, Most: 0.25}, regctl, oras3, crane4, upstream, earlier),
	[]goal{
		{capped, oneHuge, ours, takesMemory, nil, 128},
		{capped, oneKilled, mirrorItself, readsTwice, nil, 15},
		{capped, oneKilled, mirrorItself, writesTwice, nil, 15},

		{local, intoLayout, oursNoSync, takesTime, []string{floor1}, 1.05},
		{local, intoLayout, oursNoSync, takesCPU, []string{floor1}, 1.05},
		{local, intoLayout, oursNoSync, takesTime, []string{oras3}, 1},
		{local, intoLayout, ours, takesTime, []string{floorSync}, 1.05},
		{local, intoLayout, ours, takesCPU, []string{floorSync}, 1.05},
		{local, intoLayout, ours, takesTime, []string{upstream}, 1},
		{local, betweenFiles, ours, takesTime, []string{upstream}, 0.5},
		{local, betweenFiles, oursTrust, takesTime, []string{upstream}, 0.2},

		{local, largeLayers, ours, takesTime, []string{floor1}, 1.05},
		{local, largeLayers, ours, takesCPU, []string{floor1}, 1.25},
	},
	[]goal{
		{local, help, mirrorItself, takesTime, []string{craneItself}, 2},
		{local, help, mirrorItself, takesMemory, []string{craneItself}, 2},
		{local, startToSee, mirrorItself, takesTime, []string{craneItself}, 2},
		{local, startToSee, mirrorItself, takesMemory, []string{craneItself}, 2},
	},
	overLinks(),
)

// besideEach is a goal for each of the others.
func besideEach(g goal, others ...string) []goal {
	var all []goal
	for _, other := range others {
		g.Others = []string{other}
		all = append(all, g)
	}
	return all
}

// overLinks is a goal for each workload over each link: nobody is faster. Peers that are never the
// fastest there are not asked: upstream's copy, and with less concurrency those that wait for round
// trips.
func overLinks() []goal {
	tuned := []string{oras32, crane32}
	all := append([]string{oras3, crane4}, tuned...)
	peers := map[string][]string{smallLayers: tuned, nothingToDo: all, largeLayers: append([]string{crane4}, tuned...), twoPlatforms: all, linkedLayers: all}
	var each []goal
	for _, e := range links {
		for _, w := range workloads {
			if w.Linked {
				each = append(each, goal{e, w.Name, ours, takesTime, peers[w.Name], chance})
			}
		}
	}
	return each
}

// concerns reports whether one of the goals needs c. The earlier build is shown beside all.
func concerns(goals []goal, c cell) bool {
	return slices.ContainsFunc(goals, func(g goal) bool {
		return g.At == c.environment && g.Workload == c.Workload && (g.Us == c.Tool || slices.Contains(g.Others, c.Tool) || c.Tool == earlier)
	})
}

// A judgement is a goal and what was measured.
type judgement struct {
	goal
	got    float64
	beside string // of the others, the one that took least; "" for none
	lacks  string // why it was not measured; "" if it was
}

func (j judgement) verdict() string {
	switch {
	case j.lacks != "":
		return "not measured: " + strings.Join(strings.Fields(j.lacks), " ")
	case j.got <= j.Most:
		return "met"
	}
	return "NOT met"
}

func (j judgement) missed() bool { return j.lacks == "" && j.got > j.Most }

// judge holds goals against results. Those that nobody has asked for are left out: lacking says, of
// each copy that was asked for and is not in the results, why.
func (r results) judge(goals []goal, lacking map[cell]string) []judgement {
	var all []judgement
	for _, g := range goals {
		if j, asked := r.judgeOne(g, lacking); asked {
			all = append(all, j)
		}
	}
	return all
}

func (r results) judgeOne(g goal, lacking map[cell]string) (j judgement, asked bool) {
	j = judgement{goal: g}
	us := cell{g.At, g.Workload, g.Us}
	got, measured := middle(r, us, g.What.value)
	if !measured {
		j.lacks, asked = lacking[us]
		return j, asked
	}
	j.got = got
	if g.Others == nil {
		return j, true
	}
	least := 0.0
	for _, other := range g.Others {
		c := cell{g.At, g.Workload, other}
		if took, measured := middle(r, c, g.What.value); measured && (j.beside == "" || took < least) {
			least, j.beside = took, other
		} else if why := lacking[c]; why != "" && j.lacks == "" {
			j.lacks = other + ": " + why
		}
	}
	if j.beside == "" {
		return j, j.lacks != ""
	}
	j.got, j.lacks = got/least, ""
	return j, true
}

// printGoals prints a Markdown table of goals.
func printGoals(out io.Writer, all []judgement) {
	if len(all) == 0 {
		return
	}
	fmt.Fprint(out, "\nGoals, as multiples of what stands beside them:\n\n| | | beside | measured | at most | |\n|---|---|---|---:|---:|---|\n")
	for _, j := range all {
		measured := "–"
		if j.lacks == "" {
			measured = fmt.Sprintf("%.2f", j.got)
		}
		fmt.Fprintf(out, "| %s | %s of %s | %s | %s | %.4g | %s |\n", j.At.title(j.Workload), j.What.name, j.Us, j.beside, measured, j.Most, j.verdict())
	}
}
