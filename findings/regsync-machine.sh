#!/usr/bin/env bash
# What:     regsync with platforms: [amd64] copies no image for amd64, depending on its machine.
# Packages: github.com/regclient/regclient v0.11.7 (regsync); github.com/distribution/distribution/v3
#           v3.1.2
# Expected: the image of the entry linux/amd64, as for linux/amd64, whatever runs regsync: amd64 is a
#           platform that it takes, and a mirror is for other machines.
# Seen:     an architecture alone is completed by what the machine is that regsync runs on: its
#           system and, if the architecture is the same, the variant of its processor. With a
#           processor of x86-64-v2 or later, amd64 is linux/amd64/v3, say, and no entry of a list
#           is that: regsync copies the list without an image, with exit status 0. linux/amd64
#           selects the image, and arm64 does, too, as this is not the machine's architecture.
# Run:      2026-11-30

source "$(dirname "$0")/lib.sh"
[[ $(uname -sm) == "Linux x86_64" ]] && grep -qw sse4_2 /proc/cpuinfo ||
	broken "needs Linux on a processor of x86-64-v2 or later"
tool github.com/regclient/regclient/cmd/regsync@v0.11.7
registry_distribution v3.1.2
serve host distribution none # takes lists whose children are absent

amd64=$(image "$host/list" amd64)
arm64=$(image "$host/list" arm64 '"os":"linux","architecture":"arm64",')
put "$host/list" list "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[
	{$amd64,"platform":{"os":"linux","architecture":"amd64"}},{$arm64,"platform":{"os":"linux","architecture":"arm64"}}]}
JSON

# there MIRROR DESCRIPTOR says whether a manifest is in the mirror.
there() { get "$host/$1" "$(digest_of "$2")" >/dev/null 2>&1 && echo yes || echo no; }

# sync MIRROR PLATFORM synchronizes the list, and says whether it and its images are there then.
sync() {
	cat >"$work/regsync.yaml" <<-YAML
		version: 1
		creds: [{registry: "$host", tls: disabled}]
		sync: [{source: "$host/list:list", target: "$host/$1:v1", type: image, platforms: [$2]}]
	YAML
	regsync once -c "$work/regsync.yaml" >"$work/log" 2>&1 || same "regsync's exit status" $? 0
	get "$host/$1" v1 >/dev/null 2>&1 || same "regsync's list" absent there
	echo "$(there "$1" "$amd64") $(there "$1" "$arm64")"
}

same "amd64 and arm64 for linux/amd64" "$(sync whole linux/amd64)" "yes no"
same "amd64 and arm64 for arm64" "$(sync other arm64)" "no yes"
same "amd64 and arm64 for amd64" "$(sync alone amd64)" "no no"
seen "regsync copies a list without its image for platforms: [amd64], where the machine's processor has a variant"
