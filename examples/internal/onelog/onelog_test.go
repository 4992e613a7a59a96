package onelog

import (
	"bytes"
	"io"
	"log/slog"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
)

// handler writes lines without the time.
func handler(w io.Writer) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
}

func TestFormatter(t *testing.T) {
	var own, ours bytes.Buffer
	theirs := logrus.New()
	theirs.SetOutput(&own)
	theirs.SetLevel(logrus.TraceLevel)
	theirs.SetFormatter(Formatter{Log: slog.New(handler(&ours))})
	theirs.WithFields(logrus.Fields{"b": 2, "a": "x y", "c": true}).Error("it broke")
	theirs.Warn("careful")
	theirs.Info("by the way")
	theirs.Debug("detail")
	theirs.Trace("more of it")
	assert.Equal(t, `level=ERROR msg="it broke" a="x y" b=2 c=true
level=WARN msg=careful
level=INFO msg="by the way"
level=DEBUG msg=detail
level=DEBUG msg="more of it"
`, ours.String())
	assert.Empty(t, own.String())
}

func TestEntriesAreEdited(t *testing.T) {
	var ours bytes.Buffer
	theirs := logrus.New()
	theirs.SetFormatter(Formatter{slog.New(handler(&ours)), func(e *logrus.Entry) (logrus.Fields, bool) {
		return logrus.Fields{"a": 1}, e.Message != "leave out"
	}})
	theirs.WithField("b", 2).Info("leave out")
	theirs.WithField("b", 2).Info("write")
	assert.Equal(t, "level=INFO msg=write a=1\n", ours.String())
}
