package sparseserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// minGrace is the least grace of a collection beside clients: that something is used is noted with
// its time at most once in renewAfter.
const minGrace = 2 * renewAfter

// controlName is the name of the control socket in a storage directory.
const controlName = "control.sock"

// ControlSocket is where the server of a storage directory is told to collect garbage, unless its
// Config says otherwise.
func ControlSocket(storage string) string {
	return filepath.Join(storage, registrystore.OwnDirectory, controlName)
}

// serveControl listens to those who may read and write the control socket. The server that it
// returns is nil if there is none: without a lock of a directory, or because the path of one that
// nobody has asked for is too long for the system. A socket to which nobody listens was left by a
// process that was killed.
func (s *Server) serveControl(c Config) (*http.Server, error) {
	path := c.Control
	switch {
	case c.Storage == "" && path != "":
		return nil, errors.New("control socket: only a server whose storage is a directory collects garbage")
	case s.lock == nil:
		return nil, nil
	case path != "":
	default:
		path = ControlSocket(c.Storage)
	}
	if err := removeSocket(path); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil && c.Control == "" {
		c.Log.Warn("no control socket: garbage can be collected while the server is stopped only, unless --control names a place for it, with a short path", "error", err)
		return nil, nil
	}
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	server := &http.Server{Handler: s.counted(s.collector(c)), ReadHeaderTimeout: headerTimeout}
	go func() { _ = server.Serve(listener) }() // fails only when it is closed
	return server, nil
}

// removeSocket removes a socket that nobody listens to any more. It refuses to remove anything
// else, such as the socket of the server of another storage.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is there, and is no socket", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return errors.Join(fmt.Errorf("another process listens at %s: stop it, or give each server a path of its own", path), c.Close())
	}
	return os.Remove(path)
}

// collector collects garbage when it is told to.
func (s *Server) collector(c Config) http.Handler {
	refuse := func(holder string, o registrygc.Options) error {
		switch {
		case holder != registrystore.Holder(c.Storage):
			return fmt.Errorf("it serves storage %s, and another one is meant: name the control socket of the server that has that (--control)", c.Storage)
		case s.registry.remembers:
			return errors.New("distribution's cache of blob descriptors (storage.cache) would go on saying that what is removed is there: " +
				"stop the server first, or do without the cache")
		case o.Grace < minGrace:
			return fmt.Errorf("grace is %s, and must be at least %s while the server runs", o.Grace, minGrace)
		}
		return nil
	}
	return s.online.Serve(refuse, func(report *registrygc.Report, err error) {
		s.metrics.collected(report, err)
		logCollection(c.Log, report, err)
	})
}

func logCollection(log *slog.Logger, report *registrygc.Report, err error) {
	attributes := []any{}
	if report != nil {
		attributes = append(attributes, "removed", report.Removed.String(), "spared", report.Spared.String(),
			"damage", len(report.Damage), "took", report.Took.Round(time.Millisecond))
	}
	if err != nil {
		log.Warn("a collection of garbage ended early", append(attributes, "error", err)...)
		return
	}
	log.Info("garbage was collected", attributes...)
}

// collectionMetrics count what collections of garbage do.
type collectionMetrics struct {
	ended   *prometheus.CounterVec // by result
	removed *prometheus.CounterVec // by kind
	bytes   prometheus.Counter
}

func newCollectionMetrics(m *metrics) collectionMetrics {
	c := collectionMetrics{
		ended: m.counters("sparse_registry_gc_collections_total",
			"Collections of garbage that have ended, by result: ok, damaged (done as far as damage allows), failed.", "result"),
		removed: m.counters("sparse_registry_gc_removed_total",
			"What collections of garbage have removed, by kind: manifest, layer (links of repositories), content.", "kind"),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sparse_registry_gc_removed_bytes_total", Help: "Bytes of the contents that collections of garbage have removed.",
		}),
	}
	m.register(c.bytes)
	return c
}

// collected counts a collection. report is nil if it has removed nothing.
func (m *metrics) collected(report *registrygc.Report, err error) {
	result := "ok"
	switch {
	case err != nil:
		result = "failed"
	case len(report.Damage) > 0:
		result = "damaged"
	}
	m.collections.ended.WithLabelValues(result).Inc()
	if report == nil {
		return
	}
	for kind, n := range map[string]int{"manifest": report.Removed.Manifests, "layer": report.Removed.Layers, "content": report.Removed.Blobs} {
		m.collections.removed.WithLabelValues(kind).Add(float64(n))
	}
	m.collections.bytes.Add(float64(report.Removed.Bytes))
}
