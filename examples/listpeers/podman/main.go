// Command podman-manifest makes a list of manifests of a repository, as podman manifest create, add
// and push do, with the library that they are made of.
//
//	podman-manifest SRC DST DIGEST...
//
// SRC is a repository, DST a repository and a tag, on registries on loopback.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.podman.io/common/libimage"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/reexec"
)

func main() {
	if reexec.Init() {
		return
	}
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: podman-manifest SRC DST DIGEST...")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "podman-manifest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, src, dst string, digests []string) (err error) {
	dir, err := os.MkdirTemp("", "podman-manifest-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	policy := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		return err
	}
	runtime, err := libimage.RuntimeFromStoreOptions(
		&libimage.RuntimeOptions{SystemContext: &types.SystemContext{
			SignaturePolicyPath: policy, DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
		}},
		&storage.StoreOptions{GraphRoot: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"), GraphDriverName: "vfs"},
	)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, runtime.Shutdown(true)) }()
	list, err := runtime.CreateManifestList("localhost/list")
	if err != nil {
		return err
	}
	for _, d := range digests {
		if _, err := list.Add(ctx, "docker://"+src+"@"+d, &libimage.ManifestListAddOptions{InsecureSkipTLSVerify: types.OptionalBoolTrue}); err != nil {
			return err
		}
	}
	_, err = list.Push(ctx, "docker://"+dst, &libimage.ManifestListPushOptions{
		CopyOptions:        libimage.CopyOptions{InsecureSkipTLSVerify: types.OptionalBoolTrue, SignaturePolicyPath: policy},
		ImageListSelection: copy.CopyAllImages,
	})
	return err
}
