package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
)

// Remove removes the manifest or list that ref names by its digest from its own repository, with
// all tags that name it, and its signatures from a lookaside that is a directory. sh is what the
// requests share with others, nil for nothing.
//
// An error that wraps endpoint.ErrNotFound says that there is definitely no such manifest.
func Remove(ctx context.Context, ref types.ImageReference, sys *types.SystemContext, sh *Shared) error {
	name, err := named(ref)
	if err != nil {
		return err
	}
	digested, ok := name.(reference.Canonical)
	if !ok {
		return errors.New("it names no digest")
	}
	if sh == nil {
		sh = &Shared{}
		defer func() { _ = sh.Close() }()
	}
	repo, err := pushRepository(name, sys, sh, &counters{})
	if err != nil {
		return err
	}
	// Distribution wants "delete" for that, and Quay grants nothing to who asks for "delete": both
	// know this one.
	repo.actions = "*"
	if _, err := repo.do(ctx, sh.newRetrier(), &request{
		method: http.MethodDelete, path: "manifests/" + digested.Digest().String(),
	}); err != nil {
		return repo.wrapNotFound(err)
	}
	return removeSignatures(ref, digested, sys)
}

// removeSignatures removes the signatures of a manifest from a lookaside that is a directory.
// docs/signature-protocols.md of containers/image.
func removeSignatures(ref types.ImageReference, of reference.Canonical, sys *types.SystemContext) error {
	base, err := docker.SignatureStorageBaseURL(sys, ref, true)
	if err != nil || base.Scheme != "file" {
		return err
	}
	dir := fmt.Sprintf("%s@%s=%s", base.Path, of.Digest().Algorithm(), of.Digest().Encoded())
	for i := 1; ; i++ {
		err := os.Remove(fmt.Sprintf("%s/signature-%d", dir, i))
		if errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(dir) // unless somebody keeps something else there
			return nil
		}
		if err != nil {
			return err
		}
	}
}
