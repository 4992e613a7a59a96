package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// The intervals that Every takes.
const (
	MinInterval = time.Second
	MaxInterval = 366 * 24 * time.Hour
)

// MaxJitter is the largest jitter that a cron expression may have. That of an interval is at most
// the interval.
const MaxJitter = 24 * time.Hour

// A Schedule says when something is due again. It is a value; the zero value is never due. Its
// methods may be called concurrently.
type Schedule struct {
	interval time.Duration // 0 if times is set
	times    *crontab      // nil if interval is set
	jitter   time.Duration
	text     string
}

// Every is due again when an interval has passed since it was last done, from MinInterval to
// MaxInterval. Its jitter is a tenth of that, so that what began together does not stay together.
func Every(interval time.Duration) (Schedule, error) {
	if interval < MinInterval || interval > MaxInterval {
		return Schedule{}, fmt.Errorf("%s is no interval from %s to %d days", interval, MinInterval, MaxInterval/(24*time.Hour))
	}
	return Schedule{interval: interval, jitter: interval / 10, text: "every " + interval.String()}, nil
}

// Cron is due at the times of a cron expression: five fields, or a name such as @daily. They are in
// the time zone of the machine, or in the one that CRON_TZ=NAME before the fields says. Where
// clocks are put forward, what is left out is due when they are; where they are put back, what
// comes twice is due the first time. It has no jitter.
func Cron(expression string) (Schedule, error) {
	if strings.Contains(expression, "@every") || strings.Contains(expression, "@reboot") {
		return Schedule{}, fmt.Errorf("%q has no times of day: write every with a duration", expression)
	}
	times, err := newCrontab(expression)
	if err != nil {
		return Schedule{}, fmt.Errorf("%q is no cron expression: %w", expression, err)
	}
	if times.after(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, fmt.Errorf("%q names a time that never comes", expression)
	}
	return Schedule{times: times, text: "cron " + expression}, nil
}

// WithJitter returns a Schedule that is due up to jitter later. How much later is another share
// each time, and another for each key, but the same on every machine.
func (s Schedule) WithJitter(jitter time.Duration) (Schedule, error) {
	switch {
	case s.IsZero():
		return s, errors.New("there is no schedule")
	case jitter < 0:
		return s, fmt.Errorf("%s is below zero", jitter)
	case s.interval > 0 && jitter > s.interval:
		return s, fmt.Errorf("%s is more than the interval, %s", jitter, s.interval)
	case jitter > MaxJitter && s.interval == 0:
		return s, fmt.Errorf("%s is more than %s", jitter, MaxJitter)
	}
	s.jitter = jitter
	return s, nil
}

// IsZero reports whether s is the zero value.
func (s Schedule) IsZero() bool { return s.interval == 0 && s.times == nil }

// Periodic reports whether s is due at an interval, and not at times of day.
func (s Schedule) Periodic() bool { return s.interval > 0 }

// String is the schedule in words, without its jitter; "never" for the zero value.
func (s Schedule) String() string {
	if s.IsZero() {
		return "never"
	}
	return s.text
}

// First returns when key is due for the first time, now being the time. With an interval, that is
// now; with a cron expression, its next time.
func (s Schedule) First(key string, now time.Time) time.Time {
	if s.interval > 0 {
		return now
	}
	return s.Next(key, now)
}

// Next returns when key is due again that was begun at last; the zero time for never. The result
// may have passed already, if nobody was there to do it: then it is due now, once.
func (s Schedule) Next(key string, last time.Time) time.Time {
	switch {
	case s.IsZero():
		return time.Time{}
	case s.interval > 0:
		return last.Add(s.interval + s.share(key, last))
	}
	at := s.times.after(last)
	if at.IsZero() {
		return at
	}
	return at.Add(s.share(key, at))
}

// share is the part of the jitter that falls to key at a time.
func (s Schedule) share(key string, at time.Time) time.Duration {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(key), uint64(at.UnixNano())))
	return time.Duration(float64(s.jitter) * (float64(binary.BigEndian.Uint64(sum[:])) / math.MaxUint64))
}
