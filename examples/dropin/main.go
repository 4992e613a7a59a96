// Command dropin copies an image as many tools on containers/image do. It was written for
// go.podman.io/image/v5/copy; the import of the copy package is all that was changed to use this
// module's.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/reexec"

	"github.com/sparsecopy/sparsecopy/copy"
)

func main() {
	if reexec.Init() { // for containers-storage:, as for upstream's copy
		return
	}
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: dropin system|all|list|DIGEST SOURCE DESTINATION")
		os.Exit(2)
	}
	d, err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(d)
}

// selections are the words for what is copied of a list.
var selections = map[string]copy.ImageListSelection{
	"system": copy.CopySystemImage,
	"all":    copy.CopyAllImages,
	"list":   copy.CopySpecificImages,
}

// run copies and returns the digest of what the destination names.
func run(ctx context.Context, selection, source, destination string) (_ digest.Digest, err error) {
	src, err := alltransports.ParseImageName(source)
	if err != nil {
		return "", err
	}
	dest, err := alltransports.ParseImageName(destination)
	if err != nil {
		return "", err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return "", err
	}
	defer func() {
		if destroyErr := policy.Destroy(); err == nil {
			err = destroyErr
		}
	}()
	options := &copy.Options{
		ReportWriter:       os.Stderr,
		SourceCtx:          &types.SystemContext{ArchitectureChoice: "amd64", OSChoice: "linux"},
		DestinationCtx:     &types.SystemContext{},
		ImageListSelection: copy.CopySpecificImages,
	}
	if s, ok := selections[selection]; ok {
		options.ImageListSelection = s
	} else {
		options.Instances = []digest.Digest{digest.Digest(selection)}
		options.SparseManifestListAction = copy.StripSparseManifestList
	}
	copied, err := copy.Image(ctx, policy, dest, src, options)
	if err != nil {
		return "", fmt.Errorf("copying %s: %w", source, err)
	}
	return manifest.Digest(copied)
}
