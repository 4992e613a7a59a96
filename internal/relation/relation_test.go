package relation_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/internal/relation"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	attestationType = "application/vnd.docker.attestation.manifest.v1+json"
	sociType        = "application/vnd.amazon.soci.index.v2+json"
	nydusType       = "application/vnd.nydus.image.manifest.v1+json"
	inToto          = "application/vnd.in-toto+json"
)

func digestOf(name string) digest.Digest { return digest.FromString(name) }

// entry is an entry of a list, from text: NAME PLATFORM, followed by key=value for a media type, an
// artifact type, features and annotations. "none" is no platform, and "empty" one that says
// nothing.
func entry(text string) manifest.Instance {
	words := strings.Fields(text)
	instance := manifest.Instance{Digest: digestOf(words[0]), MediaType: imgspecv1.MediaTypeImageManifest, Annotations: map[string]string{}}
	switch osName, rest, _ := strings.Cut(words[1], "/"); osName {
	case "none":
	case "empty":
		instance.Platform = &imgspecv1.Platform{}
	default:
		arch, variant, _ := strings.Cut(rest, "/")
		instance.Platform = &imgspecv1.Platform{OS: osName, Architecture: arch, Variant: variant}
	}
	for _, word := range words[2:] {
		switch key, value, _ := strings.Cut(word, "="); key {
		case "media-type":
			instance.MediaType = value
		case "type":
			instance.ArtifactType = value
		case "feature":
			instance.Platform.OSFeatures = append(instance.Platform.OSFeatures, value)
		case "attests":
			instance.Annotations["vnd.docker.reference.type"] = "attestation-manifest"
			instance.Annotations["vnd.docker.reference.digest"] = digestOf(value).String()
		case "soci-of":
			instance.Annotations[manifest.AnnotationSOCIImage] = digestOf(value).String()
		case "soci":
			instance.Annotations[manifest.AnnotationSOCIIndex] = digestOf(value).String()
		default:
			instance.Annotations[key] = value
		}
	}
	return instance
}

// TestOf holds the table against lists, an entry a line, and what each of them is.
func TestOf(t *testing.T) {
	manifests := map[digest.Digest]*manifest.Image{
		digestOf("artifact"): {ArtifactType: attestationType, Subject: digestOf("amd64")},
		digestOf("old"):      {Layers: []manifest.Descriptor{{MediaType: inToto}, {MediaType: inToto}}},
		digestOf("gone"):     {Layers: []manifest.Descriptor{{MediaType: inToto}}, Subject: digestOf("before")},
		digestOf("sbom"):     {ArtifactType: "application/spdx+json", Subject: digestOf("amd64")},
		digestOf("odd"):      {Layers: []manifest.Descriptor{{MediaType: inToto}, {MediaType: imgspecv1.MediaTypeImageLayerGzip}}},
		digestOf("empty"):    {},
	}
	zstd := manifest.AnnotationZstd + "=true"
	smaller := "s390x"
	if digestOf("other-s390x") < digestOf(smaller) {
		smaller = "other-s390x"
	}
	for name, list := range map[string][][2]string{
		"annotations decide": {
			{"amd64 linux/amd64", ""},
			{"a unknown/unknown attests=amd64", "attestation describes amd64"},
			{"b linux/amd64 attests=amd64", "attestation describes amd64"},
			{"c unknown/unknown attests=other", "attestation describes other, not listed"},
			{"sbom unknown/unknown attests=c", "attestation describes c"},
			{"d none vnd.docker.reference.type=attestation-manifest", "attestation describes nothing"},
			{"e none vnd.docker.reference.digest=sha256:x", ""},
		},
		"manifests, where there are no annotations": {
			{"artifact unknown/unknown", "attestation describes amd64"},
			{"amd64 linux/amd64", ""},
			{"old unknown/unknown", "attestation describes nothing"},
			{"gone unknown/unknown", "attestation describes before, not listed"},
			{"sbom unknown/unknown x=y", "attestation describes amd64"},
			{"odd unknown/unknown", ""},
			{"empty unknown/unknown", ""},
			{"unread unknown/unknown", ""},
			{"unread linux/amd64 type=" + attestationType, "attestation describes nothing"},
			{"artifact linux/amd64", ""},
			{"old unknown/unknown media-type=" + imgspecv1.MediaTypeImageIndex, ""},
		},
		"SOCI indexes": {
			{"index linux/amd64 type=" + sociType + " soci-of=amd64", "SOCI index accelerates amd64"},
			{"amd64 linux/amd64 soci=index", ""},
			{"bare linux/amd64 type=" + sociType, "SOCI index accelerates nothing"},
			{"old linux/amd64 soci-of=amd64", "SOCI index accelerates amd64"},
			{"other linux/amd64 type=" + sociType + " soci-of=gone", "SOCI index accelerates gone, not listed"},
			{"pointed linux/arm64 type=" + sociType + " soci-of=gone", "SOCI index accelerates arm64"},
			{"arm64 linux/arm64 soci=pointed", ""},
			{"shared linux/s390x type=" + sociType, "SOCI index accelerates " + smaller},
			{"s390x linux/s390x soci=shared", ""},
			{"other-s390x linux/s390x soci=shared", ""},
			{"sbom unknown/unknown soci=shared attests=s390x", "attestation describes s390x"},
			{"broken linux/arm64 " + manifest.AnnotationSOCIImage + "=x", ""},
			{"v1 linux/amd64 type=application/vnd.amazon.soci.index.v1+json", ""},
			{"list none soci-of=amd64 media-type=" + imgspecv1.MediaTypeImageIndex, ""},
		},
		"Nydus images": {
			{"n linux/amd64 type=" + nydusType, "Nydus image accelerates amd64"},
			{"m linux/x86_64 feature=" + relation.NydusFeature, "Nydus image accelerates amd64"},
			{"amd64 linux/amd64/v1 feature=other", ""},
			{"again linux/amd64", ""},
			{"arm linux/arm/v7 type=" + nydusType, "Nydus image accelerates nothing"},
			{"z linux/s390x " + zstd, ""},
			{"s linux/s390x type=" + nydusType, "Nydus image accelerates z"},
			{"list linux/amd64 type=" + nydusType + " media-type=" + imgspecv1.MediaTypeImageIndex, ""},
		},
		"Nydus images of what has no platform": {
			{"image none", ""},
			{"n empty feature=" + relation.NydusFeature, "Nydus image accelerates image"},
		},
		"nothing but Nydus images": {
			{"n linux/amd64 type=" + nydusType, ""},
			{"m linux/arm64 feature=" + relation.NydusFeature, ""},
			{"a unknown/unknown attests=n", "attestation describes n"},
			{"unread unknown/unknown", ""},
		},
		"zstd twins": {
			{"z linux/amd64 " + zstd, "zstd twin replaces amd64"},
			{"amd64 linux/amd64", ""},
			{"y linux/arm64 " + zstd, ""},
			{"x linux/amd64 " + manifest.AnnotationZstd + "=false", ""},
			{"n linux/amd64 type=" + nydusType + " " + zstd, "Nydus image accelerates amd64"},
		},
		"types of configs": {
			{"amd64 linux/amd64 type=" + imgspecv1.MediaTypeImageConfig, ""},
			{"arm64 linux/arm64 type=application/vnd.docker.container.image.v1+json", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var instances []manifest.Instance
			names := map[digest.Digest]string{digestOf("other"): "other", digestOf("gone"): "gone", digestOf("before"): "before", "": "nothing"}
			for i, line := range list {
				instance := entry(line[0])
				instance.Index = i
				instances = append(instances, instance)
				names[instance.Digest] = strings.Fields(line[0])[0]
			}
			for i, tie := range relation.Of(instances, func(d digest.Digest) *manifest.Image { return manifests[d] }) {
				is := ""
				for _, k := range tie.Any {
					assert.Equal(t, platform.Normalize(instances[i].Platform).Architecture, platform.Normalize(instances[k].Platform).Architecture)
					assert.Equal(t, tie.Named, instances[tie.Any[0]].Digest)
				}
				if tie.Relation != "" {
					is = fmt.Sprintf("%s %s %s", tie.Kind, tie.Relation, names[tie.Named])
					if tie.Subject != tie.Named {
						is += ", not listed"
						assert.Empty(t, tie.Subject)
					}
				}
				assert.Equal(t, list[i][1], is, list[i][0])
			}
		})
	}
}

// TestUnclear asks for no manifest but where nothing else says what an entry is.
func TestUnclear(t *testing.T) {
	for text, want := range map[string]bool{
		"a unknown/unknown":                     true,
		"a unknown/unknown x=y":                 true,
		"a linux/amd64 type=" + attestationType: true,
		"a unknown/unknown attests=b":           false,
		"a linux/amd64":                         false,
		"a none":                                false,
		"a unknown/unknown media-type=" + manifest.MediaTypeDockerList: false,
	} {
		assert.Equal(t, want, relation.Unclear(entry(text)), text)
	}
}
