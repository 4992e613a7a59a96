package registrycmd

import (
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// restoreLogs has the logs of the process as they are now when the test ends.
func restoreLogs(t *testing.T) {
	std, level, out, flags := slog.Default(), logrus.GetLevel(), log.Writer(), log.Flags()
	t.Cleanup(func() {
		slog.SetDefault(std)
		log.SetOutput(out)
		log.SetFlags(flags)
		logrus.SetLevel(level)
		logrus.SetFormatter(&logrus.TextFormatter{})
	})
}

// TestOneLog has everybody who logs in the process do so: it is all JSON, and has no secrets.
func TestOneLog(t *testing.T) {
	restoreLogs(t)
	var out buffer
	logForm{json: true}.start(&out).Info("ours")
	log.Print("of package log")
	entry := logrus.WithFields(logrus.Fields{
		"http.request.uri": "/v2/app/blobs/uploads/1?_state=secret", "http.request.referer": "http://h/?_state=secret", "go.version": "go1",
	})
	entry.WithField("http.response.status", http.StatusInternalServerError).Error("distribution's fault")
	entry.WithField("http.response.status", http.StatusNotFound).Error("a client's fault")
	entry.Info("detail")
	said := []string{}
	for line := range strings.Lines(out.String()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		said = append(said, fields["msg"].(string))
		assert.NotContains(t, line, "secret")
		assert.NotContains(t, line, "go1")
	}
	assert.Equal(t, []string{"ours", "of package log", "distribution's fault"}, said)
	assert.Contains(t, out.String(), `"http.request.uri":"/v2/app/blobs/uploads/1"`)
}

func TestLogLevels(t *testing.T) {
	restoreLogs(t)
	for level, want := range map[slog.Level]logrus.Level{
		slog.LevelDebug: logrus.DebugLevel, slog.LevelInfo: logrus.ErrorLevel, slog.LevelError: logrus.ErrorLevel,
	} {
		logger := logForm{level: level}.start(io.Discard)
		assert.True(t, logger.Enabled(t.Context(), level))
		assert.False(t, logger.Enabled(t.Context(), level-1))
		assert.Equal(t, want, logrus.GetLevel())
	}
}

// TestTheCommandLogsJSON runs the command, whose lines are JSON all.
func TestTheCommandLogsJSON(t *testing.T) {
	restoreLogs(t)
	var out buffer
	_, stop := startCommandSaying(t, `"url":"([^"]+)"`, &out, "--storage", t.TempDir(), "--log-format=json")
	require.NoError(t, stop())
	require.NotEmpty(t, out.String())
	for line := range strings.Lines(out.String()) {
		assert.True(t, json.Valid([]byte(line)), line)
	}
}
