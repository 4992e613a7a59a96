package mirrorcmd

import (
	"fmt"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
)

// atTag is the reference to what a tag names in the repository of named.
func atTag(named reference.Named, tag string) (types.ImageReference, error) {
	tagged, err := reference.WithTag(reference.TrimNamed(named), tag)
	if err != nil {
		return nil, err
	}
	return docker.NewReference(tagged)
}

// aboutTag says of which tag an error is, nil for nil.
func aboutTag(tag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("tag %s: %w", tag, err)
}
