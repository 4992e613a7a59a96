package mirrorcmd

import (
	"log/slog"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorserver"
	"github.com/sparsecopy/sparsecopy/examples/internal/onelog"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// startLog has all logs of the command written by one logger, those of the library included.
func (c *serveCommand) startLog() *slog.Logger {
	level := slog.LevelInfo
	if c.debug {
		level = slog.LevelDebug
		logrus.SetLevel(logrus.DebugLevel)
	}
	log := slog.New(onelog.NewHandler(c.env.stderr, c.logJSON, level))
	logrus.SetFormatter(onelog.Formatter{Log: log})
	return log
}

// logOutcome says how a copy ended.
func logOutcome(log *slog.Logger, c mirrorserver.Copy, o mirrorserver.Outcome) {
	log = log.With("destination", c.Destination)
	switch {
	case o.Status == state.Damaged:
		log.Error("the mirror has lost something that the source does not have any more", "error", o.Error)
	case o.Status == state.Postponed:
		log.Warn("the rate limit of the source is used up", "until", o.Until, "error", o.Error)
	case o.Status == state.Failed:
		log.Warn("not copied", "error", o.Error, "retry", o.Retry)
	case o.Copied:
		log.Info("copied", "bytes", o.Bytes, "requests", o.Requests)
	default:
		log.Debug("there already", "requests", o.Requests)
	}
}
