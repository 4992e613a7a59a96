// Package platform says which platforms are meant, and compares and prints those that lists offer.
//
// A Pattern is one selector: it may have wildcards and may be marked as an exclude. Parse reads it
// from the text that people write, Matches applies it to the platform of one entry of a list or of
// one image config. Combining several patterns (union, excludes win, each must match something) is
// left to the caller, and so are attestations: their "unknown/unknown" is a platform like any other
// here.
//
// Platforms have more than one spelling. Normalize gives each its usual one, and Matches, Equal and
// Compare look through it; letter case never matters to them. Format prints what an entry really
// says, and never prints two different entries alike.
//
// Spellings mean what they mean to github.com/containerd/platforms; tests of the examples compare
// the two. But nothing is filled in here: to that library "arm" is arm/v7 and "linux" is linux on
// the host's architecture, to this package "arm" is every arm and a bare "linux" is an error. Nor
// is an explicit variant dropped. The table of spellings is our own because it decides which
// entries a stripped list retains, hence its digest: another release of that library in the
// importing program must not change it.
//
// Everything here is pure: no I/O, no dependency on the host, arguments are never modified, and all
// functions may run concurrently.
package platform
