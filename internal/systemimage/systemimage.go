// Package systemimage chooses the instance of a list that suits a system, as go.podman.io/image/v5
// chooses.
package systemimage

import (
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	upstreammanifest "go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// zstdAnnotation marks an instance with zstd layers that has a twin without.
const zstdAnnotation = "io.github.containers.compression.zstd"

// Choose returns the instance of a list that suits the running system, or the choices in sys, as
// upstream chooses.
func Choose(
	list manifest.List, sys *types.SystemContext, preferGzip types.OptionalBool,
) (digest.Digest, error) {
	if preferGzip == types.OptionalBoolTrue {
		if d, err := chooseAmong(withoutZstd(list), sys); err == nil {
			return d, nil
		}
	}
	return chooseAmong(list, sys)
}

func chooseAmong(list manifest.List, sys *types.SystemContext) (digest.Digest, error) {
	b, err := list.Serialize()
	if err != nil {
		return "", err
	}
	upstreamList, err := upstreammanifest.ListFromBlob(b, list.MediaType())
	if err != nil {
		return "", err
	}
	return upstreamList.ChooseInstance(sys)
}

// withoutZstd returns the list without its instances with zstd layers.
func withoutZstd(list manifest.List) manifest.List {
	var deletes []manifest.ListEdit
	for _, instance := range slices.Backward(list.Instances()) {
		if instance.Annotations[zstdAnnotation] == "true" {
			deletes = append(deletes, manifest.ListEdit{ListOperation: manifest.ListOpDelete, DeleteIndex: instance.Index})
		}
	}
	list = list.Clone()
	if err := list.EditInstances(deletes); err != nil {
		logrus.Debugf("looking for gzip instances: %v", err) // cannot happen: positions descend and are in range
	}
	return list
}
