package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// runKilled lets a program copy, kills it when nine tenths of all layers have arrived, and lets it
// copy again. Until then its manifests are held, so that it cannot end, however late it is killed.
// What that took is what the second run took.
func (p *registryProcess) runKilled(ctx context.Context, t tool, j job, subject *subjectQuestion) (u usage, failure, err error) {
	if _, err := p.ask(question{Prepare: subject}); err != nil {
		return u, nil, err
	}
	failure, err = p.killAt(j.command(ctx, t.arguments(j)...), subject, subject.Workload.layerBytes()/10*9)
	if failure != nil || err != nil {
		return u, failure, err
	}
	if _, err := p.ask(question{Release: true}); err != nil {
		return u, nil, err
	}
	u, failure = runContestant(ctx, p.startContestant, j)
	return u, failure, nil
}

// killAt starts a command and kills it when so many bytes have come to the destination. That it
// ends before is its failure.
func (p *registryProcess) killAt(c *exec.Cmd, subject *subjectQuestion, most int64) (failure, err error) {
	var complaint bytes.Buffer
	c.Stderr = &complaint
	if err := p.startContestant(c); err != nil {
		return err, nil
	}
	ended := make(chan struct{})
	var status error
	go func() {
		defer close(ended)
		status = c.Wait()
	}()
	for {
		select {
		case <-ended:
			return fmt.Errorf("it ended before it was killed: %w: %s", cmp.Or(status, errSuccess), bytes.TrimSpace(complaint.Bytes())), nil
		case <-clock.System.NewTimer(10 * time.Millisecond).C():
		}
		a, err := p.ask(question{Account: subject})
		if err != nil || a.Traffic.Written >= most {
			killed := c.Process.Kill()
			<-ended
			return killed, err
		}
	}
}

// errSuccess is how a program ends that has copied everything.
var errSuccess = errors.New("success")
