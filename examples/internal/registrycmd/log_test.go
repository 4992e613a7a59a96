package registrycmd

import (
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
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

// TestFailuresAreOfTheLog: whoever reads the log as JSON reads why a server did not start.
func TestFailuresAreOfTheLog(t *testing.T) {
	restoreLogs(t)
	inEnvironment := environment{"SPARSE_REGISTRY_LOG_FORMAT=json"}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		name   string
		args   []string
		env    environment
		json   bool
		status int
		says   string
	}{
		{"text", []string{"--storage", file}, nil, false, statusFailed, "sparse-registry: storage directory: mkdir " + file + ": not a directory"},
		{"does not start", []string{"--storage", file, "--log-format=json"}, nil, true, statusFailed, "storage directory: mkdir " + file + ": not a directory"},
		{"a wrong setting before it", []string{"--read-only=maybe", "--log-format=json"}, nil, true, statusFailed, `flag --read-only: "maybe" is neither true nor false`},
		{"no file of settings", []string{"--config=none", "--log-format=json"}, nil, true, statusFailed, "file of settings: open none: no such file or directory"},
		{"an unknown flag", []string{"--log-format=json", "--unknown"}, nil, true, statusFailed, "unknown flag: --unknown"},
		{"by the environment", nil, inEnvironment, true, statusFailed, "no storage directory"},
		{"a subcommand", []string{"gc"}, inEnvironment, false, statusMisused, "sparse-registry: no storage directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out buffer
			assert.Equal(t, c.status, execute(t.Context(), c.args, c.env, &out))
			line := out.String()
			assert.Equal(t, 1, strings.Count(line, "\n"), line)
			if c.json {
				var fields struct{ Level, Msg, Error string }
				require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
				assert.Equal(t, "ERROR", fields.Level)
				assert.Equal(t, "sparse-registry has failed", fields.Msg)
				line = fields.Error
			}
			assert.Regexp(t, "^"+regexp.QuoteMeta(c.says), line)
		})
	}
}
