package registrytest

import (
	"fmt"
	"net/http"
	"slices"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A TypePolicy decides about a manifest that a client PUTs, by the media types that it states. The
// zero Answer accepts it. A policy may be called concurrently.
type TypePolicy func(Types) Answer

// Types are the media types that a manifest or list states, as they are written there.
type Types struct {
	Artifact string // "" for none
	Config   string // "" for none, as in a list
	Layers   []string
	Subject  bool // it refers to something
}

func (d document) types() Types {
	t := Types{Artifact: d.ArtifactType, Subject: d.Subject != nil}
	if d.Config != nil {
		t.Config = d.Config.MediaType
	}
	for _, l := range d.Layers {
		t.Layers = append(t.Layers, l.MediaType)
	}
	return t
}

// GitLabTypes refuses what is not on a list of media types: as an artifact's type, a config's, or a
// layer's. GitLab.com does so in 2026, with the media types of images and those of some other
// software, which are the more that are given here.
func GitLabTypes(more ...string) TypePolicy {
	known := slices.Concat(imageTypes(), []string{imgspecv1.MediaTypeEmptyJSON}, more)
	return func(t Types) Answer {
		for _, stated := range slices.Concat([]string{t.Artifact, t.Config}, t.Layers) {
			if stated != "" && !slices.Contains(known, stated) {
				return Answer{Status: http.StatusBadRequest, Errors: []Error{{
					Code: "MANIFEST_INVALID", Message: "manifest invalid", Detail: "unknown media type: " + stated,
				}}}
			}
		}
		return Answer{}
	}
}

// QuayTypes knows layers by the type of their config, and refuses others, as Quay 3 does unless
// IGNORE_UNKNOWN_MEDIATYPES is set: those of images, and the more that are allowed, by the types of
// their configs. What the artifact is does not matter.
func QuayTypes(more map[string][]string) TypePolicy {
	return func(t Types) Answer {
		allowed, known := more[t.Config]
		if t.Config == imgspecv1.MediaTypeImageConfig || t.Config == mediaTypeDockerConfig {
			allowed, known = append(imageTypes(), allowed...), true
		}
		if t.Config != "" && !known {
			return notOneOf(t.Config)
		}
		for _, layer := range t.Layers {
			if !slices.Contains(allowed, layer) {
				return notOneOf(layer)
			}
		}
		return Answer{}
	}
}

func notOneOf(mediaType string) Answer {
	return Answer{Status: http.StatusBadRequest, Errors: []Error{{
		Code: "MANIFEST_INVALID", Message: "manifest invalid",
		Detail: map[string]string{"message": fmt.Sprintf("failed to parse manifest: manifest data does not match schema: '%s' is not one of those that are allowed", mediaType)},
	}}}
}

// ECRTypes knows neither artifact types nor subjects, as ECR did until 2024: 405 UNSUPPORTED.
func ECRTypes(t Types) Answer {
	if t.Artifact == "" && !t.Subject {
		return Answer{}
	}
	return Fail(http.StatusMethodNotAllowed, "UNSUPPORTED", "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'")
}

const mediaTypeDockerConfig = "application/vnd.docker.container.image.v1+json"

// imageTypes are the media types of images: of configs and of layers.
func imageTypes() []string {
	return []string{
		imgspecv1.MediaTypeImageConfig, imgspecv1.MediaTypeImageLayer, imgspecv1.MediaTypeImageLayerGzip, imgspecv1.MediaTypeImageLayerZstd,
		mediaTypeDockerConfig, "application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.diff.tar.gzip",
	}
}
