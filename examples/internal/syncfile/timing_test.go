package syncfile

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSchedules(t *testing.T) {
	f, err := parse(`
defaults: {destination: "docker://m.example/{name}", every: 6h, jitter: 30m}
images:
- source: docker://quay.io/a:1
- {source: "docker://quay.io/b:1", every: 24h, jitter: 0s}
- {source: "docker://quay.io/c:1", cron: "CRON_TZ=UTC 0 3 * * *"}
`)
	require.NoError(t, err)
	var texts []string
	for _, i := range f.Images {
		texts = append(texts, i.Schedule.String())
	}
	assert.Equal(t, []string{"every 6h0m0s", "every 24h0m0s", "cron CRON_TZ=UTC 0 3 * * *"}, texts, "an image has its own in place of the default, of either kind")
	noon := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	a := f.Images[0].Schedule.Next("a", noon)
	assert.WithinRange(t, a, noon.Add(6*time.Hour), noon.Add(6*time.Hour+30*time.Minute))
	assert.NotEqual(t, noon.Add(6*time.Hour), a)
	assert.Equal(t, noon.Add(24*time.Hour), f.Images[1].Schedule.Next("b", noon))
	three := noon.Add(15 * time.Hour)
	assert.WithinRange(t, f.Images[2].Schedule.Next("c", noon), three, three.Add(30*time.Minute), "the default's jitter is for its own cron expression, too")

	f, err = parse(`images: [{source: "docker://quay.io/a:1", destination: "docker://m.example/a"}]`)
	require.NoError(t, err)
	assert.True(t, f.Images[0].Schedule.IsZero())
}

func TestSchedulesThatAreRefused(t *testing.T) {
	for text, says := range map[string]string{
		"every: 6":                      `f.yaml:2: every: "6" is no duration; write one such as 90s, 30m or 24h`,
		"every: 0s":                     "f.yaml:2: every: 0s is no interval from 1s to 366 days",
		"every: []":                     "f.yaml:2: every must be a text",
		"every: 1h\n  cron: '@daily'":   "f.yaml:3: every and cron exclude each other",
		"cron: 0 3 * *":                 `f.yaml:2: cron: "0 3 * *" is no cron expression`,
		"jitter: 1h":                    "f.yaml:2: jitter needs every or cron",
		"every: 1h\n  jitter: 2h":       "f.yaml:3: jitter: 2h0m0s is more than the interval, 1h0m0s",
		"cron: '@daily'\n  jitter: 25h": "f.yaml:3: jitter: 25h0m0s is more than 24h0m0s",
		"every: 1h\n  jitter: -1s":      "f.yaml:3: jitter: -1s is below zero",
		"cron: '0 0 31 4 *'":            "never comes",
		"evry: 1h":                      `did you mean "every"?`,
	} {
		_, err := parse("defaults:\n  " + text + "\nimages: [{source: 'docker://quay.io/a:1', destination: 'docker://m.example/a'}]")
		require.ErrorContains(t, err, says)
		assert.Equal(t, 1, strings.Count(err.Error(), "f.yaml:"), "one thing is wrong: %v", err)
		_, err = parse("images:\n- " + text + "\n  source: docker://quay.io/a:1\n  destination: docker://m.example/a")
		require.ErrorContains(t, err, says)
		assert.Equal(t, 1, strings.Count(err.Error(), "f.yaml:"), "one thing is wrong: %v", err)
	}
	_, err := parse(`
defaults: {destination: "docker://m.example/{name}", every: 6h, jitter: 1h}
images:
- source: docker://quay.io/a:1
- source: docker://quay.io/b:1
  every: 10m
`)
	assert.EqualError(t, err, "f.yaml:6: jitter: 1h0m0s is more than the interval, 10m0s")
}
