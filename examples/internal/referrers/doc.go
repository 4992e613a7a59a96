// Package referrers gives a registry without a referrers API one, as the OCI distribution
// specification v1.1 has it ("Listing Referrers"), in front of distribution and over its storage.
//
// What is true is in two places. A manifest says itself what its subject is. A link per manifest,
// beside distribution's own (registrystore: _referrers), says where to look: from the subject to
// the referrer, and nothing else. A link is written before the client that pushes the manifest is
// answered, and removed before one that deletes it is; both are the hooks of
// sparseregistry.Enforce, Stored and Deleted, which run under the lock of the repository. A link
// whose manifest is gone, or says something else, lists nothing: whoever was killed between the
// manifest and its link leaves nothing wrong behind, and a collector that removes a manifest may
// leave its link to the next check.
//
// The referrers tag (sha256-HEX, "Referrers Tag Schema") is for clients that know nothing else.
//
//   - What such a client writes there is stored as it is, and those of its entries that are true are
//     linked: manifests that are here, and whose subject has this tag. No link is removed for it.
//   - After each change of the links, the tag is made anew: it names an index of what the API
//     answers first, at most 1,000 entries and 4 MiB. Beyond that, the tag lists what comes first by
//     digest, and only the API lists all. A subject without referrers has no tag. Changes that come
//     while the tag is being made are in one that is made next, for all of them.
//   - A tag that names something else than a list of referrers, such as an image, is left alone.
//   - Deleting the tag removes no link. It comes back with the next change.
//
// An index that was made here, and that the tag has named before, stays in the repository without a
// tag. IsMade tells it apart, so that a collector may remove it even where others that nobody names
// are kept.
//
// The API answers the links, and what the tag lists besides, whoever made it: in a storage that was
// filled when nobody wrote links, entries that a client has put into the tag, or copied with it
// from elsewhere, are all that there is. They are linked with the next change; a manifest that no
// tag lists, when it is pushed again, or when a check makes links anew. Referrers of a subject that
// was deleted, or was never there, are listed all the same.
//
// Everything is ordered by digest. Links of different servers on one storage do not get into each
// other's way; their tags do, until the next change.
package referrers
