package buildinfo

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
)

// build is what the go command records of a module's main package.
func build(version string, settings ...string) *debug.BuildInfo {
	b := &debug.BuildInfo{
		Main: debug.Module{Path: library + "/examples", Version: version},
		Deps: []*debug.Module{{Path: "example.com/other", Version: "v0.1.0"}, {Path: library, Version: unknown}, {Path: containersImage, Version: "v5.42.1"}},
	}
	for i := 0; i < len(settings); i += 2 {
		b.Settings = append(b.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
	}
	return b
}

func TestRead(t *testing.T) {
	const hash = "0123456789abcdef0123456789abcdef01234567"
	pseudo := "v1.2.4-0.20260102030405-0123456789ab"
	for name, c := range map[string]struct {
		build             *debug.BuildInfo
		release, revision string
		want              Info
	}{
		"nothing is known":           {&debug.BuildInfo{}, "", "", Info{Version: unknown}},
		"without version control":    {build(unknown), "", "", Info{Version: unknown, ContainersImage: "v5.42.1"}},
		"a release that was fetched": {build("v1.2.3"), "", "", Info{Version: "v1.2.3", ContainersImage: "v5.42.1"}},
		"a commit that was fetched":  {build(pseudo), "", "", Info{Version: pseudo, Revision: "0123456789ab", ContainersImage: "v5.42.1"}},
		"a commit before releases": {
			build("v0.0.0-20260102030405-0123456789ab+incompatible"), "", "",
			Info{Version: "v0.0.0-20260102030405-0123456789ab+incompatible", Revision: "0123456789ab", ContainersImage: "v5.42.1"},
		},
		"a tree": {
			build(pseudo+"+dirty", "-compiler", "gc", "vcs.revision", hash, "vcs.time", "2026-01-02T03:04:05Z", "vcs.modified", "true"), "", "",
			Info{Version: pseudo + "+dirty", Revision: hash, Modified: true, Time: "2026-01-02T03:04:05Z", ContainersImage: "v5.42.1"},
		},
		"what the build says": {build(unknown), "v1.2.3", hash, Info{Version: "v1.2.3", Revision: hash, ContainersImage: "v5.42.1"}},
		"what the build says, in a tree": {
			build(pseudo, "vcs.revision", "other", "vcs.modified", "true"), "v1.2.3", hash,
			Info{Version: "v1.2.3", Revision: hash, ContainersImage: "v5.42.1"},
		},
	} {
		c.want.Go, c.want.Platform = runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH
		assert.Equal(t, c.want, read(c.build, c.release, c.revision), name)
	}

	other := build("v1.2.3")
	other.Deps[1] = &debug.Module{Path: library, Version: "v1.2.2"}
	other.Deps[2] = &debug.Module{Path: containersImage, Version: "v5.1.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v5.9.0"}}
	got := read(other, "", "")
	assert.Equal(t, "v1.2.2", got.Library)
	assert.Equal(t, "v5.9.0", got.ContainersImage)
	assert.NotEmpty(t, Read().Version)
}

func TestText(t *testing.T) {
	i := Info{Version: "v1.2.3", Go: "go1.26.0", Platform: "linux/arm64"}
	assert.Equal(t, `mirror v1.2.3
  built by          go1.26.0 for linux/arm64
`, i.Text("mirror"))
	i.Revision, i.Modified, i.Time, i.Library, i.ContainersImage = "0123", true, "2026-01-02T03:04:05Z", "v1.2.2", "v5.42.1"
	assert.Equal(t, `mirror v1.2.3
  revision          0123, modified, of 2026-01-02T03:04:05Z
  built by          go1.26.0 for linux/arm64
  sparsecopy        v1.2.2
  containers/image  v5.42.1
`, i.Text("mirror"))
}
