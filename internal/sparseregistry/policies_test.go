package sparseregistry_test

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// rules makes policies of the given patterns, each with a policy of its own: it requires pattern as
// an architecture.
func rules(patterns ...string) sparseregistry.Policies {
	var p sparseregistry.Policies
	for _, pattern := range patterns {
		policy := manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{pattern}}
		p.Rules = append(p.Rules, sparseregistry.Rule{Pattern: pattern, Policy: policy})
	}
	return p
}

// decides is the pattern of the rule that decides; "" if that is none.
func decides(p sparseregistry.Policies, repository string) string {
	if policy := p.For(repository); policy.Enabled {
		return policy.RequiredArchitectures[0]
	}
	return ""
}

func TestTheFirstRuleThatMatchesDecides(t *testing.T) {
	p := rules("team/app", "team/*", "lib-*/x", "team/**", "**/cache", "a/**/z")
	for repository, want := range map[string]string{
		"team/app": "team/app", "team/other": "team/*", "team": "team/**", "team/app/sub": "team/**", "team/cache": "team/*",
		"team/a/cache": "team/**", "cache": "**/cache", "x/cache": "**/cache", "x/y/cache": "**/cache", "x/cache/y": "",
		"teams/app": "", "my/team/app": "", "lib-/x": "lib-*/x", "lib-a/x": "lib-*/x", "lib-a/b/x": "", "lib/x": "",
		"a/z": "a/**/z", "a/b/z": "a/**/z", "a/b/c/z": "a/**/z", "a": "", "z": "", "": "",
		strings.Repeat("a/", 130) + "cache": "", // no repository's name is so long
	} {
		assert.Equal(t, want, decides(p, repository), repository)
	}
	assert.Equal(t, manifest.SparsePolicy{}, sparseregistry.Policies{}.For("any"))
}

// expression is what a pattern means, in another language.
func expression(pattern string) *regexp.Regexp {
	text := "/" + pattern
	text = strings.ReplaceAll(text, "/**", "\x00")
	text = strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, "[^/]*")
	return regexp.MustCompile("^" + strings.ReplaceAll(text, "\x00", "(/[^/]+)*") + "$")
}

func TestPatternsMatchAsExpressionsDo(t *testing.T) {
	const seed = 20260101
	random := rand.New(rand.NewPCG(seed, 0))
	words := func(of ...string) string {
		parts := make([]string, 1+random.IntN(4))
		for i := range parts {
			parts[i] = of[random.IntN(len(of))]
		}
		return strings.Join(parts, "/")
	}
	matched := 0
	for range 5000 {
		pattern, name := words("a", "b", "ab", "*", "a*", "*b", "**", "a*b"), words("a", "b", "ab", "aab", "abb")
		want := ""
		if expression(pattern).MatchString("/" + name) {
			want = pattern
			matched++
		}
		if !assert.Equal(t, want, decides(rules(pattern), name), "pattern %q, name %q, seed %d", pattern, name, seed) {
			return
		}
	}
	assert.Greater(t, matched, 250)
}

func TestRulesThatNobodyCanMeanAreRefused(t *testing.T) {
	const impossible = "no repository can have such a name: names are of lower-case letters and digits, with '.', '_' or '-' between them, " +
		"in components with '/' between them; wildcards are '*' (part of a component) and '**' (any number of components)"
	for _, c := range []struct {
		patterns string // with spaces between them
		err      string // "" if they are valid
	}{
		{"team/app team/* team/** **", ""},
		{"team/app x team/app", `rule 3 ("team/app"): never decides, because rule 1 ("team/app") comes first and matches all that this one does`},
		{"x team/* team/app", `rule 3 ("team/app"): never decides, because rule 2 ("team/*") comes first and matches all that this one does`},
		{"a* *a a*a", `rule 3 ("a*a"): never decides, because rule 1 ("a*") comes first and matches all that this one does`},
		{"** team/app", `rule 2 ("team/app"): never decides, because rule 1 ("**") comes first and matches all that this one does`},
		{"team/** team", `rule 2 ("team"): never decides, because rule 1 ("team/**") comes first and matches all that this one does`},
		{"team/** team/**/x", `rule 2 ("team/**/x"): never decides, because rule 1 ("team/**") comes first and matches all that this one does`},
		{"*/* **", ""},
		{"team/* team/**", ""},
		{"a* *a", ""},
		{"a.b/c__d/e---f a-*", ""},
		{"x Team/*", `rule 2 ("Team/*"): ` + impossible},
		{"x team/", `rule 2 ("team/"): ` + impossible},
		{"x /team", `rule 2 ("/team"): ` + impossible},
		{"x team//app", `rule 2 ("team//app"): ` + impossible},
		{"x team/ap?", `rule 2 ("team/ap?"): ` + impossible},
		{"x team/[ab]", `rule 2 ("team/[ab]"): ` + impossible},
		{"x team/-*", `rule 2 ("team/-*"): ` + impossible},
		{"x a..b", `rule 2 ("a..b"): ` + impossible},
		{"x a/../b", `rule 2 ("a/../b"): ` + impossible},
		{"x host:5000/a", `rule 2 ("host:5000/a"): ` + impossible},
		{"x " + strings.Repeat("a", 256), `rule 2 ("` + strings.Repeat("a", 100) + `…"): ` + impossible},
		{"x team**", `rule 2 ("team**"): "**" must be a component of its own, but is part of "team**"`},
		{"x a/***/b", `rule 2 ("a/***/b"): "**" must be a component of its own, but is part of "***"`},
		{"x **/a/**/b/**", `rule 2 ("**/a/**/b/**"): "**" is there 3 times, more than 2`},
	} {
		p := rules(strings.Split(c.patterns, " ")...)
		for i := range p.Rules {
			p.Rules[i].Policy.RequiredArchitectures = []string{"amd64"}
		}
		if c.err == "" {
			assert.NoError(t, p.Validate(), c.patterns)
		} else {
			assert.EqualError(t, p.Validate(), c.err, c.patterns)
		}
	}
	assert.EqualError(t, rules("").Validate(), `rule 1 (""): `+impossible)
	bad := manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"AMD64"}}
	const upper = `required architecture "AMD64" must be in lower case: "amd64"`
	assert.EqualError(t, sparseregistry.Policies{Default: bad}.Validate(), upper)
	assert.EqualError(t, sparseregistry.Policies{Rules: []sparseregistry.Rule{{Pattern: "a", Policy: bad}}}.Validate(), `rule 1 ("a"): `+upper)
}

// TestTheStrictestRequiresWhatAnyDoes holds the strictest of random policies against what it stands
// for, for children of all kinds.
func TestTheStrictestRequiresWhatAnyDoes(t *testing.T) {
	const seed = 20260102
	random := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		p := sparseregistry.Policies{Default: randomPolicy(random)}
		for range random.IntN(4) {
			p.Rules = append(p.Rules, sparseregistry.Rule{Policy: randomPolicy(random)})
		}
		strictest := p.Strictest()
		for _, platform := range platforms {
			in := manifest.Instance{Platform: platform}
			want := p.Default.Requires(in)
			for _, rule := range p.Rules {
				want = want || rule.Policy.Requires(in)
			}
			if !assert.Equal(t, want, strictest.Requires(in), "%+v of %+v, seed %d", platform, p, seed) {
				return
			}
		}
	}
}

// platforms are those of the entries of lists, as far as policies tell them apart.
var platforms = []*imgspecv1.Platform{
	nil, {}, {OS: "linux"}, {OS: "linux", Architecture: "amd64"}, {OS: "windows", Architecture: "amd64"},
	{OS: "linux", Architecture: "arm"}, {OS: "linux", Architecture: "arm", Variant: "v6"}, {OS: "linux", Architecture: "arm", Variant: "v7"},
	{OS: "linux", Architecture: "s390x"}, {OS: "unknown", Architecture: "unknown"},
}

func randomPolicy(random *rand.Rand) manifest.SparsePolicy {
	p := manifest.SparsePolicy{Enabled: random.IntN(8) > 0, OptionalWithoutPlatform: random.IntN(2) > 0}
	for _, a := range []string{"amd64", "arm", "s390x"} {
		if random.IntN(4) == 0 {
			p.RequiredArchitectures = append(p.RequiredArchitectures, a)
		}
	}
	for _, platform := range []string{"linux/amd64", "windows/amd64", "linux/arm/v7", "linux/arm"} {
		if random.IntN(6) == 0 {
			p.RequiredPlatforms = append(p.RequiredPlatforms, platform)
		}
	}
	return p
}
