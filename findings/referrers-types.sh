#!/usr/bin/env bash
# What:     crane's registry lists referrers by the type of their config, whatever their
#           artifactType.
# Packages: github.com/google/go-containerregistry v0.22.1 (pkg/registry); oras.land/oras v1.3.6;
#           github.com/olareg/olareg v0.2.2
# Expected: artifactType is the manifest's own one, and the config's media type only if there is
#           none; for an index its own one or none (OCI distribution specification 1.1, "Listing
#           Referrers").
# Seen:     a note with the empty config, as oras attach writes it, is listed as
#           application/vnd.oci.empty.v1+json, and an index without any artifactType. oras discover,
#           which filters by itself where the registry does not, finds nothing under the type that
#           oras attach was given. olareg lists both types.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool oras.land/oras/cmd/oras@v1.3.6
registry_ggcr v0.22.1
registry_olareg v0.2.2
serve crane ggcr
serve olareg olareg

note=application/vnd.example.note
set=application/vnd.example.set
echo note >"$work/note"

# look HOST attaches a note and an index to an image, and prints what is listed, and how many oras
# finds by the note's type.
look() {
	local subject ref
	subject=$(image "$1/app" app)
	ref=$1/app@$(digest_of "$subject")
	(cd "$work" && oras attach --plain-http --artifact-type "$note" "$ref" note >/dev/null)
	put "$1/app" "" "$index" >/dev/null <<-JSON
		{"schemaVersion":2,"mediaType":"$index","artifactType":"$set","manifests":[],"subject":{$subject}}
	JSON
	curl -fsS "http://$1/v2/app/referrers/$(digest_of "$subject")" >"$work/list"
	for type in "$note" "$set" "$empty"; do
		printf '%d ' "$(count "\"artifactType\":\"${type/+/[+]}\"" <"$work/list")"
	done
	oras discover --plain-http --format json --artifact-type "$note" "$ref" | count '"artifactType":'
}

same "notes, sets and empty types that olareg lists, and notes that oras finds" "$(look "$olareg")" "1 1 0 1"
same "notes, sets and empty types that crane's registry lists, and notes that oras finds" "$(look "$crane")" "0 0 1 0"
seen "crane's registry lists a note of oras attach as $empty, and an index without a type"
