#!/usr/bin/env bash
# What:     buildx imagetools create gives the same list another digest from run to run.
# Packages: github.com/docker/buildx v0.38.2; github.com/olareg/olareg v0.2.2
# Expected: one digest: the same source, the same platforms, the same tool.
# Seen:     where an image has its attestation as a referrer only, buildx adds an entry for it to
#           the list, after the images, in the order in which Go walks a map. With four images, 12
#           runs make several digests.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/docker/buildx/cmd/buildx@v0.38.2
registry_olareg v0.2.2
serve host olareg

entries=
for arch in amd64 arm64 ppc64le s390x; do
	this=$(image "$host/list" "$arch" "\"os\":\"linux\",\"architecture\":\"$arch\",")
	attach "$host/list" "$this" application/vnd.docker.attestation.manifest.v1+json '"org.example.of":"'$arch'"' >/dev/null
	entries+=",{$this,\"platform\":{\"os\":\"linux\",\"architecture\":\"$arch\"}}"
done
printf '{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' "$index" "${entries#,}" |
	put "$host/list" list "$index" >/dev/null

for ((i = 0; i < 12; i++)); do
	buildx imagetools create --platform linux/amd64,linux/arm64,linux/ppc64le,linux/s390x \
		-t "$host/list:$i" "$host/list:list" >/dev/null 2>&1
	get "$host/list" "$i" >"$work/index.json"
	same "entries" "$(count '"digest":' <"$work/index.json")" 8
	digest <"$work/index.json"
done >"$work/digests"
same "one digest only" "$(test "$(sort -u "$work/digests" | wc -l)" -gt 1 && echo no || echo yes)" no
seen "the list that buildx makes of a list and its referrers has another digest from run to run"
