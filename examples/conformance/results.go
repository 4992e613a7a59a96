package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"strings"
)

// What the suite says of a test.
const (
	passed  = "passed"
	failed  = "failed"
	skipped = "skipped"
)

// A verdict is what the suite says of a server.
type verdict struct {
	name  string
	tests []test
}

// A test is one of the suite. Several have the same name: the same was done to several documents.
type test struct {
	name   string
	status string // passed, failed or skipped
}

// readVerdict reads the suite's report in the form of JUnit.
func readVerdict(name, report string) (verdict, error) {
	content, err := os.ReadFile(report)
	if err != nil {
		return verdict{}, err
	}
	v, err := parseVerdict(content)
	if err != nil {
		return verdict{}, fmt.Errorf("%s: %w", report, err)
	}
	v.name = name
	return v, nil
}

func parseVerdict(content []byte) (verdict, error) {
	var report struct {
		Suites []struct {
			Cases []struct {
				Name   string `xml:"name,attr"`
				Status string `xml:"status,attr"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(content, &report); err != nil {
		return verdict{}, err
	}
	var v verdict
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			_, name, _ := strings.Cut(c.Name, "/") // the first part is the suite's
			status := c.Status
			if status != passed && status != skipped {
				status = failed // the suite knows failures and errors
			}
			v.tests = append(v.tests, test{name, status})
		}
	}
	return v, nil
}

// times is how many tests of each name have a status.
func (v verdict) times(status string) map[string]int {
	n := map[string]int{}
	for _, t := range v.tests {
		if t.status == status {
			n[t.name]++
		}
	}
	return n
}

// summary writes one line.
func (v verdict) summary(out io.Writer) {
	n := map[string]int{}
	for _, t := range v.tests {
		n[t.status]++
	}
	fmt.Fprintf(out, "%-52s %6d %6d %7d\n", v.name, n[passed], n[failed], n[skipped])
}
