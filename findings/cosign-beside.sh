#!/usr/bin/env bash
# What:     an attestation bundle by somebody else hides a signature at a tag from cosign verify.
# Packages: github.com/sigstore/cosign/v3 v3.1.3; github.com/olareg/olareg v0.2.2
# Expected: the image stays verified: what it is signed with is still there, and --key says whose
#           signature is meant.
# Seen:     an image that is signed at the tag .sig verifies. Once anybody attaches a bundle to it,
#           such as a build service its provenance, cosign verify with the signer's key looks at
#           bundles only and fails: "no matching attestations". With --new-bundle-format=false it
#           finds the signature again. Whoever may push, may so take signatures away that stay where
#           they are.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
registry_olareg v0.2.2
serve host olareg
signing
mkdir "$work/service"
(cd "$work/service" && cosign generate-key-pair) >"$work/log" 2>&1 || broken "cosign makes no key" "$(cat "$work/log")"
printf '{}' >"$work/provenance.json"

# verified FLAG... prints whether cosign verify accepts the image with the signer's key, and why not.
verified() {
	if cosign verify --key "$work/cosign.pub" --insecure-ignore-tlog "$@" "$app" >/dev/null 2>"$work/log"; then
		echo yes
	else
		grep -m 1 -oE 'no matching attestations|no signatures found' "$work/log" || cat "$work/log"
	fi
}

app=$host/app@$(digest_of "$(image "$host/app" app)")
same "an image without anything" "$(verified)" "no signatures found"
cosign sign --key "$work/cosign.key" --new-bundle-format=false --use-signing-config=false --tlog-upload=false -y "$app" \
	>"$work/log" 2>&1 || broken "cosign does not sign" "$(cat "$work/log")"
same "an image that is signed at a tag" "$(verified)" yes
cosign attest --key "$work/service/cosign.key" --predicate "$work/provenance.json" --type slsaprovenance1 \
	--use-signing-config=false --tlog-upload=false -y "$app" >"$work/log" 2>&1 || broken "cosign does not attest" "$(cat "$work/log")"
same "the same image with a bundle by another key" "$(verified)" "no matching attestations"
same "the same, with tags asked for" "$(verified --new-bundle-format=false)" yes
seen "an image that is signed at a tag does not verify any more once somebody else has attached a bundle"
