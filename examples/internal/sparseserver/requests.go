package sparseserver

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// requestMetrics are about what clients ask. Names, labels and buckets are those under which
// distribution counts, so that what people have made for it shows them; but they are counted in
// front of everything, with what is refused there, and without what the registry asks itself.
type requestMetrics struct {
	inFlight                  *prometheus.GaugeVec     // by handler
	total                     *prometheus.CounterVec   // by handler, code and method
	duration                  *prometheus.HistogramVec // by handler and method
	requestSize, responseSize *prometheus.HistogramVec // by handler
}

// handlerNames are the values of the label handler: distribution's, and those of what is ours.
var handlerNames = []string{
	"base", "blob", "blob_upload", "blob_upload_chunk", "catalog", "manifest", "tags",
	"capabilities", "referrers", "other",
}

// methodNames are the values of the label method; all others are "unknown".
var methodNames = []string{"connect", "delete", "get", "head", "notify", "options", "patch", "post", "put", "trace"}

func newRequestMetrics(m *metrics) requestMetrics {
	const prefix = "registry_http_"
	sizes := prometheus.ExponentialBuckets(1024, 2, 22)
	durations := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 60}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets}, labels)
	}
	r := requestMetrics{
		inFlight:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "in_flight_requests", Help: "Requests that are being answered."}, []string{"handler"}),
		total:        m.counters(prefix+"requests_total", "Requests that were answered.", "handler", "code", "method"),
		duration:     histogram("request_duration_seconds", "How long requests took.", durations, "handler", "method"),
		requestSize:  histogram("request_size_bytes", "Sizes of requests: what their headers say.", sizes, "handler"),
		responseSize: histogram("response_size_bytes", "Sizes of the answers' bodies.", sizes, "handler"),
	}
	m.register(r.inFlight, r.duration, r.requestSize, r.responseSize)
	for _, name := range handlerNames {
		r.inFlight.WithLabelValues(name)
	}
	return r
}

// handlerName says which part of the API a path is of.
func handlerName(path string) string {
	switch path {
	case "/v2/":
		return "base"
	case "/v2/_catalog":
		return "catalog"
	case sparseregistry.CapabilitiesPath:
		return "capabilities"
	}
	p, _ := sparseregistry.ParsePath(path)
	switch {
	case p.Kind == sparseregistry.Uploads && p.Reference == "":
		return "blob_upload"
	case p.Kind == sparseregistry.Uploads:
		return "blob_upload_chunk"
	case p.Reference == "":
		return "other"
	case p.Kind == sparseregistry.Manifests:
		return "manifest"
	case p.Kind == sparseregistry.Blobs:
		return "blob"
	case p.Kind == sparseregistry.Referrers:
		return "referrers"
	case p.Kind == sparseregistry.Tags && p.Reference == "list":
		return "tags"
	default:
		return "other"
	}
}

// begin counts a request that is being answered, until end is called: with the answer, how long it
// took, and why it was denied, if it was, or "" if nobody has said so. It does not count those who
// ask for the health: they are no clients.
func (m *metrics) begin(r *http.Request) (end func(w *countingWriter, took time.Duration, reason string)) {
	if isProbe(r) {
		return func(*countingWriter, time.Duration, string) {}
	}
	handler := handlerName(r.URL.Path)
	inFlight := m.requests.inFlight.WithLabelValues(handler)
	inFlight.Inc()
	return func(w *countingWriter, took time.Duration, reason string) {
		inFlight.Dec()
		m.answered(handler, r, w, took, reason)
	}
}

func (m *metrics) answered(handler string, r *http.Request, w *countingWriter, took time.Duration, reason string) {
	status := cmp.Or(w.status, http.StatusInternalServerError) // a panic that answered nothing
	code, method := strconv.Itoa(status), methodLabel(r.Method)
	m.requests.total.WithLabelValues(handler, code, method).Inc()
	m.requests.duration.WithLabelValues(handler, method).Observe(took.Seconds())
	m.requests.requestSize.WithLabelValues(handler).Observe(float64(requestSize(r)))
	m.requests.responseSize.WithLabelValues(handler).Observe(float64(w.bytes))
	if slices.Contains(deniedStatuses, status) {
		m.denied.WithLabelValues(code, cmp.Or(reason, registryReason)).Inc()
	}
}

// registryReason stands for what nobody in front of distribution has said.
const registryReason = "registry"

// deniedStatuses are those of the answers of which there are reasons.
var deniedStatuses = []int{
	http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusTooManyRequests, http.StatusServiceUnavailable,
}

func methodLabel(method string) string {
	if lower := strings.ToLower(method); slices.Contains(methodNames, lower) {
		return lower
	}
	return "unknown"
}

// requestSize is about how many bytes a request has, as distribution counts them: a body whose
// length its header does not tell has none.
func requestSize(r *http.Request) int64 {
	n := len(r.RequestURI) + len(r.Method) + len(r.Proto) + len(r.Host)
	for name, values := range r.Header {
		n += len(name)
		for _, value := range values {
			n += len(value)
		}
	}
	return int64(n) + max(r.ContentLength, 0)
}
