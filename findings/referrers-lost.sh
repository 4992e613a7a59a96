#!/usr/bin/env bash
# What:     of 120 referrers that oras copies to olareg, which takes each, some are listed
#           afterwards.
# Packages: oras.land/oras v1.3.6; github.com/olareg/olareg v0.2.2
# Expected: all of them, as the OCI distribution specification 1.1 ("Listing Referrers") has it of
#           manifests with a subject that a registry with the API has taken with 201.
# Seen:     oras copies three at a time. olareg keeps the answer of the referrers API as a document
#           that each push reads, extends and writes back; nothing keeps two pushes apart, so that
#           the later one wins. No status tells. The manifests are all there, by digest. Pushed one
#           by one, as to the source of the copy here, all are listed.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool oras.land/oras/cmd/oras@v1.3.6
registry_olareg v0.2.2
serve source olareg
serve destination olareg

subject=$(image "$source/app" app)
digest=$(digest_of "$subject")
for i in {1..120}; do
	attach "$source/app" "$subject" application/vnd.example.note "\"org.example.number\":\"$i\"" >/dev/null
done
# listed HOST prints how many referrers are listed.
listed() { curl -fsS "http://$1/v2/app/referrers/$digest" | count '"digest"'; }

same "referrers at the source" "$(listed "$source")" 120
oras cp -r --from-plain-http --to-plain-http "$source/app@$digest" "$destination/app:v1" >/dev/null
for d in $(curl -fsS "http://$source/v2/app/referrers/$digest" | grep -oE 'sha256:[0-9a-f]{64}'); do
	get "$destination/app" "$d" >/dev/null
done
there=$(listed "$destination")
same "that referrers are missing at the destination" "$((there < 120))" 1
seen "olareg lists $there of 120 referrers that oras has copied to it"
