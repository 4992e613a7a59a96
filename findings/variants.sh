#!/usr/bin/env bash
# What:     who asks for linux/amd64 gets an image for x86-64-v3, if that stands first.
# Packages: github.com/google/go-containerregistry v0.22.1 (crane); oras.land/oras v1.3.6;
#           github.com/regclient/regclient v0.11.7 (regctl); go.podman.io/image/v5 v5.42.1;
#           github.com/containerd/containerd/v2 v2.4.2 with github.com/containerd/platforms
#           v1.0.0-rc.5; github.com/olareg/olareg v0.2.2
# Expected: the image without a variant. The OCI image specification 1.1.1 (image-index.md,
#           "Platform Variants") has v1, v2, v3 for amd64 and v8 for arm64, so linux/amd64 is the
#           least that all such processors can do, and arm64/v8 is arm64.
# Seen:     of a list of v3, v2 and one without, crane and oras choose the v3 image for
#           linux/amd64: a variant that is not asked for matches any. The other way round nothing
#           matches: linux/amd64/v1 is not the entry linux/amd64, and linux/arm64/v8 not the entry
#           linux/arm64; both end with an error. regctl, containerd and containers/image choose the
#           image without a variant each time.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
choosers
registry_olareg v0.2.2
serve host olareg

v3=$(image "$host/list" v3 '"os":"linux","architecture":"amd64","variant":"v3",')
v2=$(image "$host/list" v2 '"os":"linux","architecture":"amd64","variant":"v2",')
plain=$(image "$host/list" plain)
arm=$(image "$host/list" arm '"os":"linux","architecture":"arm64",')
put "$host/list" list "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[
	{$v3,"platform":{"os":"linux","architecture":"amd64","variant":"v3"}},
	{$v2,"platform":{"os":"linux","architecture":"amd64","variant":"v2"}},
	{$plain,"platform":{"os":"linux","architecture":"amd64"}},
	{$arm,"platform":{"os":"linux","architecture":"arm64"}}]}
JSON
names=(v3 "$v3" v2 "$v2" plain "$plain" arm "$arm")

for who in crane oras; do
	same "$who's choice for linux/amd64" "$(choice $who "$host/list:list" linux/amd64)" v3
	same "$who's choice for linux/amd64/v1" "$(choice $who "$host/list:list" linux/amd64/v1)" none
	same "$who's choice for linux/arm64/v8" "$(choice $who "$host/list:list" linux/arm64/v8)" none
done
for who in regctl containerd containers; do
	same "$who's choice for linux/amd64" "$(choice $who "$host/list:list" linux/amd64)" plain
	same "$who's choice for linux/amd64/v1" "$(choice $who "$host/list:list" linux/amd64/v1)" plain
	same "$who's choice for linux/arm64/v8" "$(choice $who "$host/list:list" linux/arm64/v8)" arm
done
seen "crane and oras choose v3 for linux/amd64, and nothing for linux/amd64/v1 and linux/arm64/v8"
