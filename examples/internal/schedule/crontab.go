package schedule

import (
	"strings"
	"time"
	_ "time/tzdata" // for CRON_TZ where the machine has no time zones, as in most containers

	"github.com/netresearch/go-cron"
)

// fiveFields is what crontabs have: the day may be one of the month or one of the week.
var fiveFields = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor | cron.DowOrDom).
	WithMaxSearchYears(30)

// A crontab is a cron expression in a time zone. The library that reads the expression is not told
// of the zone: where clocks are put forward at midnight, it would leave out the day.
type crontab struct {
	times cron.Schedule // of a clock on a wall that nobody ever sets, which UTC stands for
	zone  *time.Location
}

func newCrontab(expression string) (*crontab, error) {
	c := &crontab{zone: time.Local}
	for _, key := range []string{"CRON_TZ=", "TZ="} {
		rest, ok := strings.CutPrefix(expression, key)
		if !ok {
			continue
		}
		name, fields, _ := strings.Cut(rest, " ")
		zone, err := time.LoadLocation(name)
		if err != nil {
			return nil, err
		}
		c.zone, expression = zone, fields
		break
	}
	var err error
	c.times, err = fiveFields.Parse(expression)
	return c, err
}

// after returns the first time after last, the zero time if there is none.
func (c *crontab) after(last time.Time) time.Time {
	next := onTheWall(last.In(c.zone), time.UTC)
	for {
		if next = c.times.Next(next); next.IsZero() {
			return next
		}
		if at := c.place(next); at.After(last) { // else it has been, before clocks were put back
			return at
		}
	}
}

// onTheWall is what the clock on the wall shows at t, as the clock of another zone.
func onTheWall(t time.Time, zone *time.Location) time.Time {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	return time.Date(year, month, day, hour, minute, second, 0, zone)
}

// place returns when the clocks of the zone show what wall does: the first time that they do, or,
// if they never do, the time when they are put forward over it.
func (c *crontab) place(wall time.Time) time.Time {
	at := onTheWall(wall, c.zone)
	start, end := at.ZoneBounds()
	switch shown := onTheWall(at, time.UTC); {
	case shown.After(wall):
		return start
	case shown.Before(wall):
		return end
	case start.IsZero():
		return at
	}
	_, before := start.Add(-time.Nanosecond).Zone()
	_, now := at.Zone()
	if first := at.Add(time.Duration(now-before) * time.Second); first.Before(start) {
		return first
	}
	return at
}
