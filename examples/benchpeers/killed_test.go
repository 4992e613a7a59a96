package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRunKilled kills a program in the middle, and lets it end then.
func TestRunKilled(t *testing.T) {
	var out, errors bytes.Buffer
	status := run(t.Context(), "", []string{
		"-quick", "-goals", "-links", "none", "-workloads", "1x1x1GiB-killed", "-programs", playedPrograms(t),
	}, nil, &out, &errors)
	require.Zero(t, status, "%s%s", out.String(), errors.String())
	assert.Contains(t, out.String(), "BenchmarkCopy/workload=1x1x1GiB-killed/rtt=40ms/tls=false/cap=25000000/tool=mirror-")
}

// TestWhatEndsBeforeItIsKilled has failed.
func TestWhatEndsBeforeItIsKilled(t *testing.T) {
	p := &registryProcess{
		startContestant: (*exec.Cmd).Start,
		out:             json.NewEncoder(io.Discard), in: json.NewDecoder(strings.NewReader(strings.Repeat("{}", 1<<16))),
	}
	for status, want := range map[string]string{"3": "exit status 3", "0": "success"} {
		failure, err := p.killAt(exec.CommandContext(t.Context(), "sh", "-c", "echo why >&2; exit "+status), nil, 1)
		require.NoError(t, err)
		require.EqualError(t, failure, "it ended before it was killed: "+want+": why")
	}
}
