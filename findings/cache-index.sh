#!/usr/bin/env bash
# What:     two platforms are selected of an index without platforms, BuildKit's build cache.
# Packages: github.com/google/go-containerregistry v0.22.1 (crane, and its registry); oras.land/oras
#           v1.3.6; github.com/regclient/regclient v0.11.7 (regctl); github.com/docker/buildx
#           v0.38.2
# Expected: an error, or a copy: entries without a platform are for none, or for all. The index is
#           what BuildKit exports as a cache with image-manifest=false: its entries are layers and a
#           config (application/vnd.buildkit.cacheconfig.v0), blobs in place of manifests.
# Seen:     crane index filter and regctl index create write an index without entries over the tag,
#           and end with the exit status 0: whoever mirrors a repository in this way, tag by tag,
#           has lost the cache. oras says that there are no platforms. buildx copies the index as it
#           is.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
tool github.com/docker/buildx/cmd/buildx@v0.38.2
registry_ggcr v0.22.1
serve host ggcr

content=$(printf 'a layer' | blob "$host/cache" "$layer")
about=$(printf '{"layers":[{"blob":"%s","parent":-1}]}' "$(digest_of "$content")" |
	blob "$host/cache" application/vnd.buildkit.cacheconfig.v0)
printf '{"schemaVersion":2,"mediaType":"%s","manifests":[{%s},{%s}]}' "$index" "$content" "$about" |
	put "$host/cache" cache "$index" >/dev/null

# entries TAG prints how many entries the index has.
entries() { get "$host/cache" "$1" | count '"digest":'; }

crane index filter "$host/cache:cache" --platform linux/amd64 --platform linux/arm64 -t "$host/cache:crane" >/dev/null 2>&1 ||
	same "crane's exit status" $? 0
same "entries of crane's index" "$(entries crane)" 0
regctl --host "reg=$host,tls=disabled" index create "$host/cache:regctl" --ref "$host/cache:cache" \
	--platform linux/amd64 --platform linux/arm64 >/dev/null || same "regctl's exit status" $? 0
same "entries of regctl's index" "$(entries regctl)" 0
oras copy --from-plain-http --to-plain-http --no-tty --platform linux/amd64,linux/arm64 \
	"$host/cache:cache" "$host/cache:oras" >/dev/null 2>&1 && same "oras's exit status" 0 1
buildx imagetools create --platform linux/amd64,linux/arm64 -t "$host/cache:buildx" "$host/cache:cache" >/dev/null 2>&1 ||
	same "buildx's exit status" $? 0
same "entries of buildx's index" "$(entries buildx)" 2
seen "crane and regctl make an index without entries of a build cache, and say nothing; oras fails, buildx copies"
