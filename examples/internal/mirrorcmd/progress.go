package mirrorcmd

import (
	"io"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/copy"
)

// startProgress begins to show how far the copies of the given number of images have come: on a
// terminal as a picture, elsewhere in a line now and then, with --log-format json as an entry of
// the log. It returns nil if that is not wanted.
func (e *environment) startProgress(o *output, images int) *copy.Overview {
	options := copy.OverviewOptions{Images: images, Writer: e.stderr, Clock: e.clock}
	switch {
	case o.quiet:
		return nil
	case o.logJSON:
		options.Log = logProgress
	case o.debug:
		options.Writer = struct{ io.Writer }{e.stderr} // also if it is a terminal: the log is written there
	}
	return copy.NewOverview(options)
}

func logProgress(t copy.Totals) {
	logrus.WithFields(logrus.Fields{
		"images": t.Images, "imagesDone": t.ImagesDone, "instances": t.Instances, "blobs": t.Blobs, "blobsThere": t.BlobsThere,
		"bytes": t.Bytes, "bytesKnown": t.BytesKnown, "bytesPerSecond": t.BytesPerSecond, "elapsedSeconds": int64(t.Elapsed.Seconds()),
	}).Info("progress")
}
