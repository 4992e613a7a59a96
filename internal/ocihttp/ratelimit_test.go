package ocihttp

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// header reads lines "Name: value".
func header(lines string) http.Header {
	h := http.Header{}
	for line := range strings.Lines(lines) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	return h
}

func TestReadLimit(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	const hours = 6 * time.Hour
	for name, c := range map[string]struct {
		header string
		want   statedLimit // with until as the time from now on
		wait   time.Duration
	}{
		"Docker Hub":                   {"ratelimit-limit: 100;w=21600\nratelimit-remaining: 76;w=21600\ndocker-ratelimit-source: 192.0.2.1", statedLimit{limit: 100, remaining: 76, window: hours}, hours},
		"Docker Hub, beyond its limit": {"ratelimit-limit: 100;w=21600\nratelimit-remaining: -3;w=21600", statedLimit{limit: 100, window: hours}, hours},
		"Docker Hub, both of its limits": {
			"x-ratelimit-limit: 180\nx-ratelimit-remaining: 5\nx-ratelimit-reset: 1800000060\nratelimit-limit: 100;w=21600\nratelimit-remaining: 76;w=21600",
			statedLimit{limit: 100, remaining: 76, window: hours}, hours,
		},
		"spaces":                        {"RateLimit-Limit:  100 ; w = x\nRateLimit-Remaining: 7 ; w=60", statedLimit{remaining: 7, window: time.Minute}, time.Minute},
		"GitHub":                        {"x-ratelimit-limit: 60\nx-ratelimit-remaining: 59\nx-ratelimit-used: 1\nx-ratelimit-reset: 1800003000", statedLimit{limit: 60, remaining: 59}, 50 * time.Minute},
		"GitLab":                        {"RateLimit-Limit: 600\nRateLimit-Observed: 6\nRateLimit-Remaining: 594\nRateLimit-Reset: 1800000030\nRateLimit-ResetTime: Fri, 15 Jan 2027 08:00:30 GMT", statedLimit{limit: 600, remaining: 594}, 30 * time.Second},
		"a reset that is past":          {"x-ratelimit-remaining: 0\nx-ratelimit-reset: 1799999999", statedLimit{}, undatedLimit},
		"no time":                       {"x-ratelimit-remaining: 5", statedLimit{remaining: 5}, undatedLimit},
		"draft 06":                      {"RateLimit-Limit: 10, 10;w=1;burst=1000, 1000;w=3600\nRateLimit-Remaining: 9\nRateLimit-Reset: 50", statedLimit{limit: 10, remaining: 9, window: time.Second}, 50 * time.Second},
		"draft 06 with a policy":        {"RateLimit-Limit: 1000\nRateLimit-Policy: 10;w=1, 1000;w=3600\nRateLimit-Remaining: 9", statedLimit{limit: 1000, remaining: 9, window: time.Hour}, time.Hour},
		"draft 07":                      {"RateLimit: limit=100, remaining=50, reset=5\nRateLimit-Policy: 100;w=60;comment=\"a, b; c\"", statedLimit{limit: 100, remaining: 50, window: time.Minute}, 5 * time.Second},
		"draft 07 on several lines":     {"RateLimit: limit=100\nRateLimit: remaining=50,reset=5", statedLimit{limit: 100, remaining: 50}, 5 * time.Second},
		"draft 10":                      {"RateLimit: \"default\";r=50;t=30\nRateLimit-Policy: \"burst\";q=10;w=1, \"default\";q=100;w=60", statedLimit{limit: 100, remaining: 50, window: time.Minute}, 30 * time.Second},
		"draft 10, several limits":      {"RateLimit: \"day\";r=500;t=30000, \"hour\";r=5;t=600, \"week\";r=50\nRateLimit-Policy: \"day\";q=1000;w=86400\nRateLimit-Policy: \"hour\";q=20;w=3600", statedLimit{limit: 20, remaining: 5, window: time.Hour}, 10 * time.Minute},
		"draft 10 without a policy":     {"RateLimit: \"a\";r=0;t=7", statedLimit{}, 7 * time.Second},
		"draft 10, no time":             {"RateLimit: \"a\";r=0", statedLimit{}, undatedLimit},
		"for ever":                      {"RateLimit-Remaining: 0;w=99999999999", statedLimit{window: 1 << 32 * time.Second}, longestLimit},
		"a window that is none":         {"RateLimit-Remaining: 0;w=-5", statedLimit{}, undatedLimit},
		"a limit that is none, as such": {"RateLimit-Limit: many\nRateLimit-Remaining: 3", statedLimit{remaining: 3}, undatedLimit},
	} {
		t.Run(name, func(t *testing.T) {
			said, ok := readLimit(header(c.header), now)
			require.True(t, ok)
			assert.Equal(t, c.wait, said.until.Sub(now))
			said.until = time.Time{}
			assert.Equal(t, c.want, said)
		})
	}
	for name, h := range map[string]string{
		"nothing":                       "",
		"no number, as from Docker Hub": "ratelimit-limit: ;w=21600\nratelimit-remaining: ;w=21600",
		"a limit alone":                 "ratelimit-limit: 100;w=21600",
		"a policy alone":                "RateLimit-Policy: \"default\";q=100;w=60",
		"a word":                        "ratelimit-remaining: unlimited",
		"too large a number":            "ratelimit-remaining: 99999999999999999999",
		"an open quote":                 "RateLimit: \"default;r=50",
		"separators":                    "RateLimit: ,,;;==\nRateLimit-Remaining: ;",
		"no value":                      "RateLimit: \"a\";r=\nX-RateLimit-Remaining:",
	} {
		_, ok := readLimit(header(h), now)
		assert.False(t, ok, name)
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		" 7 ":                           7 * time.Second,
		"-7":                            0,
		"7s":                            0,
		"99999999999999999999":          0,
		"1.5":                           1500 * time.Millisecond,
		"NaN":                           0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Fri, 02 Jan 2026 03:00:00 GMT": 0,
		"tomorrow":                      0,
		"1767323105":                    time.Minute, // Docker Hub, 2025
		"1767323045":                    0,
		"1767323105000":                 0,
	} {
		assert.Equal(t, want, ParseRetryAfter(value, now), "%q", value)
	}
}

// FuzzReadLimit holds that nothing that a registry sends is believed for longer than a day.
func FuzzReadLimit(f *testing.F) {
	for _, seed := range []string{"100;w=21600", `limit=100, remaining=50, reset=5`, `"a\"b";r=5;t=9, c;r=1`, "1800000000", ";", `"`} {
		f.Add(seed, seed, seed)
	}
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, one, two, three string) {
		for _, names := range [][3]string{{"Ratelimit", "Ratelimit-Policy", "Ratelimit-Reset"}, {"Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset"}} {
			said, ok := readLimit(http.Header{names[0]: {one}, names[1]: {two}, names[2]: {three}}, now)
			if ok && (said.remaining < 0 || !said.until.After(now) || said.until.Sub(now) > longestLimit) {
				t.Errorf("%+v", said)
			}
		}
	})
}
