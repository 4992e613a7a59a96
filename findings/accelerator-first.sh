#!/usr/bin/env bash
# What:     a SOCI index that stands before its image in a list is taken for the image, by
#           everybody.
# Packages: github.com/google/go-containerregistry v0.22.1 (crane); oras.land/oras v1.3.6;
#           github.com/regclient/regclient v0.11.7 (regctl); go.podman.io/image/v5 v5.42.1;
#           github.com/containerd/containerd/v2 v2.4.2 with github.com/containerd/platforms
#           v1.0.0-rc.5; github.com/olareg/olareg v0.2.2
# Expected: the image. SOCI v2 gives its index the platform of the image, and tells them apart by
#           artifactType, which is there to say what is no image (OCI image specification 1.1.1,
#           manifest.md, "Guidelines for Artifact Usage").
# Seen:     all five choose the SOCI index, as the first entry of its platform: none looks at
#           artifactType. Only the order in which the SOCI tools append it keeps images usable;
#           nothing in the specification keeps that order.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
choosers
registry_olareg v0.2.2
serve host olareg

type='"artifactType":"application/vnd.amazon.soci.index.v2+json"'
image=$(image "$host/list" image)
soci=$(image "$host/list" soci '' "$type,")
platform='"platform":{"os":"linux","architecture":"amd64"}'
entry="{$image,$platform}"
accelerator="{$soci,$platform,$type,\"annotations\":{\"com.amazon.soci.image-manifest-digest\":\"$(digest_of "$image")\"}}"
put "$host/list" last "$index" >/dev/null <<<"{\"schemaVersion\":2,\"mediaType\":\"$index\",\"manifests\":[$entry,$accelerator]}"
put "$host/list" first "$index" >/dev/null <<<"{\"schemaVersion\":2,\"mediaType\":\"$index\",\"manifests\":[$accelerator,$entry]}"
names=(image "$image" soci "$soci")

for who in crane oras regctl containers containerd; do
	same "$who's choice if the SOCI index stands last" "$(choice $who "$host/list:last" linux/amd64)" image
	same "$who's choice if the SOCI index stands first" "$(choice $who "$host/list:first" linux/amd64)" soci
done
seen "crane, oras, regctl, containers/image and containerd choose the SOCI index that stands first"
