package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
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

// TestWhatIsToBeKilledDoesNotEnd, however late it is killed: its first manifest is not answered.
func TestWhatIsToBeKilledDoesNotEnd(t *testing.T) {
	p, w := newPair(t, environment{}), tiny[0]
	w.Killed = true
	p.prepare(w, "mirror")
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	jobs := []job{p.job(t, w, "mirror")}
	go func() { ended <- copyFloor(ctx, jobs, false) }()
	put := registrytest.Is(http.MethodPut, registrytest.KindManifest)
	require.Eventually(t, func() bool { return p.destination.Count(put) > 0 || len(ended) > 0 }, time.Minute, time.Millisecond)
	kill()
	require.ErrorIs(t, <-ended, context.Canceled)
	assert.Empty(t, p.destination.Manifests("mirror"))

	p.held.Store(false)
	require.NoError(t, copyFloor(t.Context(), jobs, false))
	assert.Empty(t, p.account(w, "mirror").Missing)
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
