package imagetest

import (
	"encoding/json"
	"slices"
	"strings"
)

// An Option says something about an image, a list or an entry of a list. Its comment says what it
// applies to; applied to something else, it panics.
type Option struct {
	name  string
	to    target
	apply func(*spec)
}

// target is a set of what an option may be applied to.
type target int

const (
	toImage target = 1 << iota // also to artifacts and attestations
	toList
	toEntry
	toSet
)

func (t target) String() string {
	return map[target]string{toImage: "an image", toList: "a list", toEntry: "an entry", toSet: "a ready-made set"}[t]
}

// form is a family of media types.
type form int

const (
	ociForm form = iota
	dockerForm
)

// spec collects what options say.
type spec struct {
	form         form
	indent       string
	reformat     func([]byte) []byte
	noMediaType  bool
	unknown      object
	annotations  map[string]string
	artifactType string
	subject      string
	config       *rawConfig
	created      string // in the config
	layers       []string

	platform   []func(*platform) // changes to what there is already
	noPlatform bool
	bare       bool
	size       *int64
	mediaType  string

	entries []entry

	sharedBase bool
	seeded     bool
}

type rawConfig struct {
	mediaType string
	content   []byte
}

// An entry is what a list says about one of its children.
type entry struct {
	name string
	spec spec
}

// newSpec applies options to a spec of the given kind.
func newSpec(to target, options []Option) spec {
	var s spec
	for _, o := range options {
		if o.to&to == 0 {
			fail("%s does not apply to %v", o.name, to)
		}
		o.apply(&s)
	}
	return s
}

// only returns the options that apply to the given kind.
func only(to target, options []Option) []Option {
	return slices.DeleteFunc(slices.Clone(options), func(o Option) bool { return o.to&to == 0 })
}

// Docker gives an image or a list Docker's media types (schema 2) instead of OCI's.
func Docker() Option {
	return Option{"Docker", toImage | toList, func(s *spec) { s.form = dockerForm }}
}

// Indent writes the document of an image or a list with a line for each member and the given
// indentation. The default is compact.
func Indent(indent string) Option {
	return Option{"Indent", toImage | toList, func(s *spec) { s.indent = indent }}
}

// Reformat passes the document of an image or a list through change, which must keep what it means.
func Reformat(change func([]byte) []byte) Option {
	return Option{"Reformat", toImage | toList, func(s *spec) { s.reformat = change }}
}

// NoMediaType leaves the mediaType member of an image's or a list's document away. OCI allows that.
func NoMediaType() Option {
	return Option{"NoMediaType", toImage | toList, func(s *spec) { s.noMediaType = true }}
}

// Unknown adds a member that no specification knows to an image, a list or an entry. The value is
// JSON.
func Unknown(key, value string) Option {
	return Option{"Unknown", toImage | toList | toEntry, func(s *spec) { s.unknown.add(key, json.RawMessage(value)) }}
}

// Annotation adds an annotation to the document of an image or list, or to an entry.
func Annotation(key, value string) Option {
	return Option{"Annotation", toImage | toList | toEntry, func(s *spec) {
		if s.annotations == nil {
			s.annotations = map[string]string{}
		}
		s.annotations[key] = value
	}}
}

// ArtifactType sets the artifactType of an image, which entries that name it repeat, of a list, or
// of an entry.
func ArtifactType(mediaType string) Option {
	return Option{"ArtifactType", toImage | toList | toEntry, func(s *spec) { s.artifactType = mediaType }}
}

// Subject makes the image or list refer to a document. The subject is no child: it is neither
// pushed nor checked with it.
func Subject(name string) Option {
	return Option{"Subject", toImage | toList, func(s *spec) { s.subject = name }}
}

// Layers names the layers of an image, from the base up. An image without this option gets one
// small layer of its own, called like the image with ".layer" appended; Layers without names makes
// an image without layers.
func Layers(names ...string) Option {
	return Option{"Layers", toImage, func(s *spec) { s.layers = append([]string{}, names...) }}
}

// Config replaces the config of an image.
func Config(mediaType string, content []byte) Option {
	return Option{"Config", toImage, func(s *spec) { s.config = &rawConfig{mediaType, content} }}
}

// Created has the config of an image say when it was made.
func Created(text string) Option {
	return Option{"Created", toImage, func(s *spec) { s.created = text }}
}

// platform is the platform object of an entry, and a part of an image's config.
type platform struct {
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
	Variant      string   `json:"variant,omitempty"`
}

// Platform sets the platform of an image, for its config and for entries that name it, or of one
// entry. The text is os/architecture or os/architecture/variant. OSVersion and OSFeatures come
// after it; without it, they add to the platform that an entry takes from its child.
func Platform(text string) Option {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 {
		fail("%q is no platform", text)
	}
	return platformOption("Platform", func(p *platform) {
		*p = platform{OS: parts[0], Architecture: parts[1], Variant: strings.Join(parts[2:], "")}
	})
}

// OSVersion sets the os.version of an image, for its config and for entries that name it, or of one
// entry.
func OSVersion(version string) Option {
	return platformOption("OSVersion", func(p *platform) { p.OSVersion = version })
}

// OSFeatures sets the os.features of an image, for its config and for entries that name it, or of
// one entry.
func OSFeatures(features ...string) Option {
	return platformOption("OSFeatures", func(p *platform) { p.OSFeatures = slices.Clone(features) })
}

func platformOption(name string, change func(*platform)) Option {
	return Option{name, toImage | toEntry, func(s *spec) { s.platform = append(s.platform, change) }}
}

// platformFrom returns a platform that begins as given and is changed as the options say; nil if
// there is nothing to say.
func (s *spec) platformFrom(given *platform) *platform {
	if len(s.platform) == 0 {
		return given
	}
	var p platform
	if given != nil {
		p = *given
	}
	for _, change := range s.platform {
		change(&p)
	}
	return &p
}

// NoPlatform leaves the platform of an entry away, or of all entries that name an image.
func NoPlatform() Option {
	return Option{"NoPlatform", toImage | toEntry, func(s *spec) { s.noPlatform = true }}
}

// NoAnnotations leaves away the annotations that an entry takes from what it names.
func NoAnnotations() Option {
	return Option{"NoAnnotations", toEntry, func(s *spec) { s.bare = true }}
}

// SOCI makes the entry of an image name its SOCI index.
func (f *Fixture) SOCI(index string) Option {
	return Annotation("com.amazon.soci.index-digest", f.Digest(index).String())
}

// Nydus marks the entry of an image as one for Nydus, beside the image that it is made of.
func Nydus() Option { return ArtifactType(nydusImage) }

// ZstdEntry marks the entry of an image as one with zstd layers.
func ZstdEntry() Option { return Annotation("io.github.containers.compression.zstd", "true") }

// EntrySize makes an entry state a size that need not be true.
func EntrySize(size int64) Option {
	return Option{"EntrySize", toEntry, func(s *spec) { s.size = &size }}
}

// EntryMediaType makes an entry state a media type that need not be true.
func EntryMediaType(mediaType string) Option {
	return Option{"EntryMediaType", toEntry, func(s *spec) { s.mediaType = mediaType }}
}

// Entry adds an entry to a list. The entry has the platform, artifact type and annotations that its
// child suggests, unless options say otherwise; annotations are added.
func Entry(name string, options ...Option) Option {
	e := entry{name, newSpec(toEntry, options)}
	return Option{"Entry", toList, func(s *spec) { s.entries = append(s.entries, e) }}
}

// Entries adds an entry for each name to a list.
func Entries(names ...string) Option {
	return Option{"Entries", toList, func(s *spec) {
		for _, name := range names {
			s.entries = append(s.entries, entry{name: name})
		}
	}}
}

// SeededLayers makes the layers of a ready-made set by Seeded, instead of Random.
func SeededLayers() Option {
	return Option{"SeededLayers", toSet, func(s *spec) { s.seeded = true }}
}

// SharedBase makes the images of a ready-made set share their first layer, called "base".
func SharedBase() Option {
	return Option{"SharedBase", toSet, func(s *spec) { s.sharedBase = true }}
}
