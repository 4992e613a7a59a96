// Image copies with containers/image, as skopeo and podman do, which are made of it and want a C
// library each.
//
//	image twins FROM TO          all of a list, and for each image another one compressed with zstd
//	image pull ARCHITECTURE FROM DIRECTORY
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	sys := &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue, OSChoice: "linux"}
	options := &copy.Options{SourceCtx: sys, DestinationCtx: sys}
	var from, to types.ImageReference
	switch {
	case len(args) == 3 && args[0] == "twins":
		options.ImageListSelection = copy.CopyAllImages
		options.EnsureCompressionVariantsExist = []copy.OptionCompressionVariant{{Algorithm: compression.Zstd}}
		if from, err = docker.ParseReference("//" + args[1]); err != nil {
			return err
		}
		to, err = docker.ParseReference("//" + args[2])
	case len(args) == 4 && args[0] == "pull":
		sys.ArchitectureChoice = args[1]
		if from, err = docker.ParseReference("//" + args[2]); err != nil {
			return err
		}
		to, err = layout.ParseReference(args[3] + ":pulled")
	default:
		return errors.New("usage: image twins FROM TO | image pull ARCHITECTURE FROM DIRECTORY")
	}
	if err != nil {
		return err
	}
	_, err = copy.Image(ctx, policy, to, from, options)
	return err
}
