// Package buildinfo says which build of a program of this module runs.
package buildinfo

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// release and revision are what a build says of itself that the go command cannot know: one from
// a tree without version control, by
//
//	-ldflags "-X MODULE/internal/buildinfo.release=v1.2.3 -X MODULE/internal/buildinfo.revision=HASH"
//
// where MODULE is that of the examples. They count before what the go command has recorded.
var release, revision string

// unknown is what the go command calls the version of a module that has none.
const unknown = "(devel)"

// The modules whose versions are said.
const (
	library         = "github.com/sparsecopy/sparsecopy"
	containersImage = "go.podman.io/image/v5"
)

// An Info says of what a program was built, and by which Go.
type Info struct {
	// Version is that of the module of the program: a release, a pseudo-version, or "(devel)" where
	// neither the build nor the go command has said one.
	Version string `json:"version"`
	// Revision is the commit: the whole hash, or the 12 digits that a pseudo-version has of it. ""
	// if it is not known.
	Revision string `json:"revision,omitempty"`
	// Modified is set if the tree was not what Revision has.
	Modified bool `json:"modified"`
	// Time is when the revision was committed, as RFC 3339; "" if it is not known.
	Time string `json:"time,omitempty"`
	// Go is the version of Go.
	Go string `json:"go"`
	// Platform is what it was built for, OS/ARCH.
	Platform string `json:"platform"`
	// Library is the version of the library; "" if it is of the same tree as the program.
	Library string `json:"library,omitempty"`
	// ContainersImage is the version of containers/image; "" if the program has none of it.
	ContainersImage string `json:"containersImage,omitempty"`
}

// Read returns what the running program was built of.
func Read() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	return read(build, release, revision)
}

// read is Read of a build that says of itself that it is a release, and of a revision; "" if it
// does not.
func read(build *debug.BuildInfo, release, revision string) Info {
	info := Info{
		Version: cmp.Or(release, build.Main.Version, unknown), Revision: revision,
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Library: moduleVersion(build, library), ContainersImage: moduleVersion(build, containersImage),
	}
	if revision == "" {
		info.recorded(build)
	}
	return info
}

// recorded fills in the revision that the go command has recorded: of the tree that it was run in,
// or of the module that it has fetched.
func (i *Info) recorded(build *debug.BuildInfo) {
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Revision = s.Value
		case "vcs.time":
			i.Time = s.Value
		case "vcs.modified":
			i.Modified = s.Value == "true"
		}
	}
	if found := pseudoVersion().FindStringSubmatch(build.Main.Version); i.Revision == "" && found != nil {
		i.Revision = found[1]
	}
}

// pseudoVersion is a version that the go command has made of a commit, and 12 digits of its hash.
var pseudoVersion = late.Regexp(`[-.]\d{14}-([0-9a-f]{12})(?:\+|$)`)

// moduleVersion is the version of a module that is in the build; "" if it has none.
func moduleVersion(build *debug.BuildInfo, path string) string {
	for _, m := range build.Deps {
		if m.Path != path {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Version != unknown {
			return m.Version
		}
	}
	return ""
}

// Text says all that is known of a build of a program, in lines.
func (i Info) Text(program string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", program, i.Version)
	if i.Revision != "" {
		revision := i.Revision
		if i.Modified {
			revision += ", modified"
		}
		if i.Time != "" {
			revision += ", of " + i.Time
		}
		fmt.Fprintf(&b, "  revision          %s\n", revision)
	}
	fmt.Fprintf(&b, "  built by          %s for %s\n", i.Go, i.Platform)
	if i.Library != "" {
		fmt.Fprintf(&b, "  sparsecopy        %s\n", i.Library)
	}
	if i.ContainersImage != "" {
		fmt.Fprintf(&b, "  containers/image  %s\n", i.ContainersImage)
	}
	return b.String()
}
