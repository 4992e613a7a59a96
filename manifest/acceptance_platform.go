package manifest

import (
	"fmt"
	"slices"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// knownSystems are the operating systems that a required platform may have: Go's values of GOOS,
// which image-spec v1.1 ("OCI Image Index", property os) refers to, with those that Go has had or
// has reserved.
var knownSystems = []string{
	"aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd", "openbsd",
	"plan9", "solaris", "wasip1", "windows", "zos",
}

// knownVariants are those that a required platform may have, by architecture: what image-spec v1.1
// ("OCI Image Index", table of platform variants) and Go's variables for architectures name.
var knownVariants = map[string][]string{
	"amd64": {"v1", "v2", "v3", "v4"},
	"arm":   {"v5", "v6", "v7", "v8"},
	"arm64": {
		"v8", "v8.0", "v8.1", "v8.2", "v8.3", "v8.4", "v8.5", "v8.6", "v8.7", "v8.8", "v8.9",
		"v9", "v9.0", "v9.1", "v9.2", "v9.3", "v9.4", "v9.5",
	},
	"ppc64le": {"power8", "power9", "power10"},
	"riscv64": {"rva20u64", "rva22u64", "rva23u64"},
}

// meantVariants are what an entry means that states no variant. That of an arm image can be any.
var meantVariants = map[string]string{"amd64": "v1", "arm64": "v8"}

// A requiredPlatform is one of SparsePolicy.RequiredPlatforms.
type requiredPlatform struct {
	os, architecture, variant string // variant is "" for all
}

func parseRequiredPlatform(s string) requiredPlatform {
	var p requiredPlatform
	p.os, p.architecture, _ = strings.Cut(s, "/")
	p.architecture, p.variant, _ = strings.Cut(p.architecture, "/")
	return p
}

// validatePlatforms is Validate for the required platforms.
func (p SparsePolicy) validatePlatforms() error {
	for i, text := range p.RequiredPlatforms {
		if slices.Contains(p.RequiredPlatforms[:i], text) {
			return fmt.Errorf("required platform %s is named twice", quote(text))
		}
		if err := validateRequiredPlatform(text); err != nil {
			return fmt.Errorf("required platform %s: %w", quote(text), err)
		}
	}
	return nil
}

func validateRequiredPlatform(text string) error {
	p := parseRequiredPlatform(text)
	slashes := strings.Count(text, "/")
	switch {
	case slashes < 1 || slashes > 2 || slashes == 2 && p.variant == "":
		return fmt.Errorf("is not of the form os/architecture or os/architecture/variant, such as %q", "linux/arm/v7")
	case text != strings.ToLower(text):
		return fmt.Errorf("must be in lower case: %q", strings.ToLower(text))
	case !slices.Contains(knownSystems, p.os):
		return fmt.Errorf("unknown operating system %s (known: %s)", quote(p.os), strings.Join(knownSystems, ", "))
	case !slices.Contains(knownArchitectures, p.architecture):
		return fmt.Errorf("unknown architecture %s (known: %s)", quote(p.architecture), strings.Join(knownArchitectures, ", "))
	case p.variant == "" || slices.Contains(knownVariants[p.architecture], p.variant):
		return nil
	case knownVariants[p.architecture] == nil:
		return fmt.Errorf("unknown variant %s: none of %s is known", quote(p.variant), p.architecture)
	default:
		return fmt.Errorf("unknown variant %s (known of %s: %s)", quote(p.variant), p.architecture, strings.Join(knownVariants[p.architecture], ", "))
	}
}

// requires reports whether p may be what an entry with the given platform is for.
func (p requiredPlatform) requires(stated *imgspecv1.Platform) bool {
	variant := stated.Variant
	if variant == "" {
		variant = meantVariants[p.architecture]
	}
	return stated.Architecture == p.architecture &&
		(stated.OS == "" || stated.OS == p.os) &&
		(p.variant == "" || variant == "" || variant == p.variant)
}

// requiredPlatformOf returns the first required platform for whose sake the child of an entry must
// exist that states an architecture; "" if there is none.
func (p SparsePolicy) requiredPlatformOf(in Instance) string {
	for _, text := range p.RequiredPlatforms {
		if parseRequiredPlatform(text).requires(in.Platform) {
			return text
		}
	}
	return ""
}
