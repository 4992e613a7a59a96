package platform

import (
	"reflect"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNormalize(t *testing.T) {
	for _, tt := range []struct{ in, want *imgspecv1.Platform }{
		{nil, entry("", "")},
		{entry("", ""), entry("", "")},
		{entry("linux", "amd64"), entry("linux", "amd64")},
		{entry("LINUX", "AMD64", "V1"), entry("linux", "amd64")},
		{entry("linux", "x86_64", "1"), entry("linux", "amd64")},
		{entry("linux", "x86-64", "v2"), entry("linux", "amd64", "v2")},
		{entry("linux", "amd64", "3"), entry("linux", "amd64", "v3")},
		{entry("linux", "aarch64", "v8"), entry("linux", "arm64")},
		{entry("linux", "arm64", "8"), entry("linux", "arm64")},
		{entry("linux", "arm64", "9"), entry("linux", "arm64", "v9")},
		{entry("linux", "arm"), entry("linux", "arm")},
		{entry("linux", "arm", "7"), entry("linux", "arm", "v7")},
		{entry("linux", "arm", "v8"), entry("linux", "arm", "v8")},
		{entry("linux", "arm", "0"), entry("linux", "arm", "v0")},
		{entry("linux", "arm", "9"), entry("linux", "arm", "v9")},
		{entry("linux", "arm", "/"), entry("linux", "arm", "/")}, // the characters before 0 and after 9
		{entry("linux", "arm", ":"), entry("linux", "arm", ":")},
		{entry("linux", "armhf"), entry("linux", "arm", "v7")},
		{entry("linux", "armel"), entry("linux", "arm", "v6")},
		{entry("linux", "armel", "5"), entry("linux", "arm", "v5")},
		{entry("linux", "i386", "sse2"), entry("linux", "386", "sse2")},
		{entry("linux", "mips64", "1"), entry("linux", "mips64", "1")},
		{entry("macOS", "arm64", "", "MacOS 13"), entry("darwin", "arm64", "", "macos 13")},
		{entry("windows", "amd64", "", "10.0", "B", "a", "b"), entry("windows", "amd64", "", "10.0", "a", "b")},
		{entry("unknown", "unknown"), entry("unknown", "unknown")},
	} {
		assert.Equal(t, *tt.want, Normalize(tt.in), Format(tt.in))
	}
}

func TestNormalizeIsIdempotent(t *testing.T) {
	for _, pl := range allPlatforms() {
		once := Normalize(pl)
		require.Equal(t, once, Normalize(&once), Format(pl))
	}
}

func TestNormalizeTellsPlatformsApart(t *testing.T) {
	for _, tt := range []struct {
		a, b *imgspecv1.Platform
		want bool
	}{
		{nil, nil, true},
		{nil, entry("", ""), true},
		{nil, entry("unknown", "unknown"), false},
		{entry("linux", "arm64"), entry("linux", "arm64", "v8"), true},
		{entry("linux", "arm64"), entry("linux", "arm64", "v9"), false},
		{entry("linux", "amd64"), entry("Linux", "x86_64", "1"), true},
		{entry("linux", "arm"), entry("linux", "arm", "v7"), false},
		{entry("linux", "armhf"), entry("linux", "arm", "v7"), true},
		{entry("windows", "amd64", "", "10.0.1"), entry("windows", "amd64", "", "10.0.2"), false},
		{entry("windows", "amd64", "", "", "a", "b"), entry("windows", "amd64", "", "", "b", "a"), true},
		{entry("windows", "amd64", "", "", "a"), entry("windows", "amd64"), false},
	} {
		same := reflect.DeepEqual(Normalize(tt.a), Normalize(tt.b))
		assert.Equalf(t, tt.want, same, "%s and %s", Format(tt.a), Format(tt.b))
	}
}

func TestFormatIsTheSameOnlyForTheSamePlatform(t *testing.T) {
	said := map[string]imgspecv1.Platform{}
	for _, pl := range allPlatforms() {
		text := Format(pl)
		if other, ok := said[text]; ok {
			require.Equal(t, other, literally(pl), text)
		}
		said[text] = literally(pl)
	}
}

// literally returns pl as a value that equals another if and only if both say the same.
func literally(pl *imgspecv1.Platform) imgspecv1.Platform {
	p := orZero(pl)
	if len(p.OSFeatures) == 0 {
		p.OSFeatures = nil
	}
	return p
}
