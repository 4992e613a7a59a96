#!/usr/bin/env bash
# What:     a manifest named by its SHA-512: one registry of three takes it, crane cannot copy it.
# Packages: github.com/distribution/distribution/v3 v3.1.2; github.com/olareg/olareg v0.2.2;
#           github.com/google/go-containerregistry v0.22.1 (crane, pkg/registry);
#           github.com/regclient/regclient v0.11.7 (regctl)
# Expected: distribution, whose blobs may have SHA-512, takes such manifests as well, and crane
#           leaves the digest of a list's entry as it is. The OCI image specification 1.1.1
#           (descriptor.md, "Registered Algorithms") has sha512 beside sha256.
# Seen:     distribution takes the blob, and refuses the manifest with 400 DIGEST_INVALID, saying
#           that the digest did not match the content. crane's registry answers 201, with the
#           SHA-256 in Docker-Content-Digest. olareg keeps it by SHA-512. crane copy of a list with
#           such an entry fails: it stores the child, and olareg then misses it by the digest in the
#           list. regctl copies the list.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
registry_distribution v3.1.2
registry_olareg v0.2.2
registry_ggcr v0.22.1
serve distribution distribution
serve olareg olareg
serve crane ggcr

# push HOST stores a blob and a manifest by their SHA-512, and prints status and digest of each.
push() {
	local location d
	printf blob >"$work/blob"
	d=sha512:$(sha512sum <"$work/blob" | cut -d ' ' -f 1)
	location=$(curl -fsS -X POST -o /dev/null -w '%header{location}' "http://$1/v2/app/blobs/uploads/")
	case $location in /*) location=http://$1$location ;; esac
	case $location in *\?*) location+="&digest=$d" ;; *) location+="?digest=$d" ;; esac
	curl -sS -X PUT -o /dev/null -w '%{http_code} ' -H 'Content-Type: application/octet-stream' \
		--data-binary "@$work/blob" "$location"
	get "$1/app" "$(digest_of "$(image "$1/app" app)")" >"$work/manifest"
	d=sha512:$(sha512sum <"$work/manifest" | cut -d ' ' -f 1)
	curl -sS -X PUT -o "$work/answer" -w '%{http_code} %header{docker-content-digest}' -H "Content-Type: $manifest" \
		--data-binary "@$work/manifest" "http://$1/v2/app/manifests/$d" | sed 's/:.*//'
	grep -o DIGEST_INVALID "$work/answer" || true
}
same "distribution's answers" "$(push "$distribution")" "201 400 DIGEST_INVALID"
same "the answers of crane's registry" "$(push "$crane")" "201 201 sha256"
same "olareg's answers" "$(push "$olareg")" "201 201 sha512"

put "$olareg/app" list "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[{"mediaType":"$manifest",
	"digest":"sha512:$(sha512sum <"$work/manifest" | cut -d ' ' -f 1)","size":$(wc -c <"$work/manifest"),
	"platform":{"os":"linux","architecture":"amd64"}}]}
JSON
regctl --host "reg=$olareg,tls=disabled" image copy "$olareg/app:list" "$olareg/regctl:list" >/dev/null
if crane copy "$olareg/app:list" "$olareg/crane:list" >"$work/out" 2>&1; then
	same "that crane copies the list" yes no
fi
same "what crane's copy ends with" "$(count 'MANIFEST_BLOB_UNKNOWN' <"$work/out")" 1
seen "distribution refuses a manifest by its SHA-512 as DIGEST_INVALID, crane loses it on a copy"
