package sparsesupport

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

func TestParse(t *testing.T) {
	takes := "it announces that it takes sparse lists"
	for name, c := range map[string]struct {
		said registry.Announcement
		want Support
	}{
		"nothing":       {registry.Announcement{RequiredArchitectures: "amd64", Widening: "true"}, Support{}},
		"neither":       {registry.Announcement{SparseManifests: "maybe"}, Support{}},
		"refuses":       {registry.Announcement{SparseManifests: " FALSE"}, Support{Known: true, Basis: "it announces that it does not take them"}},
		"takes":         {registry.Announcement{SparseManifests: "True "}, Support{Known: true, Accepts: true, Basis: takes}},
		"takes, widens": {registry.Announcement{SparseManifests: "true", Widening: "true"}, Support{Known: true, Accepts: true, Widens: true, Basis: takes}},
		"requires": {
			registry.Announcement{SparseManifests: "true", RequiredArchitectures: " amd64, ,arm64"},
			Support{
				Known: true, Accepts: true, RequiredArchitectures: []string{"amd64", "arm64"},
				Basis: takes + ", and requires amd64 and arm64",
			},
		},
	} {
		assert.Equal(t, c.want, parse(c.said), name)
	}
}
