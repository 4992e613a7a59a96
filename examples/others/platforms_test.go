package others

import (
	"testing"

	"github.com/containerd/platforms"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/platform"
)

// spellings are platforms in many spellings. Each has an OS, since containerd takes the host's
// where there is none.
func spellings() []*imgspecv1.Platform {
	var all []*imgspecv1.Platform
	for _, os := range []string{"*", "Linux", "macos", "windows"} {
		for _, arch := range []string{"", "*", "amd64", "x86_64", "i386", "arm", "armhf", "ARMEL", "arm64", "aarch64", "riscv64"} {
			for _, variant := range []string{"", "*", "1", "v1", "7", "V7", "8", "v8"} {
				all = append(all, &imgspecv1.Platform{OS: os, Architecture: arch, Variant: variant})
			}
		}
	}
	return all
}

// A spelling that containerd's library knows means the same here, with the exceptions that the
// cases name.
func TestNormalizeAgreesWithContainerd(t *testing.T) {
	for _, pl := range spellings() {
		ours, theirs := platform.Normalize(pl), platforms.Normalize(*pl)
		require.Equal(t, theirs.OS, ours.OS, platform.Format(pl))
		require.Equal(t, theirs.Architecture, ours.Architecture, platform.Format(pl))

		canonical := imgspecv1.Platform{OS: pl.OS, Architecture: ours.Architecture, Variant: pl.Variant}
		switch {
		case pl.Architecture == "arm" && pl.Variant == "":
			require.Empty(t, ours.Variant, "never filled in")
		case pl.Variant == "1" && ours.Architecture == "amd64":
			require.Empty(t, ours.Variant, "containerd does not know the numbers of amd64's variants")
		case pl.Variant == "1" && ours.Architecture == "arm", pl.Variant == "7" && ours.Architecture == "amd64",
			pl.Variant == "8" && ours.Architecture == "amd64", pl.Variant == "1" && ours.Architecture == "arm64",
			pl.Variant == "7" && ours.Architecture == "arm64":
			require.Equal(t, "v"+pl.Variant, ours.Variant, "%s: nor numbers of variants that do not exist", platform.Format(pl))
		case pl.Variant == "":
			require.Equal(t, theirs.Variant, ours.Variant, platform.Format(pl))
		default:
			// containerd forgets an explicit variant next to i386, armhf and armel.
			require.Equal(t, platforms.Normalize(canonical).Variant, ours.Variant, platform.Format(pl))
		}
	}
}
