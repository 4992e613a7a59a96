#!/usr/bin/env bash
# What:     crane ls shows 1,000 of 1,200 tags of crane's own registry, and says nothing.
# Packages: github.com/google/go-containerregistry v0.22.1 (crane, pkg/registry);
#           github.com/regclient/regclient v0.11.7 (regctl)
# Expected: all tags, as crane's help says of ls. The OCI distribution specification 1.1 ("Listing
#           Tags") lets a page be shorter than asked for only if all is listed or a Link header
#           follows, and makes that header optional for a full page: whoever gets n tags of n has
#           to ask again.
# Seen:     crane asks with n=1000. The registry of the same module cuts the list at n and has no
#           Link header. crane goes by the header alone, so it stops there, with exit code 0.
#           regctl, which asks without n, gets all. Each half is right by itself.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
registry_ggcr v0.22.1
serve host ggcr

image "$host/tags" any >"$work/image"
digest=$(digest_of "$(cat "$work/image")")
get "$host/tags" "$digest" >"$work/manifest"
for i in {1001..2200}; do
	printf 'next\nurl = "http://%s/v2/tags/manifests/t%s"\nrequest = PUT\nheader = "Content-Type: %s"\ndata-binary = "@%s"\n' \
		"$host" "$i" "$manifest" "$work/manifest"
done | tail -n +2 | curl -fsS -K -

same "tags that regctl lists" "$(regctl --host "reg=$host,tls=disabled" tag ls "$host/tags" | wc -l)" 1200
same "tags that crane lists" "$(crane ls "$host/tags" | wc -l)" 1000
seen "crane ls lists 1,000 of 1,200 tags that its own registry has"
