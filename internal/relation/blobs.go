package relation

import (
	"slices"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// nameBlobs fills in the kinds of the entries of a list that name blobs. A build cache has a config
// beside its layers.
func nameBlobs(instances []manifest.Instance, ties []Tie) {
	isConfig := func(in manifest.Instance) bool { return in.MediaType == manifest.MediaTypeCacheConfig }
	layer := "layer"
	if slices.ContainsFunc(instances, isConfig) {
		layer = "cache layer"
	}
	for i, instance := range instances {
		switch {
		case isConfig(instance):
			ties[i].Kind = "cache config"
		case instance.IsBlob():
			ties[i].Kind = layer
		}
	}
}
