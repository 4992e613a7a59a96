package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A bench is a directory in which programs run.
type bench struct{ dir string }

// newBench returns a bench in a new directory. Whoever calls it removes the directory.
func newBench() (bench, error) {
	dir, err := os.MkdirTemp("", "interop-")
	return bench{dir: dir}, err
}

// path is the path of a file on the bench.
func (b bench) path(name string) string { return filepath.Join(b.dir, name) }

// run runs a program of .bin/interop, and returns what it printed to standard output. The error of
// one that fails has what it printed to standard error.
func (b bench) run(ctx context.Context, program string, args ...string) (string, error) {
	path, err := filepath.Abs(filepath.Join(checkout, ".bin", "interop", program))
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = b.dir
	// Go programs skip a proxy for loopback only: what leaves the machine ends at a closed port.
	cmd.Env = append(os.Environ(), "HOME="+b.dir, "DOCKER_CONFIG="+b.dir, "COSIGN_PASSWORD=",
		"HTTP_PROXY=http://127.0.0.1:9", "HTTPS_PROXY=http://127.0.0.1:9", "NO_PROXY=")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return stdout.String(), &failure{command: program + " " + strings.Join(args, " "), status: exit.ExitCode(), stderr: stderr.String()}
	case err != nil:
		return "", err
	}
	return stdout.String(), nil
}

// A failure is a program that ended with another status than 0.
type failure struct {
	command string
	status  int
	stderr  string
}

func (f *failure) Error() string {
	return fmt.Sprintf("%s: exit status %d: %s", f.command, f.status, strings.TrimSpace(f.stderr))
}

// cosign runs commands of cosign.
func (b bench) cosign(ctx context.Context, commands ...[]string) error {
	for _, args := range commands {
		if _, err := b.run(ctx, "cosign", args...); err != nil {
			return err
		}
	}
	return nil
}
