#!/usr/bin/env bash
# What:     containers/image has no image of arm64/v8 for linux/arm64/v9, nor the best for amd64/v4.
# Packages: go.podman.io/image/v5 v5.42.1; github.com/containerd/containerd/v2 v2.4.2 with
#           github.com/containerd/platforms v1.0.0-rc.5; github.com/regclient/regclient v0.11.7
#           (regctl); github.com/olareg/olareg v0.2.2
# Expected: what is best of what such a processor runs: an Armv9 processor runs what is for Armv8,
#           and x86-64-v4 includes v3. The OCI image specification 1.1.1 (image-index.md, "Platform
#           Variants") has these variants after Go's GOARM64 and GOAMD64, which say so.
# Seen:     of a list with arm64/v8 containers/image chooses nothing for linux/arm64/v9, and of
#           amd64, amd64/v2 and amd64/v3 the one without a variant for linux/amd64/v4, which its
#           table does not know. containerd and regctl choose arm64/v8 and amd64/v3.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
choosers
registry_olareg v0.2.2
serve host olareg

plain=$(image "$host/list" plain)
v2=$(image "$host/list" v2 '"os":"linux","architecture":"amd64","variant":"v2",')
v3=$(image "$host/list" v3 '"os":"linux","architecture":"amd64","variant":"v3",')
arm=$(image "$host/list" arm '"os":"linux","architecture":"arm64","variant":"v8",')
put "$host/list" list "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[
	{$plain,"platform":{"os":"linux","architecture":"amd64"}},
	{$v2,"platform":{"os":"linux","architecture":"amd64","variant":"v2"}},
	{$v3,"platform":{"os":"linux","architecture":"amd64","variant":"v3"}},
	{$arm,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}}]}
JSON
names=(plain "$plain" v2 "$v2" v3 "$v3" arm "$arm")

for who in containerd regctl; do
	same "$who's choice for linux/arm64/v9" "$(choice $who "$host/list:list" linux/arm64/v9)" arm
	same "$who's choice for linux/amd64/v4" "$(choice $who "$host/list:list" linux/amd64/v4)" v3
done
same "containers/image's choice for linux/amd64/v3" "$(choice containers "$host/list:list" linux/amd64/v3)" v3
same "containers/image's choice for linux/arm64/v9" "$(choice containers "$host/list:list" linux/arm64/v9)" none
same "containers/image's choice for linux/amd64/v4" "$(choice containers "$host/list:list" linux/amd64/v4)" plain
seen "containers/image chooses nothing of arm64/v8 for linux/arm64/v9, and the plain image for amd64/v4"
