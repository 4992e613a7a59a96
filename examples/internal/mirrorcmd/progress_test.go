package mirrorcmd

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestProgressElsewhere looks at what is written where there is no terminal.
func TestProgressElsewhere(t *testing.T) {
	// wrote returns what is written in ten seconds.
	wrote := func(e *environment, b *bytes.Buffer, o output) string {
		b.Reset()
		synctest.Test(t, func(*testing.T) {
			p := e.startProgress(&o, 3)
			p.ImageDone()
			p.Print("above the picture")
			time.Sleep(10 * time.Second)
			synctest.Wait()
			p.Close()
			p.Close()
		})
		return b.String()
	}
	var b bytes.Buffer
	e := &environment{stderr: &b}
	assert.Equal(t, "images 1/3  blobs 0  0 B of 0 B  0 B/s  10s  20s left\n", wrote(e, &b, output{}))
	assert.Equal(t, "images 1/3  blobs 0  0 B of 0 B  0 B/s  10s  20s left\n", wrote(e, &b, output{debug: true}))

	restore := e.startLog()
	defer restore()
	require.NoError(t, (&output{logJSON: true}).check())
	logrus.SetLevel(logrus.InfoLevel)
	var entry map[string]any
	require.NoError(t, json.Unmarshal([]byte(wrote(e, &b, output{logJSON: true})), &entry))
	delete(entry, "time")
	assert.Equal(t, map[string]any{
		"msg": "progress", "level": "info", "images": 3.0, "imagesDone": 1.0, "instances": 0.0, "blobs": 0.0, "blobsThere": 0.0,
		"bytes": 0.0, "bytesKnown": 0.0, "bytesPerSecond": 0.0, "elapsedSeconds": 10.0,
	}, entry)

	assert.Empty(t, wrote(e, &b, output{quiet: true}))
	assert.Nil(t, e.startProgress(&output{quiet: true}, 1))
}

func TestLogFormatJSON(t *testing.T) {
	r := mirror(t, "copy", "--all", "--log-format", "json", "docker://"+nobody+"/x:1", "docker://"+nobody+"/x:1")
	assert.Equal(t, StatusFailed, r.status)
	for line := range strings.Lines(r.stderr) {
		var entry map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
	}
	assert.Contains(t, r.stderr, `"level":"error"`)
	assert.NotContains(t, r.stderr, "mirror: ")
	mirror(t, "copy", "--all", "docker://"+nobody+"/x:1", "docker://"+nobody+"/x:1").failed(t, StatusFailed)
}
