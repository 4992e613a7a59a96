#!/usr/bin/env bash
# What:     a list in a list, whose entry has the platform: five readers, three answers.
# Packages: github.com/google/go-containerregistry v0.22.1 (crane); oras.land/oras v1.3.6;
#           github.com/regclient/regclient v0.11.7 (regctl); go.podman.io/image/v5 v5.42.1;
#           github.com/containerd/containerd/v2 v2.4.2 with github.com/containerd/platforms
#           v1.0.0-rc.5; github.com/olareg/olareg v0.2.2
# Expected: the image. The OCI image specification 1.1.1 (image-index.md) lets entries be indexes,
#           and platform be a property of each entry.
# Seen:     crane and containerd descend, and choose the image; oras and containers/image choose the
#           inner list, as if it were one (oras manifest fetch-config then fails: it has no config);
#           regctl says that the platform is not found.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
choosers
registry_olareg v0.2.2
serve host olareg

image=$(image "$host/list" image)
inner=$(put "$host/list" "" "$index" <<<"{\"schemaVersion\":2,\"mediaType\":\"$index\",\"manifests\":[{$image}]}")
put "$host/list" list "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[
	{$inner,"platform":{"os":"linux","architecture":"amd64"}}]}
JSON
names=(image "$image" inner "$inner")
for who in crane containerd; do
	same "$who's choice" "$(choice $who "$host/list:list" linux/amd64)" image
done
for who in oras containers; do
	same "$who's choice" "$(choice $who "$host/list:list" linux/amd64)" inner
done
same "regctl's choice" "$(choice regctl "$host/list:list" linux/amd64)" none
seen "crane and containerd choose the image, oras and containers/image the inner list, regctl nothing"
