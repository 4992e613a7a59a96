package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// startProgram starts the program of the contestant, and lets it do nothing.
func startProgram(ctx context.Context, j job) error {
	return said(j.command(ctx, "--help"))
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
	return said(j.command(ctx, append(args, file)...))
}

// syncFile is a file of mirror sync.
func syncFile(jobs []job) []byte {
	text := []byte("images:\n")
	for _, j := range jobs {
		text = fmt.Appendf(text, "- {source: 'docker://%s', destination: 'docker://%s'}\n", j.Source, j.Destination)
	}
	return text
}
