#!/usr/bin/env bash
# What:     what distribution notifies of when a mirror is run again, and nothing has changed.
# Packages: github.com/distribution/distribution/v3 v3.1.2;
#           github.com/google/go-containerregistry v0.22.1 (crane); oras.land/oras v1.3.6;
#           github.com/regclient/regclient v0.11.7 (regsync)
# Expected: nothing was pulled or pushed, so there is no such event.
# Seen:     oras puts the tag again in each run, which is an event "push" like that of the first
#           run: what waits for pushes, to scan or to deploy them, starts each time. crane and
#           regsync push nothing. Each HEAD of a manifest is an event "pull", in the mirror, too, so
#           an idle run of regsync, which asks by HEAD only, is two pulls for whoever does not look
#           at the event's request.method. A HEAD with the right If-None-Match is no event.
# Run:      2026-11-30

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regsync@v0.11.7
program notifying github.com/distribution/distribution/v3@v3.1.2 <<-'GO'
	package main

	import (
		"context"
		"encoding/json"
		"fmt"
		"log"
		"net"
		"net/http"
		"os"
		"time"

		"github.com/distribution/distribution/v3/configuration"
		"github.com/distribution/distribution/v3/registry/handlers"
		_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	)

	type envelope struct {
		Events []struct {
			Action  string
			Target  struct{ MediaType, Repository string }
			Request struct{ Method string }
		}
	}

	// notifying FILE is a registry whose events about manifests are lines of the file.
	func main() {
		file, err := os.OpenFile(os.Args[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			log.Fatal(err)
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		go http.Serve(listener, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			var got envelope
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
				log.Fatal(err)
			}
			for _, e := range got.Events {
				if e.Target.MediaType != "application/octet-stream" {
					fmt.Fprintln(file, e.Action, e.Request.Method, e.Target.Repository)
				}
			}
		}))
		c := &configuration.Configuration{
			Storage: configuration.Storage{"inmemory": {}},
			Catalog: configuration.Catalog{MaxEntries: 1000},
			Tags:    configuration.Tags{MaxTags: 1000},
		}
		c.Notifications.Endpoints = []configuration.Endpoint{{
			Name: "file", URL: "http://" + listener.Addr().String(),
			Timeout: time.Second, Threshold: 3, Backoff: time.Second,
		}}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(l.Addr())
		log.Fatal(http.Serve(l, handlers.NewApp(context.Background(), c)))
	}
GO
serve host notifying "$work/events"

# ask REPOSITORY [HEADER] asks by HEAD for its tag v1, and prints the status.
ask() {
	curl -fsSI -o /dev/null -w '%{http_code}' -H "Accept: $manifest" "${@:2}" "http://$host/v2/$1/manifests/v1"
}

# events prints the events since it was asked before. Events keep their order, so all have come when
# that of a last HEAD has.
events() {
	local tries
	ask end >/dev/null
	for ((tries = 0; tries < 100; tries++)); do
		if grep -q 'HEAD end$' "$work/events"; then
			sed '/HEAD end$/d' "$work/events" | paste -sd,
			truncate -s 0 "$work/events"
			return
		fi
		sleep 0.1
	done
	echo "none has come"
}

# copy TOOL copies the image to a mirror of the tool's name.
copy() {
	case $1 in
	crane) crane copy "$host/source:v1" "$host/crane:v1" ;;
	oras) oras cp --from-plain-http --to-plain-http "$host/source:v1" "$host/oras:v1" ;;
	regsync) regsync once -c "$work/regsync.yaml" ;;
	esac >"$work/log" 2>&1 || broken "$1 does not copy" "$(cat "$work/log")"
}

cat >"$work/regsync.yaml" <<-YAML
	version: 1
	creds: [{registry: "$host", tls: disabled}]
	sync: [{source: "$host/source:v1", target: "$host/regsync:v1", type: image}]
YAML
for repository in end source; do
	digest=$(digest_of "$(image "$host/$repository" any)")
	get "$host/$repository" "$digest" | put "$host/$repository" v1 "$manifest" >/dev/null
done
for who in crane oras regsync; do
	copy "$who"
done
events >/dev/null

same "a HEAD, and its event" "$(ask source) $(events)" "200 pull HEAD source"
same "a HEAD that says what is known, and its event" "$(ask source -H "If-None-Match: \"$digest\"") $(events)" "304 "
copy regsync
same "events of regsync" "$(events)" "pull HEAD source,pull HEAD regsync"
copy oras
same "events of oras" "$(events)" "pull GET source,pull HEAD oras,push PUT oras"
copy crane
same "events of crane" "$(events)" "pull GET source,pull HEAD crane"
seen "distribution notifies of a push for each idle run of oras cp, and of a pull for each HEAD"
