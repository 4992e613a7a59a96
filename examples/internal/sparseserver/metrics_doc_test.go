package sparseserver

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var descriptor = regexp.MustCompile(`fqName: "([^"]+)", .*constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

// exposed are the labels of every metric that a server has, in alphabetical order, by name.
func exposed(t *testing.T) map[string][]string {
	t.Helper()
	server, _ := start(t, Config{})
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		server.metrics.registry.Describe(descriptions)
	}()
	labels := map[string][]string{}
	for d := range descriptions {
		found := descriptor.FindStringSubmatch(d.String())
		require.NotNil(t, found, d.String())
		names := []string{}
		for pair := range strings.SplitSeq(found[2]+","+found[3], ",") {
			if name, _, _ := strings.Cut(pair, "="); name != "" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		labels[found[1]] = names
	}
	return labels
}

// TestTheGuideListsTheMetrics: all that are not those of every program in Go, with their labels.
func TestTheGuideListsTheMetrics(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/sparse-registry.md")
	require.NoError(t, err)
	listed := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:sparse_)?registry_[a-z_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(string(guide), -1) {
		names := []string{}
		for _, name := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(row[2], -1) {
			names = append(names, name[1])
		}
		slices.Sort(names)
		require.NotContains(t, listed, row[1], "listed twice")
		listed[row[1]] = names
	}
	found := map[string][]string{}
	for name, labels := range exposed(t) {
		if strings.HasPrefix(name, "registry_") || strings.HasPrefix(name, "sparse_registry_") {
			found[name] = labels
		}
	}
	assert.Equal(t, found, listed)
}
