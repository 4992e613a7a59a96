#!/usr/bin/env bash
# What:     cosign copy tags a list and its images with the names at which referrers are looked for.
# Packages: github.com/sigstore/cosign/v3 v3.1.3; oras.land/oras v1.3.6;
#           github.com/regclient/regclient v0.11.7 (regctl); github.com/distribution/distribution/v3
#           v3.1.2
# Expected: the tag that was asked for. sha256-<hex> of a digest is the tag of the list of its
#           referrers at registries without the API (OCI distribution specification 1.1, "Referrers
#           Tag Schema").
# Seen:     each manifest gets the tag of its own digest, so that the list is the list of its own
#           referrers: regctl artifact list shows its platforms as such, and oras discover does so,
#           too, once cosign sign has added a signature there. An image cannot be a list of
#           referrers: regctl can neither list nor attach anything to it ("manifest is not an OCI
#           index"). Nothing of this is so where the registry has the API. cosign 3 calls its copy
#           deprecated.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
registry_distribution v3.1.2
serve host distribution
signing

amd64=$(image "$host/app" amd64)
arm64=$(image "$host/app" arm64 '"os":"linux","architecture":"arm64",')
list=$(put "$host/app" list "$index" <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[
	{$amd64,"platform":{"os":"linux","architecture":"amd64"}},
	{$arm64,"platform":{"os":"linux","architecture":"arm64"}}]}
JSON
)
cosign copy "$host/app:list" "$host/copy:list" >/dev/null 2>&1
regctl="regctl --host reg=$host,tls=disabled artifact"
echo note >"$work/note"

same "tags of the copy" "$(curl -fsS "http://$host/v2/copy/tags/list" | count '"(list|sha256-[0-9a-f]{64})"')" 4
ref=$host/copy@$(digest_of "$list")
same "referrers of the list that regctl shows" "$($regctl list --format body "$ref" | count '"digest":')" 2
sign "$ref"
same "platforms that oras shows as referrers of the list" "$(oras discover --plain-http --format json "$ref" |
	count "\"reference\": *\"[^\"]*($(digest_of "$amd64")|$(digest_of "$arm64"))\"")" 2
# refused COMMAND... prints whether regctl takes an image for no list of referrers.
refused() {
	if "$@" >"$work/out" 2>&1; then echo no; else count 'manifest is not an OCI index' <"$work/out"; fi
}
ref=$host/copy@$(digest_of "$amd64")
same "that regctl lists no referrers of an image" "$(refused $regctl list "$ref")" 1
same "that regctl attaches nothing to an image" \
	"$(refused $regctl put --artifact-type application/vnd.example.note --subject "$ref" -f "$work/note")" 1
seen "two platforms of a list are shown as its referrers, and regctl attaches nothing to an image"
