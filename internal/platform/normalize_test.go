package platform

import (
	"math/rand/v2"
	"slices"
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

func TestEqual(t *testing.T) {
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
		assert.Equalf(t, tt.want, Equal(tt.a, tt.b), "%s and %s", Format(tt.a), Format(tt.b))
		assert.Equalf(t, tt.want, Equal(tt.b, tt.a), "%s and %s", Format(tt.b), Format(tt.a))
	}
}

func TestCompareSorts(t *testing.T) {
	sorted := []*imgspecv1.Platform{
		nil,
		entry("darwin", "arm64"),
		entry("macos", "arm64"),
		entry("linux", "amd64"),
		entry("linux", "amd64", "v1"),
		entry("linux", "x86_64"),
		entry("linux", "amd64", "v2"),
		entry("linux", "arm"),
		entry("linux", "arm", "v6"),
		entry("linux", "arm", "7"),
		entry("linux", "arm", "v7"),
		entry("linux", "arm64"),
		entry("unknown", "unknown"),
		entry("windows", "amd64", "", "10.0.1"),
		entry("windows", "amd64", "", "10.0.2"),
		entry("windows", "amd64", "", "10.0.2", "a", "b"),
		entry("windows", "amd64", "", "10.0.2", "b", "a"),
	}
	// Sorting any permutation gives the same order.
	for seed := range uint64(100) {
		got := slices.Clone(sorted)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		slices.SortFunc(got, Compare)
		require.Equal(t, sorted, got, "seed %d", seed)
	}
}

func TestCompareIsZeroOnlyForTheSameText(t *testing.T) {
	all := allPlatforms()
	slices.SortFunc(all, Compare)
	for i := 1; i < len(all); i++ {
		a, b := all[i-1], all[i]
		require.LessOrEqual(t, Compare(a, b), 0)
		require.GreaterOrEqual(t, Compare(b, a), 0)
		require.Equalf(t, Compare(a, b) == 0, Format(a) == Format(b), "%s and %s", Format(a), Format(b))
	}
}
