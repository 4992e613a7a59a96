package mirrorcmd

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestTimes has registries that answer too late for what a command was told, and says by which
// flag.
func TestTimes(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	slow := registrytest.Start(t, registrytest.Options{BlobWait: time.Hour})
	f.PushTo(slow, repo, tag, imagetest.Top)
	dst := registrytest.Start(t, registrytest.Options{})
	mirror(t, "copy", "--all", "--blob-timeout", "50ms", refTo(slow), refTo(dst)).failed(t, StatusFailed, "no answer about a blob within 50ms", "--blob-timeout gives it more time")

	silent := registrytest.Start(t, registrytest.Options{Script: func(int, *http.Request) registrytest.Answer { return registrytest.Stall() }})
	for _, args := range [][]string{
		{"copy", "--insecure-policy", "--src-tls-verify=false", "--answer-timeout", "50ms", refTo(silent), refTo(dst)},
		{"plan", "--insecure-policy", "--src-tls-verify=false", "--answer-timeout", "50ms", refTo(silent), refTo(dst)},
		{"verify", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", "--all", "--answer-timeout", "50ms", refTo(slow), refTo(silent)},
		{"inspect", "--tls-verify=false", "--answer-timeout", "50ms", refTo(silent)},
	} {
		silent.ResetLog()
		runAll(t.Context(), t, "", args...).failed(t, StatusFailed, "no answer within 50ms", "--answer-timeout gives it more time")
		assert.LessOrEqual(t, silent.Count(nil), 2, "%v: who does not answer is asked once more", args)
	}
}

// TestDeadlineSaysWhatTheRegistrySaid ends a command while a registry throttles it.
func TestDeadlineSaysWhatTheRegistrySaid(t *testing.T) {
	busy := registrytest.Fail(http.StatusTooManyRequests, "TOOMANYREQUESTS", "slow down")
	busy.Header = http.Header{"Retry-After": {"60"}}
	src, dst := registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindBlob), func(int, *http.Request) registrytest.Answer { return busy }),
	}), registrytest.Start(t, registrytest.Options{})
	imagetest.Platforms(2, 1, 100).PushTo(src, repo, tag, imagetest.Top)
	var given time.Duration
	var r outcome
	require.NoError(t, clocktest.Longer(func(limit time.Duration) error {
		given, r = limit, mirror(t, "copy", "--all", "--command-timeout", limit.String(), refTo(src), refTo(dst))
		if !strings.Contains(r.stderr, "429") {
			return fmt.Errorf("it has not come that far within %s: %s", limit, r.stderr)
		}
		return nil
	}))
	r.failed(t, StatusFailed, "stopped: ", fmt.Sprintf("the time of --command-timeout (%s) is over", given), "429 Too Many Requests", "slow down")
}
