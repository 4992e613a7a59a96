package page

import (
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// now is when the mirrors of tests are looked at.
var now = time.Date(2026, 11, 29, 23, 10, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

const hour = time.Hour

// image is one that is mirrored: two platforms of four, in a list that is kept.
func image(name string, size int64) state.Image {
	at := digest.FromString(name)
	return state.Image{
		Destination: "docker://registry.example/mirror/" + name, Source: "docker://docker.io/library/" + name,
		SourceDigest: at, LatestSource: at, DestinationDigest: at, Status: state.Mirrored, Action: "keep",
		Tried: ago(8 * time.Minute), Succeeded: ago(8 * time.Minute), Copied: ago(50 * hour), Verified: ago(7 * hour), Checked: state.CheckManifests,
		Size: size, Transferred: size, Saved: state.Saved{Platforms: size, Present: size / 7},
		Platforms: []state.Platform{
			{Platform: "linux/amd64", Status: state.PlatformMirrored}, {Platform: "linux/arm64", Status: state.PlatformMirrored},
			{Platform: "linux/arm/v7", Status: state.PlatformKept}, {Platform: "linux/s390x", Status: state.PlatformKept},
		},
	}
}

// stripped makes of an image one of a list that was stripped.
func stripped(i state.Image) state.Image {
	i.DestinationDigest, i.Action, i.OriginProven = digest.FromString("stripped "+i.Destination), "strip", true
	for n := range i.Platforms {
		if i.Platforms[n].Status == state.PlatformKept {
			i.Platforms[n].Status = state.PlatformStripped
		}
	}
	return i
}

// vouched marks the platforms that are mirrored.
func vouched(i state.Image, signed, attested bool) state.Image {
	for n, p := range i.Platforms {
		if p.Status == state.PlatformMirrored {
			i.Platforms[n].Signed, i.Platforms[n].Attested = signed, attested
		}
	}
	return i
}

// example is a mirror with an image of each kind.
func example() Mirror {
	damaged := image("redis:7.2", 61_400_000)
	damaged.Status, damaged.Succeeded, damaged.Checked = state.Damaged, ago(31*hour), state.CheckBlobs
	damaged.Error = "the mirror lacks the image for linux/arm64, and the source cannot give it: docker.io names no tag 7.2 any more"
	damaged.Platforms[1].Status = state.PlatformDamaged

	failed := vouched(image("grafana:13", 214_000_000), false, true)
	failed.Status, failed.Succeeded, failed.LagSince, failed.LatestSource = state.Failed, ago(26*hour), ago(26*hour), digest.FromString("newer")
	failed.Error = "GET https://robot:secret@registry-1.docker.io/v2/library/grafana/manifests/13?ns=docker.io: 503 Service Unavailable, five times"

	postponed := vouched(image("python:3.14", 389_000_000), true, true)
	postponed.Status, postponed.PostponedUntil, postponed.Succeeded = state.Postponed, now.Add(3*hour), ago(100*time.Minute)
	postponed.LagSince, postponed.LatestSource = ago(40*time.Minute), digest.FromString("newer")
	postponed.Error = "docker.io has 3 of 100 pulls left, and 10 are to remain"

	behind := image("node:24", 402_000_000)
	behind.LagSince, behind.LatestSource = ago(20*time.Minute), digest.FromString("newer")

	incomplete := image("golang:1.26", 311_000_000)
	incomplete.Platforms = append(incomplete.Platforms, state.Platform{Platform: "windows/amd64", Status: state.PlatformMissing})
	incomplete.Warnings = []string{"windows/amd64 is listed by the source, and missing there"}

	single := image("hello-world:latest", 13_300)
	single.Platforms, single.Action, single.Saved = single.Platforms[:1], "", state.Saved{}

	skipped := state.Image{
		Destination: "docker://registry.example/mirror/nanoserver:ltsc2025", Source: "docker://mcr.microsoft.com/windows/nanoserver:ltsc2025",
		Status: state.Skipped, Tried: ago(8 * time.Minute), Succeeded: ago(8 * time.Minute), LatestSource: digest.FromString("nano"),
		Platforms: []state.Platform{{Platform: "windows/amd64", Status: state.PlatformStripped}},
	}
	pending := state.Image{
		Destination: "docker://registry.example/mirror/traefik:v3", Source: "docker://docker.io/library/traefik:v3", Status: state.Pending,
		Platforms: []state.Platform{{Platform: "linux/amd64", Status: state.PlatformUnknown}},
	}
	return Mirror{
		Name: "production.yaml", At: now,
		Images: []state.Image{
			vouched(image("alpine:3", 7_900_000), true, true), stripped(vouched(image("nginx:1.29", 142_000_000), true, false)), pending,
			vouched(image("postgres:18", 291_000_000), false, true), behind, damaged, single, stripped(image("busybox:1.37", 4_200_000)),
			incomplete, skipped, postponed, failed, vouched(image("debian:13", 98_000_000), true, true), image("memcached:1.6", 66_000_000),
		},
		Limits: []Limit{{Registry: "docker.io", Remaining: 3, Limit: 100, Until: now.Add(3 * hour)}},
	}
}

// large is a mirror of n images, most of which are as they should be.
func large(n int) Mirror {
	m := Mirror{Name: "all.yaml", At: now}
	for number := range n {
		i := vouched(image(fmt.Sprintf("team-%d/service-%d:v1.%d", number/97, number, number%13), int64(number*7919%400)*1_000_000), number%2 == 0, number%3 == 0)
		switch {
		case number%701 == 700:
			i.Status, i.Error = state.Failed, "GET https://docker.io/v2/: 503 Service Unavailable"
		case number%5 == 1:
			i = stripped(i)
		}
		m.Images = append(m.Images, i)
	}
	return m
}
