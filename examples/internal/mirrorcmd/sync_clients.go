package mirrorcmd

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	"go.yaml.in/yaml/v3"
)

// syncOutputs are the flags that name files about the mirror, for those who use it. They are about
// every image that is there, copied by this run or before.
type syncOutputs struct {
	digestMap      string
	idms           string
	registriesConf string
}

func (o *syncOutputs) define(flags *pflag.FlagSet) {
	flags.StringVar(&o.digestMap, "digest-map", "", "write to `FILE`, as JSON, the digests that are others at the destination than at the source")
	flags.StringVar(&o.idms, "idms", "", "write to `FILE` an ImageDigestMirrorSet that points OpenShift to the mirror")
	flags.StringVar(&o.registriesConf, "registries-conf-snippet", "", "write to `FILE` the part of registries.conf that points Podman, CRI-O and Skopeo to the mirror")
}

// check refuses files that could not be written in the end.
func (o *syncOutputs) check() error {
	for flag, path := range map[string]string{"digest-map": o.digestMap, "idms": o.idms, "registries-conf-snippet": o.registriesConf} {
		if err := checkReplacedFile(flag, path); err != nil {
			return err
		}
	}
	return nil
}

func (o *syncOutputs) write(s *syncRun) error {
	for _, output := range []struct {
		path string
		make func(*syncRun) ([]byte, error)
	}{{o.digestMap, digestMapOf}, {o.idms, idmsOf}, {o.registriesConf, registriesConfOf}} {
		if output.path == "" {
			continue
		}
		content, err := output.make(s)
		if err == nil {
			err = writeWhole(output.path, content)
		}
		if err != nil {
			return fmt.Errorf("the images are copied, but %s is not written: %w", output.path, err)
		}
	}
	return nil
}

// writeWhole writes a file so that nobody sees part of it.
func writeWhole(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// digestMapSchema names the form of --digest-map; docs/sync.md describes it.
const digestMapSchema = "mirror.digest-map/v1"

type digestMap struct {
	Schema string        `json:"schema"`
	Images []digestEntry `json:"images"`
}

type digestEntry struct {
	Source            string        `json:"source"`
	SourceDigest      digest.Digest `json:"sourceDigest"`
	Destination       string        `json:"destination"`
	DestinationDigest digest.Digest `json:"destinationDigest"`
}

// there reports whether the image is known to be at the destination.
func (i *syncImage) there() bool { return i.Status == imageCopied || i.Status == imagePresent }

func digestMapOf(s *syncRun) ([]byte, error) {
	m := digestMap{Schema: digestMapSchema, Images: []digestEntry{}}
	for _, i := range s.report.Images {
		if i.there() && i.SourceDigest != i.DestinationDigest {
			m.Images = append(m.Images, digestEntry{i.Source, i.SourceDigest, i.Destination, i.DestinationDigest})
		}
	}
	content, err := json.MarshalIndent(m, "", "  ")
	return append(content, '\n'), err
}

// A mirrored is a repository with one that has its images.
type mirrored struct{ source, mirror string }

// mirrors returns the pairs of repositories that images were copied between, sorted, and whether
// all tags have the same name in both.
func (s *syncRun) mirrors() (pairs []mirrored, sameTags map[mirrored]bool) {
	sameTags = map[mirrored]bool{}
	for i, c := range s.todo {
		from, to := c.Source.DockerReference(), c.Destination.DockerReference()
		if from == nil || to == nil || !s.report.Images[i].there() || from.Name() == to.Name() {
			continue
		}
		pair := mirrored{from.Name(), to.Name()}
		same, known := sameTags[pair]
		sameTags[pair] = (same || !known) && c.Tag == tagIn(to)
	}
	pairs = slices.SortedFunc(maps.Keys(sameTags), func(a, b mirrored) int {
		return strings.Compare(a.source+" "+a.mirror, b.source+" "+b.mirror)
	})
	return pairs, sameTags
}

func tagIn(named reference.Named) string {
	if tagged, ok := named.(reference.NamedTagged); ok {
		return tagged.Tag()
	}
	return ""
}

// imageDigestMirrorSet is OpenShift's config.openshift.io/v1 ImageDigestMirrorSet.
type imageDigestMirrorSet struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Metadata   map[string]string `yaml:"metadata"`
	Spec       struct {
		Mirrors []imageDigestMirrors `yaml:"imageDigestMirrors"`
	} `yaml:"spec"`
}

type imageDigestMirrors struct {
	Mirrors []string `yaml:"mirrors"`
	Source  string   `yaml:"source"`
}

func idmsOf(s *syncRun) ([]byte, error) {
	set := imageDigestMirrorSet{
		APIVersion: "config.openshift.io/v1", Kind: "ImageDigestMirrorSet", Metadata: map[string]string{"name": "mirror"},
	}
	pairs, _ := s.mirrors()
	set.Spec.Mirrors = []imageDigestMirrors{}
	for _, p := range pairs {
		if n := len(set.Spec.Mirrors); n > 0 && set.Spec.Mirrors[n-1].Source == p.source {
			set.Spec.Mirrors[n-1].Mirrors = append(set.Spec.Mirrors[n-1].Mirrors, p.mirror)
			continue
		}
		set.Spec.Mirrors = append(set.Spec.Mirrors, imageDigestMirrors{Source: p.source, Mirrors: []string{p.mirror}})
	}
	return yaml.Marshal(set)
}

func registriesConfOf(s *syncRun) ([]byte, error) {
	var b strings.Builder
	pairs, sameTags := s.mirrors()
	source := ""
	for _, p := range pairs {
		if p.source != source {
			source = p.source
			fmt.Fprintf(&b, "[[registry]]\nprefix = %q\nlocation = %q\n", source, source)
		}
		fmt.Fprintf(&b, "\n[[registry.mirror]]\nlocation = %q\n", p.mirror)
		if !sameTags[p] { // the mirror's tags are others
			b.WriteString("pull-from-mirror = \"digest-only\"\n")
		}
		registry, _, _ := strings.Cut(p.mirror, "/")
		if s.sys.destinationIn(registry).DockerInsecureSkipTLSVerify == types.OptionalBoolTrue {
			b.WriteString("insecure = true\n")
		}
		b.WriteString("\n")
	}
	return []byte(b.String()), nil
}
