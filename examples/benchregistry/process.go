package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// roleVariable is the environment variable that makes the process a server: its name. storage is
// the first argument then.
const roleVariable = "BENCHREGISTRY_ROLE"

// A process is a server in a process of its own.
type process struct {
	url   string
	cmd   *exec.Cmd
	input io.WriteCloser // each line is a question for the CPU time; its end stops the server
	lines *bufio.Reader
}

// startProcess starts a server. Whoever calls it calls stop.
func startProcess(ctx context.Context, server, storage string) (p *process, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p = &process{cmd: exec.CommandContext(ctx, self, storage)}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+server)
	p.cmd.Stderr = os.Stderr
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.lines = bufio.NewReader(output)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if p.url, err = p.readLine(); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

func (p *process) readLine() (string, error) {
	line, err := p.lines.ReadString('\n')
	return strings.TrimSpace(line), err
}

// cpu is what the process has used so far, as far as that is known here.
func (p *process) cpu() (time.Duration, error) {
	if _, err := fmt.Fprintln(p.input); err != nil {
		return 0, err
	}
	line, err := p.readLine()
	if err != nil {
		return 0, err
	}
	return time.ParseDuration(line)
}

// timed tells how long do took, and how much CPU time of the process.
func (p *process) timed(do func() error) (wall, cpu time.Duration, err error) {
	before, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	start := clock.System.Now()
	if err := do(); err != nil {
		return 0, 0, err
	}
	wall = clock.Since(clock.System, start)
	after, err := p.cpu()
	return wall, after - before, err
}

func (p *process) stop() error {
	return errors.Join(p.input.Close(), p.cmd.Wait())
}

// serve is a server until input ends. It prints its URL, and its CPU time for each line of input.
func serve(name, storage string, input io.Reader) error {
	quiet()
	start := startOf(name)
	if start == nil {
		return fmt.Errorf("no server is named %q", name)
	}
	url, err := start(storage)
	if err != nil {
		return err
	}
	fmt.Println(url)
	questions := bufio.NewScanner(input)
	for questions.Scan() {
		fmt.Println(cpuTime())
	}
	return questions.Err()
}
