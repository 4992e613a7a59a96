package syncfile

import (
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/schedule"
)

// The keys that say when a server copies an image.
const (
	keyEvery  = "every"
	keyCron   = "cron"
	keyJitter = "jitter"
)

// timing is what these keys say. An image has one of every and cron, or neither.
type timing struct {
	every, jitter time.Duration
	cron          string
	unread        bool // one of the keys says nothing, which is a problem already
}

// duration is the setting of a time.
func duration(key string, to func(*Image) *time.Duration) func(*parser, *Image, *yaml.Node) {
	return func(p *parser, i *Image, n *yaml.Node) {
		text, ok := p.scalar(n, key)
		value, err := time.ParseDuration(text)
		switch {
		case !ok:
			i.timing.unread = true
		case err != nil:
			i.timing.unread = true
			p.problem(n.Line, "%s: %q is no duration; write one such as 90s, 30m or 24h", key, text)
		default:
			*to(i) = value
		}
	}
}

// ownTiming takes every or cron out of the keys that an image has by default, if it has the other
// one of its own.
func ownTiming(keys, own map[string]*yaml.Node) {
	if own[keyEvery] != nil {
		delete(keys, keyCron)
	}
	if own[keyCron] != nil {
		delete(keys, keyEvery)
	}
}

// schedule makes a schedule of what the keys have set.
func (p *parser) schedule(image *Image, keys map[string]*yaml.Node) {
	every, cron, jitter := keys[keyEvery], keys[keyCron], keys[keyJitter]
	var err error
	switch {
	case image.timing.unread:
		return
	case every != nil && cron != nil:
		p.problem(ownLine(every, cron), "%s and %s exclude each other", keyEvery, keyCron)
		return
	case every != nil:
		if image.Schedule, err = schedule.Every(image.timing.every); err != nil {
			p.problem(every.Line, "%s: %v", keyEvery, err)
			return
		}
	case cron != nil:
		if image.Schedule, err = schedule.Cron(image.timing.cron); err != nil {
			p.problem(cron.Line, "%s: %v", keyCron, err)
			return
		}
	case jitter != nil:
		p.problem(jitter.Line, "%s needs %s or %s", keyJitter, keyEvery, keyCron)
		return
	}
	if jitter == nil {
		return
	}
	if image.Schedule, err = image.Schedule.WithJitter(image.timing.jitter); err != nil {
		p.problem(ownLine(jitter, every, cron), "%s: %v", keyJitter, err)
	}
}

// ownLine is the last line of some keys: if some of them are defaults, that of the image's own.
func ownLine(nodes ...*yaml.Node) (line int) {
	for _, n := range nodes {
		if n != nil {
			line = max(line, n.Line)
		}
	}
	return line
}
