package registrycmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

func TestRules(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policies.yaml")
	require.NoError(t, os.WriteFile(path, []byte(`# first match decides
rules:
  - repositories: base/**
    sparse-lists: off
  - repositories: [team/iot, team/edge-*]
    sparse-lists: on
    required-architectures: [arm64]
    required-platforms: linux/arm/v7
    optional-without-platform: true
  - {repositories: ["**"], sparse-lists: true, required-architectures: []}
`), 0o600))
	rules, err := new(options).readRules(path)
	require.NoError(t, err)
	edge := manifest.SparsePolicy{
		Enabled: true, RequiredArchitectures: []string{"arm64"}, RequiredPlatforms: []string{"linux/arm/v7"}, OptionalWithoutPlatform: true,
	}
	assert.Equal(t, []sparseregistry.Rule{
		{Pattern: "base/**"}, {Pattern: "team/iot", Policy: edge}, {Pattern: "team/edge-*", Policy: edge},
		{Pattern: "**", Policy: manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{}}},
	}, rules)

	require.NoError(t, os.WriteFile(path, []byte("rules: []\n"), 0o600))
	rules, err = new(options).readRules(path)
	require.NoError(t, err)
	assert.Empty(t, rules)
}

func TestRulesThatAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policies.yaml")
	rule := func(text string) string {
		return "rules:\n  - repositories: x\n    sparse-lists: on\n  - " + strings.ReplaceAll(text, "\n", "\n    ")
	}
	for content, want := range map[string]string{
		"":                          ` no "rules"`,
		"# nothing\n":               ` no "rules"`,
		"{}":                        `1: no "rules"`,
		"rules":                     "1: not a mapping of settings",
		"rules: {}":                 "1: rules: must be a sequence of rules",
		"rules:":                    "1: rules: must be a sequence of rules",
		"\nrule: []":                `2: unknown setting "rule": did you mean rules?`,
		"team/app: {}":              `1: unknown setting "team/app" (known: rules)`,
		"rules: []\nrules: []":      "2: rules is set twice",
		"rules: []\n---\nrules: []": " more than one document",
		"rules: [":                  " yaml: ",
		"rules: [x]":                "1: not a mapping of settings",
		"rules: [[x]]":              "1: not a mapping of settings",
		rule("repositories: a"):     `4: a rule without "sparse-lists"`,
		rule("sparse-lists: on"):    `4: a rule without "repositories"`,
		rule("repositories: []\nsparse-lists: on"):                                        "4: repositories: has no patterns",
		rule("repositories:\nsparse-lists: on"):                                           "4: repositories: has no value",
		rule("repositories: {a: b}\nsparse-lists: on"):                                    "4: repositories: must be a value or a sequence of values",
		rule("repositories: a\nsparse-lists: maybe"):                                      `5: sparse-lists: "maybe" is neither on nor off`,
		rule("repositories: a\nsparse-lists: [on, off]"):                                  `5: sparse-lists: "on,off" is neither on nor off`,
		rule("repositories: a\nsparse-lists: on\noptional-without-platform: perhaps"):     `6: optional-without-platform: "perhaps" is neither true nor false`,
		rule("repositories: a\nsparse-lists: on\nrequired-archs: [amd64]"):                `6: unknown setting "required-archs"`,
		rule("repositories: a\nsparse-lists: on\nsparse-lists: on"):                       "6: sparse-lists is set twice",
		rule("repositories: a\nsparse-lists: on\nrequired-architectures: [AMD64]"):        `4: rule 2 ("a"): required architecture "AMD64" must be in lower case: "amd64"`,
		rule("repositories: [a, b]\nsparse-lists: on\nrequired-platforms: [linux/amd46]"): `4: rule 2 ("a"): required platform "linux/amd46": unknown architecture "amd46"`,
		rule("repositories: [a, B]\nsparse-lists: on"):                                    `4: rule 3 ("B"): no repository can have such a name`,
		rule("repositories: x\nsparse-lists: on"):                                         `4: rule 2 ("x"): never decides, because rule 1 ("x") comes first`,
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := new(options).readRules(path)
		if assert.Error(t, err, content) {
			assert.True(t, strings.HasPrefix(err.Error(), path+":"+want), "%s: %v", content, err)
		}
	}
}
