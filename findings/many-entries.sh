#!/usr/bin/env bash
# What:     crane copy of a list takes time that grows with the square of the number of its entries.
# Packages: github.com/google/go-containerregistry v0.22.1 (crane); oras.land/oras v1.3.6;
#           github.com/olareg/olareg v0.2.2
# Expected: four times as long for four times as many entries.
# Seen:     for 1,600 entries crane computes more than eight times (ten to sixteen) as long as for
#           400: it reads the whole list anew for each of them. A list of 3,000, of 700 kB, took 83
#           seconds, with one and the same image in nearly all entries, which crane asks for each
#           time; oras copied it in 0.3 seconds with 20 requests.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool oras.land/oras/cmd/oras@v1.3.6
registry_olareg v0.2.2
serve host olareg

image=$(image "$host/list" image)
for n in 400 1600; do
	{
		printf '{"schemaVersion":2,"mediaType":"%s","manifests":[' "$index"
		for ((i = 1; i <= n; i++)); do
			printf '{%s,"platform":{"os":"linux","architecture":"amd64","variant":"v%d"}}' "$image" "$i"
			((i == n)) || printf ,
		done
		printf ']}'
	} | put "$host/list" "$n" "$index" >/dev/null
done

# computed COMMAND... prints how many milliseconds of the processor a command takes for itself.
computed() {
	local TIMEFORMAT=%U seconds
	seconds=$({ time "$@" >/dev/null 2>&1; } 2>&1)
	echo "$((10#${seconds/./}))"
}

few=$(computed crane copy "$host/list:400" "$host/few:crane")
many=$(computed crane copy "$host/list:1600" "$host/many:crane")
same "that crane computes more than eight times as long for four times as many" "$((many > 8 * few))" 1
oras=$(computed oras cp --from-plain-http --to-plain-http "$host/list:1600" "$host/many:oras")
same "that oras computes a tenth of what crane computes, at most" "$((10 * oras < many))" 1
seen "crane computes $few ms for a list of 400 entries and $many ms for 1,600, oras $oras ms"
