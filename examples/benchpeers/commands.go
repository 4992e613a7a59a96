package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// runProgram does what j says by the tool's program.
func runProgram(arguments func(job) []string) func(context.Context, job) error {
	return func(ctx context.Context, j job) error { return said(j.command(ctx, arguments(j)...)) }
}

// command is the program of the contestant, which keeps what it keeps in the job's directory.
func (j job) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, j.Program, args...)
	c.Env = append(os.Environ(), "HOME="+j.Dir)
	return c
}

// starts runs the program of the contestant several times, to copy or to print its help.
func (t tool) starts(ctx context.Context, j job) (u usage, err error) {
	args := []string{"--help"}
	if !j.Help {
		args = t.arguments(j)
	}
	c := j.command(ctx, args...)
	starter := exec.CommandContext(ctx, j.Starter, append([]string{strconv.Itoa(j.Starts)}, c.Args...)...)
	starter.Env = c.Env
	var out, complaint bytes.Buffer
	starter.Stdout, starter.Stderr = &out, &complaint
	if err := starter.Run(); err != nil {
		return u, fmt.Errorf("%w: %s", err, bytes.TrimSpace(complaint.Bytes()))
	}
	return u, json.Unmarshal(out.Bytes(), &u)
}

// mirrorCopy are the arguments of mirror that copy.
func mirrorCopy(j job) []string {
	args := []string{"copy", "--all", "--insecure-policy"}
	for side, p := range map[string]place{"src": j.Source, "dest": j.Destination} {
		if !p.isLayout() {
			args = append(args, "--"+side+"-tls-verify=false")
		}
	}
	if j.Resumes {
		args = append(args, "--resume-dir", filepath.Join(j.Dir, "unfinished"))
	}
	return append(args, j.Source.argument(), j.Destination.argument())
}

// craneCopy are those of crane.
func craneCopy(j job) []string {
	return []string{"copy", "--insecure", j.Source.String(), j.Destination.String()}
}

// argument is p as commands have it that know transports.
func (p place) argument() string {
	if p.isLayout() {
		return "oci:" + p.Repo + ":" + p.Tag
	}
	return "docker://" + p.String()
}
