#!/usr/bin/env bash
# What:     helm pull and helm push of a chart give another digest, with every byte of the chart
#           kept.
# Packages: helm.sh/helm/v4 v4.3.2; github.com/olareg/olareg v0.2.2
# Expected: the digest that was pulled: layer and config are the same bytes, and the annotation
#           org.opencontainers.image.created is the time at which something was built (OCI image
#           specification 1.1.1, annotations.md), which a pull does not change.
# Seen:     helm takes for it the time of change that the archive has in the file system. A pull
#           writes the archive anew, so a chart that is moved by pull and push has another digest
#           each time, and what is signed or pinned by digest is lost. Two pushes of the same file
#           have the same digest.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool helm.sh/helm/v4/cmd/helm@v4.3.2
registry_olareg v0.2.2
serve host olareg

cd "$work"
mkdir chart
printf 'apiVersion: v2\nname: chart\nversion: 1.0.0\n' >chart/Chart.yaml
helm package chart >/dev/null
touch -d '2020-02-02 02:02:02 UTC' chart-1.0.0.tgz
# pushed REPOSITORY pushes the archive, and prints the digest of the manifest and of its layer.
pushed() {
	helm push chart-1.0.0.tgz "oci://$host/$1" --plain-http >/dev/null 2>&1
	get "$host/$1/chart" 1.0.0 >manifest
	printf '%s %s' "$(digest <manifest)" "$(sed 's/.*"layers"//' manifest | grep -oE 'sha256:[0-9a-f]{64}')"
}
first=$(pushed first)
same "digest of a second push" "$(pushed second)" "$first"
rm chart-1.0.0.tgz
helm pull "oci://$host/first/chart" --version 1.0.0 --plain-http >/dev/null 2>&1
third=$(pushed third)
same "layer after a round trip" "${third#* }" "${first#* }"
if [[ ${third% *} == "${first% *}" ]]; then
	same "that the digest is another after a round trip" no yes
fi
seen "a chart that is pulled and pushed keeps its layer, and gets another digest"
