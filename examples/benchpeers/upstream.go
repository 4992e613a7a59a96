package main

import (
	"context"
	"strings"

	"go.podman.io/image/v5/copy"
)

func copyUpstream(ctx context.Context, j job) error {
	e, err := newImageEnvironment(j)
	if err != nil {
		return err
	}
	source, destination, err := j.references()
	if err != nil {
		return err
	}
	options := &copy.Options{
		SourceCtx: e.system, DestinationCtx: e.destination, ImageListSelection: copy.CopyAllImages,
		SignBySigstorePrivateKeyFile: j.SigningKey, SignSigstorePrivateKeyPassphrase: signingPassphrase,
	}
	if j.Platforms != nil {
		options.ImageListSelection = copy.CopySpecificImages
		options.SparseManifestListAction = copy.StripSparseManifestList
		for _, p := range j.Platforms {
			os, architecture, _ := strings.Cut(p, "/")
			options.InstancePlatforms = append(options.InstancePlatforms, copy.InstancePlatformFilter{OS: os, Architecture: architecture})
		}
	}
	_, err = copy.Image(ctx, e.policy, destination, source, options)
	return err
}
