package state

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// An Image is what is known of one image of a mirror, and of the last attempts to copy it. Times
// are zero as long as that has never happened.
type Image struct {
	// Destination is where it is copied to, as transports.ImageName writes references: the key of
	// a Store.
	Destination string `json:"destination"`
	// Source is where it comes from, in the same form.
	Source string `json:"source"`
	// Options is a fingerprint of how it is copied: selection, policies, keys, and whatever else
	// changes what the destination is to have. Digests and times of copies that were made with
	// others say nothing.
	Options digest.Digest `json:"options,omitempty"`

	// SourceDigest is what the source named when it was last copied, or found to be there;
	// DestinationDigest is what the destination names since then. Both are "" as long as no attempt
	// has succeeded with these Options.
	SourceDigest      digest.Digest `json:"sourceDigest,omitempty"`
	DestinationDigest digest.Digest `json:"destinationDigest,omitempty"`
	// Wanted is the fingerprint of everything that the destination was to have then: see
	// copy.Report.
	Wanted digest.Digest `json:"wanted,omitempty"`
	// LatestSource is what the source named last, also if that could not be copied. It is
	// SourceDigest unless the mirror lags behind.
	LatestSource digest.Digest `json:"latestSource,omitempty"`

	Status Status `json:"status"`
	// Error is why the last attempt failed, in one line for people; "" if it did not.
	Error string `json:"error,omitempty"`
	// Warnings are those of the last attempt that looked at more than digests, the first ten.
	Warnings []string `json:"warnings,omitempty"`

	// Tried is when the last attempt ended, Succeeded when the last one did that succeeded, and
	// Copied when the last one did that wrote anything.
	Tried     time.Time `json:"tried,omitzero"`
	Succeeded time.Time `json:"succeeded,omitzero"`
	Copied    time.Time `json:"copied,omitzero"`
	// Verified is when the destination was last asked for all that belongs to the image, down to
	// Checked.
	Verified time.Time `json:"verified,omitzero"`
	Checked  Level     `json:"checked,omitempty"`
	// SourceChanged is when the source was first seen to name LatestSource.
	SourceChanged time.Time `json:"sourceChanged,omitzero"`
	// LagSince is when the source was first seen to name something that the destination does not
	// have yet; zero if the mirror does not lag behind.
	LagSince time.Time `json:"lagSince,omitzero"`
	// Pushed is when somebody last told of a push to the source that was not looked at yet.
	Pushed time.Time `json:"pushed,omitzero"`
	// PostponedUntil is when it may be tried again if Status is Postponed, at the latest.
	PostponedUntil time.Time `json:"postponedUntil,omitzero"`

	// Kind is what the source is: "list", "build cache", "image" or "artifact"; "" if unknown.
	Kind string `json:"kind,omitempty"`
	// Action is what became of the entries that were not copied, "keep" or "strip"; "" for single
	// images.
	Action string `json:"action,omitempty"`
	// Platforms are the images of a list, in its order, or the single image.
	Platforms []Platform `json:"platforms,omitempty"`
	// Size is how many bytes the mirror holds of it: manifests, configs and layers of what it names
	// and the mirror has, each once. 0 if unknown.
	Size int64 `json:"size,omitempty"`
	// Transferred is how many bytes were copied for it, by all attempts with a state.
	Transferred int64 `json:"transferred,omitempty"`
	Saved       Saved `json:"saved,omitzero"`
	// OriginProven is set if the list was stripped, and anyone can verify that its publisher has
	// signed what it was made of.
	OriginProven bool `json:"originProven,omitempty"`
}

// Lag is how long the mirror has been behind its source, 0 if it is not.
func (i *Image) Lag(now time.Time) time.Duration {
	if i.LagSince.IsZero() {
		return 0
	}
	return max(0, now.Sub(i.LagSince))
}

// Saved counts bytes that were not copied, by all attempts with a state that copied anything.
type Saved struct {
	// Platforms are those of images that nobody selected.
	Platforms int64 `json:"platforms,omitempty"`
	// Present are those of blobs that the destination had already.
	Present int64 `json:"present,omitempty"`
}

// A Platform is one image of a list, or a single image.
type Platform struct {
	// Platform is OS/ARCH[/VARIANT], or what it is if it is no image for one.
	Platform string         `json:"platform"`
	Status   PlatformStatus `json:"status"`
	// Digest is that at the source.
	Digest digest.Digest `json:"digest,omitempty"`
	// Size is that of its manifest, config and layers in bytes, 0 if unknown.
	Size int64 `json:"size,omitempty"`
	// Signed and Attested are set if the mirror has a signature of it, or an attestation.
	Signed   bool `json:"signed,omitempty"`
	Attested bool `json:"attested,omitempty"`
}

// Status is how the last attempt to copy an image ended.
type Status string

// The statuses.
const (
	Pending   Status = "pending"   // never tried
	Mirrored  Status = "mirrored"  // the mirror has what the source named
	Skipped   Status = "skipped"   // a single image for a platform that nobody asked for
	Postponed Status = "postponed" // the source's rate limit is used up
	Failed    Status = "failed"    // it could not be copied; what the mirror had before is as it was
	Damaged   Status = "damaged"   // the mirror lacks something, and the source cannot give it any more
)

// PlatformStatus is what the mirror has of a platform.
type PlatformStatus string

// The statuses of platforms.
const (
	PlatformMirrored PlatformStatus = "mirrored"
	PlatformKept     PlatformStatus = "kept"     // not selected; the list at the mirror names it all the same
	PlatformStripped PlatformStatus = "stripped" // not selected, and not named by the list at the mirror
	PlatformMissing  PlatformStatus = "missing"  // selected, and missing at the source
	PlatformDamaged  PlatformStatus = "damaged"  // lost at the mirror, and missing at the source
	PlatformUnknown  PlatformStatus = "unknown"  // no attempt has come so far
)

// Level is how much of what is at a destination is looked at.
type Level string

// The levels, from the least to the most.
const (
	CheckTag       Level = "tag"       // what the tag names
	CheckManifests Level = "manifests" // each manifest, too
	CheckBlobs     Level = "blobs"     // each config and layer, too
)

// Earlier returns the earlier one of two times, either of which may be zero for none.
func Earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
