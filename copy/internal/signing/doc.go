// Package signing makes new signatures of what copies have brought, or are about to bring, to a
// destination: of documents that are held, without anything being written.
//
// A Ring is what copies share: keys that have been opened, and the turn of who signs. Keys are
// those of one copy. They sign each Subject once, and only if it carries no signature of theirs.
package signing
