#!/usr/bin/env bash
# What:     ko builds a program onto the SOCI index of its base, as if that were one more platform.
# Packages: github.com/google/ko v0.19.1; github.com/olareg/olareg v0.2.2
# Expected: a list of two images, or one with an image and its own SOCI index. ko's documentation
#           ("Multi-Platform Images") has it build one image for each platform that the base
#           supports, and the base supports two.
# Seen:     of a base with two images and a SOCI index (v2, which has the platform of its image), ko
#           makes three: the third has the program as a layer, the platform and the artifactType of
#           a SOCI index, and com.amazon.soci.image-manifest-digest of the base's image, which is
#           not in the list. With --platform=linux/amd64 there are two of the same platform.
#           Attestations of BuildKit are left out. Exit code 0.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/ko@v0.19.1
registry_olareg v0.2.2
serve host olareg

soci=application/vnd.amazon.soci.index.v2+json
amd64=$(image "$host/base" amd64)
arm64=$(image "$host/base" arm64 '"os":"linux","architecture":"arm64",')
accelerator=$(image "$host/base" soci '' "\"artifactType\":\"$soci\",")
attestation=$(image "$host/base" attestation '"os":"unknown","architecture":"unknown",')
base=$(digest_of "$amd64")
put "$host/base" latest "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[
	{$amd64,"platform":{"os":"linux","architecture":"amd64"}},
	{$arm64,"platform":{"os":"linux","architecture":"arm64"}},
	{$accelerator,"platform":{"os":"linux","architecture":"amd64"},"artifactType":"$soci",
	"annotations":{"com.amazon.soci.image-manifest-digest":"$base"}},
	{$attestation,"platform":{"os":"unknown","architecture":"unknown"},"annotations":{
	"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"$base"}}]}
JSON
mkdir "$work/program"
printf 'module example.com/program\n\ngo 1.24\n' >"$work/program/go.mod"
printf 'package main\n\nfunc main() {}\n' >"$work/program/main.go"
export KO_DOCKER_REPO=$host/program KO_DEFAULTBASEIMAGE=$host/base:latest

# built PLATFORMS builds the program, and prints how many entries the list has, how many for
# linux/amd64, how many SOCI indexes, and how often it names the base's image as what these are of.
built() {
	(cd "$work/program" && ko build --bare --sbom=none --platform="$1" . >"$work/log" 2>&1) ||
		broken "ko does not build" "$(cat "$work/log")"
	get "$host/program" latest >"$work/list"
	printf '%d %d %d %d' "$(count '"platform":' <"$work/list")" "$(count '"architecture":"amd64"' <"$work/list")" \
		"$(count "\"artifactType\":\"${soci/+/[+]}\"" <"$work/list")" \
		"$(count "\"com.amazon.soci.image-manifest-digest\":\"$base\"" <"$work/list")"
}

same "what is built for all platforms" "$(built all)" "3 2 1 1"
accelerator=$(grep -oE '"digest":"sha256:[0-9a-f]{64}"' "$work/list" | tail -n 1 | cut -d '"' -f 4)
same "layers of the third, of which the base has one" "$(get "$host/program" "$accelerator" | count 'image.layer.v1.tar.gzip')" 3
same "what is built for linux/amd64" "$(built linux/amd64)" "2 2 1 1"
seen "ko makes three images of a base with two, and says of one that it is the base's SOCI index"
