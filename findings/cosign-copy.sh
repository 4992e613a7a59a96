#!/usr/bin/env bash
# What:     cosign copy leaves behind what cosign sign has made; cosign load does not get it there.
# Packages: github.com/sigstore/cosign/v3 v3.1.3; oras.land/oras v1.3.6; github.com/olareg/olareg
#           v0.2.2
# Expected: the image and its signatures, which is what cosign's help says that copy copies. It
#           calls copy deprecated, and has three ways in its place: oras copy -r, cosign save and
#           load, and download and attach.
# Seen:     cosign 3 signs with a referrer (application/vnd.dev.sigstore.bundle.v0.3+json). cosign
#           copy looks for the tags of cosign 2, copies the image and no referrer, and ends with
#           exit code 0. cosign save has the signature on disk, and cosign load stores the image,
#           tags it, and puts the signature's manifest without its layer, which the registry refuses
#           with MANIFEST_BLOB_UNKNOWN. cosign verify finds no signatures of either copy. oras cp -r
#           copies the signature as well.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
tool oras.land/oras/cmd/oras@v1.3.6
registry_olareg v0.2.2
serve host olareg
signing

digest=$(digest_of "$(image "$host/app" app)")
sign "$host/app@$digest"
# verified REPOSITORY prints whether cosign verifies the image there.
verified() {
	if cosign verify --key "$work/cosign.pub" --insecure-ignore-tlog=true "$host/$1@$digest" >"$work/out" 2>&1; then
		echo yes
	else
		echo no
	fi
}

same "that the signed image is verified" "$(verified app)" yes
cosign copy "$host/app@$digest" "$host/by-cosign:v1" >/dev/null 2>&1
same "that cosign's copy is verified" "$(verified by-cosign)" no
same "referrers of cosign's copy" \
	"$(curl -fsS "http://$host/v2/by-cosign/referrers/$digest" | count '"artifactType":')" 0
cosign save --dir "$work/saved" "$host/app@$digest" >/dev/null 2>&1
same "the signature's layer on disk" "$(grep -l 'dsseEnvelope' "$work"/saved/blobs/sha256/* | wc -l)" 1
if cosign load --dir "$work/saved" "$host/loaded:v1" >"$work/out" 2>&1; then
	same "that cosign load gets it there" yes no
fi
same "what cosign load ends with" "$(tail -n 1 "$work/out" | count MANIFEST_BLOB_UNKNOWN)" 1
same "that what was loaded is verified" "$(verified loaded)" no
oras cp -r --from-plain-http --to-plain-http "$host/app@$digest" "$host/by-oras:v1" >/dev/null
same "that oras's copy is verified" "$(verified by-oras)" yes
seen "cosign copy copies no signature of cosign sign, and cosign load puts its manifest without its layer"
