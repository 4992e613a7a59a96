package sparsesupport

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

func TestParse(t *testing.T) {
	takes := "it announces that it takes sparse lists"
	for name, c := range map[string]struct {
		said endpoint.Announcement
		want Support
	}{
		"nothing":       {endpoint.Announcement{RequiredArchitectures: "amd64", Widening: "true"}, Support{}},
		"neither":       {endpoint.Announcement{SparseManifests: "maybe"}, Support{}},
		"refuses":       {endpoint.Announcement{SparseManifests: " FALSE"}, Support{Known: true, Basis: "it announces that it does not take them"}},
		"takes":         {endpoint.Announcement{SparseManifests: "True "}, Support{Known: true, Accepts: true, Basis: takes}},
		"takes, widens": {endpoint.Announcement{SparseManifests: "true", Widening: "true"}, Support{Known: true, Accepts: true, Widens: true, Basis: takes}},
		"requires platforms": {
			endpoint.Announcement{SparseManifests: "true", RequiredArchitectures: "amd64", RequiredPlatforms: "linux/arm/v7, windows/amd64", RequiredWithoutPlatform: "True"},
			Support{
				Known: true, Accepts: true, RequiredArchitectures: []string{"amd64"}, RequiredPlatforms: []string{"linux/arm/v7", "windows/amd64"},
				RequiresWithoutPlatform: true, Basis: takes + ", and requires amd64, linux/arm/v7 and windows/amd64",
			},
		},
		"requires one platform": {
			endpoint.Announcement{SparseManifests: "true", RequiredPlatforms: "linux/arm", RequiredWithoutPlatform: "false"},
			Support{Known: true, Accepts: true, RequiredPlatforms: []string{"linux/arm"}, Basis: takes + ", and requires linux/arm"},
		},
		"requires nothing else": {
			endpoint.Announcement{SparseManifests: "true", RequiredWithoutPlatform: "true"},
			Support{Known: true, Accepts: true, Basis: takes},
		},
		"requires": {
			endpoint.Announcement{SparseManifests: "true", RequiredArchitectures: " amd64, ,arm64"},
			Support{
				Known: true, Accepts: true, RequiredArchitectures: []string{"amd64", "arm64"},
				Basis: takes + ", and requires amd64 and arm64",
			},
		},
	} {
		assert.Equal(t, c.want, parse(c.said), name)
	}
}
