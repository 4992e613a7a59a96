package imagetest

import (
	"fmt"
	"strings"
)

// Top is what the list of every ready-made set is called.
const Top = "top"

// allPlatforms are those of Platforms, in its order.
var allPlatforms = []string{
	"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/ppc64le", "linux/s390x", "linux/riscv64", "linux/386", "linux/arm/v6",
	"linux/arm/v5", "linux/mips64le", "linux/loong64", "linux/mips64", "linux/mipsle", "linux/mips", "windows/amd64", "freebsd/amd64",
}

// PlatformName is the name of the image for a platform in a ready-made set: the platform without
// "linux/".
func PlatformName(platform string) string { return strings.TrimPrefix(platform, "linux/") }

// Platforms makes a list of n ≤ 16 images, one for each platform, each with the given number of
// layers of size random bytes. The platforms are amd64, arm64, arm/v7, ppc64le, s390x, riscv64,
// 386, arm/v6, arm/v5, mips64le, loong64, mips64, mipsle and mips of Linux, windows/amd64 and
// freebsd/amd64; images are called as PlatformName says, and their layers "amd64.0", "amd64.1" and
// so on. Options are SharedBase, SeededLayers, and those of images and of lists, which apply to all
// images and to the list.
func Platforms(n, layers int, size int64, options ...Option) *Fixture {
	if n > len(allPlatforms) {
		fail("there are only %d platforms", len(allPlatforms))
	}
	s := newSpec(toSet, only(toSet, options))
	f := New()
	layer := func(name string, seed int) {
		if s.seeded {
			f.Seeded(name, uint64(seed), size)
		} else {
			f.Layer(name, Random(uint64(seed), size))
		}
	}
	if s.sharedBase {
		layer("base", 0)
	}
	names := make([]string, n)
	for i, platform := range allPlatforms[:n] {
		names[i] = PlatformName(platform)
		own := make([]string, layers)
		for j := range own {
			if j == 0 && s.sharedBase {
				own[j] = "base"
				continue
			}
			own[j] = fmt.Sprintf("%s.%d", names[i], j)
			layer(own[j], 1+i*layers+j)
		}
		f.Image(names[i], append([]Option{Platform(platform), Layers(own...)}, only(toImage, options)...)...)
	}
	f.List(Top, append([]Option{Entries(names...)}, only(toList, options)...)...)
	return f
}

// small makes an image with a shared and a layer of its own for each platform, and returns the
// names.
func (f *Fixture) small(platforms []string, options ...Option) []string {
	f.Layer("base", File("etc/os-release", "NAME=test\n"))
	names := make([]string, len(platforms))
	for i, platform := range platforms {
		names[i] = PlatformName(platform)
		f.Layer(names[i]+".app", File("usr/bin/app", "#!/bin/sh\necho "+platform+"\n"))
		f.Image(names[i], append([]Option{Platform(platform), Layers("base", names[i]+".app")}, options...)...)
	}
	return names
}

// WithAttestations makes a list as BuildKit does: amd64, arm64 and s390x, followed by att-amd64,
// att-arm64 and att-s390x.
func WithAttestations() *Fixture {
	f := New()
	names := f.small([]string{"linux/amd64", "linux/arm64", "linux/s390x"})
	for _, subject := range names {
		f.Attestation("att-"+subject, subject)
	}
	f.List(Top, Entries(names...), Entries("att-amd64", "att-arm64", "att-s390x"), Indent("  "))
	return f
}

// Nested makes a list with lists in it: top is [amd64, inner, s390x], inner is [arm64, innermost],
// innermost is [arm/v7, arm/v6].
func Nested() *Fixture {
	f := New()
	f.small([]string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/s390x"})
	f.List("innermost", Entries("arm/v7", "arm/v6"))
	f.List("inner", Entries("arm64", "innermost"))
	f.List(Top, Entries("amd64", "inner", "s390x"))
	return f
}

// EqualDigests makes a list two of whose entries name the same image: [amd64=A, arm/v7=B, arm64=B].
// The images are called A and B.
func EqualDigests() *Fixture {
	f := New()
	f.Image("A", Platform("linux/amd64"))
	f.Image("B", Platform("linux/arm/v7"))
	f.List(Top, Entries("A", "B"), Entry("B", Platform("linux/arm64")))
	return f
}

// DockerList makes a Docker manifest list of Docker images: amd64, arm64, arm/v7 and s390x.
func DockerList() *Fixture {
	f := New()
	names := f.small([]string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x"}, Docker(), Indent("   "))
	f.List(Top, Entries(names...), Docker(), Indent("   "))
	return f
}

// Cache makes a list of n layers of size random bytes, called "layer.0", "layer.1" and so on, and
// of a config, called "config", as BuildKit exports a build cache with image-manifest=false.
// Options are those of lists.
func Cache(n int, size int64, options ...Option) *Fixture {
	f := New()
	f.AddCache(Top, n, size, options...)
	return f
}

// AddCache makes a build cache, as Cache does, that is called name. The names of its parts begin
// with name and a slash, unless that is Top.
func (f *Fixture) AddCache(name string, n int, size int64, options ...Option) {
	prefix := name + "/"
	if name == Top {
		prefix = ""
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%slayer.%d", prefix, i)
		f.Layer(names[i], Random(uint64(1000+i), size))
	}
	f.Blob(prefix+"config", cacheConfig, encode(object{{"layers", make([]object, n)}, {"records", []object{}}}))
	f.List(name, append([]Option{Entries(append(names, prefix+"config")...)}, options...)...)
}
