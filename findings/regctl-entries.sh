#!/usr/bin/env bash
# What:     regctl index create writes other entries than the list has from which it takes the
#           images.
# Packages: github.com/regclient/regclient v0.11.7 (regctl); github.com/google/go-containerregistry
#           v0.22.1 (crane); github.com/olareg/olareg v0.2.2
# Expected: the entries of the list, as crane index filter writes them: what they say of an image
#           need not be in the image, and is what clients choose by.
# Seen:     regctl looks at the config of each image that it selects, and writes the platform that
#           stands there, and nothing else. The entry that was selected as linux/arm64 is one of
#           linux/arm/v7 then, if the same image stands for both. A SOCI index, whose config is none
#           of an image, loses its platform, its artifactType and its annotation, which are all that
#           tells clients what it is; an image and its zstd twin cannot be told apart any more.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
registry_olareg v0.2.2
serve host olareg

soci=application/vnd.amazon.soci.index.v2+json
amd64=$(image "$host/list" amd64)
twin=$(image "$host/list" twin)
arm=$(image "$host/list" arm '"os":"linux","architecture":"arm","variant":"v7",')
about=$(printf '{}' | blob "$host/list" "$soci")
ztoc=$(printf 'ztoc' | blob "$host/list" application/octet-stream)
soci_index=$(printf '{"schemaVersion":2,"mediaType":"%s","artifactType":"%s","config":{%s},"layers":[{%s}]}' \
	"$manifest" "$soci" "$about" "$ztoc" | put "$host/list" "" "$manifest")
put "$host/list" list "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[
	{$amd64,"platform":{"os":"linux","architecture":"amd64"}},
	{$soci_index,"platform":{"os":"linux","architecture":"amd64"},"artifactType":"$soci",
	"annotations":{"com.amazon.soci.image-manifest-digest":"$(digest_of "$amd64")"}},
	{$twin,"platform":{"os":"linux","architecture":"amd64"},"annotations":{"io.github.containers.compression.zstd":"true"}},
	{$arm,"platform":{"os":"linux","architecture":"arm","variant":"v7"}},
	{$arm,"platform":{"os":"linux","architecture":"arm64"}}]}
JSON

# marks TAG prints how often there is which mark of an entry in a list.
marks() {
	local m
	get "$host/list" "$1" >"$work/index.json"
	for m in '"digest":' '"architecture":"amd64"' '"architecture":"arm64"' '"variant":"v7"' "\"$soci\"" com.amazon.soci compression.zstd; do
		printf '%d ' "$(count "${m//+/\\+}" <"$work/index.json")"
	done
}

crane index filter "$host/list:list" --platform linux/amd64 --platform linux/arm64 -t "$host/list:crane" >/dev/null 2>&1
same "the marks in crane's list" "$(marks crane)" "4 3 1 0 1 1 1 "
regctl --host "reg=$host,tls=disabled" index create "$host/list:regctl" --ref "$host/list:list" \
	--platform linux/amd64 --platform linux/arm64 >/dev/null
same "the marks in regctl's list" "$(marks regctl)" "4 2 0 1 0 0 0 "
seen "regctl writes linux/arm/v7 for an entry selected as linux/arm64, and SOCI indexes and zstd twins without their marks"
