package platform

import (
	"slices"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Normalize is pl in its usual spelling: lower case, Go's names for operating systems and
// architectures (amd64, not x86_64), "v7" for variant "7", OS features in ascending order without
// repetitions, and no variant where it names what the architecture means without one (arm64/v8,
// amd64/v1). A variant that pl does not name is not added, unless its architecture's spelling
// implies it (armhf is arm/v7, armel is arm/v6). nil gives the zero platform.
func Normalize(pl *imgspecv1.Platform) imgspecv1.Platform {
	n := orZero(pl)
	n.OS = normalOS(n.OS)
	n.Architecture, n.Variant = normalSpelling(n.Architecture, n.Variant)
	n.Variant = withoutBaseline(n.Architecture, n.Variant)
	n.OSVersion = strings.ToLower(n.OSVersion)
	n.OSFeatures = normalFeatures(n.OSFeatures)
	return n
}

func orZero(pl *imgspecv1.Platform) imgspecv1.Platform {
	if pl == nil {
		return imgspecv1.Platform{}
	}
	return *pl
}

func normalOS(os string) string {
	os = strings.ToLower(os)
	if os == "macos" {
		return "darwin"
	}
	return os
}

// normalSpelling gives an architecture and its variant their usual names. A variant that the
// architecture's name implies is taken only when there is no explicit one.
func normalSpelling(arch, variant string) (string, string) {
	arch, variant = strings.ToLower(arch), strings.ToLower(variant)
	implied := ""
	switch arch {
	case "x86_64", "x86-64":
		arch = "amd64"
	case "aarch64":
		arch = "arm64"
	case "i386":
		arch = "386"
	case "armhf":
		arch, implied = "arm", "v7"
	case "armel":
		arch, implied = "arm", "v6"
	}
	if variant == "" {
		return arch, implied
	}
	switch arch {
	case "amd64", "arm", "arm64":
		if variant[0] >= '0' && variant[0] <= '9' {
			variant = "v" + variant
		}
	}
	return arch, variant
}

// withoutBaseline drops the variant that the architecture means when it says none. arm has no such
// variant: lists that name no arm variant were made for v5, v6 and v7.
func withoutBaseline(arch, variant string) string {
	if arch == "arm64" && variant == "v8" || arch == "amd64" && variant == "v1" {
		return ""
	}
	return variant
}

// normalFeatures is a new slice, nil if there are no features.
func normalFeatures(features []string) []string {
	if len(features) == 0 {
		return nil
	}
	normal := make([]string, len(features))
	for i, feature := range features {
		normal[i] = strings.ToLower(feature)
	}
	slices.Sort(normal)
	return slices.Compact(normal)
}
