package sparseserver

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// A query is an expression in Prometheus's language, and text that names labels of its result.
type query struct{ expr, text string }

// dashboardQueries are those of the dashboard for Grafana.
func dashboardQueries(t *testing.T) []query {
	t.Helper()
	content, err := os.ReadFile("../../deploy/sparse-registry-dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Templating struct {
			List []struct{ Type, Query string }
		}
		Panels []struct {
			ID      int
			Type    string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	require.NoError(t, json.Unmarshal(content, &dashboard))
	var queries []query
	ids := map[int]bool{}
	for _, panel := range dashboard.Panels {
		require.False(t, ids[panel.ID], "two panels have the id %d", panel.ID)
		ids[panel.ID] = true
		require.True(t, panel.Type == "row" || len(panel.Targets) > 0, "panel %d shows nothing", panel.ID)
		for _, target := range panel.Targets {
			queries = append(queries, query{target.Expr, target.LegendFormat})
		}
	}
	for _, variable := range dashboard.Templating.List {
		if variable.Type == "query" {
			queries = append(queries, query{expr: variable.Query})
		}
	}
	return queries
}

// ruleQueries are those of the alerts.
func ruleQueries(t *testing.T) []query {
	t.Helper()
	content, err := os.ReadFile("../../deploy/sparse-registry-rules.yaml")
	require.NoError(t, err)
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations struct{ Summary string }
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &rules))
	var queries []query
	for _, rule := range rules.Groups[0].Rules {
		require.NotEmpty(t, rule.Annotations.Summary, rule.Alert)
		queries = append(queries, query{rule.Expr, rule.Annotations.Summary})
	}
	return queries
}

var (
	selector   = regexp.MustCompile(`\b((?:sparse_registry|registry|process|go)_[a-z_]+|up)\b(?:\{([^}]*)\})?`)
	matcher    = regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
	labelValue = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}`)
)

// TestDashboardAndAlertsAreOfMetricsThatThereAre: names and labels alike.
func TestDashboardAndAlertsAreOfMetricsThatThereAre(t *testing.T) {
	metrics := exposed(t)
	metrics["up"] = nil // Prometheus's own
	theirs := []string{"job", "instance"}
	used := map[string]bool{}
	queries := append(dashboardQueries(t), ruleQueries(t)...)
	for _, q := range queries {
		known := slices.Clone(theirs)
		selectors := selector.FindAllStringSubmatch(q.expr, -1)
		require.NotEmpty(t, selectors, q.expr)
		for _, s := range selectors {
			name := s[1]
			if base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, ""); base != name {
				name, known = base, append(known, "le")
			}
			labels, ok := metrics[name]
			require.True(t, ok, "%s: there is no metric %s", q.expr, name)
			used[name] = true
			known = append(known, labels...)
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				assert.Contains(t, append(labels, theirs...), m[1], q.expr)
			}
		}
		if groups := grouping.FindAllStringSubmatch(q.expr, -1); groups != nil {
			var kept []string
			for _, g := range groups {
				kept = append(kept, regexp.MustCompile(`, *`).Split(g[1], -1)...)
			}
			assert.Subset(t, known, kept, q.expr)
			known = kept
		}
		for _, l := range labelValue.FindAllStringSubmatch(q.text, -1) {
			assert.Contains(t, known, l[1], "%s: %s", q.expr, q.text)
		}
	}
	// What is ours is shown.
	for name := range metrics {
		if strings.HasPrefix(name, "sparse_registry_") {
			assert.True(t, used[name], "neither the dashboard nor an alert is of %s", name)
		}
	}
}
