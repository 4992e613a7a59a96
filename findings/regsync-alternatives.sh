#!/usr/bin/env bash
# What:     regsync anchors an expression with alternatives at the wrong ends.
# Packages: github.com/regclient/regclient v0.11.7 (regsync, regctl); github.com/olareg/olareg
#           v0.2.2
# Expected: tags.allow with "v1|v2" takes the tags v1 and v2. The documentation of regsync says that
#           expressions are bound to the beginning and the end of the tag.
# Seen:     "v1|v2" becomes "^v1|v2$": of v1, v10, v1-rc1, v2, v20 and dev2, all but v20 are copied,
#           and the run ends with 0. tags.deny does the same the other way round, and leaves out
#           what nobody has denied. "(v1|v2)" is what was meant. regctl tag ls --include, which is
#           for trying expressions out, takes what regsync takes.
# Run:      2026-11-30

source "$(dirname "$0")/lib.sh"
tool github.com/regclient/regclient/cmd/regsync@v0.11.7
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
registry_olareg v0.2.2
serve host olareg

image "$host/app" any >"$work/image"
get "$host/app" "$(digest_of "$(cat "$work/image")")" >"$work/manifest"
for tag in v1 v10 v1-rc1 v2 v20 dev2; do
	put "$host/app" "$tag" "$manifest" <"$work/manifest" >/dev/null
done

# tags REPOSITORY [FLAG VALUE] prints the tags of a repository.
tags() { regctl --host "reg=$host,tls=disabled" tag ls "$host/$1" "${@:2}" | sort | tr '\n' ' '; }

# sync MIRROR TAGS copies the tags that the configuration TAGS selects, and prints which these are.
sync() {
	cat >"$work/regsync.yaml" <<-YAML
		version: 1
		creds: [{registry: "$host", tls: disabled}]
		sync: [{source: "$host/app", target: "$host/$1", type: repository, tags: {$2}}]
	YAML
	regsync once -c "$work/regsync.yaml" >"$work/log" 2>&1 || same "regsync's exit status" $? 0
	tags "$1"
}

export LC_ALL=C
same "what is copied of (v1|v2)" "$(sync grouped 'allow: ["(v1|v2)"]')" "v1 v2 "
same "what is copied of v1|v2" "$(sync allowed 'allow: ["v1|v2"]')" "dev2 v1 v1-rc1 v10 v2 "
same "what regctl lists of v1|v2" "$(tags app --include 'v1|v2')" "dev2 v1 v1-rc1 v10 v2 "
same "what is copied without v1|v2" "$(sync denied 'deny: ["v1|v2"]')" "v20 "
seen 'regsync copies dev2, v10 and v1-rc1, too, for "v1|v2", and leaves them out where it is denied'
