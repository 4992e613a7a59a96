package copy_test

import (
	"context"
	"errors"
	"fmt"

	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
)

var plainHTTP = &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}

// What does a tag name, and how much of it is there?
func ExampleInspect() {
	registry, _, stop := twoRegistries()
	defer stop()
	found, err := copy.Inspect(context.Background(), named(registry, "1.0"), &copy.ReadOptions{SystemContext: plainHTTP})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range found.Entries {
		fmt.Printf("%d: %s, %d layers, missing: %t\n", e.Index, e.Platform, len(e.Image.Layers), e.Missing)
	}
	fmt.Printf("in all: %d manifests, %d blobs\n", found.Totals.Manifests, found.Totals.Blobs)
	// Output:
	// 0: linux/amd64, 2 layers, missing: false
	// 1: linux/arm64, 2 layers, missing: false
	// in all: 3 manifests, 6 blobs
}

// What a tag names can be planned with, without another request.
func ExampleReadManifest() {
	registry, _, stop := twoRegistries()
	defer stop()
	options := &copy.ReadOptions{SystemContext: plainHTTP, Side: copy.DestinationSide}
	doc, err := copy.ReadManifest(context.Background(), named(registry, "1.0"), options)
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := copy.NewPlan(copy.PlanInput{Top: doc, Options: &copy.Options{ImageListSelection: copy.CopyAllImages}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(doc.MediaType, plan.Digest == doc.Digest)

	_, err = copy.ReadManifest(context.Background(), named(registry, "none"), options)
	fmt.Println(errors.Is(err, copy.ErrNotFound))
	// Output:
	// application/vnd.oci.image.index.v1+json true
	// true
}

// Is a mirror what a copy with the same options would make of it?
func ExampleVerify() {
	source, destination, stop := twoRegistries()
	defer stop()
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer policy.Destroy()

	ctx, from, to := context.Background(), named(source, "1.0"), named(destination, "1.0")
	options := &copy.Options{ImageListSelection: copy.CopyAllImages, SourceCtx: plainHTTP, DestinationCtx: plainHTTP}
	for range 2 {
		v, err := copy.Verify(ctx, policy, to, from, &copy.VerifyOptions{Options: options, ReadBlobs: true})
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, violation := range v.Violations {
			fmt.Println(violation.Problem)
		}
		fmt.Println("complete and true:", len(v.Violations) == 0)
		if _, err := copy.Image(ctx, policy, to, from, options); err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// the destination names nothing
	// complete and true: false
	// complete and true: true
}
