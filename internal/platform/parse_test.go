package platform

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Pattern
		text string // of the result, if it is not in
	}{
		{in: "linux/amd64", want: Pattern{OS: "linux", Architecture: "amd64"}},
		{in: "linux/*", want: Pattern{OS: "linux", Architecture: "*"}},
		{in: "*/amd64", want: Pattern{OS: "*", Architecture: "amd64"}},
		{in: "*/*", want: Pattern{OS: "*", Architecture: "*"}},
		{in: "!windows/*", want: Pattern{OS: "windows", Architecture: "*", Exclude: true}},
		{in: "linux/arm", want: Pattern{OS: "linux", Architecture: "arm"}},
		{in: "linux/arm/v7", want: Pattern{OS: "linux", Architecture: "arm", Variant: "v7"}},
		{in: "linux/arm64/v8", want: Pattern{OS: "linux", Architecture: "arm64", Variant: "v8"}},
		{in: "*/*/v7", want: Pattern{OS: "*", Architecture: "*", Variant: "v7"}},
		{in: "az09._-/azAZ09", want: Pattern{OS: "az09._-", Architecture: "azaz09"}, text: "az09._-/azaz09"},
		{in: "unknown/unknown", want: Pattern{OS: "unknown", Architecture: "unknown"}},
		{in: "windows/amd64:10.0.17763", want: Pattern{OS: "windows", Architecture: "amd64", OSVersion: "10.0.17763"}},
		{in: "windows/arm64/v8:10.0.17763.1", want: Pattern{OS: "windows", Architecture: "arm64", Variant: "v8", OSVersion: "10.0.17763.1"}},
		{in: "windows/amd64:10.0.17763+win32k", want: Pattern{OS: "windows", Architecture: "amd64", OSVersion: "10.0.17763", OSFeatures: []string{"win32k"}}},
		{in: "windows/amd64+win32k", want: Pattern{OS: "windows", Architecture: "amd64", OSFeatures: []string{"win32k"}}},

		{in: "linux/arm/*", want: Pattern{OS: "linux", Architecture: "arm"}, text: "linux/arm"},
		{in: "windows/amd64:*", want: Pattern{OS: "windows", Architecture: "amd64"}, text: "windows/amd64"},
		{in: "windows/amd64+b+A+b", want: Pattern{OS: "windows", Architecture: "amd64", OSFeatures: []string{"a", "b"}}, text: "windows/amd64+a+b"},
		{in: "Linux/X86_64", want: Pattern{OS: "linux", Architecture: "amd64"}, text: "linux/amd64"},
		{in: "linux/x86-64/1", want: Pattern{OS: "linux", Architecture: "amd64", Variant: "v1"}, text: "linux/amd64/v1"},
		{in: "linux/aarch64", want: Pattern{OS: "linux", Architecture: "arm64"}, text: "linux/arm64"},
		{in: "linux/i386", want: Pattern{OS: "linux", Architecture: "386"}, text: "linux/386"},
		{in: "linux/armhf", want: Pattern{OS: "linux", Architecture: "arm", Variant: "v7"}, text: "linux/arm/v7"},
		{in: "linux/armel", want: Pattern{OS: "linux", Architecture: "arm", Variant: "v6"}, text: "linux/arm/v6"},
		{in: "linux/arm/7", want: Pattern{OS: "linux", Architecture: "arm", Variant: "v7"}, text: "linux/arm/v7"},
		{in: "macOS/arm64:macOS 14", want: Pattern{OS: "darwin", Architecture: "arm64", OSVersion: "macos 14"}, text: "darwin/arm64:macos 14"},

		{in: "windows(10.0.17763)/amd64", want: Pattern{OS: "windows", Architecture: "amd64", OSVersion: "10.0.17763"}, text: "windows/amd64:10.0.17763"},
		{in: "!windows(10.0.17763+win32k)/*", want: Pattern{OS: "windows", Architecture: "*", OSVersion: "10.0.17763", OSFeatures: []string{"win32k"}, Exclude: true}, text: "!windows/*:10.0.17763+win32k"},
		{in: "windows(+win32k)/arm64/v8", want: Pattern{OS: "windows", Architecture: "arm64", Variant: "v8", OSFeatures: []string{"win32k"}}, text: "windows/arm64/v8+win32k"},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := Parse(tt.in)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
			if tt.text == "" {
				tt.text = tt.in
			}
			assert.Equal(t, tt.text, got.String())
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", `platform "": empty; write it as in "linux/amd64", "linux/*" or "!windows/*"`},
		{"!", `platform "!": empty; write it as in "linux/amd64", "linux/*" or "!windows/*"`},
		{"linux", `platform "linux": architecture is absent; write "linux/*" for every architecture`},
		{"macOS", `platform "macOS": architecture is absent; write "macOS/*" for every architecture`},
		{"amd64", `platform "amd64": OS is absent; write "*/amd64" for every OS`},
		{"x86_64", `platform "x86_64": OS is absent; write "*/x86_64" for every OS`},
		{"toaster", `platform "toaster": OS or architecture is absent; write both, as in "linux/amd64", or "toaster/*" or "*/toaster"`},
		{"no platform", `platform "no platform": no text stands for it; select an entry without a platform by its digest or position`},
		{"/", `platform "/": OS is empty; write it as in "linux/amd64", or "*" for any`},
		{"/amd64", `platform "/amd64": OS is empty; write it as in "linux/amd64", or "*" for any`},
		{"linux/", `platform "linux/": architecture is empty; write it as in "linux/amd64", or "*" for any`},
		{"linux/:10", `platform "linux/:10": architecture is empty; write it as in "linux/amd64", or "*" for any`},
		{"linux/+a", `platform "linux/+a": architecture is empty; write it as in "linux/amd64", or "*" for any`},
		{"linux//v7", `platform "linux//v7": architecture is empty; write it as in "linux/amd64", or "*" for any`},
		{"linux/arm/", `platform "linux/arm/": variant is empty; write it as in "linux/arm/v7", or leave out the last "/" for any`},
		{"linux/arm/v7/x", `platform "linux/arm/v7/x": variant "v7/x" contains '/'; write it as in "linux/arm/v7" or "windows/amd64:10.0.17763"`},
		{"linux/arm*", `platform "linux/arm*": architecture "arm*": "*" stands for a whole part, as in "linux/*"`},
		{"**/amd64", `platform "**/amd64": OS "**": "*" stands for a whole part, as in "linux/*"`},
		{"!!linux/amd64", `platform "!!linux/amd64": OS "!linux" contains '!'; write it as in "linux/arm/v7" or "windows/amd64:10.0.17763"`},
		{"linux/amd64,linux/arm64", `platform "linux/amd64,linux/arm64": architecture "amd64,linux" contains ',': give each platform on its own`},
		{" linux/amd64", `platform " linux/amd64": OS " linux" contains ' '; write it as in "linux/arm/v7" or "windows/amd64:10.0.17763"`},
		{"linux/amd64\n", `platform "linux/amd64\n": architecture "amd64\n" contains '\n'; write it as in "linux/arm/v7" or "windows/amd64:10.0.17763"`},
		{"linux/\xff", `platform "linux/\xff": architecture "\xff" contains '�'; write it as in "linux/arm/v7" or "windows/amd64:10.0.17763"`},
		{"windows:10.0/amd64", `platform "windows:10.0/amd64": OS "windows:10.0" contains ':'; write it as in "linux/arm/v7" or "windows/amd64:10.0.17763"`},
		{"windows/amd64:", `platform "windows/amd64:": OS version is empty; write it as in "windows/amd64:10.0.17763", or leave out the ":" for any`},
		{"windows()/amd64", `platform "windows()/amd64": OS version is empty; write it as in "windows/amd64:10.0.17763", or leave out the ":" for any`},
		{"windows/amd64:10.0.*", `platform "windows/amd64:10.0.*": OS version "10.0.*": write its beginning up to a dot, as in "10.0.17763", which matches 10.0.17763.1 too`},
		{"windows/amd64:10.0.", `platform "windows/amd64:10.0.": OS version "10.0.": write its beginning up to a dot, as in "10.0.17763", which matches 10.0.17763.1 too`},
		{"windows/amd64: 10", `platform "windows/amd64: 10": OS version " 10" begins or ends with a space`},
		{"windows/amd64:10:11", `platform "windows/amd64:10:11": OS version "10:11" contains ':'; write it as in "linux/arm/v7" or "windows/amd64:10.0.17763"`},
		{"windows/amd64+", `platform "windows/amd64+": OS feature is empty; write it as in "windows/amd64+win32k"`},
		{"windows/amd64+a++b", `platform "windows/amd64+a++b": OS feature is empty; write it as in "windows/amd64+win32k"`},
		{"windows/amd64+*", `platform "windows/amd64+*": OS feature "*": there are no wildcards; leave it out to match any`},
		{"windows/amd64+a:10", `platform "windows/amd64+a:10": OS feature "a:10" contains ':'; write it as in "linux/arm/v7" or "windows/amd64:10.0.17763"`},
		{"windows(10.0/amd64", `platform "windows(10.0/amd64": OS "windows(10.0": no ")" after the OS version, as in "windows(10.0.17763)/amd64"`},
		{"windows(10.0)/amd64:10.0", `platform "windows(10.0)/amd64:10.0": OS version is given twice, as ":10.0" and as ":10.0"`},
		{"(10.0)/amd64", `platform "(10.0)/amd64": OS is empty; write it as in "linux/amd64", or "*" for any`},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := Parse(tt.in)
			assert.EqualError(t, err, tt.want)
			assert.Zero(t, got)
		})
	}
}

func TestPatternValidate(t *testing.T) {
	for _, tt := range []struct {
		pattern Pattern
		want    string // "" if valid
	}{
		{Pattern{}, ""},
		{Pattern{OS: "linux"}, ""},
		{Pattern{Architecture: "amd64"}, ""},
		{Pattern{OS: "Linux", Architecture: "x86_64", Variant: "*", OSVersion: "*", OSFeatures: []string{"a", "B"}, Exclude: true}, ""},
		{Pattern{OS: "linux", OSVersion: "1"}, ""},
		{Pattern{Architecture: "arm", Variant: "v7"}, ""},

		{Pattern{OS: "*"}, `platform */"": architecture is empty: "" matches only an entry without one, "*" matches any`},
		{Pattern{Architecture: "*"}, `platform ""/*: OS is empty: "" matches only an entry without one, "*" matches any`},
		{Pattern{Variant: "v7"}, `platform ""/""/v7: architecture is empty: "" matches only an entry without one, "*" matches any`},
		{Pattern{OSVersion: "1"}, `platform ""/"":1: OS is empty: "" matches only an entry without one, "*" matches any`},
		{Pattern{OSFeatures: []string{"a"}}, `platform ""/""+a: OS is empty: "" matches only an entry without one, "*" matches any`},
		{Pattern{OS: "linux", Variant: "*"}, `platform linux/""/*: architecture is empty: "" matches only an entry without one, "*" matches any`},
		{Pattern{OS: "linux/amd64"}, `platform "linux/amd64"/"": OS "linux/amd64" contains '/'; write it as in "linux/arm/v7" or "windows/amd64:10.0.17763"`},
		{Pattern{OS: "linux", Architecture: "a\tb"}, `platform linux/"a\tb": architecture "a\tb" contains '\t'; write it as in "linux/arm/v7" or "windows/amd64:10.0.17763"`},
		{Pattern{OS: "linux", Architecture: "arm", Variant: "v*"}, `platform linux/arm/"v*": variant "v*": "*" stands for a whole part, as in "linux/*"`},
		{Pattern{OS: "linux", Architecture: "arm", OSFeatures: []string{""}}, `platform linux/arm+"": OS feature is empty; write it as in "windows/amd64+win32k"`},
		// One mistake at a time, so that the message stays one line.
		{Pattern{OS: "a b", Architecture: "c d"}, `platform "a b"/"c d": OS "a b" contains ' '; write it as in "linux/arm/v7" or "windows/amd64:10.0.17763"`},
	} {
		t.Run(tt.pattern.String(), func(t *testing.T) {
			err := tt.pattern.Validate()
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, tt.want)
		})
	}
}

func TestParseReadsString(t *testing.T) {
	for _, p := range allPatterns() {
		if p.Validate() != nil || p.OS == "" || p.Architecture == "" {
			continue
		}
		for _, p.Exclude = range []bool{false, true} {
			got, err := Parse(p.String())
			require.NoError(t, err)
			require.Equal(t, p.Normalized(), got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "!", "/", "linux", "linux/amd64", "!windows/*", "*/*/*:*", "linux/arm/v7", "linux/armhf/*", "linux/ARMEL",
		"windows/amd64:10.0.17763.1+win32k", "windows(10.0.17763+win32k)/amd64", "windows(+a)/arm64/8", "darwin/arm64:macOS 14",
		"linux/amd64,linux/arm64", "windows()/a", "a(b(c))/d", "a/b:c:d+e/f", "a/b+c+", "no platform", `linux/""`, "linux/\xff", "lİnux/K",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Parse(s)
		if err != nil {
			require.Zero(t, p)
			require.Equal(t, 0, strings.Count(err.Error(), "\n"), "one line")
			return
		}
		require.NoError(t, p.Validate())
		require.Equal(t, p, p.Normalized())
		require.NotEmpty(t, p.OS)
		require.NotEmpty(t, p.Architecture)
		require.Equal(t, strings.HasPrefix(s, "!"), p.Exclude)

		again, err := Parse(p.String())
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}
