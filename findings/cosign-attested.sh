#!/usr/bin/env bash
# What:     cosign verify accepts an image that nobody signed, if the key has attested anything
#           about it, even that it is bad.
# Packages: github.com/sigstore/cosign/v3 v3.1.3; github.com/olareg/olareg v0.2.2
# Expected: "no signatures found", as with attestations in the format of tags: verify-attestation is
#           the command for statements, and is told which kind is meant.
# Seen:     cosign attest of a SLSA verification summary with the result FAILED, in the default
#           format of version 3, a bundle: cosign verify with that key has exit status 0, and prints
#           the predicate's type in place of a signature's. It does not ask for the predicate that
#           cosign sign writes. So a key that makes statements must make none about an image that is
#           not to pass as signed.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
registry_olareg v0.2.2
serve host olareg
signing

summary=https://slsa.dev/verification_summary/v1
printf '{"verificationResult":"FAILED"}' >"$work/failed.json"

# attest REFERENCE FLAG... says of an image that it has failed.
attest() {
	cosign attest --key "$work/cosign.key" --predicate "$work/failed.json" --type "$summary" \
		--use-signing-config=false --tlog-upload=false -y "${@:2}" "$1" >"$work/log" 2>&1 ||
		broken "cosign does not attest" "$(cat "$work/log")"
}

# verified REFERENCE FLAG... prints what cosign verify says the type of what it has accepted is, or
# why it has accepted nothing.
verified() {
	if cosign verify --key "$work/cosign.pub" --insecure-ignore-tlog "${@:2}" "$1" >"$work/out" 2>"$work/log"; then
		grep -oE '"type":"[^"]*"' "$work/out"
	else
		grep -m 1 -oE 'no signatures found' "$work/log" || cat "$work/log"
	fi
}

bundled=$host/app@$(digest_of "$(image "$host/app" bundled)")
tagged=$host/app@$(digest_of "$(image "$host/app" tagged)")
same "an image without anything" "$(verified "$bundled")" "no signatures found"
attest "$bundled"
same "an image with a bundle that says FAILED" "$(verified "$bundled")" "\"type\":\"$summary\""
attest "$tagged" --new-bundle-format=false
same "an image with a tag .att that says FAILED" "$(verified "$tagged")" "no signatures found"
seen "an attestation bundle that says FAILED is a signature to cosign verify, the same at a tag is none"
