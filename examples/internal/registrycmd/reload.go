package registrycmd

import (
	"context"
	"log/slog"
	"os"

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
		read, err = r.load()
		return read.server, err
	})
	if err != nil {
		r.log.Error("not reloaded: everything stays as it was", "error", err)
		return
	}
	r.current = read
	r.log.Info("reloaded: policy, certificate and users")
	if changed := fixed(r.started, read); len(changed) > 0 {
		r.log.Warn("settings have changed that count only when the server is started again", "settings", changed)
	}
	warnOfPolicies(r.log, read)
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
