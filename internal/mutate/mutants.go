package main

import (
	"cmp"
	"fmt"
	"strings"
)

// mark stands in the text of a line before the operator that is another one in the mutant.
const mark = "▸"

// A mutant is a program that differs from ours in one operator.
type mutant struct {
	Type   string `json:"type"`   // what was done to the operator, such as CONDITIONALS_BOUNDARY
	Status string `json:"status"` // what became of it
	Line   int    `json:"line"`
	Column int    `json:"column"`

	where string // file, from the root of the module
	text  string // of the line, with a mark
}

// What can become of a mutant, but for killed.
const (
	lived      = "LIVED"
	timedOut   = "TIMED OUT"
	notCovered = "NOT COVERED"
	notViable  = "NOT VIABLE"
)

func compare(a, b mutant) int {
	return cmp.Or(cmp.Compare(a.where, b.where), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Type, b.Type))
}

// name names the mutant in the list. Line numbers change too often to be part of it.
func (m mutant) name() string { return fmt.Sprintf("%s %s: %s", m.where, m.Type, m.text) }

// A reason says why a mutant may survive. One that loops is as good as killed.
type reason struct {
	text  string
	loops bool
}

// parseList reads survivors.txt: the name of a mutant in one line, and in the next ones, indented,
// the reason why it may survive, which begins with "loops" for those that do. Empty lines, and
// those that begin with #, mean nothing.
func parseList(list string) (map[string]reason, error) {
	reasons := map[string]reason{}
	name := ""
	for line := range strings.Lines(list) {
		text := strings.TrimSpace(line)
		switch {
		case text == "" || strings.HasPrefix(line, "#"):
		case !strings.HasPrefix(line, "\t"):
			if _, again := reasons[text]; again {
				return nil, fmt.Errorf("survivors.txt: %s: listed twice", text)
			}
			name = text
			reasons[name] = reason{}
		case name == "":
			return nil, fmt.Errorf("survivors.txt: a reason without a mutant: %s", text)
		default:
			r := reasons[name]
			r.loops = r.loops || r.text == "" && strings.HasPrefix(text, "loops")
			r.text = strings.TrimSpace(r.text + " " + text)
			reasons[name] = r
		}
	}
	for name, r := range reasons {
		if r.text == "" {
			return nil, fmt.Errorf("survivors.txt: no reason for %s", name)
		}
	}
	return reasons, nil
}

// A score counts the mutants of a package that compile.
type score struct {
	killed, survived, notCovered int
}

// killedShare is in percent of those that are covered, coveredShare of all.
func (s score) killedShare() float64 { return percent(s.killed, s.killed+s.survived) }
func (s score) coveredShare() float64 {
	return percent(s.killed+s.survived, s.killed+s.survived+s.notCovered)
}

func percent(n, of int) float64 {
	if of == 0 {
		return 100
	}
	return 100 * float64(n) / float64(of)
}

func (s score) String() string {
	return fmt.Sprintf("%d mutants killed and %d alive (%.1f %% killed), %d not covered (%.1f %% covered)",
		s.killed, s.survived, s.killedShare(), s.notCovered, s.coveredShare())
}

// judge counts the mutants of a package, and says what is wrong with them. A name of the list may
// stand for several mutants, if lines are alike: then any of them may survive.
func judge(pkg string, mutants []mutant, listed map[string]reason) (s score, complaints []string) {
	survived := map[string]bool{}
	for _, m := range mutants {
		r, isListed := listed[m.name()]
		switch m.Status {
		case notViable:
			continue
		case notCovered:
			s.notCovered++
		case lived:
			s.survived++
		case timedOut:
			if r.loops {
				s.killed++
			} else {
				s.survived++
			}
		default:
			s.killed++
			continue
		}
		survived[m.name()] = true
		if !isListed {
			complaints = append(complaints, fmt.Sprintf("%s (line %d, column %d)\n\t%s, and not listed in survivors.txt",
				m.name(), m.Line, m.Column, strings.ToLower(m.Status)))
		}
	}
	for name := range listed {
		if strings.HasPrefix(name, pkg+"/") && !survived[name] {
			complaints = append(complaints, name+"\n\tlisted in survivors.txt, and does not survive")
		}
	}
	if s.killedShare() < leastKilled || s.coveredShare() < leastCovered {
		complaints = append(complaints, fmt.Sprintf("%s: %d %% must be killed, and %d %% covered", pkg, leastKilled, leastCovered))
	}
	return s, complaints
}
