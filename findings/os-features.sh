#!/usr/bin/env bash
# What:     crane, oras, regctl and containers/image choose an image that needs an OS feature which
#           nobody has named.
# Packages: github.com/google/go-containerregistry v0.22.1 (crane); oras.land/oras v1.3.6;
#           github.com/regclient/regclient v0.11.7 (regctl); go.podman.io/image/v5 v5.42.1;
#           github.com/containerd/containerd/v2 v2.4.2 with github.com/containerd/platforms
#           v1.0.0-rc.5; github.com/olareg/olareg v0.2.2
# Expected: the image without os.features. The OCI image specification 1.1.1 (image-index.md) says
#           of os.features that each is a mandatory feature of the operating system.
# Seen:     of two images for linux/amd64, the first with os.features (as older Nydus images have),
#           the four choose the first, which a common runtime cannot unpack; containerd alone takes
#           os.features into account, and chooses the second.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
choosers
registry_olareg v0.2.2
serve host olareg

feature='"os":"linux","os.features":["nydus.remoteimage.v1"],"architecture":"amd64"'
special=$(image "$host/list" special "$feature,")
common=$(image "$host/list" common)
put "$host/list" list "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[
	{$special,"platform":{$feature}},
	{$common,"platform":{"os":"linux","architecture":"amd64"}}]}
JSON
names=(special "$special" common "$common")

for who in crane oras regctl containers; do
	same "$who's choice" "$(choice $who "$host/list:list" linux/amd64)" special
done
same "containerd's choice" "$(choice containerd "$host/list:list" linux/amd64)" common
seen "crane, oras, regctl and containers/image choose the image with os.features, containerd does not"
