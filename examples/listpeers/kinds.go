package main

import "github.com/sparsecopy/sparsecopy/internal/imagetest"

// A kind is a kind of list, or of what may stand in its place.
type kind struct {
	name    string // of its part of the page, and of the repositories
	example func() example
	want    []string // what a mirror of the selected platforms has, by name, sorted; nil if none can be
}

// selected are the platforms that every tool is asked for. The lists have linux/s390x besides.
var selected = []string{"linux/amd64", "linux/arm64"}

// An example is a repository: a fixture whose document top is tagged, and what goes beside it.
type example struct {
	*imagetest.Fixture
	tags     map[string]string // further tags, and the names of what they name
	beside   []string          // names of referrers
	repeated string            // the name of an image that has several entries
	absent   []string          // names of what the source has lost
}

// What marks entries, as the tool that writes it spells it.
const (
	emptyConfig     = "application/vnd.oci.empty.v1+json"                   // image-spec 1.1
	attestationType = "application/vnd.docker.attestation.manifest.v1+json" // BuildKit 0.34.2
	sociIndexType   = "application/vnd.amazon.soci.index.v2+json"           // soci-snapshotter 0.16.1
	sociImage       = "com.amazon.soci.image-manifest-digest"               // soci-snapshotter 0.16.1
	sociIndex       = "com.amazon.soci.index-digest"                        // soci-snapshotter 0.16.1
	nydusType       = "application/vnd.nydus.image.manifest.v1+json"        // nydusify
	nydusFeature    = "nydus.remoteimage.v1"                                // nydusify, formerly
	zstdTwin        = "io.github.containers.compression.zstd"               // containers/image 5.42.1
)

// kinds are those of docs/lists.md, in its order.
var kinds = []kind{
	{"attestations", written("buildkit-attested", "v1"), []string{"amd64", "arm64", "att-amd64", "att-arm64"}},
	{"attestations-subject", written("buildkit-subject", "v1"), []string{"amd64", "arm64", "att-amd64", "att-arm64"}},
	{"attestations-wiped", attestationsWiped, []string{"amd64", "arm64", "att-amd64", "att-arm64"}},
	{"soci-last", written("soci-converted", "v1"), []string{"amd64", "arm64", "soci-amd64", "soci-arm64"}},
	{"soci-attested", written("soci-attested", "v1"), []string{"amd64", "arm64", "soci-amd64", "soci-arm64"}},
	{"soci-first", sociFirst, []string{"amd64", "arm64", "soci-amd64", "soci-arm64"}},
	{"nydus", nydus, []string{"amd64", "arm64", "nydus-amd64", "nydus-arm64"}},
	{"nydus-features", nydusByFeature, []string{"amd64", "arm64", "nydus-amd64", "nydus-arm64"}},
	{"zstd-twins", zstdTwins, []string{"amd64", "arm64", "zstd-amd64", "zstd-arm64"}},
	{"nested", nested, []string{"amd64", "arm64", "att-amd64", "att-arm64"}},
	{"chart-entry", chartEntry, []string{"amd64", "arm64", "chart"}},
	{"cache", written("buildkit-cache-index", "v1"), []string{"cache-config", "layer-1", "layer-2", "layer-3"}},
	{"chart", written("helm-chart", "0.1.0"), []string{imagetest.Top}},
	{"ko", written("ko-app", "v1"), []string{".sbom-amd64", ".sbom-arm64", "amd64", "arm64"}},
	{"unknown-fields", unknownFields, []string{"amd64", "arm64"}},
	{"equal-digests", equalDigests, []string{"A", "B as linux/arm64"}},
	{"absent-platform", absentPlatform, nil},
	{"absent-child", absentChild, nil},
	{"cosign-tags", written("cosign-tags", "list"), []string{".att-amd64", ".sig-amd64", ".sig-arm64", "amd64", "arm64"}},
	{"cosign-bundles", written("cosign-bundles", "list"), []string{"amd64", "arm64", "bundle-amd64", "bundle-amd64-2", "bundle-arm64"}},
	{"notation", written("notation-tag", "list"), []string{"amd64", "arm64", "notation-amd64"}},
}

// architectures are the names of the images of every list.
var architectures = []string{"amd64", "arm64", "s390x"}

// images makes an image for each architecture, called like it with prefix before it, and an entry
// for each.
func images(f *imagetest.Fixture, prefix string, options ...imagetest.Option) (entries []imagetest.Option) {
	for _, name := range architectures {
		f.Layer(prefix+name+".app", imagetest.File("bin/app", prefix+name+"\n"))
		f.Image(prefix+name, append([]imagetest.Option{imagetest.Platform("linux/" + name), imagetest.Layers(prefix + name + ".app")}, options...)...)
		entries = append(entries, imagetest.Entry(prefix+name))
	}
	return entries
}

// listOf makes an example of a fixture, with a list that begins like most that tools write: a line
// for each member, and an annotation.
func listOf(f *imagetest.Fixture, entries ...[]imagetest.Option) example {
	options := []imagetest.Option{imagetest.Indent("  "), imagetest.Annotation("org.opencontainers.image.source", "https://example.com/app")}
	for _, e := range entries {
		options = append(options, e...)
	}
	f.List(imagetest.Top, options...)
	return example{Fixture: f}
}

func attestationsWiped() example {
	f := imagetest.New()
	entries := images(f, "")
	for _, name := range architectures {
		refer(f, "att-"+name, name, attestationType, "application/vnd.in-toto+json")
		entries = append(entries, imagetest.Entry("att-"+name, imagetest.Platform("unknown/unknown")))
	}
	return listOf(f, entries)
}

func sociFirst() example {
	f, images, indexes := soci()
	return listOf(f, indexes, images)
}

// soci makes images and a SOCI index for each. The manifest and the entry of the image name the
// index, the entry of the index names the image.
func soci() (f *imagetest.Fixture, images, indexes []imagetest.Option) {
	f = imagetest.New()
	for _, name := range architectures {
		index := "soci-" + name
		f.Blob("ztoc-"+name, "application/octet-stream", []byte("ztoc of "+name))
		f.Image(index, imagetest.Platform("linux/"+name), imagetest.ArtifactType(sociIndexType),
			imagetest.Config(sociIndexType, []byte("{}")), imagetest.Layers("ztoc-"+name))
		named := imagetest.Annotation(sociIndex, f.Digest(index).String())
		f.Layer(name+".app", imagetest.File("bin/app", name+"\n"))
		f.Image(name, imagetest.Platform("linux/"+name), imagetest.Layers(name+".app"), named)
		images = append(images, imagetest.Entry(name, named))
		indexes = append(indexes, imagetest.Entry(index, imagetest.Annotation(sociImage, f.Digest(name).String())))
	}
	return f, images, indexes
}

func nydus() example {
	f := imagetest.New()
	return listOf(f, images(f, ""), images(f, "nydus-", imagetest.ArtifactType(nydusType)))
}

func nydusByFeature() example {
	f := imagetest.New()
	return listOf(f, images(f, "nydus-", imagetest.OSFeatures(nydusFeature)), images(f, ""))
}

func zstdTwins() example {
	f := imagetest.New()
	entries := images(f, "")
	images(f, "zstd-")
	for _, name := range architectures {
		entries = append(entries, imagetest.Entry("zstd-"+name, imagetest.Annotation(zstdTwin, "true")))
	}
	return listOf(f, entries)
}

func nested() example {
	f := imagetest.New()
	images(f, "", imagetest.NoPlatform())
	var entries []imagetest.Option
	for _, name := range architectures {
		f.Attestation("att-"+name, name)
		f.List("list-"+name, imagetest.Entries(name, "att-"+name), imagetest.Indent("  "))
		entries = append(entries, imagetest.Entry("list-"+name, imagetest.Platform("linux/"+name)))
	}
	return listOf(f, entries)
}

func chartEntry() example {
	f := imagetest.New()
	f.Artifact("chart")
	return listOf(f, images(f, ""), []imagetest.Option{imagetest.Entry("chart")})
}

// unknownFields is a list with members that no specification names, and with an indentation that no
// encoder of Go's has by default.
func unknownFields() example {
	f := imagetest.New()
	images(f, "")
	options := []imagetest.Option{imagetest.Indent("   "), imagetest.Unknown("x-vendor", `{"weight":1.50}`)}
	for _, name := range architectures {
		options = append(options, imagetest.Entry(name, imagetest.Unknown("x-rank", "1.0")))
	}
	f.List(imagetest.Top, options...)
	return example{Fixture: f}
}

// equalDigests has an entry for linux/arm/v7 and one for linux/arm64, of the same image.
func equalDigests() example {
	f := imagetest.New()
	f.Image("A", imagetest.Platform("linux/amd64"))
	f.Image("B", imagetest.Platform("linux/arm/v7"))
	e := listOf(f, []imagetest.Option{
		imagetest.Entries("A", "B"), imagetest.Entry("B", imagetest.Platform("linux/arm64")),
	})
	e.repeated = "B"
	return e
}

// absentPlatform has no image for one of the selected platforms.
func absentPlatform() example {
	f := imagetest.New()
	images(f, "")
	return listOf(f, []imagetest.Option{imagetest.Entries("amd64", "s390x")})
}

// absentChild lists an image for one of the selected platforms that the source does not have.
func absentChild() example {
	f := imagetest.New()
	e := listOf(f, images(f, ""))
	e.absent = []string{"arm64"}
	return e
}

// refer makes a manifest of one layer that refers to subject. An entry for it says no more than the
// entry is told to.
func refer(f *imagetest.Fixture, name, subject, artifactType, layer string) {
	f.Blob("content-"+name, layer, []byte(name))
	f.Artifact(name, imagetest.Unknown("artifactType", `"`+artifactType+`"`), imagetest.Config(emptyConfig, []byte("{}")),
		imagetest.Layers("content-"+name), imagetest.Subject(subject))
}
