package foreign

import (
	"slices"
	"strings"
)

// regsyncArchitectures are those that regsync takes without an operating system.
var regsyncArchitectures = []string{
	"386", "amd64", "i386", "x86_64", "x86-64", "arm", "armhf", "armel", "arm64", "aarch64", "mips", "mips64", "mips64le",
	"ppc", "ppc64", "ppc64le", "loong64", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
}

// platform reads a platform as regsync does. ok is false if it is lost.
func (s *regsyncReader) platform(n *node) (text string, ok bool) {
	text, arguments, _ := strings.Cut(strings.ToLower(n.text()), ",")
	parts := strings.Split(text, "/")
	one := n.name == "platform"
	switch {
	case len(parts) == 1 && slices.Contains(regsyncArchitectures, parts[0]):
		parts = []string{"linux", parts[0]}
	case len(parts) == 1 && one && (parts[0] == "local" || parts[0] == "linux"):
		return "native", true
	case len(parts) < 2 || len(parts) > 3:
		s.lost(n, "write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT")
		return "", false
	}
	text = strings.Join(normalPlatform(parts), "/")
	version, hasVersion := strings.CutPrefix(strings.Replace(arguments, "osversion", "osver", 1), "osver=")
	switch {
	case arguments != "" && (!hasVersion || one):
		s.lost(n, "no image is chosen by %q", arguments)
		return "", false
	case hasVersion:
		numbers := strings.Split(version, ".")
		text += ":" + strings.Join(numbers[:min(3, len(numbers))], ".")
	}
	return text, true
}

// normalPlatform spells a platform as its parts are spelled in lists.
func normalPlatform(parts []string) []string {
	os, architecture, variant := parts[0], parts[1], ""
	if len(parts) == 3 {
		variant = parts[2]
	}
	if os == "macos" {
		os = "darwin"
	}
	switch architecture {
	case "i386":
		architecture, variant = "386", ""
	case "x86_64", "x86-64":
		architecture = "amd64"
	case "aarch64":
		architecture = "arm64"
	case "armhf":
		architecture, variant = "arm", "v7"
	case "armel":
		architecture, variant = "arm", "v6"
	}
	if architecture == "arm" && variant == "" {
		variant = "v7"
	}
	if strings.Trim(variant, "0123456789") == "" && variant != "" {
		variant = "v" + variant
	}
	if architecture == "amd64" && variant == "v1" || architecture == "arm64" && variant == "v8" || variant == "" {
		return []string{os, architecture}
	}
	return []string{os, architecture, variant}
}
