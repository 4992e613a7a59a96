package registrycmd

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/examples/internal/onelog"
)

// A logForm says how the log is written. The zero value is text, from level info on.
type logForm struct {
	json  bool
	level slog.Level
}

// start has everything that the process logs written to w, by one logger: what distribution logs
// with logrus, and others with package log, too.
func (f logForm) start(w io.Writer) *slog.Logger {
	log := slog.New(onelog.NewHandler(w, f.json, f.level))
	slog.SetDefault(log)
	logrus.SetFormatter(onelog.Formatter{Log: log, Edit: editEntry})
	logrus.SetLevel(logrus.ErrorLevel) // what is below that, our lines say already
	if f.level <= slog.LevelDebug {
		logrus.SetLevel(logrus.DebugLevel)
	}
	return log
}

// fail writes why the program ends: for people, or, where programs read the log, as a line of it.
func (f logForm) fail(w io.Writer, err error) {
	if f.json {
		slog.New(onelog.NewHandler(w, f.json, f.level)).Error("sparse-registry has failed", "error", err)
		return
	}
	_, _ = fmt.Fprintln(w, "sparse-registry:", err) // the exit status says it, too
}

// editEntry leaves out of distribution's log what clients did wrong, which the lines of requests
// say, and queries, which have the state of uploads: who knows that can go on with them.
func editEntry(e *logrus.Entry) (logrus.Fields, bool) {
	if status, ok := e.Data["http.response.status"].(int); ok && status < http.StatusInternalServerError {
		return nil, false
	}
	fields := make(logrus.Fields, len(e.Data))
	for name, value := range e.Data {
		switch text, isText := value.(string); {
		case name == "go.version": // in all of them
		case isText && (name == "http.request.uri" || name == "http.request.referer"):
			fields[name], _, _ = strings.Cut(text, "?")
		default:
			fields[name] = value
		}
	}
	return fields, true
}

func setLogFormat(o *options, value string) error {
	switch value {
	case "text", "json":
		o.log.json = value == "json"
		return nil
	}
	return fmt.Errorf("%q is neither text nor json", value)
}

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func setLogLevel(o *options, value string) error {
	level, known := logLevels[value]
	if !known {
		return fmt.Errorf("%q is none of debug, info, warn and error", value)
	}
	o.log.level = level
	return nil
}
