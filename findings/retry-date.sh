#!/usr/bin/env bash
# What:     a registry that refuses for ten seconds (429), and says in Retry-After how long: as a
#           number of seconds, or as a date.
# Packages: github.com/google/go-containerregistry v0.22.1 (crane);
#           oras.land/oras v1.3.6; github.com/regclient/regclient v0.11.7 (regctl)
# Expected: both forms are waited for, or none: RFC 9110 (10.2.3) gives a server the choice.
# Seen:     regctl waits for seconds, then gets the manifest at its second request. For a date it
#           asks five times in three seconds, and fails. oras, which waits three seconds at most
#           before it asks again, has the manifest in the end if it was told seconds, and fails if
#           it was told a date, as it asks six times in seven seconds then. crane fails with both:
#           it asks three times in four seconds, as if there were no header.
# Run:      2026-11-30

source "$(dirname "$0")/lib.sh"
tool github.com/google/go-containerregistry/cmd/crane@v0.22.1
tool oras.land/oras/cmd/oras@v1.3.6
tool github.com/regclient/regclient/cmd/regctl@v0.11.7
program busy <<-'GO'
	package main

	import (
		"crypto/sha256"
		"fmt"
		"log"
		"net"
		"net/http"
		"strconv"
		"sync"
		"time"
	)

	const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` +
		`{"mediaType":"application/vnd.oci.empty.v1+json","size":2,` +
		`"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}`

	// A repository is free ten seconds after the first request for it.
	type repository struct {
		free    time.Time
		refused int
	}

	func main() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(l.Addr())
		var mu sync.Mutex
		repositories := make(map[string]*repository)
		http.HandleFunc("/v2/", func(http.ResponseWriter, *http.Request) {})
		http.HandleFunc("/v2/{form}/{tool}/manifests/v1", func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			name := r.PathValue("form") + "/" + r.PathValue("tool")
			if repositories[name] == nil {
				repositories[name] = &repository{free: time.Now().Add(10 * time.Second).Truncate(time.Second)}
			}
			if wait := time.Until(repositories[name].free); wait > 0 {
				repositories[name].refused++
				w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
				if r.PathValue("form") == "date" {
					w.Header().Set("Retry-After", repositories[name].free.UTC().Format(http.TimeFormat))
				}
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Docker-Content-Digest", fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(manifest))))
			fmt.Fprint(w, manifest)
		})
		http.HandleFunc("/refused/{form}/{tool}", func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprint(w, repositories[r.PathValue("form")+"/"+r.PathValue("tool")].refused)
		})
		log.Fatal(http.Serve(l, nil))
	}
GO
serve host busy

# fetch FORM TOOL gets the manifest, and notes the exit status in a file.
fetch() {
	local image=$host/$1/$2:v1 status=0
	case $2 in
	crane) crane manifest "$image" ;;
	oras) oras manifest fetch --plain-http "$image" ;;
	regctl) regctl --host "reg=$host,tls=disabled" manifest get "$image" ;;
	esac >"$work/$1-$2.log" 2>&1 || status=$?
	echo "$status" >"$work/$1-$2"
}

runs=()
for form in seconds date; do
	for who in crane oras regctl; do
		fetch "$form" "$who" &
		runs+=("$!")
	done
done
wait "${runs[@]}"

# status FORM TOOL prints the exit status and how often the tool was refused.
status() { echo "$(cat "$work/$1-$2") $(curl -fsS "http://$host/refused/$1/$2")"; }

same "regctl, seconds: exit status, refusals" "$(status seconds regctl)" "0 1"
same "regctl, date: exit status, refusals" "$(status date regctl)" "1 5"
same "oras, seconds: exit status" "$(cat "$work/seconds-oras")" 0
same "oras, date: exit status, refusals" "$(status date oras)" "1 6"
same "crane, seconds: exit status, refusals" "$(status seconds crane)" "1 3"
same "crane, date: exit status, refusals" "$(status date crane)" "1 3"
seen "told in seconds how long to wait, regctl and oras wait, told by a date they give up before; crane waits for neither"
