package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// mirrorProgram builds the command mirror, which is a process of its own, so that the contestants
// in this one do not take the memory of its program. It returns the path.
func mirrorProgram(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "mirror")
	return path, said(exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/sparsecopy/sparsecopy/examples/mirror"))
}

// said runs a command, and returns what it has said if it fails.
func said(command *exec.Cmd) error {
	out, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(command.Path), err, bytes.TrimSpace(out))
	}
	return nil
}

// startMirror starts the command mirror, and lets it do nothing.
func startMirror(ctx context.Context, jobs []job) error {
	return said(exec.CommandContext(ctx, jobs[0].Mirror, "--help"))
}

// mirrorSync is what an hourly job runs. That the file is read is part of it, and so is the report.
func mirrorSync(ctx context.Context, jobs []job) error {
	j := jobs[0]
	file := filepath.Join(j.Dir, "images.yaml")
	if err := os.WriteFile(file, syncFile(jobs), 0o600); err != nil {
		return err
	}
	args := []string{
		"sync", "--insecure-policy", "--state", filepath.Join(j.Dir, "state"),
		"--state-dir", filepath.Join(j.Dir, "locks"), "--cache-dir", filepath.Join(j.Dir, "cache"),
	}
	for side, at := range map[string]place{"src": j.Source, "dest": j.Destination} {
		if j.TLS {
			args = append(args, "--"+side+"-cert-dir", filepath.Join(j.CertsDir, at.Host))
		} else {
			args = append(args, "--"+side+"-tls-verify=false")
		}
	}
	run := exec.CommandContext(ctx, j.Mirror, append(args, file)...)
	run.Env = append(os.Environ(), "HOME="+j.Dir)
	return said(run)
}

// syncFile is a file of mirror sync.
func syncFile(jobs []job) []byte {
	text := []byte("images:\n")
	for _, j := range jobs {
		text = fmt.Appendf(text, "- {source: 'docker://%s', destination: 'docker://%s'}\n", j.Source, j.Destination)
	}
	return text
}
