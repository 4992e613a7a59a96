#!/usr/bin/env bash
# What:     cosign writes a list of referrers by tag without the annotations of the referrers.
# Packages: github.com/sigstore/cosign/v3 v3.1.3 (with github.com/google/go-containerregistry);
#           oras.land/oras v1.3.6; github.com/distribution/distribution/v3 v3.1.2
# Expected: a descriptor with all annotations of the manifest, as the OCI distribution specification
#           1.1 ("Pushing Manifests with Subject") has it of clients, where there is no API.
# Seen:     the signature's manifest has dev.sigstore.bundle.predicateType and two more; its entry
#           in the list has the artifactType alone. So whoever looks for one kind of attestation has
#           to fetch them all. oras cp -r of the same signature writes them.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
tool oras.land/oras/cmd/oras@v1.3.6
registry_distribution v3.1.2
serve host distribution
signing

digest=$(digest_of "$(image "$host/app" app)")
sign "$host/app@$digest"
oras cp -r --from-plain-http --to-plain-http "$host/app@$digest" "$host/by-oras:v1" >/dev/null

# annotated REPOSITORY prints how many referrers the list by tag has, and how many have the
# annotation.
annotated() {
	get "$host/$1" "${digest/:/-}" >"$work/list"
	printf '%d %d' "$(count '"artifactType":' <"$work/list")" "$(count 'dev.sigstore.bundle.predicateType' <"$work/list")"
}

same "referrers and annotations in cosign's list" "$(annotated app)" "1 0"
signature=$(grep -oE 'sha256:[0-9a-f]{64}' "$work/list")
same "annotations of the signature" "$(get "$host/app" "$signature" | count 'dev.sigstore.bundle.predicateType')" 1
same "referrers and annotations in oras's list" "$(annotated by-oras)" "1 1"
seen "cosign's list of referrers has no annotations, oras's has them"
