package mirrorserver

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// MetricsOptions say what Metrics are made of. All functions are required.
type MetricsOptions struct {
	Clock copy.Clock
	// PerImage has a series for each image, with its destination for a label.
	PerImage bool
	// Images are those of the mirror.
	Images func() ([]state.Image, error)
	Load   func() Load
	// Limits are what registries have said about how much may still be pulled.
	Limits func() []copy.RateLimit
}

// Metrics count what a mirror does, for Prometheus. docs/serve.md lists them. Their methods may be
// called concurrently.
type Metrics struct {
	options  MetricsOptions
	registry *prometheus.Registry

	copies, notifications               *prometheus.CounterVec
	bytes, requests, retries, refusals  prometheus.Counter
	reloadSuccessful, reloadSuccessTime prometheus.Gauge
}

// NewMetrics returns metrics that have counted nothing.
func NewMetrics(options MetricsOptions) *Metrics {
	m := &Metrics{options: options, registry: prometheus.NewRegistry()}
	m.copies = counters("mirror_copies_total", "Copies that have ended, by how: also those of images that were there already.", "status")
	m.notifications = counters("mirror_notifications_total", "Requests to /notify/NAME, by sender and by what became of them.", "sender", "outcome")
	m.bytes = counter("mirror_copied_bytes_total", "Bytes of blobs that were copied.")
	m.requests = counter("mirror_requests_total", "Requests to registries, retries included.")
	m.retries = counter("mirror_retries_total", "Requests, and blobs, that were tried again.")
	m.refusals = counter("mirror_refusals_total", "Lists that a destination refused as they are.")
	m.reloadSuccessful = gauge("mirror_reload_successful", "1 if the file is in force as it was read last, 0 if it was refused and the one before is.")
	m.reloadSuccessTime = gauge("mirror_reload_success_timestamp_seconds", "When a file was taken last.")
	m.registry.MustRegister(m.copies, m.notifications, m.bytes, m.requests, m.retries, m.refusals, m.reloadSuccessful, m.reloadSuccessTime,
		&snapshot{options: options}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, status := range statuses {
		m.copies.WithLabelValues(string(status))
	}
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

// Observe counts a copy that has ended.
func (m *Metrics) Observe(o Outcome) {
	m.copies.WithLabelValues(string(o.Status)).Inc()
	m.bytes.Add(float64(o.Bytes))
	m.requests.Add(float64(o.Requests))
	m.retries.Add(float64(o.Retries))
	if o.Refused {
		m.refusals.Inc()
	}
}

// Notified counts a request of those who notify.
func (m *Metrics) Notified(sender string, outcome notify.Outcome) {
	m.notifications.WithLabelValues(sender, string(outcome)).Inc()
}

// Reloaded notes whether a file was taken.
func (m *Metrics) Reloaded(taken bool) {
	if !taken {
		m.reloadSuccessful.Set(0)
		return
	}
	m.reloadSuccessful.Set(1)
	m.reloadSuccessTime.Set(seconds(m.options.Clock.Now()))
}

// Handler answers with the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, EnableOpenMetrics: true})
}

// statuses are all that an image can have.
var statuses = []state.Status{state.Pending, state.Mirrored, state.Skipped, state.Postponed, state.Failed, state.Damaged}

// A snapshot collects what is true at the moment.
type snapshot struct {
	options MetricsOptions
	turn    sync.Mutex // one at a time
}

func described(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	images        = described("mirror_images", "Images that the mirror is to have, by the state that they are in.", "status")
	imageSuccess  = described("mirror_image_last_success_timestamp_seconds", "When an image was last copied, or found to be there.", "destination")
	lastSuccess   = described("mirror_last_success_timestamp_seconds", "When any image was last copied, or found to be there.")
	oldestSuccess = described("mirror_oldest_success_timestamp_seconds", "The earliest of the times at which images were last copied, or found to be there, of those that ever were.")
	lagging       = described("mirror_images_lagging", "Images of which the source has something newer than the mirror.")
	elements      = described("mirror_elements", "Elements of the file.")
	unlisted      = described("mirror_elements_failed", "Elements of which the tags could not be listed.")
	waiting       = described("mirror_copies_waiting", "Copies that are due and wait.")
	copying       = described("mirror_copies_in_flight", "Copies that are being made.")
	next          = described("mirror_next_due_timestamp_seconds", "When the next element is due.")
	rateLimit     = described("mirror_rate_limit", "How much a registry lets be pulled within its window, as it has said last.", "registry")
	remaining     = described("mirror_rate_limit_remaining", "How much of that is left.", "registry")
)

func (s *snapshot) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{images, imageSuccess, lastSuccess, oldestSuccess, lagging, elements, unlisted, waiting, copying, next, rateLimit, remaining} {
		descriptions <- d
	}
}

func (s *snapshot) Collect(metrics chan<- prometheus.Metric) {
	s.turn.Lock()
	defer s.turn.Unlock()
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	all, err := s.options.Images()
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(images, err)
	} else {
		s.images(all, send)
	}
	load := s.options.Load()
	send(elements, float64(load.Elements))
	send(unlisted, float64(len(load.Troubles)))
	send(waiting, float64(load.Waiting))
	send(copying, float64(load.Copying))
	if !load.Next.IsZero() {
		send(next, seconds(load.Next))
	}
	for _, limit := range s.options.Limits() {
		send(rateLimit, float64(limit.Limit), limit.Registry)
		send(remaining, float64(limit.Remaining), limit.Registry)
	}
}

// images sends what is to be said about images.
func (s *snapshot) images(all []state.Image, send func(*prometheus.Desc, float64, ...string)) {
	byStatus := map[state.Status]int{}
	var last, oldest time.Time
	behind := 0
	for _, image := range all {
		byStatus[image.Status]++
		if !image.LagSince.IsZero() {
			behind++
		}
		at := image.Succeeded
		if at.IsZero() {
			continue
		}
		last = latest(last, at)
		oldest = state.Earlier(oldest, at)
		if s.options.PerImage {
			send(imageSuccess, seconds(at), image.Destination)
		}
	}
	for _, status := range statuses {
		send(images, float64(byStatus[status]), string(status))
	}
	send(lagging, float64(behind))
	if !last.IsZero() {
		send(lastSuccess, seconds(last))
		send(oldestSuccess, seconds(oldest))
	}
}

// seconds is a time as Prometheus has it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
