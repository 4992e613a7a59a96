package foreign

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// dregsyTags are what a list of tags becomes, without what each image has.
func dregsyTags(t *testing.T, tags string) string {
	t.Helper()
	sync, result := syncOf(t, &dregsy, "tasks: [{name: a, source: {registry: a.example}, target: {registry: m.example}, mappings: [{from: b, tags: "+tags+"}]}]")
	assert.Empty(t, result.Lost)
	sync = strings.TrimPrefix(sync, "images:\n- source: docker://a.example/b\n")
	return strings.Replace(strings.Replace(sync, "  destination: docker://m.example/b:{tag}\n", "", 1), "  system: native\n", "", 1)
}

func TestDregsyTags(t *testing.T) {
	for tags, want := range map[string]string{
		"[]":                                                    "  tags: ['*']\n  digest-tags: all\n",
		"['1.0', latest]":                                       "  tags: [\"1.0\", latest]\n",
		"['regex: v.*', 'regex:^a|b$']":                         "  tags:\n  - {regexp: v.*}\n  - {regexp: '.*(?:^a|b$).*'}\n",
		"['regex: !v.*']":                                       "  tags:\n  - {not: {regexp: v.*}}\n  digest-tags: all\n",
		"['semver: >=1.0.0 <2.0.0 || ==3.0.0']":                 "  tags:\n  - {semver: '>=1.0.0 <2.0.0 || =3.0.0'}\n  prereleases: true\n",
		"['semver: >1.0.0 !1.5.0 != 1.6.0']":                    "  tags:\n  - {semver: '>1.0.0 !=1.5.0 != 1.6.0'}\n  prereleases: true\n",
		"['keep: .*-slim']":                                     "  tags:\n  - {regexp: .*-slim}\n",
		"['keep: !.*-rc', 'keep: v.*', 'keep: .*x']":            "  tags:\n  - {all: [{regexp: v.*}, {regexp: .*x}]}\n  exclude-tags:\n  - {regexp: .*-rc}\n",
		"[a-slim, b, 'keep: .*-slim']":                          "  tags: [a-slim]\n",
		"['1.2.3', glibc, 'semver: >=1.0.0', 'keep: latest 5']": "  tags:\n  - {regexp: 1\\.2\\.3}\n  - glibc\n  - {semver: '>=1.0.0'}\n  newest: 5\n  prereleases: true\n",
		"[c, a, b, 'keep: latest 2']":                           "  tags: [b, c]\n",
		"['keep: latest 3']":                                    "  tags: ['*']\n  digest-tags: all\n  newest: 3\n",
	} {
		assert.Equal(t, want, dregsyTags(t, tags), tags)
	}
}

func TestDregsyTasks(t *testing.T) {
	task := func(text string) string {
		return "tasks: [{name: a, source: {registry: docker.io}, target: {registry: 'id@m.example:5000'}, " + text + "}]"
	}
	for text, want := range map[string]string{
		"mappings: [{from: busybox, tags: ['1']}]":                               "- source: docker://docker.io/library/busybox\n  tags: [\"1\"]\n  destination: docker://m.example:5000/busybox:{tag}\n",
		"mappings: [{from: /a/b, to: c, tags: [x], platform: all}]":              "- source: docker://docker.io/a/b\n  tags: [x]\n  destination: docker://m.example:5000/c:{tag}\n",
		"mappings: [{from: a/b, to: 'regex:a(.*)/,x$1/y/', tags: [x]}]":          "  destination: docker://m.example:5000/x/y/b:{tag}\n",
		"mappings: [{from: a/b, tags: [x], platform: linux/arm}]":                "  system: linux/arm/v7\n",
		"mappings: [{from: a/b, tags: ['" + someDigest + "'], platform: all}]":   "- source: docker://docker.io/a/b@" + someDigest + "\n  destination: docker://m.example:5000/a/b@" + someDigest + "\n",
		"mappings: [{from: a/b, tags: ['1@" + someDigest + "', x]}]":             "  destination: docker://m.example:5000/a/b:1\n",
		"interval: 90, mappings: [{from: a/b, tags: [x]}, {from: c, tags: [y]}]": "  every: 1m30s\n",
		"interval: 3600, mappings: [{from: a/b, tags: [x]}]":                     "  every: 1h\n",
		"interval: 5400, mappings: [{from: a/b, tags: [x]}]":                     "  every: 1h30m\n",
		"interval: 36000, mappings: [{from: a/b, tags: [x]}]":                    "  every: 10h\n",
	} {
		sync, result := syncOf(t, &dregsy, task(text))
		assert.Empty(t, result.Lost)
		assert.Contains(t, sync, want, text)
	}
	for text, want := range map[string]string{
		"tasks: [{source: {registry: a}, target: {registry: b}}]":       "f:1: tasks[0]: a task has a name",
		"tasks: [{name: a, source: {registry: a}}]":                     "a task has a source and a target",
		task("interval: 5, mappings: [{from: a}]"):                      `f:1: tasks[0].interval: "5" is no number of seconds, of at least 30`,
		task("mappings: [{to: a}]"):                                     "a mapping has a key from",
		task("mappings: [{from: a, to: 'regex:a'}]"):                    "there is no comma",
		task("mappings: [{from: a, to: 'regex:(,a'}]"):                  "missing closing )",
		task("mappings: [{from: a, tags: ['regex: (']}]"):               "f:1: tasks[0].mappings[0].tags[0]: error parsing regexp",
		task("mappings: [{from: a, tags: ['semver: one']}]"):            "it is no range of versions",
		task("mappings: [{from: a, tags: ['sha256:1234']}]"):            "sha256:1234",
		task("mappings: [{from: a, tags: [x], platform: linux/a/b/c}]"): "system",
	} {
		_, err := dregsy.Convert("f", []byte(text), Options{})
		assert.ErrorContains(t, err, want, text)
	}
}
