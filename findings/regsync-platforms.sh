#!/usr/bin/env bash
# What:     regsync with platforms: a second platform later, and lists in a list.
# Packages: github.com/regclient/regclient v0.11.7 (regsync);
#           github.com/distribution/distribution/v3 v3.1.2
# Expected: after a run that ends with 0, the images of the platforms are there.
# Seen:     regsync keeps the list as it is, and copies the images of the platforms. If the list is
#           there already, it takes the image for copied: a platform that the configuration names
#           since then is not brought, without an error or a warning, unless forceRecursive is set.
#           Of a list in which each platform is a list of its own, it copies these lists, and
#           nothing that they name, with forceRecursive, too.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/regclient/regclient/cmd/regsync@v0.11.7
registry_distribution v3.1.2
serve host distribution none # takes lists whose children are absent

amd64=$(image "$host/list" amd64)
arm64=$(image "$host/list" arm64 '"os":"linux","architecture":"arm64",')
put "$host/list" list "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[
	{$amd64,"platform":{"os":"linux","architecture":"amd64"}},{$arm64,"platform":{"os":"linux","architecture":"arm64"}}]}
JSON
inner=$(put "$host/list" "" "$index" <<<"{\"schemaVersion\":2,\"mediaType\":\"$index\",\"manifests\":[{$amd64}]}")
put "$host/list" nested "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[{$inner,"platform":{"os":"linux","architecture":"amd64"}}]}
JSON

# sync TAG MIRROR PLATFORMS [FORCE] synchronizes a tag, and fails if regsync does.
sync() {
	cat >"$work/regsync.yaml" <<-YAML
		version: 1
		creds: [{registry: "$host", tls: disabled}]
		sync: [{source: "$host/list:$1", target: "$host/$2:v1", type: image, platforms: [$3], forceRecursive: ${4:-false}}]
	YAML
	regsync once -c "$work/regsync.yaml" >"$work/log" 2>&1
}

# there MIRROR DESCRIPTOR says whether a manifest is in the mirror.
there() { get "$host/$1" "$(digest_of "$2")" >/dev/null 2>&1 && echo yes || echo no; }

sync list wider linux/amd64 || same "regsync's exit status" $? 0
same "amd64 and arm64 after the first run" "$(there wider "$amd64") $(there wider "$arm64")" "yes no"
sync list wider linux/amd64,linux/arm64 || same "regsync's exit status" $? 0
same "amd64 and arm64 after the second run" "$(there wider "$amd64") $(there wider "$arm64")" "yes no"
sync list wider linux/amd64,linux/arm64 true || same "regsync's exit status" $? 0
same "amd64 and arm64 after a forced run" "$(there wider "$amd64") $(there wider "$arm64")" "yes yes"
sync nested deeper linux/amd64 true || same "regsync's exit status" $? 0
same "the inner list and its image" "$(there deeper "$inner") $(there deeper "$amd64")" "yes no"
seen "regsync does not bring a platform that is added later, nor the images of inner lists, and ends with 0"
