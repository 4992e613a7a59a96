package registrycmd

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
)

// A reloader has a running server go by settings that have changed.
type reloader struct {
	server  *sparseserver.Server
	log     *slog.Logger
	load    func() (options, error)
	started options // the settings that the server was started with
	current options // the settings that were last put in force
}

// until reloads at each hangup until ctx ends, or the server has failed, which is the error.
func (r *reloader) until(ctx context.Context, hangups <-chan os.Signal) error {
	for {
		select {
		case <-hangups:
			r.reload()
		case <-r.server.Done():
			return r.server.Err()
		case <-ctx.Done():
			return nil
		}
	}
}

// reload reads the settings, and the files that they name, and puts in force what a running server
// can change: all of it, or nothing.
func (r *reloader) reload() {
	var read options
	err := r.server.Reload(func() (_ sparseserver.Config, err error) {
		if read, err = r.load(); err == nil {
			err = refuseHalf(r.current, read)
		}
		return read.server, err
	})
	if err != nil {
		r.log.Error("not reloaded: everything stays as it was", "error", err)
		return
	}
	r.log.Info("reloaded: policy, certificate and users", "changed", changes(r.current, read))
	r.current = read
	if changed := fixed(r.started, read); len(changed) > 0 {
		r.log.Warn("settings have changed that count only when the server is started again", "settings", changed)
	}
	warnOfPolicies(r.log, read)
}

// refuseHalf refuses files that end in the middle of a line, and did not before: so does one that
// is read while somebody writes it, and what it lacks could have been a requirement.
func refuseHalf(before, read options) error {
	for _, path := range slices.Sorted(maps.Keys(read.whole)) {
		if before.whole[path] && !read.whole[path] {
			return fmt.Errorf("%s ends in the middle of a line, as half a file does, and did not before: end its last line, if that is all", path)
		}
	}
	return nil
}

// changes says how settings and rules that were in force differ from those that are now.
func changes(before, now options) string {
	var changed []string
	note := func(name, was, is string) {
		if was != is {
			changed = append(changed, fmt.Sprintf("%s: %s, was %s", name, cmp.Or(is, "none"), cmp.Or(was, "none")))
		}
	}
	for _, s := range settings {
		if s.reloaded {
			note(s.flag, before.values[s.flag], now.values[s.flag])
		}
	}
	was, is := ruleTexts(before), ruleTexts(now)
	for _, pattern := range slices.Sorted(maps.Keys(was)) {
		note("rule "+pattern, was[pattern], is[pattern])
	}
	for _, pattern := range slices.Sorted(maps.Keys(is)) {
		if was[pattern] == "" {
			note("rule "+pattern, "", is[pattern])
		}
	}
	if !slices.Equal(patternsIn(before, is), patternsIn(now, was)) {
		changed = append(changed, "rules: in another order")
	}
	return cmp.Or(strings.Join(changed, "; "), "no setting and no rule")
}

// ruleTexts says what the rules demand, by their patterns.
func ruleTexts(o options) map[string]string {
	texts := map[string]string{}
	for _, rule := range o.server.Policies.Rules {
		p, text := rule.Policy, "off"
		if p.Enabled {
			text = "on"
		}
		if required := slices.Concat(p.RequiredArchitectures, p.RequiredPlatforms); len(required) > 0 {
			text += " requiring " + strings.Join(required, ",")
		}
		if p.OptionalWithoutPlatform {
			text += ", optional without platform"
		}
		texts[rule.Pattern] = text
	}
	return texts
}

// patternsIn are the patterns of the rules that others have, too, in their order.
func patternsIn(o options, others map[string]string) []string {
	var patterns []string
	for _, rule := range o.server.Policies.Rules {
		if others[rule.Pattern] != "" {
			patterns = append(patterns, rule.Pattern)
		}
	}
	return patterns
}

// fixed returns the names of the settings that differ and that a running server does not change.
func fixed(started, read options) []string {
	var names []string
	for _, s := range settings {
		if !s.reloaded && started.values[s.flag] != read.values[s.flag] {
			names = append(names, s.flag)
		}
	}
	return names
}
