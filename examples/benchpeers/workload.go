package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// A workload is a multi-platform image, or many of one kind, and what is done with it.
type workload struct {
	Name      string
	Images    int             // each in a repository of its own, with nothing shared between them; 0 for a single one
	Platforms int             // that the list names
	Layers    int             // of each, all different
	Size      int64           // of a layer, in bytes
	Archives  bool            // layers can be opened; otherwise they only begin as gzip does
	Plain     int             // of the platforms, the last so many have layers that are not compressed
	Format    string          // what layers are to be compressed with; "" for as they are, if they are
	Signed    bool            // list and images are signed with a key
	Wanted    []string        // platforms to copy, and to strip the others; nil for all
	Original  bool            // what was stripped is attached, so that it can be verified
	UpToDate  bool            // the destination has everything
	Starts    int             // the contestant is a program, which starts so often one after the other; 0 for what is not about that
	Help      bool            // the program only prints its help
	Killed    bool            // the contestant is a program, which is killed in the middle, and starts again
	Again     bool            // the same contestant has been asked for the same before
	Layout    bool            // the destination is an OCI layout, in files
	Files     bool            // the source is an OCI layout, too
	PlainOnly bool            // only without TLS
	Cap       int64           // only where connections are limited like this
	Linked    bool            // over links as well
	RTTs      []time.Duration // on loopback, only with these round-trip times, or nowhere; nil for all
	Tools     []string        // only by these contestants; nil for all that can do it
}

func (w workload) id() string { return w.Name }

// The names of workloads that bounds are about.
const (
	largeLayers  = "8x5x2MiB"
	smallLayers  = "16x10x16KiB"
	hugeLayers   = "4x4x64MiB"
	oneHuge      = "1x1x1GiB"
	oneKilled    = "1x1x1GiB-killed"
	intoLayout   = "4x4x64MiB-layout"
	betweenFiles = "4x4x64MiB-layouts"
	linkedLayers = "2x2x32MiB"
	nothingToDo  = "nothing"
	twoPlatforms = "2of8"
	fewImages    = "50x4x2x16KiB"
	manyImages   = "500x4x2x16KiB"
	manyNothing  = "500-nothing"
	manyAgain    = "500-again"
	mostAgain    = "10000-again"

	help       = "help"
	startToSee = "start"

	withOriginal      = "2of8-original"
	twoPlatformsAgain = "2of8-again"
	withOriginalAgain = "2of8-original-again"

	carried  = "8x5x256KiB"
	signed   = "signed"
	zstd     = "zstd"
	plain    = "uncompressed"
	onePlain = "1of8-uncompressed"

	hugeSigned = "signed-64MiB"
	hugeZstd   = "zstd-64MiB"
	hugePlain  = "uncompressed-64MiB"
)

// starts is how often a program starts, one after the other.
const starts = 20

// injectedRTTs are the round-trip times of what is not about CPU time.
var injectedRTTs = []time.Duration{near.RTT, far.RTT}

// changingTools measure images that change on the way: the others cannot do it.
var changingTools = []string{ours, upstream}

// twoOfThem are the platforms that are copied of those that a list names.
var twoOfThem = []string{"linux/amd64", "linux/arm64"}

// workloads are all there are, in the order of the tables.
var workloads = []workload{
	{Name: largeLayers, Platforms: 8, Layers: 5, Size: 2 << 20, Linked: true},
	{Name: smallLayers, Platforms: 16, Layers: 10, Size: 16 << 10, Linked: true},
	{Name: hugeLayers, Platforms: 4, Layers: 4, Size: 64 << 20, PlainOnly: true, RTTs: []time.Duration{0}}, // it is about CPU time and memory
	{Name: oneHuge, Platforms: 1, Layers: 1, Size: 1 << 30, PlainOnly: true, Cap: capped.Cap, Tools: []string{floor1, ours, earlier, upstream, oras3, crane4, regctl}},
	{Name: oneKilled, Platforms: 1, Layers: 1, Size: 1 << 30, Killed: true, PlainOnly: true, Cap: capped.Cap, Tools: []string{mirrorItself}},
	{Name: intoLayout, Platforms: 4, Layers: 4, Size: 64 << 20, Layout: true, PlainOnly: true, RTTs: []time.Duration{0}, Tools: []string{floor1, floorSync, ours, oursNoSync, earlier, upstream, oras3, oras32, crane4, regctl}},
	{Name: betweenFiles, Platforms: 4, Layers: 4, Size: 64 << 20, Layout: true, Files: true, PlainOnly: true, RTTs: []time.Duration{0}, Tools: []string{ours, oursNoSync, oursTrust, earlier, upstream, oras3, regctl}},
	{Name: linkedLayers, Platforms: 2, Layers: 2, Size: 32 << 20, PlainOnly: true, Linked: true, RTTs: []time.Duration{}}, // a gigabyte takes minutes there
	{Name: nothingToDo, Platforms: 8, Layers: 5, Size: 2 << 20, UpToDate: true, PlainOnly: true, Linked: true},
	{Name: twoPlatforms, Platforms: 8, Layers: 5, Size: 2 << 20, Wanted: twoOfThem, PlainOnly: true, Linked: true},
	{Name: withOriginal, Platforms: 8, Layers: 5, Size: 2 << 20, Wanted: twoOfThem, Original: true, PlainOnly: true, RTTs: injectedRTTs, Tools: []string{ours}},
	{Name: twoPlatformsAgain, Platforms: 8, Layers: 5, Size: 2 << 20, Wanted: twoOfThem, Again: true, PlainOnly: true, RTTs: injectedRTTs, Tools: []string{ours}},
	{Name: withOriginalAgain, Platforms: 8, Layers: 5, Size: 2 << 20, Wanted: twoOfThem, Original: true, Again: true, PlainOnly: true, RTTs: injectedRTTs, Tools: []string{ours}},
	{Name: fewImages, Images: 50, Platforms: 4, Layers: 2, Size: 16 << 10, PlainOnly: true, RTTs: []time.Duration{near.RTT}},
	// One image after the other takes ten times as long as for a tenth of the images, which is
	// measured.
	{Name: manyImages, Images: 500, Platforms: 4, Layers: 2, Size: 16 << 10, RTTs: []time.Duration{near.RTT}, Tools: []string{floor1, ours}},
	{Name: manyNothing, Images: 500, Platforms: 4, Layers: 2, Size: 16 << 10, UpToDate: true, PlainOnly: true, RTTs: []time.Duration{near.RTT}, Tools: []string{floor1, ours}},
	{Name: manyAgain, Images: 500, Platforms: 4, Layers: 2, Size: 16 << 10, UpToDate: true, Again: true, PlainOnly: true, RTTs: []time.Duration{near.RTT}, Tools: []string{floor1, ours, command, upstreamPool, regsync3, regsync32}},
	{Name: mostAgain, Images: 10_000, Platforms: 4, Layers: 2, Size: 16 << 10, UpToDate: true, Again: true, PlainOnly: true, RTTs: []time.Duration{near.RTT}, Tools: []string{floor1, ours, command}},
	{Name: help, Platforms: 1, Layers: 1, Size: 16 << 10, UpToDate: true, Starts: starts, Help: true, PlainOnly: true, RTTs: []time.Duration{0}, Tools: []string{mirrorItself, earlier, craneItself}},
	{Name: startToSee, Platforms: 1, Layers: 1, Size: 16 << 10, UpToDate: true, Starts: starts, PlainOnly: true, RTTs: []time.Duration{0}, Tools: []string{mirrorItself, earlier, craneItself}},
	{Name: carried, Platforms: 8, Layers: 5, Size: 256 << 10, Archives: true, PlainOnly: true, RTTs: injectedRTTs, Tools: []string{floor1, ours, upstream}},
	{Name: signed, Platforms: 8, Layers: 5, Size: 256 << 10, Archives: true, Signed: true, PlainOnly: true, RTTs: injectedRTTs, Tools: changingTools},
	{Name: zstd, Platforms: 8, Layers: 5, Size: 256 << 10, Archives: true, Format: zstd, PlainOnly: true, RTTs: injectedRTTs, Tools: changingTools},
	{Name: plain, Platforms: 8, Layers: 5, Size: 256 << 10, Archives: true, Plain: 8, PlainOnly: true, RTTs: injectedRTTs, Tools: changingTools},
	{Name: onePlain, Platforms: 8, Layers: 5, Size: 256 << 10, Archives: true, Plain: 1, PlainOnly: true, RTTs: injectedRTTs, Tools: changingTools},
	{Name: hugeSigned, Platforms: 2, Layers: 4, Size: 64 << 20, Archives: true, Signed: true, PlainOnly: true, RTTs: []time.Duration{0}, Tools: changingTools},
	{Name: hugeZstd, Platforms: 2, Layers: 4, Size: 64 << 20, Archives: true, Format: zstd, PlainOnly: true, RTTs: []time.Duration{0}, Tools: changingTools},
	{Name: hugePlain, Platforms: 2, Layers: 4, Size: 64 << 20, Archives: true, Plain: 2, PlainOnly: true, RTTs: []time.Duration{0}, Tools: changingTools},
}

// suits reports whether w is to be measured in e.
func (w workload) suits(e environment) bool {
	if e.Link.Name != "" {
		return w.Linked
	}
	return w.Cap == e.Cap && (w.RTTs == nil || slices.Contains(w.RTTs, e.RTT)) && (!e.TLS || !w.PlainOnly)
}

// takes reports whether w is to be measured with t.
func (w workload) takes(t tool) bool {
	if w.Images > 0 && t.many == nil || w.Images == 0 && t.copy == nil {
		return false
	}
	if t.name == command && !w.Again { // it is the library besides
		return false
	}
	if w.Tools == nil {
		return !t.named
	}
	return slices.Contains(w.Tools, t.name)
}

// transforms reports whether the image for platform i changes on the way.
func (w workload) transforms(i int) bool { return w.Format != "" || i >= w.Platforms-w.Plain }

// fixtures makes the images. Their layers take no memory, unless they are archives.
func (w workload) fixtures() []*imagetest.Fixture {
	all := make([]*imagetest.Fixture, max(w.Images, 1))
	for i := range all {
		all[i] = w.fixture(i)
	}
	return all
}

// fixture makes the n-th image.
func (w workload) fixture(n int) *imagetest.Fixture {
	f := imagetest.New()
	images := make([]string, w.Platforms)
	for i, platform := range platforms[:w.Platforms] {
		images[i] = imagetest.PlatformName(platform)
		layers := make([]string, w.Layers)
		for j := range layers {
			layers[j] = fmt.Sprintf("%s.%d", images[i], j)
			w.layer(f, layers[j], i, 1+(n*w.Platforms+i)*w.Layers+j)
		}
		f.Image(images[i], imagetest.Platform(platform), imagetest.Layers(layers...))
	}
	f.List(imagetest.Top, imagetest.Entries(images...))
	return f
}

// layer makes the n-th layer, which is one of platform i.
func (w workload) layer(f *imagetest.Fixture, name string, i, n int) {
	switch {
	case !w.Archives:
		f.Seeded(name, gzipSeed(n), w.Size)
	case i >= w.Platforms-w.Plain:
		f.Layer(name, imagetest.Random(uint64(n), w.Size), imagetest.Uncompressed())
	default:
		f.Layer(name, imagetest.Random(uint64(n), w.Size))
	}
}

// shrink makes w quick. What is killed in the middle has to have one.
func (w *workload) shrink() {
	most := int64(1 << 10)
	if w.Killed {
		most = 16 << 20
	}
	w.Size, w.Images, w.Starts = min(w.Size, most), min(w.Images, 3), min(w.Starts, 1)
}

// layerBytes is what all layers have.
func (w workload) layerBytes() int64 { return int64(w.Platforms*w.Layers) * w.Size }

// gzipSeed is the n-th seed of content that begins as gzip does (RFC 1952, section 2.3.1): seeded
// content begins with the seed. To upstream's copy a layer that begins otherwise is not compressed,
// and it would compress it.
func gzipSeed(n int) uint64 { return 0x1f | 0x8b<<8 | 8<<16 | uint64(n)<<24 }

// platforms are those of the workloads.
var platforms = []string{
	"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/ppc64le", "linux/s390x", "linux/riscv64", "linux/386", "linux/arm/v6",
	"linux/arm/v5", "linux/mips64le", "linux/loong64", "linux/mips64", "linux/mipsle", "linux/mips", "windows/amd64", "freebsd/amd64",
}

// images are the digests of the images in the fixture that w copies.
func (w workload) images(f *imagetest.Fixture) []digest.Digest {
	if w.Wanted == nil {
		return f.Manifests(imagetest.Top)[1:]
	}
	var all []digest.Digest
	for _, platform := range w.Wanted {
		all = append(all, f.Digest(imagetest.PlatformName(platform)))
	}
	return all
}

// destination is where w goes: to a repository, or to a layout in an empty directory.
func (w workload) destination(at addresses, repo, dir string) place {
	if w.Layout {
		return place{"", filepath.Join(dir, "layout"), tag}
	}
	return place{at.Destination, repo, tag}
}

// sourceRepo is the repository of the source that has the image; of many, what their repositories
// have in common.
func (w workload) sourceRepo() string { return "images/" + strings.ToLower(w.Name) }

// repos are the repositories of a workload's images, of which one is called name.
func repos(name string, images int) []string {
	if images == 0 {
		return []string{name}
	}
	all := make([]string, images)
	for i := range all {
		all[i] = fmt.Sprintf("%s/%d", name, i)
	}
	return all
}
