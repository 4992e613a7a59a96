package platform

import (
	"reflect"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		pl   *imgspecv1.Platform
		want string
	}{
		{nil, "no platform"},
		{&imgspecv1.Platform{}, "no platform"},
		{&imgspecv1.Platform{OSFeatures: []string{}}, "no platform"},
		{entry("linux", "amd64"), "linux/amd64"},
		{entry("linux", "arm64", "v8"), "linux/arm64/v8"},
		{entry("Linux", "x86_64"), "Linux/x86_64"},
		{entry("unknown", "unknown"), "unknown/unknown"},
		{entry("windows", "amd64", "", "10.0.17763.1"), "windows/amd64:10.0.17763.1"},
		{entry("windows", "arm64", "v8", "10.0.17763.1", "win32k", "B"), "windows/arm64/v8:10.0.17763.1+win32k+B"},
		{entry("windows", "amd64", "", "", "win32k"), "windows/amd64+win32k"},
		{entry("darwin", "arm64", "", "macOS 14"), "darwin/arm64:macOS 14"},

		{entry("linux", ""), `linux/""`},
		{entry("", "amd64"), `""/amd64`},
		{entry("", "", "v7"), `""/""/v7`},
		{entry("", "", "", "", ""), `""/""+""`},
		{entry("*", "amd64"), `"*"/amd64`},
		{entry("linux", "*"), `linux/"*"`},
		{entry("!linux", "amd64"), `"!linux"/amd64`},
		{entry("linux", "arm/v7"), `linux/"arm/v7"`},
		{entry("no platform", ""), `"no platform"/""`},
		{entry("linux", `"amd64"`), `linux/"\"amd64\""`},
		{entry("linux", "amd64", "", "1+a"), `linux/amd64:"1+a"`},
		{entry("linux", "amd64", "", "10.0."), `linux/amd64:"10.0."`},
		{entry("linux", "amd64", "", " "), `linux/amd64:" "`},
		{entry("linux", "amd\x1b[2J\n"), `linux/"amd\x1b[2J\n"`},
		{entry("linux", "\u202eamd64"), `linux/"\u202eamd64"`},
		{entry("linux", "\u0430md64"), `linux/"\u0430md64"`}, // a Cyrillic letter
		{entry("linux", "\xff"), `linux/"\xff"`},
	} {
		assert.Equal(t, tt.want, Format(tt.pl))
	}
}

func TestPatternString(t *testing.T) {
	for _, tt := range []struct {
		pattern Pattern
		want    string
	}{
		{Pattern{}, "no platform"},
		{Pattern{Exclude: true}, "!no platform"},
		{Pattern{OS: "linux"}, `linux/""`},
		{Pattern{OS: "linux", Architecture: "*"}, "linux/*"},
		{Pattern{OS: "*", Architecture: "amd64", Exclude: true}, "!*/amd64"},
		{Pattern{OS: "linux", Architecture: "arm", Variant: "*"}, "linux/arm/*"},
		{Pattern{OS: "windows", Architecture: "amd64", OSVersion: "*", OSFeatures: []string{"win32k", "b"}}, "windows/amd64:*+win32k+b"},
		{Pattern{OS: "linux/amd64"}, `"linux/amd64"/""`},
		{Pattern{OS: "linux", Architecture: "arm*"}, `linux/"arm*"`},
	} {
		assert.Equal(t, tt.want, tt.pattern.String())
	}
}

// What an error message offers can be pasted into a filter.
func TestParseReadsFormat(t *testing.T) {
	parsed := 0
	for _, pl := range allPlatforms() {
		p, err := Parse(Format(pl))
		if err != nil {
			continue
		}
		parsed++
		require.True(t, p.Literal(), Format(pl))
		require.True(t, p.Matches(pl), Format(pl))
	}
	// 2 OSes, 9 architectures, 7 variants, 3 versions, 3 lists of features have no empty or odd
	// part.
	require.Equal(t, 2*9*7*3*3, parsed)
}

func FuzzFormat(f *testing.F) {
	f.Add("linux", "amd64", "", "", "", "linux", "amd64", "", "1+a", "")
	f.Add("windows", "amd64", "", "1+a", "", "windows", "amd64", "", "1", "a")
	f.Add("windows", "amd64", "", "1", "a+b", "windows", "amd64", "", "1+a", "b")
	f.Add("linux", "arm/v7", "", "", "", "linux", "arm", "v7", "", "")
	f.Add("a", "\xff", "", "", "", "a", "\xfe", "", "", "")
	f.Fuzz(func(t *testing.T, os, arch, variant, version, feature, os2, arch2, variant2, version2, feature2 string) {
		a, b := entry(os, arch, variant, version, feature), entry(os2, arch2, variant2, version2, feature2)
		require.Equalf(t, reflect.DeepEqual(literally(a), literally(b)), Format(a) == Format(b), "%#v\n%#v", a, b)
		for _, r := range Format(a) {
			require.Truef(t, r >= ' ' && r <= '~', "%+q", Format(a))
		}
		if p, err := Parse(Format(a)); err == nil {
			require.True(t, p.Matches(a), Format(a))
		}
	})
}
