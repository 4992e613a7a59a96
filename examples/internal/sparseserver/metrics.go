package sparseserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"

	behind "github.com/distribution/distribution/v3/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sparsecopy/sparsecopy/examples/internal/buildinfo"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// metrics count what one server does, for Prometheus. docs/sparse-registry.md lists them. Methods
// and fields may be used concurrently.
//
// A feature that counts something makes its own with counters or register, before the server
// starts to answer, and keeps what it gets. The values of a label must be few, and never what a
// client has sent.
type metrics struct {
	registry *prometheus.Registry
	requests requestMetrics

	lookups     *prometheus.CounterVec // by code
	refused     *prometheus.CounterVec // by reason
	refusedList *prometheus.CounterVec // by policy and architecture
	denied      *prometheus.CounterVec // by code and reason
	reloads     *prometheus.CounterVec // by result

	collections collectionMetrics
}

// newMetrics returns metrics that have counted nothing. Those of distribution's that are in them
// belong to the process.
func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.requests = newRequestMetrics(m)
	m.lookups = m.counters("sparse_registry_policy_lookups_total",
		"Children of lists that the policy looked for, by the status of the registry's answer.", "code")
	m.refused = m.counters("sparse_registry_manifests_refused_total",
		"Manifests that were not let through to the registry, by reason.", "reason")
	m.refusedList = m.counters("sparse_registry_lists_refused_total",
		"Lists that lack children which must exist, by rule of the policy; once for each architecture that is missing.", "policy", "architecture")
	m.denied = m.counters("sparse_registry_denied_total",
		"Requests that were answered with 401, 403, 405, 429 or 503, by reason.", "code", "reason")
	m.reloads = m.counters("sparse_registry_reloads_total",
		"Times that settings and files were read again while the server ran: \"done\", or \"refused\" with nothing changed.", "result")
	m.collections = newCollectionMetrics(m)
	build := buildinfo.Read()
	m.register(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		behind.StorageNamespace, behind.NotificationsNamespace,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sparse_registry_build_info", Help: "What runs: always 1.",
			ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "go_version": build.Go},
		}, func() float64 { return 1 }),
	)
	return m
}

// register adds collectors. It panics for a name that is taken.
func (m *metrics) register(collectors ...prometheus.Collector) {
	m.registry.MustRegister(collectors...)
}

// counters makes and adds a counter for each combination of labels.
func (m *metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.register(c)
	return c
}

// gauge adds a number that read returns when somebody looks; NaN says that it is not known.
func (m *metrics) gauge(name, help string, read func() float64) {
	m.register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

// lookedUp counts a request of the policy's own; status is 0 if there was no answer.
func (m *metrics) lookedUp(status int) { m.lookups.WithLabelValues(strconv.Itoa(status)).Inc() }

// reloaded counts an attempt to exchange what is in force, with its error.
func (m *metrics) reloaded(err error) {
	result := "done"
	if err != nil {
		result = "refused"
	}
	m.reloads.WithLabelValues(result).Inc()
}

// manifestRefused counts a manifest that was not let through, in a repository where the rule with
// the given pattern decides.
func (m *metrics) manifestRefused(pattern string, refusal sparseregistry.Refusal) {
	m.refused.WithLabelValues(refusalReason(refusal)).Inc()
	var missing *manifest.MissingChildrenError
	if !errors.As(refusal.Err, &missing) {
		return
	}
	counted := map[string]bool{}
	for _, name := range missing.Architectures() {
		if label := architectureLabel(name); !counted[label] {
			counted[label] = true
			m.refusedList.WithLabelValues(cmp.Or(pattern, defaultRule), label).Inc()
		}
	}
}

// defaultRule stands for the policy where no rule decides. It is no pattern.
const defaultRule = "(default)"

// architectureLabel is name if a policy can require it, because lists come from clients.
func architectureLabel(name string) string {
	switch policy := (manifest.SparsePolicy{RequiredArchitectures: []string{name}}); {
	case name == "":
		return "none"
	case policy.Validate() != nil:
		return "other"
	default:
		return name
	}
}

func refusalReason(refusal sparseregistry.Refusal) string {
	var missing *manifest.MissingChildrenError
	switch {
	case errors.As(refusal.Err, &missing):
		return "missing_children"
	case errors.Is(refusal.Err, context.Canceled):
		return leftReason
	}
	switch refusal.Status {
	case http.StatusBadRequest:
		return "invalid"
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusUnsupportedMediaType:
		return "encoded"
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return "lookup_denied"
	case http.StatusBadGateway:
		return "lookup_failed"
	case http.StatusServiceUnavailable:
		return busyReason
	default:
		return "failed"
	}
}

// serve listens at address, and answers with the metrics at /metrics. The server that it returns
// has the address that it listens at.
func (m *metrics) serve(address string) (*http.Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, EnableOpenMetrics: true,
		// Whatever else is wrong, the rest is worth having.
		ErrorHandling: promhttp.ContinueOnError,
	}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout, Addr: listener.Addr().String()}
	go func() { _ = server.Serve(listener) }() // fails only when it is closed
	return server, nil
}
