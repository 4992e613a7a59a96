// Package onelog has what dependencies log with logrus written by the logger of the program: in its
// format, which NewHandler chooses, and among its lines.
package onelog

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"slices"

	"github.com/sirupsen/logrus"
)

// NewHandler returns what writes records from a level on to w: as JSON, or as text.
func NewHandler(w io.Writer, json bool, level slog.Level) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	if json {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// A Formatter has each entry written by Log, with the fields in the order of their names, and
// writes nothing itself. Edit returns the fields of an entry that are written, or false for one
// that is left out; it may be called concurrently. A nil Edit writes everything.
type Formatter struct {
	Log  *slog.Logger
	Edit func(*logrus.Entry) (logrus.Fields, bool)
}

// Format implements logrus.Formatter.
func (f Formatter) Format(e *logrus.Entry) ([]byte, error) {
	fields := e.Data
	if f.Edit != nil {
		var written bool
		if fields, written = f.Edit(e); !written {
			return nil, nil
		}
	}
	attributes := make([]slog.Attr, 0, len(fields))
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		attributes = append(attributes, slog.Any(key, fields[key]))
	}
	f.Log.LogAttrs(context.Background(), level(e.Level), e.Message, attributes...)
	return nil, nil
}

func level(l logrus.Level) slog.Level {
	switch l {
	case logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel:
		return slog.LevelError
	case logrus.WarnLevel:
		return slog.LevelWarn
	case logrus.InfoLevel:
		return slog.LevelInfo
	case logrus.DebugLevel, logrus.TraceLevel:
	}
	return slog.LevelDebug
}
