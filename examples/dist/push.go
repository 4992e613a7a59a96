package main

import (
	"context"
	"errors"
	"fmt"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
)

// push copies the image of a program to name, as host/repository:tag: all of it, or the images for
// platforms and what belongs to them. The list at name then names nothing that is not there.
func (r release) push(ctx context.Context, program, name string, platforms []platform, insecure bool) (err error) {
	destination, err := docker.ParseReference("//" + name)
	if err != nil {
		return fmt.Errorf("push to %s: %w", name, err)
	}
	source, err := layout.NewReference(r.layout(program), r.version)
	if err != nil {
		return fmt.Errorf("push the image that dist image makes: %w", err)
	}
	options := copy.Options{
		ReportWriter: r.out, ImageListSelection: copy.CopyAllImages, SparseManifestListAction: copy.StripSparseManifestList,
		DestinationCtx: &types.SystemContext{DockerInsecureSkipTLSVerify: types.NewOptionalBool(insecure)},
	}
	for _, p := range platforms {
		filter, err := copy.ParsePlatformFilter(p.String())
		if err != nil {
			return err
		}
		options.ImageListSelection = copy.CopySpecificImages
		options.InstancePlatforms = append(options.InstancePlatforms, filter)
	}
	// What is pushed was made here: nobody has signed it yet.
	own := &signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}}
	policy, err := signature.NewPolicyContext(own)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, policy.Destroy()) }()
	_, err = copy.Image(ctx, policy, destination, source, &options)
	return err
}
