package registrycmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// The keys of a file of policies, and those of its rules.
const (
	rulesKey           = "rules"
	repositoriesKey    = "repositories"
	sparseKey          = "sparse-lists"
	architecturesKey   = "required-architectures"
	platformsKey       = "required-platforms"
	withoutPlatformKey = "optional-without-platform"
)

// ruleKeys are those of a rule. The first two must be there.
var ruleKeys = []string{repositoriesKey, sparseKey, architecturesKey, platformsKey, withoutPlatformKey}

// readRules reads a file of policies: a mapping whose only key, "rules", is a sequence. It refuses
// what sparseregistry.Policies.Validate refuses. Errors name the file and the line.
func (o *options) readRules(path string) ([]sparseregistry.Rule, error) {
	content, err := o.readWhole(path)
	if err != nil {
		return nil, err
	}
	rules, err := parseRules(content)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return rules, nil
}

// parseRules is readRules for the content of a file. Errors begin with the line or a space. A file
// without the key is refused: it is more likely to be damaged than to be meant.
func parseRules(content []byte) ([]sparseregistry.Rule, error) {
	root, err := parseDocument(content)
	if err != nil {
		return nil, err
	}
	if root == nil {
		return nil, fmt.Errorf(" no %q", rulesKey)
	}
	fields, err := fieldsOf(root, []string{rulesKey})
	switch {
	case err != nil:
		return nil, err
	case len(fields) == 0:
		return nil, fmt.Errorf("%d: no %q", root.Line, rulesKey)
	case fields[0].value.Kind != yaml.SequenceNode:
		return nil, fmt.Errorf("%d: %s: must be a sequence of rules", fields[0].line, rulesKey)
	}
	var policies sparseregistry.Policies
	var lines []int // of the policies' rules
	for _, node := range fields[0].value.Content {
		rules, err := rulesOf(node)
		if err != nil {
			return nil, err
		}
		for range rules {
			lines = append(lines, node.Line)
		}
		policies.Rules = append(policies.Rules, rules...)
	}
	if broken, ok := errors.AsType[*sparseregistry.RuleError](policies.Validate()); ok {
		return nil, fmt.Errorf("%d: %w", lines[broken.Index], broken)
	}
	return policies.Rules, nil
}

// rulesOf reads one rule of the file, which stands for one rule for each of its patterns.
func rulesOf(node *yaml.Node) ([]sparseregistry.Rule, error) {
	fields, err := fieldsOf(node, ruleKeys)
	if err != nil {
		return nil, err
	}
	for _, key := range ruleKeys[:2] {
		if !slices.ContainsFunc(fields, func(f field) bool { return f.key == key }) {
			return nil, fmt.Errorf("%d: a rule without %q", node.Line, key)
		}
	}
	var patterns []string
	var policy manifest.SparsePolicy
	for _, f := range fields {
		values, err := scalars(f.value)
		if err == nil {
			err = setField(&patterns, &policy, f.key, values)
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %s: %w", f.value.Line, f.key, err)
		}
	}
	var rules []sparseregistry.Rule
	for _, pattern := range patterns {
		rules = append(rules, sparseregistry.Rule{Pattern: pattern, Policy: policy})
	}
	return rules, nil
}

func setField(patterns *[]string, policy *manifest.SparsePolicy, key string, values []string) error {
	switch key {
	case repositoriesKey:
		if *patterns = values; len(values) == 0 {
			return errors.New("has no patterns")
		}
		return nil
	case architecturesKey:
		policy.RequiredArchitectures = values
		return nil
	case platformsKey:
		policy.RequiredPlatforms = values
		return nil
	case sparseKey:
		return setSwitch(&policy.Enabled, values)
	default:
		return setBool(&policy.OptionalWithoutPlatform, strings.Join(values, ","))
	}
}

// setSwitch is setBool, for "on" and "off" as well.
func setSwitch(to *bool, values []string) error {
	switch value := strings.Join(values, ","); value {
	case "on", "true":
		*to = true
	case "off", "false":
		*to = false
	default:
		return fmt.Errorf("%q is neither on nor off", value)
	}
	return nil
}
