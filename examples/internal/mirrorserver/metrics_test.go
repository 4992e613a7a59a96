package mirrorserver

import (
	"errors"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
)

// metricsOf returns metrics about two images, and what changes them.
func metricsOf(perImage bool, images func() ([]state.Image, error)) *Metrics {
	return NewMetrics(MetricsOptions{
		Clock: clocktest.New(time.Unix(5000, 0)), PerImage: perImage, Images: images,
		Load: func() Load {
			return Load{Elements: 3, Waiting: 4, Copying: 5, Next: time.Unix(6000, 0), Troubles: map[string]string{"x": "no"}}
		},
		Limits: func() []copy.RateLimit { return []copy.RateLimit{{Registry: "docker.io", Limit: 100, Remaining: 42}} },
	})
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, answer.Code, answer.Body.String())
	var ours []string
	for line := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(line, "mirror_") {
			ours = append(ours, line)
		}
	}
	return strings.Join(ours, "")
}

func twoImages() ([]state.Image, error) {
	return []state.Image{
		{Destination: "docker://m.example/a:1", Status: state.Mirrored, Succeeded: time.Unix(3000, 500_000_000)},
		{Destination: "docker://m.example/b:1", Status: state.Failed, Succeeded: time.Unix(2000, 0), LagSince: time.Unix(2500, 0)},
		{Destination: "docker://m.example/c:1", Status: state.Pending},
	}, nil
}

func TestMetrics(t *testing.T) {
	m := metricsOf(true, twoImages)
	m.Observe(Outcome{Status: state.Mirrored, Bytes: 1000, Requests: 10, Retries: 2})
	m.Observe(Outcome{Status: state.Failed, Requests: 3, Refused: true})
	m.Notified("quay", notify.Accepted)
	m.Reloaded(true)
	m.Reloaded(false)
	assert.Equal(t, `mirror_copied_bytes_total 1000
mirror_copies_in_flight 5
mirror_copies_total{status="damaged"} 0
mirror_copies_total{status="failed"} 1
mirror_copies_total{status="mirrored"} 1
mirror_copies_total{status="pending"} 0
mirror_copies_total{status="postponed"} 0
mirror_copies_total{status="skipped"} 0
mirror_copies_waiting 4
mirror_elements 3
mirror_elements_failed 1
mirror_image_last_success_timestamp_seconds{destination="docker://m.example/a:1"} 3000.5
mirror_image_last_success_timestamp_seconds{destination="docker://m.example/b:1"} 2000
mirror_images{status="damaged"} 0
mirror_images{status="failed"} 1
mirror_images{status="mirrored"} 1
mirror_images{status="pending"} 1
mirror_images{status="postponed"} 0
mirror_images{status="skipped"} 0
mirror_images_lagging 1
mirror_last_success_timestamp_seconds 3000.5
mirror_next_due_timestamp_seconds 6000
mirror_notifications_total{outcome="accepted",sender="quay"} 1
mirror_oldest_success_timestamp_seconds 2000
mirror_rate_limit{registry="docker.io"} 100
mirror_rate_limit_remaining{registry="docker.io"} 42
mirror_refusals_total 1
mirror_reload_success_timestamp_seconds 5000
mirror_reload_successful 0
mirror_requests_total 13
mirror_retries_total 2
`, scrape(t, m))
	assert.NotContains(t, scrape(t, metricsOf(false, twoImages)), "m.example")
}

func TestMetricsOfAStateThatCannotBeRead(t *testing.T) {
	m := metricsOf(true, func() ([]state.Image, error) { return nil, errors.New("the state is closed") })
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	assert.Equal(t, 500, answer.Code, "numbers that are not known are not said to be 0")
}

// TestMetricsAreDocumented holds the table of docs/serve.md against what there is.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/serve.md")
	require.NoError(t, err)
	var documented, known []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(mirror_[a-z_]+)(?:\\{([a-z, ]+)\\})?` \\|").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, row[1]+"{"+strings.ReplaceAll(row[2], " ", "")+"}")
	}
	described := make(chan *prometheus.Desc, 100)
	metricsOf(true, twoImages).registry.Describe(described)
	close(described)
	form := regexp.MustCompile(`fqName: "(mirror_[a-z_]+)".*variableLabels: \{([a-z,]*)\}`)
	for d := range described {
		if match := form.FindStringSubmatch(d.String()); match != nil {
			known = append(known, match[1]+"{"+match[2]+"}")
		}
	}
	slices.Sort(documented)
	slices.Sort(known)
	assert.Equal(t, known, documented)
}
