package distributionconfig

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// undecided returns the keys of a struct below path about which there is no decision: neither about
// them, nor about all that is below them.
func undecided(t reflect.Type, path string) []string {
	var keys []string
	for field := range t.Fields() {
		key := join(path, keyOf(field))
		if _, decided := decisions[key]; decided {
			continue
		}
		if field.Type.Kind() == reflect.Struct && slices.ContainsFunc(slices.Collect(maps.Keys(decisions)), func(d string) bool { return strings.HasPrefix(d, key+".") }) {
			keys = append(keys, undecided(field.Type, key)...)
		} else {
			keys = append(keys, key)
		}
	}
	return keys
}

// TestEverySectionIsDecidedOn fails when distribution gets a section: say in decisions what becomes
// of it, and in docs/sparse-registry.md.
func TestEverySectionIsDecidedOn(t *testing.T) {
	assert.Empty(t, undecided(reflect.TypeFor[configuration.Configuration](), ""))
}

// ofDistribution2 are the sections that distribution 3 does not have any more.
var ofDistribution2 = []string{"reporting", "compatibility"}

// TestEveryDecisionIsAboutAKey keeps decisions about what distribution no longer has out.
func TestEveryDecisionIsAboutAKey(t *testing.T) {
	for key := range decisions {
		if slices.Contains(ofDistribution2, key) {
			continue
		}
		at := reflect.TypeFor[configuration.Configuration]()
		for part := range strings.SplitSeq(key, ".") {
			field, ok := fieldOf(at, func(f reflect.StructField) bool { return keyOf(f) == part })
			require.True(t, ok, "%s is no key", key)
			at = field.Type
		}
	}
}

// TestEveryRefusalSaysWhatToUse gives each key that is not honoured, in a file and in the
// environment.
func TestEveryRefusalSaysWhatToUse(t *testing.T) {
	for key, instead := range decisions {
		if instead == honoured {
			continue
		}
		section, rest, below := strings.Cut(key, ".")
		content := "version: 0.1\nstorage: filesystem\n" + section + ": x\n"
		if below {
			content = "version: 0.1\nstorage: filesystem\n" + section + ":\n  " + rest + ": x\n"
		}
		_, err := load([]byte(content), nil)
		require.Error(t, err, key)
		assert.Contains(t, err.Error(), key+" is not honoured: "+instead)
		if slices.Contains(ofDistribution2, key) {
			continue
		}
		_, err = load([]byte("version: 0.1\nstorage: filesystem\n"), []string{"REGISTRY_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_")) + "=x"})
		require.Error(t, err, key)
		assert.Contains(t, err.Error(), key+" is not honoured: "+instead)
	}
}
