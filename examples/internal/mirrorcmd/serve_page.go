package mirrorcmd

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorserver"
	"github.com/sparsecopy/sparsecopy/examples/internal/page"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// page is what shows the mirror to people.
func (s *serving) page() http.Handler {
	return &mirrorserver.Page{Clock: s.command.env.time(), Log: s.log, Policy: page.ContentSecurityPolicy, Write: func(w io.Writer) error {
		images, err := s.images()
		if err != nil {
			return err
		}
		var limits []page.Limit
		for _, l := range s.limits() {
			limits = append(limits, page.Limit{Registry: l.Registry, Remaining: l.Remaining, Limit: l.Limit, Until: l.Until})
		}
		return page.Write(w, page.Mirror{
			Name: filepath.Base(s.fileName), At: s.command.env.now(), Images: images, Notices: s.notices(), Limits: limits,
		})
	}}
}

// notices are what is to be said about the mirror as a whole.
func (s *serving) notices() []string {
	var notices []string
	s.mu.Lock()
	if s.broken != "" {
		notices = append(notices, "What was read again is broken, and what was in force stays so: "+s.broken)
	}
	s.mu.Unlock()
	if err := s.memory.broken(); err != nil {
		notices = append(notices, fmt.Sprintf("The state cannot be written, and a restart would ask for more: %v", err))
	}
	troubles := s.engine.Load().Troubles
	for _, element := range slices.Sorted(maps.Keys(troubles)) {
		notices = append(notices, fmt.Sprintf("It cannot be found out what is to be copied from %s: %s", element, troubles[element]))
	}
	return notices
}

// images are those of the state that the file wants.
func (s *serving) images() ([]state.Image, error) {
	all, err := s.memory.store.All()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	plan := s.plan
	s.mu.Unlock()
	return slices.DeleteFunc(all, func(i state.Image) bool { return plan == nil || !plan.has(&i) }), nil
}

// limits are what registries have said about how much may be pulled: of several users of one, what
// is left to the one who has least.
func (s *serving) limits() []copy.RateLimit {
	least := map[string]copy.RateLimit{}
	for _, l := range s.first.copier.RateLimits() {
		if known, ok := least[l.Registry]; !ok || l.Remaining < known.Remaining {
			least[l.Registry] = l
		}
	}
	var limits []copy.RateLimit
	for _, registry := range slices.Sorted(maps.Keys(least)) {
		limits = append(limits, least[registry])
	}
	return limits
}
