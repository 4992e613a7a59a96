// Soci converts images with soci-snapshotter's packages, as its command does; the command's own
// module has no versions that could be had. No containerd is needed: its content store is a
// directory.
//
//	soci convert FROM TO    convert all platforms
//	soci check REFERENCE    read every SOCI index of a list, and every zTOC of it
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/awslabs/soci-snapshotter/soci"
	"github.com/awslabs/soci-snapshotter/soci/store"
	"github.com/awslabs/soci-snapshotter/ztoc"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/plugins/content/local"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "soci:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "convert":
		return convert(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "check":
		return check(ctx, args[1])
	}
	return errors.New("usage: soci convert FROM TO | soci check REFERENCE")
}

func repository(reference string) (*remote.Repository, error) {
	repo, err := remote.NewRepository(reference)
	if err != nil {
		return nil, err
	}
	repo.PlainHTTP = true
	return repo, nil
}

// convert pulls an image into a directory that is an OCI layout and a content store of containerd
// at the same time, converts it there, and pushes the result.
func convert(ctx context.Context, from, to string) error {
	dir, err := os.MkdirTemp("", "soci-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	src, err := repository(from)
	if err != nil {
		return err
	}
	layout, err := oci.New(dir)
	if err != nil {
		return err
	}
	top, err := oras.Copy(ctx, src, src.Reference.Reference, layout, "", oras.DefaultCopyOptions)
	if err != nil {
		return err
	}
	contents, err := local.NewStore(dir)
	if err != nil {
		return err
	}
	blobs, err := store.NewSociStore(dir)
	if err != nil {
		return err
	}
	db, err := soci.NewDB(filepath.Join(dir, "artifacts.db"))
	if err != nil {
		return err
	}
	builder, err := soci.NewIndexBuilder(contents, blobs, soci.WithArtifactsDb(db), soci.WithMinLayerSize(0))
	if err != nil {
		return err
	}
	platforms, err := images.Platforms(ctx, contents, top)
	if err != nil {
		return err
	}
	converted, err := builder.Convert(ctx, images.Image{Name: from, Target: top}, soci.ConvertWithPlatforms(platforms...))
	if err != nil {
		return err
	}
	dest, err := repository(to)
	if err != nil {
		return err
	}
	// What was converted is only in the files of the layout, not in its graph.
	if err := oras.CopyGraph(ctx, layout, dest, *converted, oras.DefaultCopyGraphOptions); err != nil {
		return err
	}
	return dest.Tag(ctx, *converted, dest.Reference.Reference)
}

// check reads every SOCI index that a list names and the registry has, and its zTOCs.
func check(ctx context.Context, reference string) error {
	repo, err := repository(reference)
	if err != nil {
		return err
	}
	_, b, err := oras.FetchBytes(ctx, repo, repo.Reference.Reference, oras.DefaultFetchBytesOptions)
	if err != nil {
		return err
	}
	var list ocispec.Index
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	read := 0
	for _, entry := range list.Manifests {
		there, err := repo.Exists(ctx, entry)
		if err != nil {
			return err
		}
		if entry.ArtifactType != soci.SociIndexArtifactTypeV2 || !there {
			continue
		}
		if err := checkIndex(ctx, repo, entry); err != nil {
			return fmt.Errorf("%s: %w", entry.Digest, err)
		}
		read++
	}
	if read == 0 {
		return errors.New("no SOCI index is there")
	}
	return nil
}

func checkIndex(ctx context.Context, repo *remote.Repository, entry ocispec.Descriptor) error {
	b, err := content.FetchAll(ctx, repo, entry)
	if err != nil {
		return err
	}
	var index soci.Index
	if err := soci.UnmarshalIndex(b, &index); err != nil {
		return err
	}
	for _, desc := range index.Blobs {
		b, err := content.FetchAll(ctx, repo, desc)
		if err != nil {
			return err
		}
		if _, err := ztoc.Unmarshal(bytes.NewReader(b)); err != nil {
			return err
		}
	}
	return nil
}
