#!/usr/bin/env bash
# What:     crane index filter keeps an index's artifactType and annotations, and drops its subject.
# Packages: github.com/google/go-containerregistry v0.22.1 (crane); oras.land/oras v1.3.6;
#           github.com/regclient/regclient v0.11.7 (regctl); github.com/olareg/olareg v0.2.2
# Expected: an index with fewer entries, and all else as it was. subject is a field of the index in
#           the OCI image specification 1.1.1 (image-index.md), beside artifactType and annotations.
# Seen:     what crane writes has artifactType and annotations, and no subject, so it is no referrer
#           any more, even where nothing was filtered. crane's struct for an index has the field.
#           oras manifest index update and regctl index delete keep it.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
registry_olareg v0.2.2
serve host olareg

about=$(image "$host/list" about)
amd64=$(image "$host/list" amd64)
arm64=$(image "$host/list" arm64 '"os":"linux","architecture":"arm64",')
put "$host/list" list "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","artifactType":"application/vnd.example.set","subject":{$about},
	"manifests":[{$amd64,"platform":{"os":"linux","architecture":"amd64"}},
	{$arm64,"platform":{"os":"linux","architecture":"arm64"}}],"annotations":{"org.example.kept":"yes"}}
JSON

# fields TAG prints which of the three fields the index has.
fields() {
	get "$host/list" "$1" >"$work/index.json"
	for field in artifactType subject org.example.kept; do
		if grep -q "\"$field\":" "$work/index.json"; then printf '%s ' "$field"; fi
	done
}

crane index filter --platform linux/amd64 -t "$host/list:crane" "$host/list:list" >/dev/null 2>&1
oras manifest index update --plain-http --remove "$(digest_of "$arm64")" --tag oras "$host/list:list" >/dev/null
same "fields in crane's index" "$(fields crane)" "artifactType org.example.kept "
same "fields in oras's index" "$(fields oras)" "artifactType subject org.example.kept "
regctl --host "reg=$host,tls=disabled" index delete --digest "$(digest_of "$arm64")" "$host/list:list" >/dev/null
same "fields in regctl's index" "$(fields list)" "artifactType subject org.example.kept "
seen "crane index filter drops the subject, and keeps artifactType and annotations"
