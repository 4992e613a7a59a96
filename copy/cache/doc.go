// Package cache has caches for CopierOptions.Cache, which keep the manifests, lists and signatures
// that sources have handed out:
//
//   - Memory, for programs that run for long;
//   - Directory, for programs that begin and end, several at the same time if need be.
//
// A Copier with a cache asks a registry by HEAD what a tag names, where it knows what that named
// last, and reads only what it does not have. Registries that count pulls do not count that one.
//
// What is kept is used only for a digest that the source itself has named in the same copy, and
// only for the repository that has handed it out before. It is verified each time. So a cache that
// was emptied, damaged or tampered with costs requests, and cannot change what is copied; nor does
// it answer whether something is there.
//
// What is kept may be of private images: manifests, the names of their layers, and annotations.
package cache
