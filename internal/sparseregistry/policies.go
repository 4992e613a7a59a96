package sparseregistry

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Policies say which policy is in force in which repository: that of the first rule whose pattern
// matches the repository's name, else Default. The zero value is one policy for all: off.
//
// They are a value: nothing here changes them, and all methods may run concurrently.
type Policies struct {
	Default manifest.SparsePolicy
	Rules   []Rule // the first that matches decides, however much closer a later one fits
}

// A Rule is the policy of the repositories whose name matches a pattern.
//
// A pattern is compared with the whole name, component by component. In a component, "*" stands for
// any characters but "/", none included. The component "**" stands for any number of components,
// none included: "team/**" matches "team", "team/app" and "team/a/b", "team/*" only the second.
type Rule struct {
	Pattern string
	Policy  manifest.SparsePolicy
}

// For returns the policy that is in force in a repository.
func (p Policies) For(repository string) manifest.SparsePolicy { return p.RuleFor(repository).Policy }

// RuleFor returns the rule that decides in a repository: one without a pattern if that is Default.
func (p Policies) RuleFor(repository string) Rule {
	if len(repository) > maxName { // no repository has it
		return Rule{Policy: p.Default}
	}
	name := strings.Split(repository, "/")
	for _, rule := range p.Rules {
		if matches(strings.Split(rule.Pattern, "/"), name) {
			return rule
		}
	}
	return Rule{Policy: p.Default}
}

// Strictest returns the policy that requires a child if and only if one of the policies does, rules
// that match no repository yet included. So a list that it accepts is accepted everywhere. It is
// off if one of them is.
func (p Policies) Strictest() manifest.SparsePolicy {
	strictest := manifest.SparsePolicy{Enabled: true}
	withoutPlatform := false
	for _, policy := range p.all() {
		if !policy.Enabled {
			return manifest.SparsePolicy{}
		}
		withoutPlatform = withoutPlatform || policy.RequiresWithoutPlatform()
		strictest.RequiredArchitectures = union(strictest.RequiredArchitectures, policy.RequiredArchitectures)
		strictest.RequiredPlatforms = union(strictest.RequiredPlatforms, policy.RequiredPlatforms)
	}
	strictest.OptionalWithoutPlatform = !withoutPlatform
	return strictest
}

// union appends to all what of more is not in it.
func union(all, more []string) []string {
	for _, s := range more {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

func (p Policies) all() []manifest.SparsePolicy {
	all := []manifest.SparsePolicy{p.Default}
	for _, rule := range p.Rules {
		all = append(all, rule.Policy)
	}
	return all
}

// A RuleError says what is wrong with a rule.
type RuleError struct {
	Index   int // of the rule
	Pattern string
	Err     error
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("rule %d (%q): %v", e.Index+1, clip(e.Pattern), e.Err)
}

func (e *RuleError) Unwrap() error { return e.Err }

// Validate refuses what an operator cannot have meant, because a typing error would make children
// optional: a policy that does not validate, a pattern that no repository's name can match, and a
// rule that never decides because an earlier one matches all that it does. The error names the
// rule. The other methods work with policies that Validate refuses, too.
func (p Policies) Validate() error {
	if err := p.Default.Validate(); err != nil {
		return err
	}
	for i, rule := range p.Rules {
		err := checkPattern(rule.Pattern)
		if err == nil {
			err = rule.Policy.Validate()
		}
		if err == nil {
			err = p.checkDecides(i)
		}
		if err != nil {
			return &RuleError{Index: i, Pattern: rule.Pattern, Err: err}
		}
	}
	return nil
}

// checkDecides refuses rule i if one before it covers it. A pattern that matches another's text
// covers it, because the other's wildcards can only be matched by wildcards.
func (p Policies) checkDecides(i int) error {
	for j, earlier := range p.Rules[:i] {
		if matches(strings.Split(earlier.Pattern, "/"), strings.Split(p.Rules[i].Pattern, "/")) {
			return fmt.Errorf("never decides, because rule %d (%q) comes first and matches all that this one does", j+1, clip(earlier.Pattern))
		}
	}
	return nil
}

// matches reports whether pattern matches name; both are components. name may be a pattern, too,
// whose "**" only "**" matches.
func matches(pattern, name []string) bool {
	switch {
	case len(pattern) == 0:
		return len(name) == 0
	case pattern[0] == "**":
		return matches(pattern[1:], name) || len(name) > 0 && matches(pattern, name[1:])
	default:
		return len(name) > 0 && name[0] != "**" && matchesComponent(pattern[0], name[0]) && matches(pattern[1:], name[1:])
	}
}

func matchesComponent(pattern, component string) bool {
	ok, err := path.Match(pattern, component)
	return ok && err == nil
}

// maxDoubleWildcards is how many components "**" a pattern may have: the time that matching takes
// grows with the power of their number.
const maxDoubleWildcards = 2

// checkPattern refuses patterns that no name can match which the specification knows. If one
// matches, so does the name in which every wildcard is a letter. That ValidName knows more names,
// with upper case, is no reason to take a pattern that is mistyped: wildcards match them.
func checkPattern(pattern string) error {
	double := 0
	for component := range strings.SplitSeq(pattern, "/") {
		if component == "**" {
			double++
		} else if strings.Contains(component, "**") {
			return fmt.Errorf("%q must be a component of its own, but is part of %q", "**", clip(component))
		}
	}
	if double > maxDoubleWildcards {
		return fmt.Errorf("%q is there %d times, more than %d", "**", double, maxDoubleWildcards)
	}
	if like := strings.NewReplacer("**", "a", "*", "a").Replace(pattern); len(like) > maxName || !specifiedName().MatchString(like) {
		return errors.New("no repository can have such a name: names are of lower-case letters and digits, with '.', '_' or '-' between them, " +
			"in components with '/' between them; wildcards are '*' (part of a component) and '**' (any number of components)")
	}
	return nil
}
