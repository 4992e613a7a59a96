package copy_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A program that copies more than once keeps a Copier: the second copy has a connection and a token
// already, and the layers are there.
func ExampleCopier() {
	source, destination, stop := twoRegistries()
	defer stop()
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer policy.Destroy()

	copier := copy.NewCopier(copy.CopierOptions{MaxRequestsPerHost: 16, UserAgent: "example/1.0"})
	defer copier.Close()
	plainHTTP := &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}
	for _, tag := range []string{"1.0", "latest"} {
		var report copy.Report
		_, err := copier.Image(context.Background(), policy, named(destination, tag), named(source, tag), &copy.Options{
			ImageListSelection: copy.CopyAllImages, SourceCtx: plainHTTP, DestinationCtx: plainHTTP, Report: &report,
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %d blobs copied\n", tag, report.BlobsCopied)
	}
	// Output:
	// 1.0: 6 blobs copied
	// latest: 0 blobs copied
}

func named(registry, tag string) types.ImageReference {
	ref, err := docker.ParseReference("//" + strings.TrimPrefix(registry, "http://") + "/app:" + tag)
	if err != nil {
		panic(err)
	}
	return ref
}

// twoRegistries starts them; the first one has an image with two tags.
func twoRegistries() (source, destination string, stop func()) {
	from, to := registrytest.NewHandler(registrytest.Options{}), registrytest.NewHandler(registrytest.Options{})
	image := imagetest.Platforms(2, 2, 1000)
	for _, tag := range []string{"1.0", "latest"} {
		image.PushTo(from, "app", tag, imagetest.Top)
	}
	var servers []*httptest.Server
	for _, handler := range []http.Handler{from, to} {
		servers = append(servers, httptest.NewServer(handler))
	}
	return servers[0].URL, servers[1].URL, func() {
		for _, s := range servers {
			s.Close()
		}
	}
}
