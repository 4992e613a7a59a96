// Package sparseregistry makes a registry accept sparse lists under a policy: lists some of whose
// children are absent.
//
// Enforce is an http.Handler in front of the handler of any registry. It looks at one request only,
// the PUT of a list, asks the registry behind for the children that the list names, and lets the
// list through or refuses it, as manifest.SparsePolicy says. Everything else passes. Announce tells
// clients about the policy before they push. Policies say which policy is in force in which
// repository, and AskToRead who may know.
//
// A handler in front can tighten, never loosen: the registry behind must accept lists whose
// children are absent (distribution: validation.manifests.indexes.platforms: none). It must be
// reachable through this handler only, and must store manifests under no other path than
// /v2/<name>/manifests/<reference>.
//
// A list that two parsers can read differently could show this handler one set of children and the
// registry behind another. So every manifest is read strictly before it is let through, paths are
// refused unless they are clean, and what is forwarded is what was read: the same bytes, the same
// path, the media type without parameters.
//
// Children are checked and the list is stored under a lock of its repository that a DELETE in the
// same repository waits for. So a child that was there when the list was accepted was there until
// the list was stored. Options.Stored and Options.Deleted are called under the same lock, for all
// manifests: what they note about a manifest is true when the client is answered. What deletes
// children without going through this handler (a clean-up job of the registry behind) is not held
// back.
//
// What removes things from the registry's storage takes a StorageLock alone, which requests hold
// while the registry behind works. NoteUses tells what clients rely on: what they were told is
// there, or have stored.
package sparseregistry
