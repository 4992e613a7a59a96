package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/examples/internal/slowlink"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

// A bench is one run of the first process.
type bench struct {
	settings
	out      io.Writer
	end      time.Time // of the budget
	dir      string    // for temporary files
	key      string    // path of a key that signs
	programs *workshop
	n        int // copies so far
	results  results
	failed   int
	late     bool // the budget is used up, and the output says so

	lacking map[cell]string // copies that are not in the results, and why
}

// measure makes all copies and prints what came out. It fails if one of the copies did, or if a
// bound is not met.
func measure(ctx context.Context, s settings, out io.Writer) error {
	dir, err := os.MkdirTemp("", "benchpeers")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if s.profile != "" {
		if err := os.MkdirAll(s.profile, 0o755); err != nil {
			return err
		}
	}
	b := &bench{settings: s, out: out, dir: dir, results: results{}, lacking: map[cell]string{}}
	if slices.ContainsFunc(s.workloads, func(w workload) bool { return w.Signed }) {
		if b.key, err = writeSigningKey(dir); err != nil {
			return err
		}
	}
	b.programs = newWorkshop(cmp.Or(s.programs, dir), s.earlier)
	b.build(ctx)
	b.end = clock.System.Now().Add(s.budget)
	fmt.Fprint(out, benchHeader())
	if len(s.links) > 0 {
		fmt.Fprintf(out, "tcp: %s\n", cmp.Or(slowlink.CongestionControl(), "unknown"))
	}
	for i, e := range s.environments() {
		if err := b.environment(ctx, e, filepath.Join(dir, fmt.Sprint("certs", i))); err != nil {
			return err
		}
	}
	b.results.print(out, s)
	b.printBounds()
	return b.verdict()
}

// verdict fails if a copy did, or if the project has promised more than was measured. Tiny images
// measure nothing.
func (b *bench) verdict() error {
	if b.failed > 0 {
		return fmt.Errorf("%d of %d copies failed", b.failed, b.n)
	}
	if b.quick {
		return nil
	}
	bounds, judged := b.bounds()
	missed := 0
	for _, one := range bounds {
		if !one.met {
			missed++
		}
	}
	for _, one := range judged {
		if one.missed() {
			missed++
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d bounds are not met", missed, len(bounds)+len(judged))
	}
	return nil
}

// bounds are those that were asked for, which includes goals of which something is lacking.
func (b *bench) bounds() (bounds []bound, judged []judgement) {
	if !b.settings.goals {
		bounds = b.results.bounds()
	}
	return bounds, b.results.judge(goals, b.lacking)
}

func (b *bench) printBounds() {
	if b.quick {
		return
	}
	bounds, judged := b.bounds()
	if len(bounds) > 0 {
		fmt.Fprint(b.out, "\nBounds:\n\n")
	}
	for _, one := range bounds {
		fmt.Fprintln(b.out, "*", one)
	}
	printGoals(b.out, judged)
}

// lack notes why nothing is measured in e.
func (b *bench) lack(e environment, why error) {
	fmt.Fprintf(b.out, "not measured: %v, %s: %v\n", e.RTT, e.Link.Name, why)
	for _, w := range b.workloads {
		for _, t := range b.contestants(e, w) {
			b.lacking[cell{e, w.Name, t.name}] = why.Error()
		}
	}
}

// environment measures all workloads in e.
func (b *bench) environment(ctx context.Context, e environment, certsDir string) (err error) {
	g, err := newGround(e)
	if err != nil {
		b.lack(e, err)
		return nil
	}
	defer func() { err = errors.Join(err, g.close()) }()
	p, err := startRegistryProcess(ctx, e, g, certsDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	for _, w := range b.workloads {
		contestants := b.contestants(e, w)
		if len(contestants) == 0 {
			continue
		}
		b.checkBudget()
		for round := range b.runs {
			for _, t := range contestants {
				if !b.skip(cell{e, w.Name, t.name}, t, round) {
					g.begin(round)
					if err := b.copy(ctx, p, e, w, t); err != nil {
						return err
					}
				}
			}
		}
		b.lackTime(e, w, contestants)
	}
	return nil
}

// lackTime notes what was left out, to end in time.
func (b *bench) lackTime(e environment, w workload, contestants []tool) {
	for _, t := range contestants {
		c := cell{e, w.Name, t.name}
		if b.late && len(b.results[c]) == 0 && b.lacking[c] == "" {
			b.lacking[c] = "no time was left"
		}
	}
}

// checkBudget notices, between two workloads, that the budget is used up.
func (b *bench) checkBudget() {
	if !b.late && clock.System.Now().After(b.end) {
		b.late = true
		fmt.Fprintf(b.out, "after %v: only sparsecopy and the floor from here on, once each\n", b.budget)
	}
}

// skip reports whether t is left out in this round, to end in time.
func (b *bench) skip(c cell, t tool, round int) bool {
	before := b.results[c]
	switch {
	case t.overTLS && !c.TLS:
		return true
	case c.TLS && t.untuned: // slower than with the setting that is measured, which is what bounds are about
		return true
	case b.late:
		return round > 0 || t.peer
	case round > 0 && len(before) == 0: // it failed, or cannot be measured
		return true
	}
	return round > 0 && before[0].Wall > b.slow
}

// copy makes one copy. Its failure is noted; an error is one of this program.
func (b *bench) copy(ctx context.Context, p *registryProcess, e environment, w workload, t tool) error {
	c := cell{e, w.Name, t.name}
	dir, err := os.MkdirTemp(b.dir, "job")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := hermetictest.SystemIn(dir); err != nil { // which machines have before anybody copies
		return err
	}
	b.n++
	j := b.job(p, c, w, dir)
	if w.Files {
		if j.Source, err = b.sourceFiles(ctx, p, w); err != nil {
			return err
		}
	}
	if err := b.equip(ctx, t, &j); err != nil {
		b.without(c, "not measured", err)
		return nil
	}
	limited, cancel := context.WithTimeoutCause(ctx, b.timeout, fmt.Errorf("no end after %v", b.timeout))
	defer cancel()
	subject := &subjectQuestion{w, j.Destination.Repo}
	u, failure, err := p.run(limited, t, j, subject)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	a, err := p.ask(question{Account: subject})
	if err != nil {
		return err
	}
	if failure == nil && a.Traffic.Missing != "" {
		failure = errors.New(a.Traffic.Missing)
	}
	if failure != nil {
		b.failed++
		b.without(c, "failed", failure)
		return nil
	}
	s := sample{u, a.Traffic}
	b.results[c] = append(b.results[c], s)
	fmt.Fprintln(b.out, s.line(c))
	return nil
}

// job is that of the contestant in c, which keeps what it keeps in dir.
func (b *bench) job(p *registryProcess, c cell, w workload, dir string) job {
	j := job{
		Tool: c.Tool, Images: w.Images, Source: place{p.Source, w.sourceRepo(), tag}, Destination: w.destination(p.addresses, fmt.Sprintf("mirror/%d", b.n), dir),
		TLS: c.TLS, CertsDir: p.certsDir, Dir: dir, Platforms: w.Wanted, UpToDate: w.UpToDate, Again: w.Again, Format: w.Format, Original: w.Original,
		Starts: w.Starts, Help: w.Help, Resumes: w.Killed,
	}
	if w.Signed {
		j.SigningKey = b.key
	}
	if b.profile != "" {
		j.Profile = filepath.Join(b.profile, strings.ReplaceAll(c.short(), "/", ","))
	}
	return j
}

// without notes why c is not in the results.
func (b *bench) without(c cell, what string, why error) {
	b.lacking[c] = why.Error()
	fmt.Fprintf(b.out, "%s %s: %v\n", c.short(), what, why)
}

// build builds all programs that will be needed. Those that cannot be had are told where they are.
func (b *bench) build(ctx context.Context) {
	for _, e := range b.environments() {
		for _, w := range b.workloads {
			for _, t := range b.contestants(e, w) {
				_ = b.equip(ctx, t, &job{Starts: w.Starts})
			}
		}
	}
}

// equip sees to the programs that a job needs.
func (b *bench) equip(ctx context.Context, t tool, j *job) (err error) {
	if t.program != "" {
		if j.Program, err = b.programs.program(ctx, t.program); err != nil {
			return err
		}
	}
	if j.Starts > 0 {
		j.Starter, err = b.programs.program(ctx, starterProgram)
	}
	return err
}

// run makes one copy, of whatever the destination has by then, after another one if that makes a
// difference: a failure is one of the copy.
func (p *registryProcess) run(ctx context.Context, t tool, j job, subject *subjectQuestion) (u usage, failure, err error) {
	if subject.Workload.Killed {
		return p.runKilled(ctx, t, j, subject)
	}
	times := 1
	if w := subject.Workload; w.Again && (t.remembers || !w.UpToDate) {
		times = 2
	}
	for range times {
		if _, err := p.ask(question{Prepare: subject}); err != nil {
			return u, nil, err
		}
		if u, failure = runContestant(ctx, p.startContestant, j); failure != nil {
			break
		}
	}
	return u, failure, nil
}
