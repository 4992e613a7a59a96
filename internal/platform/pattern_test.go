package platform

import (
	"reflect"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// entry is the platform of an entry in short: os, architecture, then variant, os.version and
// features as far as given.
func entry(os, arch string, more ...string) *imgspecv1.Platform {
	pl := &imgspecv1.Platform{OS: os, Architecture: arch}
	for i, value := range more {
		switch i {
		case 0:
			pl.Variant = value
		case 1:
			pl.OSVersion = value
		default:
			pl.OSFeatures = append(pl.OSFeatures, value)
		}
	}
	return pl
}

func TestPatternMatches(t *testing.T) {
	for _, tt := range []struct {
		name     string
		pattern  Pattern
		yes, not []*imgspecv1.Platform
	}{
		{
			name:    "zero value means no platform",
			pattern: Pattern{},
			yes:     []*imgspecv1.Platform{nil, {}},
			not:     []*imgspecv1.Platform{entry("linux", ""), entry("", "amd64"), entry("linux", "amd64"), entry("unknown", "unknown")},
		},
		{
			name:    "one empty part means that this part is absent",
			pattern: Pattern{OS: "linux"},
			yes:     []*imgspecv1.Platform{entry("linux", "")},
			not:     []*imgspecv1.Platform{nil, entry("linux", "amd64"), entry("windows", "")},
		},
		{
			name:    "both wildcards mean every entry with a platform",
			pattern: Pattern{OS: "*", Architecture: "*"},
			yes:     []*imgspecv1.Platform{entry("linux", "amd64"), entry("unknown", "unknown"), entry("windows", "arm64", "v8", "10.0.1", "win32k")},
			not:     []*imgspecv1.Platform{nil, {}, entry("linux", ""), entry("", "amd64")},
		},
		{
			name:    "any architecture",
			pattern: Pattern{OS: "linux", Architecture: "*"},
			yes:     []*imgspecv1.Platform{entry("linux", "amd64"), entry("Linux", "arm", "v5")},
			not:     []*imgspecv1.Platform{nil, entry("linux", ""), entry("windows", "amd64")},
		},
		{
			name:    "any OS",
			pattern: Pattern{OS: "*", Architecture: "amd64"},
			yes:     []*imgspecv1.Platform{entry("linux", "x86_64"), entry("windows", "amd64", "v3")},
			not:     []*imgspecv1.Platform{nil, entry("", "amd64"), entry("linux", "arm64")},
		},
		{
			name:    "exclude is ignored",
			pattern: Pattern{OS: "linux", Architecture: "amd64", Exclude: true},
			yes:     []*imgspecv1.Platform{entry("linux", "amd64")},
			not:     []*imgspecv1.Platform{entry("linux", "arm64")},
		},

		{
			name:    "arm without a variant means every arm",
			pattern: Pattern{OS: "linux", Architecture: "arm"},
			yes:     []*imgspecv1.Platform{entry("linux", "arm"), entry("linux", "arm", "v5"), entry("linux", "arm", "v7"), entry("linux", "armhf"), entry("linux", "armel")},
			not:     []*imgspecv1.Platform{entry("linux", "arm64"), entry("linux", "arm64", "v7")},
		},
		{
			name:    "arm with a wildcard means every arm",
			pattern: Pattern{OS: "linux", Architecture: "arm", Variant: "*"},
			yes:     []*imgspecv1.Platform{entry("linux", "arm"), entry("linux", "arm", "v5"), entry("linux", "arm", "v7")},
			not:     []*imgspecv1.Platform{entry("linux", "arm64")},
		},
		{
			name:    "an arm variant is never assumed",
			pattern: Pattern{OS: "linux", Architecture: "arm", Variant: "v7"},
			yes:     []*imgspecv1.Platform{entry("linux", "arm", "v7"), entry("linux", "arm", "7"), entry("linux", "arm", "V7"), entry("linux", "armhf")},
			not:     []*imgspecv1.Platform{entry("linux", "arm"), entry("linux", "arm", "v6"), entry("linux", "armel"), entry("linux", "armhf", "v6")},
		},
		{
			name:    "arm/7 is arm/v7",
			pattern: Pattern{OS: "linux", Architecture: "arm", Variant: "7"},
			yes:     []*imgspecv1.Platform{entry("linux", "arm", "v7"), entry("linux", "arm", "7")},
			not:     []*imgspecv1.Platform{entry("linux", "arm"), entry("linux", "arm", "v6")},
		},
		{
			name:    "armhf implies v7",
			pattern: Pattern{OS: "linux", Architecture: "armhf"},
			yes:     []*imgspecv1.Platform{entry("linux", "arm", "v7"), entry("linux", "armhf")},
			not:     []*imgspecv1.Platform{entry("linux", "arm"), entry("linux", "arm", "v6")},
		},
		{
			name:    "armel implies v6",
			pattern: Pattern{OS: "linux", Architecture: "armel"},
			yes:     []*imgspecv1.Platform{entry("linux", "arm", "v6"), entry("linux", "armel")},
			not:     []*imgspecv1.Platform{entry("linux", "arm"), entry("linux", "arm", "v7")},
		},
		{
			name:    "an explicit variant wins over an implied one",
			pattern: Pattern{OS: "linux", Architecture: "armhf", Variant: "v6"},
			yes:     []*imgspecv1.Platform{entry("linux", "arm", "v6"), entry("linux", "armhf", "v6")},
			not:     []*imgspecv1.Platform{entry("linux", "arm", "v7"), entry("linux", "armhf")},
		},
		{
			name:    "an explicit wildcard wins over an implied variant",
			pattern: Pattern{OS: "linux", Architecture: "armhf", Variant: "*"},
			yes:     []*imgspecv1.Platform{entry("linux", "arm", "v6"), entry("linux", "arm")},
			not:     []*imgspecv1.Platform{entry("linux", "arm64")},
		},
		{
			name:    "arm64 means every arm64",
			pattern: Pattern{OS: "linux", Architecture: "arm64"},
			yes:     []*imgspecv1.Platform{entry("linux", "arm64"), entry("linux", "arm64", "v8"), entry("linux", "arm64", "v9"), entry("linux", "aarch64"), entry("LINUX", "ARM64", "8")},
			not:     []*imgspecv1.Platform{entry("linux", "arm", "v8"), entry("windows", "arm64")},
		},
		{
			name:    "arm64/v8 means the baseline, named or not",
			pattern: Pattern{OS: "linux", Architecture: "arm64", Variant: "v8"},
			yes:     []*imgspecv1.Platform{entry("linux", "arm64"), entry("linux", "arm64", "v8"), entry("linux", "arm64", "8"), entry("linux", "aarch64")},
			not:     []*imgspecv1.Platform{entry("linux", "arm64", "v9"), entry("linux", "arm", "v8")},
		},
		{
			name:    "amd64/v1 means the baseline, named or not",
			pattern: Pattern{OS: "linux", Architecture: "x86-64", Variant: "1"},
			yes:     []*imgspecv1.Platform{entry("linux", "amd64"), entry("linux", "amd64", "v1"), entry("linux", "x86_64")},
			not:     []*imgspecv1.Platform{entry("linux", "amd64", "v2"), entry("linux", "amd64", "v3")},
		},
		{
			name:    "other amd64 variants are told apart",
			pattern: Pattern{OS: "linux", Architecture: "amd64", Variant: "v3"},
			yes:     []*imgspecv1.Platform{entry("linux", "amd64", "v3")},
			not:     []*imgspecv1.Platform{entry("linux", "amd64"), entry("linux", "amd64", "v2")},
		},
		{
			name:    "a variant of any architecture goes by the entry's rules",
			pattern: Pattern{OS: "linux", Architecture: "*", Variant: "8"},
			yes:     []*imgspecv1.Platform{entry("linux", "arm64"), entry("linux", "arm64", "v8"), entry("linux", "arm", "v8"), entry("linux", "riscv64", "8")},
			not:     []*imgspecv1.Platform{entry("linux", "arm"), entry("linux", "amd64"), entry("linux", "arm64", "v9"), entry("linux", "riscv64", "v8")},
		},
		{
			name:    "i386 is 386 and retains its variant",
			pattern: Pattern{OS: "linux", Architecture: "i386", Variant: "sse2"},
			yes:     []*imgspecv1.Platform{entry("linux", "386", "sse2"), entry("linux", "i386", "SSE2")},
			not:     []*imgspecv1.Platform{entry("linux", "386"), entry("linux", "amd64", "sse2")},
		},
		{
			name:    "macos is darwin",
			pattern: Pattern{OS: "macOS", Architecture: "arm64"},
			yes:     []*imgspecv1.Platform{entry("darwin", "arm64"), entry("macos", "arm64")},
			not:     []*imgspecv1.Platform{entry("ios", "arm64")},
		},

		{
			name:    "an OS version matches up to a dot",
			pattern: Pattern{OS: "windows", Architecture: "amd64", OSVersion: "10.0.17763"},
			yes:     []*imgspecv1.Platform{entry("windows", "amd64", "", "10.0.17763"), entry("windows", "amd64", "", "10.0.17763.5122")},
			not:     []*imgspecv1.Platform{entry("windows", "amd64"), entry("windows", "amd64", "", "10.0.177631"), entry("windows", "amd64", "", "10.0"), entry("windows", "amd64", "", "10.0.20348.1")},
		},
		{
			name:    "a full OS version matches itself",
			pattern: Pattern{OS: "windows", Architecture: "amd64", OSVersion: "10.0.17763.5122"},
			yes:     []*imgspecv1.Platform{entry("windows", "amd64", "", "10.0.17763.5122")},
			not:     []*imgspecv1.Platform{entry("windows", "amd64", "", "10.0.17763"), entry("windows", "amd64", "", "10.0.17763.51")},
		},
		{
			name:    "any OS version and none",
			pattern: Pattern{OS: "windows", Architecture: "amd64", OSVersion: "*"},
			yes:     []*imgspecv1.Platform{entry("windows", "amd64", "", "10.0.17763.5122"), entry("windows", "amd64")},
			not:     []*imgspecv1.Platform{entry("linux", "amd64")},
		},
		{
			name:    "OS versions are text",
			pattern: Pattern{OS: "darwin", Architecture: "arm64", OSVersion: "macos 13"},
			yes:     []*imgspecv1.Platform{entry("darwin", "arm64", "", "macOS 13"), entry("darwin", "arm64", "", "macOS 13.2")},
			not:     []*imgspecv1.Platform{entry("darwin", "arm64", "", "macOS 14")},
		},

		{
			name:    "each OS feature is needed",
			pattern: Pattern{OS: "windows", Architecture: "amd64", OSFeatures: []string{"win32k", "gpu"}},
			yes:     []*imgspecv1.Platform{entry("windows", "amd64", "", "", "gpu", "win32k"), entry("windows", "amd64", "", "", "GPU", "other", "Win32k")},
			not:     []*imgspecv1.Platform{entry("windows", "amd64"), entry("windows", "amd64", "", "", "win32k")},
		},
		{
			name:    "no OS feature is needed",
			pattern: Pattern{OS: "windows", Architecture: "amd64", OSFeatures: []string{}},
			yes:     []*imgspecv1.Platform{entry("windows", "amd64"), entry("windows", "amd64", "", "", "win32k")},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, pl := range tt.yes {
				assert.Truef(t, tt.pattern.Matches(pl), "%s should match %s", tt.pattern, Format(pl))
			}
			for _, pl := range tt.not {
				assert.Falsef(t, tt.pattern.Matches(pl), "%s should not match %s", tt.pattern, Format(pl))
			}
		})
	}
}

func TestPatternLiteral(t *testing.T) {
	assert.True(t, Pattern{}.Literal())
	assert.True(t, Pattern{OS: "linux", Architecture: "arm", Variant: "*", OSVersion: "*"}.Literal())
	assert.False(t, Pattern{OS: "*", Architecture: "arm"}.Literal())
	assert.False(t, Pattern{OS: "linux", Architecture: "*"}.Literal())
}

// Every combination of the parts below; small, but with each rule's exceptions.
func allPatterns() []Pattern {
	var all []Pattern
	for _, os := range []string{"", "*", "Linux", "macos"} {
		for _, arch := range []string{"", "*", "amd64", "x86_64", "i386", "arm", "armhf", "ARMEL", "arm64", "aarch64", "riscv64"} {
			for _, variant := range []string{"", "*", "1", "v1", "7", "V7", "8", "v8"} {
				for _, version := range []string{"", "*", "10.0", "macOS 13"} {
					for _, features := range [][]string{nil, {}, {"b", "A", "b"}} {
						all = append(all, Pattern{OS: os, Architecture: arch, Variant: variant, OSVersion: version, OSFeatures: features})
					}
				}
			}
		}
	}
	return all
}

func allPlatforms() []*imgspecv1.Platform {
	all := []*imgspecv1.Platform{nil}
	for _, p := range allPatterns() {
		all = append(all, &imgspecv1.Platform{
			OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures,
		})
	}
	return all
}

// someOf thins out the pairs of allPatterns and allPlatforms, of which there are eighteen million:
// each pattern meets every someOf-th platform, neighbouring patterns meet different ones.
const someOf = 397

func TestNormalizedIsIdempotentAndMatchesTheSame(t *testing.T) {
	platforms := allPlatforms()
	for i, p := range allPatterns() {
		n := p.Normalized()
		require.Equal(t, n, n.Normalized(), "%s", p)
		for j := i % someOf; j < len(platforms); j += someOf {
			pl := platforms[j]
			if p.Matches(pl) != n.Matches(pl) {
				t.Fatalf("%s and %s differ on %s", p, n, Format(pl))
			}
		}
	}
}

func TestPatternMatchesSpellingsAlike(t *testing.T) {
	platforms := allPlatforms()
	for i, p := range allPatterns() {
		for j := i % someOf; j < len(platforms); j += someOf {
			pl := platforms[j]
			n := Normalize(pl)
			if p.Matches(pl) != p.Matches(&n) {
				t.Fatalf("%s tells %s from %s", p, Format(pl), Format(&n))
			}
		}
	}
}

func TestArgumentsAreNotModified(t *testing.T) {
	newPattern := func() Pattern {
		return Pattern{OS: "Windows", Architecture: "X86_64", Variant: "*", OSVersion: "*", OSFeatures: []string{"Win32k", "B", "a", "B"}}
	}
	newEntry := func() *imgspecv1.Platform {
		return entry("Windows", "X86_64", "V1", "10.0.A", "Win32k", "B", "a", "B")
	}
	p, a := newPattern(), newEntry()
	assert.True(t, p.Matches(a))
	_ = p.Validate()
	_ = p.String()
	_ = p.Normalized()
	_ = Format(a)
	_ = Normalize(a)
	assert.Equal(t, newPattern(), p)
	assert.Equal(t, newEntry(), a)
}

func TestNormalFormsShareNoMemory(t *testing.T) {
	p := Pattern{OS: "linux", Architecture: "amd64", OSFeatures: []string{"a", "b"}}
	p.Normalized().OSFeatures[0] = "changed"
	pl := entry("linux", "amd64", "", "", "a", "b")
	Normalize(pl).OSFeatures[0] = "changed"
	assert.Equal(t, []string{"a", "b"}, p.OSFeatures)
	assert.Equal(t, []string{"a", "b"}, pl.OSFeatures)
}

// The public filter is converted to a Pattern, which the compiler allows only for these fields in
// this order.
func TestPatternFields(t *testing.T) {
	type filter struct {
		OS, Architecture string
		Variant          string
		OSVersion        string
		OSFeatures       []string
		Exclude          bool
	}
	assert.True(t, reflect.TypeFor[filter]().ConvertibleTo(reflect.TypeFor[Pattern]()))
}
