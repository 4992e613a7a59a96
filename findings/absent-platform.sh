#!/usr/bin/env bash
# What:     two platforms are selected, and the list has one of them.
# Packages: github.com/google/go-containerregistry v0.22.1 (crane); oras.land/oras v1.3.6;
#           github.com/regclient/regclient v0.11.7 (regctl); github.com/docker/buildx v0.38.2;
#           github.com/olareg/olareg v0.2.2
# Expected: an error. Whoever names two platforms and gets a list of one finds out on a machine of
#           the other, when nothing starts there.
# Seen:     oras fails, and says which platforms there are. crane index filter, regctl index create
#           and buildx imagetools create write a list of the one platform, without a word, and end
#           with the exit status 0. crane and regctl do so, too, if neither platform is there, and
#           write a list without entries.
# Run:      2026-11-29

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
tool github.com/docker/buildx/cmd/buildx@v0.38.2
registry_olareg v0.2.2
serve host olareg

amd64=$(image "$host/list" amd64)
put "$host/list" list "$index" >/dev/null <<-JSON
	{"schemaVersion":2,"mediaType":"$index","manifests":[{$amd64,"platform":{"os":"linux","architecture":"amd64"}}]}
JSON

# select_with TOOL TAG PLATFORM PLATFORM writes what the tool selects to the tag.
select_with() {
	case $1 in
	crane) crane index filter "$host/list:list" --platform "$3" --platform "$4" -t "$host/list:$2" ;;
	regctl) regctl --host "reg=$host,tls=disabled" index create "$host/list:$2" --ref "$host/list:list" --platform "$3" --platform "$4" ;;
	oras) oras copy --from-plain-http --to-plain-http --no-tty --platform "$3,$4" "$host/list:list" "$host/list:$2" ;;
	buildx) buildx imagetools create --platform "$3,$4" -t "$host/list:$2" "$host/list:list" ;;
	esac >/dev/null 2>&1
}

# entries TAG prints how many entries the list has.
entries() { get "$host/list" "$1" | count '"digest":'; }

for who in crane regctl buildx; do
	select_with "$who" "$who" linux/amd64 linux/arm64 || same "$who's exit status" $? 0
	same "entries of $who's list" "$(entries "$who")" 1
done
select_with oras oras linux/amd64 linux/arm64 && same "oras's exit status" 0 1
for who in crane regctl; do
	select_with "$who" "$who-none" linux/arm64 linux/s390x || same "$who's exit status" $? 0
	same "entries of $who's list of nothing" "$(entries "$who-none")" 0
done
for who in oras buildx; do
	select_with "$who" "$who-none" linux/arm64 linux/s390x && same "$who's exit status" 0 1
done
seen "a platform that is not there is no error for crane, regctl and buildx; both absent, crane and regctl write an empty list"
