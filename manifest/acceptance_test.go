package manifest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// acceptanceList makes an index whose entries are called by what their digests are made of, with
// the given platform objects.
func acceptanceList(t *testing.T, entries ...[2]string) List {
	t.Helper()
	var parts []string
	for _, e := range entries {
		platform := ""
		if e[1] != "" {
			platform = `,"platform":` + e[1]
		}
		parts = append(parts, fmt.Sprintf(`{"digest":%q,"size":1%s}`, digest.FromString(e[0]), platform))
	}
	list, err := Parse([]byte(`{"schemaVersion":2,"manifests":[`+strings.Join(parts, ",")+`]}`), "")
	require.NoError(t, err)
	return list
}

func platformOf(os, architecture string) string {
	return fmt.Sprintf(`{"os":%q,"architecture":%q}`, os, architecture)
}

func TestSparsePolicyRequires(t *testing.T) {
	amd64 := SparsePolicy{Enabled: true, RequiredArchitectures: []string{"amd64"}}
	lenient := amd64
	lenient.OptionalWithoutPlatform = true
	for _, c := range []struct {
		platform                string
		off, none, amd64, loose bool
	}{
		{platformOf("linux", "amd64"), true, false, true, true},
		{platformOf("windows", "amd64"), true, false, true, true},
		{platformOf("linux", "arm64"), true, false, false, false},
		{platformOf("linux", "AMD64"), true, false, false, false},
		{platformOf("linux", "amd64 "), true, false, false, false},
		{platformOf("unknown", "unknown"), true, false, false, false},
		{"", true, false, true, false},
		{"null", true, false, true, false},
		{"{}", true, false, true, false},
		{`{"architecture":"","os":""}`, true, false, true, false},
		{`{"os":"linux"}`, true, false, true, false},
	} {
		in := acceptanceList(t, [2]string{"a", c.platform}).Instances()[0]
		assert.Equal(t, c.off, SparsePolicy{RequiredArchitectures: []string{"amd64"}}.Requires(in), "off: %s", c.platform)
		assert.Equal(t, c.none, SparsePolicy{Enabled: true}.Requires(in), "none required: %s", c.platform)
		assert.Equal(t, c.amd64, amd64.Requires(in), "amd64: %s", c.platform)
		assert.Equal(t, c.loose, lenient.Requires(in), "amd64, optional without platform: %s", c.platform)
	}
}

func TestSparsePolicyRequiresWithoutPlatform(t *testing.T) {
	for _, p := range []SparsePolicy{
		{}, {Enabled: true}, {Enabled: true, OptionalWithoutPlatform: true}, {OptionalWithoutPlatform: true},
		{Enabled: true, RequiredArchitectures: []string{"amd64"}},
		{Enabled: true, RequiredArchitectures: []string{"amd64"}, OptionalWithoutPlatform: true},
	} {
		assert.Equal(t, p.Requires(Instance{}), p.RequiresWithoutPlatform(), "%+v", p)
	}
}

func TestSparsePolicyCheckAsksOnceForEachRequiredChild(t *testing.T) {
	list := acceptanceList(t,
		[2]string{"a", platformOf("linux", "s390x")}, [2]string{"b", platformOf("linux", "amd64")},
		[2]string{"a", platformOf("linux", "arm64")}, [2]string{"b", platformOf("linux", "arm64")}, [2]string{"c", platformOf("linux", "386")},
	)
	var asked []digest.Digest
	policy := SparsePolicy{Enabled: true, RequiredArchitectures: []string{"arm64", "amd64"}}
	err := policy.Check(list, func(d digest.Digest) bool {
		asked = append(asked, d)
		return d == digest.FromString("b")
	})
	assert.Equal(t, []digest.Digest{digest.FromString("b"), digest.FromString("a")}, asked)
	var missing *MissingChildrenError
	require.ErrorAs(t, err, &missing)
	require.Len(t, missing.Missing, 1)
	assert.Equal(t, 2, missing.Missing[0].Index)
	assert.Equal(t, digest.FromString("a"), missing.Missing[0].Digest)
	assert.Equal(t, "arm64", missing.Missing[0].Architecture)
	assert.Equal(t, policy, missing.Policy)

	assert.NoError(t, policy.Check(list, func(digest.Digest) bool { return true }))
	assert.NoError(t, policy.Check(acceptanceList(t), func(digest.Digest) bool { return false }))
}

func TestMissingChildrenErrorMessages(t *testing.T) {
	long := strings.Repeat("x", 200)
	list := acceptanceList(t,
		[2]string{"a", platformOf("linux", "amd64")}, [2]string{"b", `{"architecture":"arm","os":"linux","variant":"v7"}`},
		[2]string{"c", ""}, [2]string{"d", platformOf("linux", "amd64")}, [2]string{"e", `{"os":"","architecture":"arm\n\u001b'"}`},
		[2]string{"f", platformOf("linux", long)}, [2]string{"g", platformOf("", long[:maxQuoted])}, [2]string{"h", platformOf("", long[:maxQuoted+1])},
	)
	messages := func(p SparsePolicy) (all []string, architectures []string) {
		var missing *MissingChildrenError
		require.ErrorAs(t, p.Check(list, func(digest.Digest) bool { return false }), &missing)
		for i := range missing.Missing {
			all = append(all, missing.Message(i))
		}
		assert.Equal(t, all[0], missing.Error())
		return all, missing.Architectures()
	}
	of := func(name string) string { return digest.FromString(name).String() }

	all, architectures := messages(SparsePolicy{Enabled: true, RequiredArchitectures: []string{"amd64", "arm"}})
	assert.Equal(t, []string{
		"Required architecture 'amd64' manifest not found (and 3 more)",
		"Required architecture 'arm' manifest not found",
		"Required manifest " + of("c") + " without platform not found",
		"Required architecture 'amd64' manifest not found",
	}, all)
	assert.Equal(t, []string{"amd64", "arm", ""}, architectures)

	all, _ = messages(SparsePolicy{})
	assert.Equal(t, []string{
		"Manifest " + of("a") + " for platform 'linux/amd64' not found (and 7 more)",
		"Manifest " + of("b") + " for platform 'linux/arm/v7' not found",
		"Manifest " + of("c") + " without platform not found",
		"Manifest " + of("d") + " for platform 'linux/amd64' not found",
		"Manifest " + of("e") + ` for platform 'arm\n\x1b'' not found`,
		"Manifest " + of("f") + " for platform 'linux/" + long[:74] + "…' not found",
		"Manifest " + of("g") + " for platform '" + long[:80] + "' not found",
		"Manifest " + of("h") + " for platform '" + long[:80] + "…' not found",
	}, all)

	alone := &MissingChildrenError{Missing: []MissingChild{{Architecture: "arm"}}, Policy: SparsePolicy{Enabled: true}}
	assert.EqualError(t, alone, "Required architecture 'arm' manifest not found")
}

func TestSparsePolicyValidate(t *testing.T) {
	for architectures, want := range map[string]string{
		"":                  "",
		"amd64":             "",
		"amd64,arm64,s390x": "",
		"AMD64":             `required architecture "AMD64" must be in lower case: "amd64"`,
		"arm64,Arm64":       `required architecture "Arm64" must be in lower case: "arm64"`,
		"amd64,arm64,amd64": `required architecture "amd64" is named twice`,
		"x86_64":            `unknown required architecture "x86_64" (known: 386, amd64, `,
		"arm/v7":            `required architecture "arm/v7" has a slash: required platforms have, such as "linux/arm/v7"`,
		"unknown":           `unknown required architecture "unknown" (known: `,
		"amd64,":            `unknown required architecture "" (known: `,
		" amd64":            `unknown required architecture " amd64" (known: `,
	} {
		p := SparsePolicy{}
		if architectures != "" {
			p.RequiredArchitectures = strings.Split(architectures, ",")
		}
		for _, p.Enabled = range []bool{false, true} {
			err := p.Validate()
			if want == "" {
				assert.NoError(t, err, architectures)
				continue
			}
			assert.ErrorContains(t, err, want, architectures)
		}
	}
}
