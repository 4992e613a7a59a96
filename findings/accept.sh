#!/usr/bin/env bash
# What:     distribution 3 has no OCI manifest, and refuses a Docker list, for Accept: */*.
# Packages: github.com/distribution/distribution/v3 v3.1.2; github.com/olareg/olareg v0.2.2;
#           github.com/google/go-containerregistry v0.22.1 (pkg/registry)
# Expected: the manifest as it is stored. */* matches all media types (RFC 9110, 12.5.1).
# Seen:     what curl gets with the header that it sends by default, by tag:
#           distribution: OCI manifest 404 MANIFEST_UNKNOWN, OCI index 200, Docker manifest 200,
#           Docker list 400 MANIFEST_INVALID; the other two have all four.
#           Who accepts an OCI manifest only gets the index from distribution and from crane's
#           registry, and from olareg the first manifest of the index: other bytes, of another
#           digest, under the same tag.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
registry_distribution v3.1.2
registry_olareg v0.2.2
registry_ggcr v0.22.1
serve distribution distribution
serve olareg olareg
serve crane ggcr

docker=application/vnd.docker.distribution.manifest
# answers HOST stores a manifest and a list of each format, and prints the status of each for
# Accept: */*, and what somebody gets by the tag of the index who accepts an OCI manifest.
answers() {
	local oci image tag
	oci=$(image "$1/app" app)
	get "$1/app" "$(digest_of "$oci")" | put "$1/app" oci "$manifest" >/dev/null
	put "$1/app" index "$index" >/dev/null <<<"{\"schemaVersion\":2,\"mediaType\":\"$index\",\"manifests\":[{$oci}]}"
	image=$(get "$1/app" oci |
		sed -e "s,$manifest,$docker.v2+json," -e 's,vnd.oci.image.config.v1,vnd.docker.container.image.v1,' \
			-e 's,vnd.oci.image.layer.v1.tar+gzip,vnd.docker.image.rootfs.diff.tar.gzip,' |
		put "$1/app" docker "$docker.v2+json")
	put "$1/app" list "$docker.list.v2+json" >/dev/null <<-JSON
		{"schemaVersion":2,"mediaType":"$docker.list.v2+json",
		"manifests":[{$image,"platform":{"os":"linux","architecture":"amd64"}}]}
	JSON
	for tag in oci index docker list; do
		curl -sS -o /dev/null -w '%{http_code} ' "http://$1/v2/app/manifests/$tag"
	done
	curl -fsS -o /dev/null -w '%{content_type}' -H "Accept: $manifest" "http://$1/v2/app/manifests/index"
}

same "distribution's answers" "$(answers "$distribution")" "404 200 200 400 $index"
same "olareg's answers" "$(answers "$olareg")" "200 200 200 200 $manifest"
same "the answers of crane's registry" "$(answers "$crane")" "200 200 200 200 $index"
seen "distribution answers */* with 404 for an OCI manifest, and with 400 for a Docker list"
