#!/usr/bin/env bash
# What:     oras looks for a layer among the manifests, and puts it there, if its media type is that
#           of an index or a manifest.
# Packages: oras.land/oras v1.3.6; github.com/regclient/regclient v0.11.7 (regctl);
#           github.com/google/go-containerregistry v0.22.1 (crane, pkg/registry);
#           github.com/olareg/olareg v0.2.2; github.com/distribution/distribution/v3 v3.1.2
# Expected: what layers names is a blob, whatever its media type (OCI image specification 1.1,
#           "Image Manifest": layers are descriptors, of any media type in an artifact; distribution
#           specification 1.1, "Pulling blobs").
# Seen:     an artifact with the copy of an index as a layer is taken by distribution, crane's
#           registry and olareg, and copied by regctl and crane. oras cp finds no such layer, nor
#           does oras cp -r of the image to which it is attached: nothing is copied. What oras
#           attach makes of the same file lacks the blob: distribution refuses it, crane's registry
#           takes it, and regctl cannot copy the image from there any more.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
registry_ggcr v0.22.1
registry_olareg v0.2.2
registry_distribution v3.1.2
serve crane ggcr
serve olareg olareg
serve distribution distribution
serve other olareg

type=application/vnd.example.copy
printf '{"schemaVersion":2,"mediaType":"%s","manifests":[]}' "$index" >"$work/list"
printf '{"schemaVersion":2,"mediaType":"%s","manifests":[],"annotations":{"a":"b"}}' "$index" >"$work/new"

# attached HOST/REPOSITORY stores an image with the tag v1, and attaches the list to it, as a layer,
# with the tag copy.
attached() {
	local subject e l
	subject=$(image "$1" app)
	get "$1" "$(digest_of "$subject")" | put "$1" v1 "$manifest" >/dev/null
	e=$(printf '{}' | blob "$1" "$empty")
	l=$(blob "$1" "$index" <"$work/list")
	printf '{"schemaVersion":2,"mediaType":"%s","artifactType":"%s","config":{%s},"layers":[{%s}],"subject":{%s}}' \
		"$manifest" "$type" "$e" "$l" "$subject" | put "$1" copy "$manifest" >/dev/null
}

# copied TOOL FROM TO prints yes if a tool copies the image or artifact, and no if it fails.
copied() {
	local command
	case $1 in
	crane) command=(crane copy "$2" "$3") ;;
	oras) command=(oras cp -r --from-plain-http --to-plain-http "$2" "$3") ;;
	regctl) command=(regctl --host "reg=${2%%/*},tls=disabled" --host "reg=${3%%/*},tls=disabled" image copy --referrers "$2" "$3") ;;
	esac
	"${command[@]}" >"$work/log" 2>&1 && echo yes || echo no
}

for registry in "$crane" "$olareg" "$distribution"; do
	attached "$registry/app" # which takes it
	for tool in crane regctl oras; do
		printf '%s ' "$(copied "$tool" "$registry/app:copy" "$other/$tool-${registry##*:}:copy")"
	done
done >"$work/copies"
same "who copies the artifact: crane, regctl and oras, from three registries" "$(cat "$work/copies")" \
	"yes yes no yes yes no yes yes no "
same "who copies the image to which it is attached: regctl, and oras, which gives the reason" \
	"$(copied regctl "$olareg/app:v1" "$other/regctl:v1") $(copied oras "$olareg/app:v1" "$other/oras:v1") $(count 'not found' <"$work/log")" \
	"yes no 1"
same "the image that oras has not copied" "$(curl -sS -o /dev/null -w '%{http_code}' "http://$other/v2/oras/manifests/v1")" 404

# made HOST lets oras attach a list that is nowhere yet to an image, and prints whether that was
# taken, the status of the blob, and whether regctl copies the image afterwards.
made() {
	local taken=yes
	image "$1/made" app >/dev/null
	get "$1/app" v1 | put "$1/made" v1 "$manifest" >/dev/null
	(cd "$work" && oras attach --plain-http --artifact-type "$type" "$1/made:v1" "new:$index" >/dev/null 2>&1) || taken=no
	printf '%s %s %s' "$taken" "$(curl -sS -o /dev/null -w '%{http_code}' "http://$1/v2/made/blobs/$(digest <"$work/new")")" \
		"$(copied regctl "$1/made:v1" "$other/made:${1##*:}")"
}

same "what oras attach makes, at distribution: taken, the blob, and copied by regctl" "$(made "$distribution")" "no 404 yes"
same "what oras attach makes, at crane's registry" "$(made "$crane")" "yes 404 no"
seen "oras cp -r fails for an image with a referrer whose layer is of an index's type; regctl and crane copy it"
