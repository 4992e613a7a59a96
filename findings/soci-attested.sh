#!/usr/bin/env bash
# What:     soci convert of an image with BuildKit's attestation: nothing ties the two afterwards.
# Packages: github.com/awslabs/soci-snapshotter v0.16.1; github.com/containerd/containerd/v2 v2.2.9;
#           oras.land/oras-go/v2 v2.6.2; github.com/olareg/olareg v0.2.2. The first needs a C
#           compiler and zlib.
# Expected: the attestation is in the converted list as it was, but for the digest of the image that
#           it describes. BuildKit's documentation ("Attestation storage") ties it to its image by
#           vnd.docker.reference.digest in the entry, and by vnd.docker.reference.type tells it from
#           an image.
# Seen:     the converter writes each manifest anew, and each entry with the annotations of its
#           manifest in place of its own: both annotations are gone. The attestation has another
#           digest, though nothing in it is about SOCI, and its subject names the image as it was,
#           which is in the list no more. What is left is an entry for unknown/unknown.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
registry_olareg v0.2.2
CGO_ENABLED=1 program convert github.com/awslabs/soci-snapshotter@v0.16.1 \
	github.com/containerd/containerd/v2@v2.2.9 oras.land/oras-go/v2@v2.6.2 <<-'GO'
	package main

	import (
		"context"
		"log"
		"os"
		"path/filepath"

		"github.com/awslabs/soci-snapshotter/soci"
		"github.com/awslabs/soci-snapshotter/soci/store"
		"github.com/containerd/containerd/v2/core/images"
		"github.com/containerd/containerd/v2/plugins/content/local"
		"oras.land/oras-go/v2"
		"oras.land/oras-go/v2/content/oci"
		"oras.land/oras-go/v2/registry/remote"
	)

	// convert DIRECTORY REPOSITORY FROM TO converts all platforms of a tag into another tag, by way
	// of a directory that is an OCI layout and a content store of containerd at the same time.
	func main() {
		ctx := context.Background()
		repository, err := remote.NewRepository(os.Args[2])
		check(err)
		repository.PlainHTTP = true
		layout, err := oci.New(os.Args[1])
		check(err)
		list, err := oras.Copy(ctx, repository, os.Args[3], layout, "", oras.DefaultCopyOptions)
		check(err)
		contents, err := local.NewStore(os.Args[1])
		check(err)
		blobs, err := store.NewSociStore(os.Args[1])
		check(err)
		db, err := soci.NewDB(filepath.Join(os.Args[1], "artifacts.db"))
		check(err)
		builder, err := soci.NewIndexBuilder(contents, blobs, soci.WithArtifactsDb(db), soci.WithMinLayerSize(0))
		check(err)
		platforms, err := images.Platforms(ctx, contents, list)
		check(err)
		converted, err := builder.Convert(ctx, images.Image{Name: os.Args[2], Target: list}, soci.ConvertWithPlatforms(platforms...))
		check(err)
		check(oras.CopyGraph(ctx, layout, repository, *converted, oras.DefaultCopyGraphOptions))
		check(repository.Tag(ctx, *converted, os.Args[4]))
	}

	func check(err error) {
		if err != nil {
			log.Fatal(err)
		}
	}
GO
serve host olareg

# The layer is a real one, since the converter reads it.
echo content >"$work/file"
tar -C "$work" -cf "$work/layer.tar" file
c=$(printf '{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["%s"]}}' \
	"$(digest <"$work/layer.tar")" | blob "$host/app" "$config")
l=$(gzip -nc "$work/layer.tar" | blob "$host/app" "$layer")
image=$(printf '{"schemaVersion":2,"mediaType":"%s","config":{%s},"layers":[{%s}]}' "$manifest" "$c" "$l" | put "$host/app" '' "$manifest")
c=$(printf '{}' | blob "$host/app" "$empty")
l=$(printf '{"_type":"https://in-toto.io/Statement/v0.1"}' | blob "$host/app" application/vnd.in-toto+json)
attestation=$(printf '{"schemaVersion":2,"mediaType":"%s","artifactType":"%s","config":{%s},"layers":[{%s}],"subject":{%s}}' \
	"$manifest" application/vnd.docker.attestation.manifest.v1+json "$c" "$l" "$image" | put "$host/app" '' "$manifest")
put "$host/app" built "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[
	{$image,"platform":{"os":"linux","architecture":"amd64"}},
	{$attestation,"platform":{"os":"unknown","architecture":"unknown"},"annotations":{
	"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"$(digest_of "$image")"}}]}
JSON

mkdir "$work/layout"
convert "$work/layout" "$host/app" built converted >"$work/log" 2>&1 || broken "the list is not converted" "$(cat "$work/log")"
get "$host/app" converted >"$work/list"
same "entries for unknown/unknown" "$(count '"architecture":"unknown"' <"$work/list")" 1
same "annotations that tie an entry to another" "$(count 'vnd.docker.reference' <"$work/list")" 0
same "entries with the digest of the attestation" "$(count "$(digest_of "$attestation")" <"$work/list")" 0
same "entries with the digest of the image" "$(count "$(digest_of "$image")" <"$work/list")" 0
# The attestation's new manifest is the one that has a subject.
subject=
for d in $(grep -oE 'sha256:[0-9a-f]{64}' "$work/list" | sort -u); do
	subject+=$(get "$host/app" "$d" 2>/dev/null | grep -oE '"subject":.*' | grep -oE 'sha256:[0-9a-f]{64}' || true)
done
same "subject of the attestation" "$subject" "$(digest_of "$image")"
seen "the attestation is an entry for unknown/unknown, without annotations, of an image that is not in the list"
