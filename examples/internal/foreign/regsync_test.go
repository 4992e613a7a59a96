package foreign

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// syncOf is what a format makes of a text, without comments and the line with the version.
func syncOf(t *testing.T, f *Format, text string) (sync string, result *Result) {
	t.Helper()
	result, err := f.Convert("f", []byte(text), Options{Environment: AnyEnvironment, Dir: "/srv"})
	require.NoError(t, err, text)
	accepted(t, result.Sync)
	for line := range strings.Lines(string(result.Sync)) {
		if !strings.HasPrefix(line, "#") && line != "version: 1\n" {
			sync += line
		}
	}
	return sync, result
}

// regsyncImage is what a step becomes, below defaults.
func regsyncImage(t *testing.T, defaults, step string) string {
	t.Helper()
	sync, result := syncOf(t, &regsync, "defaults: {"+defaults+"}\nsync:\n- {"+step+"}\n")
	assert.Empty(t, result.Lost)
	return strings.TrimPrefix(sync, "images:\n")
}

func TestRegsyncReferences(t *testing.T) {
	for text, want := range map[string]string{
		"busybox": "docker://docker.io/library/busybox:latest", "busybox:1": "docker://docker.io/library/busybox:1", "team/app:1": "docker://docker.io/team/app:1",
		"docker.io/busybox:1": "docker://docker.io/library/busybox:1", "index.docker.io/team/app:1": "docker://docker.io/team/app:1", "registry-1.docker.io/busybox:1": "docker://docker.io/library/busybox:1",
		"localhost/app:1": "docker://localhost/app:1", "registry:5000/app": "docker://registry:5000/app:latest", "a.example/b/c:1": "docker://a.example/b/c:1",
		"a.example/b@" + someDigest: "docker://a.example/b@" + someDigest, "a.example/b:1@" + someDigest: "docker://a.example/b:1@" + someDigest,
		"ocidir://images:1": "oci:/srv/images:1", "ocidir:///abs": "oci:/abs:latest",
		`{{env "REG"}}/app:{{ env "V" }}`: "docker://${REG}/app:${V}", `busybox:{{env "V"}}`: "docker://docker.io/library/busybox:${V}",
	} {
		step := "source: '" + text + "', target: m.example/app:1, type: image"
		assert.Contains(t, regsyncImage(t, "", step), "- source: "+want+"\n", text)
	}
	image := regsyncImage(t, "", "source: a.example/b:1, target: m.example/b, type: image")
	assert.Equal(t, "- source: docker://a.example/b:1\n  destination: docker://m.example/b:latest\n", image)
	image = regsyncImage(t, "", "source: a.example/b, target: 'ocidir://images', type: repository")
	assert.Contains(t, image, "  destination: oci:/srv/images:{tag}\n")
}

const someDigest = "sha256:14b267eb38aa85fd12d0e168fffa2d8a6187ac53a14a0212b0d4fce8d729598c"

func TestRegsyncTemplates(t *testing.T) {
	data := map[string]any{"Sync": map[string]any{"Source": "gcr.io/a/b", "Target": opaque("${T}/b")}}
	for text, want := range map[string]string{
		"plain": "plain", "": "", `{{env "X"}}-{{ env "Y_1" }}`: "${X}-${Y_1}", `m/{{ .Sync.Source }}`: "m/gcr.io/a/b", `{{ .Sync.Target }}`: "${T}/b",
		`m/{{ index (split .Sync.Source "gcr.io/") 1 }}`: "m/a/b", `{{ .Sync.Source | upper | lower }}`: "gcr.io/a/b", `{{ join (split "a,b" ",") "-" }}`: "a-b", `{{ default "d" "" }}{{ default "d" "v" }}`: "dv", `{{ trimSpace " a " }}`: "a", `{{ "{{" }}`: "{{",
	} {
		got, err := expandTemplate(text, data)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for text, want := range map[string]string{
		`{{file "/secret"}}`: "no file is read", `{{`: "it is no template", `{{nosuch}}`: "it is no template", `{{ env "a b" }}`: "is no name for a variable",
		`{{ upper (env "X") }}`: "only a run knows", `{{ lower .Sync.Target }}`: "only a run knows", `{{ .Sync.Nothing }}`: "that is not there", `{{ .Ref.Tag }}`: "that is not there",
		`{{ if true }}a{{ end }}`: "is not worked out", `{{ range .Sync }}a{{ end }}`: "is not worked out", `{{ $x := "a" }}`: "is not worked out", `{{ printf "%1000000000d" 1 }}`: "{{printf}} is not worked out",
		`{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`: "is not worked out", `{{ time.Now }}`: "it is no template", `{{ . }}`: "is not worked out", `{{ index (split "a" ",") 7 }}`: "only a run knows",
	} {
		_, err := expandTemplate(text, data)
		assert.ErrorContains(t, err, want, text)
	}
	_, result := syncOf(t, &regsync, "sync:\n- {source: 'a.example/{{file \"/secret\"}}:1', target: m.example/a:1, type: image}\n- {source: '{{env \"ALL\"}}', target: m.example/a:1, type: image}\n- {source: a.example/b:1, target: m.example/b:1, type: image}")
	require.Len(t, result.Lost, 2)
	assert.Equal(t, "f:2: sync[0]: source: "+`this template has something in it that only a run knows, or that is not there: error calling file: no file is read: put what it says into the file itself, or into an environment variable`, result.Lost[0].String())
	assert.Equal(t, "f:3: sync[1]: source: ${ALL} does not say in the file which registry it is in", result.Lost[1].String())
}

// TestRegsyncExpressions holds what becomes of expressions against what regsync makes of them.
func TestRegsyncExpressions(t *testing.T) {
	tags := []string{"latest", "lat", "latestx", "v1", "xv1", "v1x", "1.2", "1x2", "a|b", "ab", "b", ""}
	for expression, want := range map[string]string{
		"latest": "latest", `v\d+`: `v\d+`, "1.2": "1.2", "latest|v1": "", "(latest|v1)": "(latest|v1)", "(?i)V1": "", "": "", "^v1$": "^v1$", "a|": "", `\Qa|b`: "", "lat(?:est)?": "lat(?:est)?",
	} {
		whole, err := wholeExpression(expression)
		require.NoError(t, err, expression)
		if want != "" {
			assert.Equal(t, want, whole)
		}
		theirs, err := regexp.Compile("^" + expression + "$")
		require.NoError(t, err)
		for _, ours := range []map[string]any{anyOf([]string{whole}), anyOf([]string{"never", whole, "neither"})} {
			all := regexp.MustCompile("^(?:" + ours["regexp"].(string) + ")$")
			for _, tag := range tags {
				assert.Equal(t, theirs.MatchString(tag), all.MatchString(tag), "%q, which becomes %v, of %q", expression, ours, tag)
			}
		}
	}
	for _, broken := range []string{"(", "a)|(b", "[a"} {
		_, err := wholeExpression(broken)
		assert.Error(t, err, broken)
	}
}

func TestRegsyncRanges(t *testing.T) {
	for text, want := range map[string]string{
		">=3.5.1 <4.0": ">=3.5.1 <4.0.0", "1.2": "1.2.0", "=1.2": "=1.2.0", "^1.2.3": ">=1.2.3 <2.0.0", "^0.2.3": ">=0.2.3 <0.3.0", "^0.0.3": ">=0.0.3 <0.0.4",
		"^0": ">=0.0.0 <0.0.1", "~1.2.3": ">=1.2.3 <1.3.0", "~1": ">=1.0.0 <1.1.0", ">v1 <=2": ">1.0.0 <=2.0.0", ">=1.2.3-rc1": ">=1.2.3-rc1", "1.2.3+build": "1.2.3",
	} {
		got, err := regsyncRange(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, broken := range []string{">=x", "1.2.3.4", "==1", ">=", "1..2"} {
		_, err := regsyncRange(broken)
		assert.Error(t, err, broken)
	}
}

func TestRegsyncTags(t *testing.T) {
	const step = "source: a.example/b, target: m.example/b, type: repository"
	tags := func(text string) string {
		image := regsyncImage(t, "", step+", "+text)
		_, image, _ = strings.Cut(image, "\n")
		return strings.Replace(image, "  destination: docker://m.example/b:{tag}\n", "", 1)
	}
	for text, want := range map[string]string{
		"tags: {}":                                                "  tags: ['*']\n  digest-tags: all\n",
		"tags: {allow: ['v.*']}":                                  "  tags:\n  - {regexp: v.*}\n",
		"tags: {allow: [null, a]}":                                "  tags:\n  - {regexp: a}\n",
		"tags: {deny: ['sha.*']}":                                 "  tags: ['*']\n  exclude-tags:\n  - {regexp: sha.*}\n",
		"tags: {deny: [a]}":                                       "  tags: ['*']\n  exclude-tags:\n  - {regexp: a}\n  digest-tags: all\n",
		"tags: {semverRange: ['>=1', '']}":                        "  tags:\n  - {semver: '>=1.0.0'}\n  prereleases: true\n",
		"tags: {semverRange: ['~1', '^3']}":                       "  tags:\n  - {semver: '>=1.0.0 <1.1.0 || >=3.0.0 <4.0.0'}\n  prereleases: true\n",
		"tagSets: [{allow: [a], deny: [b]}, {allow: [c]}]":        "  tags:\n  - {all: [{regexp: a}, {not: {regexp: b}}]}\n  - {regexp: c}\n",
		"tagSets: [{allow: [a]}], tags: {semverRange: ['>1']}":    "  tags:\n  - {regexp: a}\n  - {semver: '>1.0.0'}\n  prereleases: true\n",
		"tagSets: [{deny: [a]}, {deny: [b]}]":                     "  tags:\n  - {not: {regexp: a}}\n  - {not: {regexp: b}}\n  digest-tags: all\n",
		"targetTag: 'x-{{.Source.Tag}}', tags: {allow: ['.\\d']}": "  tags:\n  - {regexp: .\\d}\n  destination: docker://m.example/b:x-{tag}\n",
	} {
		assert.Equal(t, want, tags(text), text)
	}
}

func TestRegsyncPlatforms(t *testing.T) {
	const step = "source: a.example/b:1, target: m.example/b:1, type: image"
	for text, want := range map[string]string{
		"linux/arm64": "linux/arm64", "linux/arm64/v8": "linux/arm64", "linux/aarch64": "linux/arm64", "amd64": "linux/amd64", "linux/x86_64/v1": "linux/amd64", "linux/amd64/v3": "linux/amd64/v3",
		"linux/arm": "linux/arm/v7", "linux/arm/6": "linux/arm/v6", "armhf": "linux/arm/v7", "linux/armel": "linux/arm/v6", "Linux/i386": "linux/386", "macos/arm64": "darwin/arm64", "local": "native", "linux": "native",
	} {
		assert.Contains(t, regsyncImage(t, "", step+", platform: "+text), "  system: "+want+"\n", text)
	}
	image := regsyncImage(t, "", step+", platforms: [linux/amd64, '', 'windows/amd64,osver=10.0.17763.1']")
	assert.Contains(t, image, "  attestations: drop\n  optional: [linux/amd64, 'windows/amd64:10.0.17763']\n  platformless-entries: keep\n  single: copy\n  sparse: keep\n")
	image = regsyncImage(t, "", step+", platforms: [unknown/unknown]")
	assert.Contains(t, image, "  attestations: all\n  optional: [unknown/unknown]\n")
	for _, lost := range []string{"platform: 'windows/amd64,osver=10.0.1'", "platform: a/b/c/d", "platforms: [linux/amd64, local]", "platforms: ['']"} {
		_, result := syncOf(t, &regsync, "sync:\n- {"+step+", "+lost+"}")
		assert.Len(t, result.Lost, 1, lost)
	}
}

func TestRegsyncDefaults(t *testing.T) {
	const step = "source: a.example/b:1, target: m.example/b:1, type: image"
	for _, c := range []struct{ defaults, own, want string }{
		{"interval: 6h", "", "  every: 6h\n"},
		{"interval: 6h, schedule: '0 1 * * *'", "", "  cron: 0 1 * * *\n"},
		{"schedule: '0 1 * * *'", "interval: 30m", "  every: 30m\n"},
		{"interval: 6h", "schedule: '@every 90s', interval: 1h", "  every: 90s\n"},
		{"referrers: true", "referrers: false", ""},
		{"referrers: true, digestTags: true", "", "  digest-tags: all\n  referrers: true\n"},
		{"referrers: true, referrerSource: e.example/b", "referrerTarget: m.example/b", "  referrers: true\n  referrers-source: docker://e.example/b\n"},
		{"referrerFilters: [{artifactType: a/b}, {artifactType: c/d}]", "referrers: true", "  referrers: [a/b, c/d]\n"},
		{"referrers: true", "referrerFilters: [{artifactType: a/b}, {}]", "  referrers: true\n"},
		{"forceRecursive: true", "", "  check-blobs: true\n"},
	} {
		want := "- source: docker://a.example/b:1\n  destination: docker://m.example/b:1\n" + c.want
		assert.Equal(t, want, regsyncImage(t, c.defaults, strings.TrimSuffix(step+", "+c.own, ", ")), "%s; %s", c.defaults, c.own)
	}
}

func TestRegsyncMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"version: 2\nsync: []": `f:1: version: version "2" is unknown`,
		"sync: [{source: a.example/a, target: m.example/a, type: repo}]":              `f:1: sync[0]: type must be image, repository or registry, not "repo"`,
		"sync: [{source: a.example/a, target: m.example/a}]":                          `type must be image`,
		"sync: [{source: a.example/a:1, target: m.example/a, type: repository}]":      "f:1: sync[0].source: a repository has no tag",
		"sync: [{source: a.example/a, target: m.example/a:1, type: repository}]":      "f:1: sync[0].target: a repository has no tag",
		"sync: [{source: 'http://a.example/a', target: m.example/a, type: image}]":    "http:// is unknown",
		"sync: [{source: ':1', target: m.example/a, type: image}]":                    "is no reference",
		"sync: [{source: a.example/A:1, target: m.example/a, type: image}]":           "must be lowercase",
		"creds: [{registry: a, tls: maybe}]\nsync: []":                                `write enabled, insecure or disabled, not "maybe"`,
		"defaults: {interval: soon}\nsync: [{source: a/a, target: m/a, type: image}]": `f:1: defaults.interval: "soon" is no duration`,
		"sync: [{source: a/a, target: m/a, type: repository, tags: {allow: ['(']}}]":  "f:1: sync[0].tags.allow[0]: error parsing regexp",
	} {
		_, err := regsync.Convert("f", []byte(text), Options{})
		assert.ErrorContains(t, err, want, text)
	}
	_, result := syncOf(t, &regsync, "sync:\n- {source: a.example, target: m.example, type: registry, repos: {allow: [a]}}\n- {source: 'ocidir://x', target: m.example/a, type: repository}\n- {source: a/a, target: m/a, type: image, tags: {allow: [a]}}\n")
	assert.Equal(t, "f:2: sync[0]: no registry is asked which repositories it has: write a step of type repository for each\nf:3: sync[1]: a layout is not asked which tags it has: write a step of type image for each\n", string(lines(result.Lost)))
	assert.Equal(t, "f:4: sync[2].tags: it means nothing where type is image, in regsync either\n", string(lines(result.Notes)))
}
