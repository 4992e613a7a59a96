#!/usr/bin/env bash
# What:     regctl finds no referrers in a layout that oras has written; oras finds regctl's.
# Packages: oras.land/oras v1.3.6; github.com/regclient/regclient v0.11.7 (regctl);
#           github.com/olareg/olareg v0.2.2
# Expected: the referrer, from either layout. The OCI image specification 1.1.1 (image-layout.md)
#           has one format, and manifests with a subject are in both.
# Seen:     oras lists each manifest in index.json, and finds referrers by reading them all. regctl
#           asks a layout as it would ask a registry without the API, for a tag sha256-<hex>, and
#           writes that. So regctl image copy --referrers from oras's layout copies none and ends
#           with exit code 0; oras cp -r from regctl's copies it.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
registry_olareg v0.2.2
serve host olareg

subject=$(image "$host/app" app)
digest=$(digest_of "$subject")
attach "$host/app" "$subject" application/vnd.example.note '' >/dev/null
oras cp -r --from-plain-http --to-oci-layout "$host/app@$digest" "$work/oras:v1" >/dev/null
regctl="regctl --host reg=$host,tls=disabled"
$regctl image copy --referrers "$host/app@$digest" "ocidir://$work/regctl:v1" >/dev/null

# listed REPOSITORY prints how many referrers the registry lists.
listed() { curl -fsS "http://$host/v2/$1/referrers/$digest" | count '"artifactType":'; }

$regctl image copy --referrers "ocidir://$work/oras:v1" "$host/by-regctl:v1" >/dev/null
oras cp -r --from-oci-layout --to-plain-http "$work/regctl:v1" "$host/by-oras:v1" >/dev/null
same "referrers that oras copies from its own layout" \
	"$(oras cp -r --from-oci-layout --to-plain-http "$work/oras:v1" "$host/by-itself:v1" >/dev/null && listed by-itself)" 1
same "referrers that oras copies from regctl's layout" "$(listed by-oras)" 1
same "referrers that regctl copies from oras's layout" "$(listed by-regctl)" 0
seen "regctl copies no referrers from oras's layout, oras copies them from regctl's"
