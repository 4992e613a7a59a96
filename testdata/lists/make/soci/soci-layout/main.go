// Soci-layout carries images between registries and OCI layouts, which is what the command soci
// converts where there is no containerd, and reads what came of it.
//
//	soci-layout pull REFERENCE DIR   write a layout
//	soci-layout push DIR REFERENCE   store what a layout has
//	soci-layout check REFERENCE      read every SOCI index of a list, and every zTOC of it
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
	"github.com/awslabs/soci-snapshotter/ztoc"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "soci-layout:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "pull":
		return pull(ctx, args[1], args[2])
	case len(args) == 3 && args[0] == "push":
		return push(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "check":
		return check(ctx, args[1])
	}
	return errors.New("usage: soci-layout pull REFERENCE DIR | push DIR REFERENCE | check REFERENCE")
}

func repository(reference string) (*remote.Repository, error) {
	repo, err := remote.NewRepository(reference)
	if err != nil {
		return nil, err
	}
	repo.PlainHTTP = true
	return repo, nil
}

// pull writes a layout that names nothing but the one image or list.
func pull(ctx context.Context, from, dir string) error {
	repo, err := repository(from)
	if err != nil {
		return err
	}
	top, err := repo.Resolve(ctx, repo.Reference.Reference)
	if err != nil {
		return err
	}
	layout, err := oci.NewStorage(dir)
	if err != nil {
		return err
	}
	if err := oras.CopyGraph(ctx, repo, layout, top, oras.DefaultCopyGraphOptions); err != nil {
		return err
	}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{top},
	}
	return errors.Join(
		write(filepath.Join(dir, ocispec.ImageIndexFile), index),
		write(filepath.Join(dir, ocispec.ImageLayoutFile), ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}),
	)
}

func write(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// push stores the one image or list that a layout names.
func push(ctx context.Context, dir, to string) error {
	b, err := os.ReadFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return err
	}
	if len(index.Manifests) != 1 {
		return fmt.Errorf("%s names %d manifests, not one", dir, len(index.Manifests))
	}
	layout, err := oci.NewStorage(dir)
	if err != nil {
		return err
	}
	repo, err := repository(to)
	if err != nil {
		return err
	}
	if err := oras.CopyGraph(ctx, layout, repo, index.Manifests[0], oras.DefaultCopyGraphOptions); err != nil {
		return err
	}
	return repo.Tag(ctx, index.Manifests[0], repo.Reference.Reference)
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
