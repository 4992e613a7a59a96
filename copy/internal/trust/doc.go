// Package trust finds out what can be believed of a stripped list, with what is attached to it and
// without its source: that it is the publisher's list with whole entries taken out, and that the
// publisher has signed that.
//
// Verify answers both, for the list at a place. Judge answers the second half, of any list whose
// bytes and signatures are held. Two judge signatures, and the package only asks them: a signature
// policy of containers/image, which reads simple signatures and cosign's, and a BundleVerifier,
// which reads sigstore bundles.
//
// Nothing that a registry says is believed: every document and blob is verified against its digest,
// the list is held against the original, the original's digest is what signatures are about, and
// who has signed is the judges' to say. How much is read is bounded.
//
//   - verify.go: the list, its original, the proof, and the verdict, for each original in turn.
//   - reader.go: what is read for that, and how much.
//   - verification.go: what was found, as a value.
//   - judge.go: the question, the verdict, and who is asked in which order.
//   - candidate.go: what is attached to a list, taken apart into single signatures.
//   - policy.go: what a signature policy says of them, and which requirement accepts which.
//   - bundle.go: what a sigstore bundle says that it signs, before anybody verifies it.
//   - errors.go: every way to fail, each with its own reason and words.
package trust
