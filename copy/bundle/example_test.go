package bundle_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/bundle"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// An image goes into an archive on one side, and from there into a registry on the other.
func Example() {
	handler := registrytest.NewHandler(registrytest.Options{})
	imagetest.Platforms(2, 2, 1000).PushTo(handler, "team/app", "1", imagetest.Top)
	server := httptest.NewServer(handler)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	dir, err := os.MkdirTemp("", "example-*")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := carry(host, filepath.Join(dir, "monday.tar")); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 6 blobs in the bundle
	// written: true
}

func carry(host, archive string) error {
	ctx := context.Background()
	anything := signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: anything})
	if err != nil {
		return err
	}
	defer policy.Destroy()
	copier := copy.NewCopier(copy.CopierOptions{})
	defer copier.Close()
	plainHTTP := &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}

	source, err := docker.ParseReference("//" + host + "/team/app:1")
	if err != nil {
		return err
	}
	writer, err := bundle.Create(archive, nil)
	if err != nil {
		return err
	}
	defer writer.Close()
	image, err := writer.Reference(source.DockerReference())
	if err != nil {
		return err
	}
	options := copy.Options{ImageListSelection: copy.CopyAllImages, SourceCtx: plainHTTP}
	if _, err := copier.Image(ctx, policy, image, source, &options); err != nil {
		return err
	}
	summary, err := writer.Publish(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%d blobs in the bundle\n", summary.Carried)

	b, err := bundle.Open(ctx, archive, nil)
	if err != nil {
		return err
	}
	defer b.Close()
	for _, i := range b.Record().Images {
		image, err := b.Reference(i.Name)
		if err != nil {
			return err
		}
		destination, err := docker.ParseReference("//" + host + "/mirror/app:1")
		if err != nil {
			return err
		}
		var report copy.Report
		_, err = copier.Image(ctx, policy, destination, image, &copy.Options{
			ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing, PreserveDigests: true,
			Referrers: copy.AllReferrers, DigestTags: true, KeepVoid: true,
			DestinationCtx: plainHTTP, Report: &report,
		})
		if err != nil {
			return err
		}
		fmt.Printf("written: %t\n", report.Written)
	}
	return nil
}
