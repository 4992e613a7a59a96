package foreign

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestVersions holds the expression for versions against a model: made-up tags of what versions are
// made of.
func TestVersions(t *testing.T) {
	is := regexp.MustCompile("^(?:" + version + ")$")
	for tag, want := range map[string]bool{
		"1": true, "v1.2": true, "1.2.3": true, "1.2.3-rc.1": true, "v1-alpine": true, "1.2.3-a-b.0": true, "20250101": true,
		"latest": false, "v": false, "vv1": false, "V1": false, "1.": false, "1.2.3.4": false, "1.x": false, "1.2.3_1": false,
		"1.2.3-": false, "1.2.3-a..b": false, "1.2.3-a.": false, "1.2.3-.a": false, "1rc1": false, "1.2.3-a_b": false, "-1": false,
	} {
		assert.Equal(t, want, is.MatchString(tag), tag)
		assert.Equal(t, want, isVersion(tag), tag)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		tag := ""
		for range 1 + random.IntN(9) {
			tag += string("v019.._-aZ"[random.IntN(10)])
		}
		require.Equal(t, isVersion(tag), is.MatchString(tag), tag)
	}
}

// isVersion is a naive model: numbers, up to three, between dots, and identifiers between dots
// after a dash.
func isVersion(tag string) bool {
	numbers, rest, hasRest := strings.Cut(strings.TrimPrefix(tag, "v"), "-")
	parts := strings.Split(numbers, ".")
	for _, p := range parts {
		if strings.Trim(p, "0123456789") != "" || p == "" {
			return false
		}
	}
	for _, p := range strings.Split(rest, ".") {
		if hasRest && (p == "" || strings.Contains(p, "_")) {
			return false
		}
	}
	return len(parts) <= 3
}

// TestZotItself has configurations that say in different ways where zot is.
func TestZotItself(t *testing.T) {
	sync := `"extensions": {"Sync": {"Registries": [{"URLs": ["https://up.example"], "POLLINTERVAL": "1h", "content": [{"prefix": "a/b"}]}]}}`
	for http, want := range map[string]struct {
		to, destination string
		plain           bool
	}{
		`{"address": "10.0.0.1", "port": "5000"}`:             {"", "10.0.0.1:5000/a/b", true},
		`{"address": "10.0.0.1", "port": 5000, "tls": {}}`:    {"", "10.0.0.1:5000/a/b", false},
		`{"address": "::", "port": "5000"}`:                   {"", "127.0.0.1:5000/a/b", true},
		`{"port": "5000"}`:                                    {"", "127.0.0.1:5000/a/b", true},
		`{"address": "zot.example"}`:                          {"", "zot.example/a/b", true},
		`{"address": "10.0.0.1", "port": "5000", "tls": {} }`: {"docker://m.example/x", "m.example/x/a/b", false},
	} {
		r := &reader{format: &zot, name: "file", content: []byte(`{"http": ` + http + ", " + sync + "}"), options: Options{To: want.to}}
		zot.convert(r)
		require.Empty(t, r.problems, http)
		require.Len(t, r.images, 1)
		assert.Equal(t, "docker://"+want.destination, r.images[0].values["destination"], http)
		plain := len(r.registries) == 1 && r.registries[0].values["tls-verify"] == false
		assert.Equal(t, want.plain, plain, http)
		assert.Empty(t, r.lostKeys, http)
	}
}

// TestZotOff has what zot does not copy by itself.
func TestZotOff(t *testing.T) {
	for config, want := range map[string]string{
		`{"enable": false, "registries": [{"urls": ["https://a.example"], "pollInterval": "1h", "content": [{"prefix": "a"}]}]}`:       "switched off",
		`{"registries": [{"urls": ["https://a.example"], "onDemand": true, "content": [{"prefix": "a"}]}]}`:                            "before somebody pulls it",
		`{"registries": [{"pollInterval": "1h", "content": [{"prefix": "a"}]}]}`:                                                       "no URL",
		`{"registries": [{"urls": ["a.example"], "pollInterval": "1h", "content": [{"prefix": "a"}]}]}`:                                "no URL of a registry",
		`{"registries": [{"urls": ["https://a.example"], "pollInterval": "1h", "content": [{"prefix": "A"}]}]}`:                        "no repository",
		`{"registries": [{"urls": ["https://a.example"], "pollInterval": "1h", "content": [{"prefix": "**"}]}]}`:                       "catalog",
		`{"registries": [{"urls": ["https://a.example"], "pollInterval": "1h", "content": [{"prefix": "a", "tags": {"regex": ""}}]}]}`: "no tag",
	} {
		r := &reader{format: &zot, name: "file", content: []byte(`{"extensions": {"sync": ` + config + "}}")}
		zot.convert(r)
		require.Empty(t, r.problems, config)
		assert.Empty(t, r.images, config)
		require.NotEmpty(t, r.lostKeys, config)
		assert.Contains(t, r.lostKeys[len(r.lostKeys)-1].Text, want, config)
	}
}
