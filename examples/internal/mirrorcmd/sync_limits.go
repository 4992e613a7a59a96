package mirrorcmd

import (
	"fmt"
	"time"

	"github.com/sparsecopy/sparsecopy/copy"
)

// A syncRateLimit is how much may be pulled from a registry.
type syncRateLimit struct {
	Registry  string        `json:"registry"`
	User      string        `json:"user,omitempty"` // whose pulls are counted, "" for those without a name
	Limit     int           `json:"limit,omitempty"`
	Remaining int           `json:"remaining"`
	Window    time.Duration `json:"window,omitempty"` // in nanoseconds
	Until     time.Time     `json:"until"`            // when there are more, at the latest
}

// rateLimits are the limits that a Copier knows.
func rateLimits(limits []copy.RateLimit) []syncRateLimit {
	var all []syncRateLimit
	for _, l := range limits {
		all = append(all, syncRateLimit{
			Registry: l.Registry, User: l.User, Limit: l.Limit, Remaining: l.Remaining, Window: l.Window, Until: l.Until.UTC().Truncate(time.Second),
		})
	}
	return all
}

// text is the limit for people.
func (l *syncRateLimit) text() string {
	text := counted(l.Remaining, "pull")
	if l.Limit > 0 {
		text = fmt.Sprintf("%d of %s", l.Remaining, counted(l.Limit, "pull"))
	}
	if l.Window > 0 {
		text += " in " + formatTime(l.Window)
	}
	if l.User != "" {
		text += " of " + l.User
	}
	return fmt.Sprintf("%s are left at %s; there are more at %s at the latest", text, l.Registry, l.Until.Format(time.RFC3339))
}
