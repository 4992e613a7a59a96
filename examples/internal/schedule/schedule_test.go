package schedule

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// noon is when tests begin.
var noon = time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)

func mustCron(t *testing.T, expression string) Schedule {
	t.Helper()
	s, err := Cron(expression)
	require.NoError(t, err)
	return s
}

func TestEvery(t *testing.T) {
	s, err := Every(6 * time.Hour)
	require.NoError(t, err)
	assert.Equal(t, "every 6h0m0s", s.String())
	assert.Equal(t, noon, s.First("a", noon), "what was never done is due at once")
	next := s.Next("a", noon)
	assert.WithinRange(t, next, noon.Add(6*time.Hour), noon.Add(6*time.Hour+36*time.Minute))
	assert.Equal(t, next, s.Next("a", noon), "a restart does not move it")
	assert.NotEqual(t, next, s.Next("b", noon), "what began together does not stay together")

	for _, interval := range []time.Duration{-time.Hour, 0, time.Millisecond, MaxInterval + 1} {
		_, err := Every(interval)
		assert.Error(t, err, "%s", interval)
	}
}

func TestCron(t *testing.T) {
	at := func(text string) time.Time {
		parsed, err := time.Parse("2006-01-02 15:04 MST", text)
		require.NoError(t, err)
		return parsed
	}
	for _, c := range []struct{ expression, last, next string }{
		{"CRON_TZ=UTC 30 3 * * *", "2026-03-28 12:00 UTC", "2026-03-29 03:30 UTC"},
		{"CRON_TZ=UTC 30 3 * * *", "2026-03-29 03:30 UTC", "2026-03-30 03:30 UTC"},
		{"CRON_TZ=UTC */20 9-17 * * MON-FRI", "2026-03-28 12:00 UTC", "2026-03-30 09:00 UTC"},
		{"CRON_TZ=UTC @daily", "2026-03-28 12:00 UTC", "2026-03-29 00:00 UTC"},
		{"CRON_TZ=UTC 0 0 13 * FRI", "2026-03-28 12:00 UTC", "2026-04-03 00:00 UTC"}, // crontabs say or
		{"CRON_TZ=UTC 0 0 29 2 *", "2096-03-01 00:00 UTC", "2104-02-29 00:00 UTC"},
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-28 12:00 UTC", "2026-03-29 01:00 UTC"}, // 02:30 is left out
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-29 01:00 UTC", "2026-03-30 00:30 UTC"},
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-24 12:00 UTC", "2026-10-25 00:30 UTC"}, // and comes twice
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-25 00:30 UTC", "2026-10-26 01:30 UTC"},
		{"CRON_TZ=Europe/Berlin */15 * * * *", "2026-10-25 00:50 UTC", "2026-10-25 02:00 UTC"},
		{"CRON_TZ=Africa/Cairo 0 6 * * FRI", "2026-04-22 12:00 UTC", "2026-04-24 03:00 UTC"}, // its midnight is left out
		{"CRON_TZ=Africa/Cairo 0 0 * * *", "2026-04-23 12:00 UTC", "2026-04-23 22:00 UTC"},
	} {
		assert.Equal(t, at(c.next), mustCron(t, c.expression).Next("a", at(c.last)).UTC(), c.expression)
	}
	assert.Equal(t, at("2026-03-29 03:30 UTC"), mustCron(t, "CRON_TZ=UTC 30 3 * * *").First("a", noon).UTC(),
		"a cron expression says when something begins for the first time, too")
}

// TestCronOnTheWall holds a year of zones that set their clocks in different ways against somebody
// who looks at the clock each minute: each day has its run, when the clock shows the time or more.
func TestCronOnTheWall(t *testing.T) {
	const year = 2026
	for _, name := range []string{"UTC", "Europe/Berlin", "America/Havana", "America/Santiago", "Africa/Cairo", "Asia/Beirut", "Australia/Lord_Howe"} {
		zone, err := time.LoadLocation(name)
		require.NoError(t, err)
		for _, c := range []struct {
			fields       string
			hour, minute int
			on           func(time.Time) bool
		}{
			{"0 0 * * *", 0, 0, func(time.Time) bool { return true }},
			{"30 2 * * *", 2, 30, func(time.Time) bool { return true }},
			{"10 2 * * SUN", 2, 10, func(day time.Time) bool { return day.Weekday() == time.Sunday }},
			{"0 6 24,25 * *", 6, 0, func(day time.Time) bool { return day.Day() == 24 || day.Day() == 25 }},
		} {
			s := mustCron(t, "CRON_TZ="+name+" "+c.fields)
			last := time.Date(year-1, 12, 31, 23, 59, 0, 0, zone)
			for day := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() == year; day = day.AddDate(0, 0, 1) {
				if !c.on(day) {
					continue
				}
				wanted := day.Add(time.Duration(c.hour)*time.Hour + time.Duration(c.minute)*time.Minute)
				seen := time.Date(year, day.Month(), day.Day(), c.hour, c.minute, 0, 0, zone).Add(-3 * time.Hour)
				for onTheWall(seen, time.UTC).Before(wanted) {
					seen = seen.Add(time.Minute)
				}
				last = s.Next("a", last)
				require.Equal(t, seen.UTC(), last.UTC(), "%s in %s, after the run before", c.fields, name)
			}
		}
	}
}

func TestCronRefuses(t *testing.T) {
	for expression, says := range map[string]string{
		"":                            "is no cron expression",
		"6h":                          "is no cron expression",
		"0 3 * *":                     "is no cron expression",
		"0 0 3 * * *":                 "is no cron expression",
		"61 * * * *":                  "is no cron expression",
		"CRON_TZ=Nowhere/City @daily": "is no cron expression",
		"0 0 30 2 *":                  "never comes",
		"@every 1h":                   "write every",
		"@reboot":                     "write every",
		"TZ=":                         "is no cron expression",
		"CRON_TZ=UTC":                 "is no cron expression",
	} {
		_, err := Cron(expression)
		assert.ErrorContains(t, err, says, "%q", expression)
	}
}

func TestJitter(t *testing.T) {
	s, err := mustCron(t, "CRON_TZ=UTC 0 3 * * *").WithJitter(time.Hour)
	require.NoError(t, err)
	three := time.Date(2026, 3, 29, 3, 0, 0, 0, time.UTC)
	different := map[time.Time]bool{}
	for _, key := range []string{"a", "b", "c", "d"} {
		next := s.Next(key, noon)
		assert.WithinRange(t, next, three, three.Add(time.Hour))
		assert.Equal(t, next, s.Next(key, noon))
		different[next] = true
		assert.WithinRange(t, s.Next(key, next), three.AddDate(0, 0, 1), three.AddDate(0, 0, 1).Add(time.Hour), "no day is left out")
	}
	assert.Len(t, different, 4)

	hourly, err := Every(time.Hour)
	require.NoError(t, err)
	exact, err := hourly.WithJitter(0)
	require.NoError(t, err)
	assert.Equal(t, noon.Add(time.Hour), exact.Next("a", noon))
	for _, refused := range []struct {
		s      Schedule
		jitter time.Duration
	}{{hourly, time.Hour + 1}, {hourly, -1}, {s, MaxJitter + 1}, {Schedule{}, time.Second}} {
		_, err := refused.s.WithJitter(refused.jitter)
		assert.Error(t, err, "%s %s", refused.s, refused.jitter)
	}
}

func TestNever(t *testing.T) {
	assert.True(t, Schedule{}.IsZero())
	assert.True(t, Schedule{}.Next("a", noon).IsZero())
	assert.Equal(t, "never", Schedule{}.String())
}

func TestBackoff(t *testing.T) {
	var waits []time.Duration
	for n := 1; n <= 4; n++ {
		waits = append(waits, Backoff(n))
	}
	assert.Equal(t, []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute}, waits)
	assert.Equal(t, 6*time.Hour, Backoff(1<<40))
}
