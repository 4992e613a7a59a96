package platform

import (
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWithin(t *testing.T) {
	for _, tt := range []struct {
		name               string
		outer, inner, want *imgspecv1.Platform
	}{
		{"neither says anything", nil, nil, nil},
		{"an empty one is no better than none", &imgspecv1.Platform{}, nil, nil},
		{"the inner one alone", nil, entry("linux", "amd64"), entry("linux", "amd64")},
		{"the outer one alone", entry("linux", "amd64"), nil, entry("linux", "amd64")},
		{"an empty inner one", entry("linux", "arm64", "v8"), &imgspecv1.Platform{}, entry("linux", "arm64", "v8")},

		{"the same", entry("linux", "amd64"), entry("linux", "amd64"), entry("linux", "amd64")},
		{"the same in another spelling", entry("linux", "arm64"), entry("Linux", "aarch64", "8"), entry("linux", "arm64", "8")},
		{"a variant more", entry("linux", "arm"), entry("linux", "arm", "v7"), entry("linux", "arm", "v7")},
		{"another variant", entry("linux", "arm", "v6"), entry("linux", "arm", "v7"), entry("linux", "arm", "v6")},
		{"a variant less", entry("linux", "amd64", "v3"), entry("linux", "amd64"), entry("linux", "amd64", "v3")},
		{"a variant that the spelling implies", entry("linux", "armhf"), entry("linux", "arm", "v6"), entry("linux", "armhf")},

		{"an OS version more", entry("windows", "amd64"), entry("windows", "amd64", "", "10.0.1"), entry("windows", "amd64", "", "10.0.1")},
		{"an OS version continued", entry("windows", "amd64", "", "10.0"), entry("windows", "amd64", "", "10.0.1"), entry("windows", "amd64", "", "10.0.1")},
		{"another OS version", entry("windows", "amd64", "", "10.0"), entry("windows", "amd64", "", "10.01"), entry("windows", "amd64", "", "10.0")},
		{"an OS version less", entry("windows", "amd64", "", "10.0.1"), entry("windows", "amd64", "", "10.0"), entry("windows", "amd64", "", "10.0.1")},
		{"letters of an OS version", entry("linux", "amd64", "", "Edge"), entry("linux", "amd64", "", "edge.1"), entry("linux", "amd64", "", "edge.1")},
		{"features more", entry("windows", "amd64"), entry("windows", "amd64", "", "", "a"), entry("windows", "amd64", "", "", "a")},
		{"other features", entry("windows", "amd64", "", "", "a"), entry("windows", "amd64", "", "", "b"), entry("windows", "amd64", "", "", "a")},

		{"another operating system", entry("linux", "arm64"), entry("windows", "arm64", "v9"), entry("linux", "arm64")},
		{"another architecture", entry("linux", "arm64"), entry("linux", "arm", "v7"), entry("linux", "arm64")},
		{"an operating system only", entry("linux", ""), entry("linux", "arm", "v7"), entry("linux", "arm", "v7")},
		{"an architecture only", entry("", "arm"), entry("linux", "arm", "v7"), entry("linux", "arm", "v7")},
		{"half of the outer one is contradicted", entry("linux", ""), entry("windows", "amd64"), entry("linux", "")},
		{"half of the inner one", entry("linux", "amd64"), entry("", "amd64", "v2"), entry("linux", "amd64", "v2")},

		{"the outer one is for no platform", entry("unknown", "unknown"), entry("linux", "amd64"), entry("linux", "amd64")},
		{"no platform is not inherited", entry("unknown", "unknown"), nil, nil},
		{"the inner one is for no platform", entry("linux", "amd64"), entry("Unknown", "unknown"), entry("Unknown", "unknown")},
		{"half of it is unknown", entry("linux", "amd64"), entry("linux", "unknown"), entry("linux", "amd64")},
	} {
		got := Within(tt.outer, tt.inner)
		assert.Equal(t, tt.want == nil, got == nil, tt.name)
		assert.Equal(t, literally(tt.want), literally(got), tt.name)
	}
}

// What the outer one says selects: nothing is selected by it alone that is not selected by both,
// but for what a variant or a version says more precisely.
func TestWithinStaysWithin(t *testing.T) {
	all := allPlatforms()
	for i, outer := range all {
		for j := i % 97; j < len(all); j += 97 { // some, and others each time
			p := Within(outer, all[j])
			if Absent(outer) || Unknown(outer) || Unknown(all[j]) {
				require.Same(t, all[j], p)
				continue
			}
			require.False(t, contradict(outer, p), "%s in %s", Format(all[j]), Format(outer))
			require.Equal(t, literally(p), literally(Within(outer, p)), "%s in %s", Format(all[j]), Format(outer))
		}
	}
}

func TestAbsent(t *testing.T) {
	for _, pl := range []*imgspecv1.Platform{nil, {}, {OSFeatures: []string{}}} {
		assert.True(t, Absent(pl))
	}
	for _, pl := range []*imgspecv1.Platform{entry("linux", ""), entry("", "amd64"), entry("", "", "v7"), entry("", "", "", "1"), entry("", "", "", "", "")} {
		assert.False(t, Absent(pl), Format(pl))
	}
}
