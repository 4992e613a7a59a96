package registrycmd

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sparsecopy/sparsecopy/examples/internal/distributionconfig"
)

// An environment is the variables of a process, as os.Environ has them. One that is empty is not
// set.
type environment []string

// lookup returns the value of a variable, "" if it is not set.
func (e environment) lookup(name string) string {
	for _, variable := range e {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}

// ofKubernetes are the variables that Kubernetes makes of each service, whatever that is called.
var ofKubernetes = regexp.MustCompile(`^\w+(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)=|^\w+_PORT=(tcp|udp|sctp)://`)

// refuseUnknown refuses variables that are named as settings are, and are none: a policy that was
// mistyped would not be in force. Plain distribution's variables are refused too, unless its
// configuration is read: who relies on them for passwords would serve without.
func (e environment) refuseUnknown(distribution bool) error {
	known := []string{configEnv}
	for _, s := range settings {
		known = append(known, s.env)
	}
	var plain []string
	for _, variable := range slices.Sorted(slices.Values(e)) {
		name, value, _ := strings.Cut(variable, "=")
		switch {
		case value == "" || slices.Contains(known, name) || ofKubernetes.MatchString(variable):
		case hasAnyPrefix(name, "SPARSE_REGISTRY_", "SPARSE_INDEX_", "FEATURE_SPARSE_"):
			return fmt.Errorf("environment variable %s: unknown setting%s", name, meant(name, known))
		case !distribution && distributionconfig.IsVariable(name):
			plain = append(plain, name)
		}
	}
	if len(plain) > 0 {
		return fmt.Errorf("%s: plain distribution's variables are read only beside its configuration: name that with --distribution-config FILE "+
			"(one with nothing but the line \"version: 0.1\" will do), or unset them", strings.Join(plain, ", "))
	}
	return nil
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(s, prefix) })
}
