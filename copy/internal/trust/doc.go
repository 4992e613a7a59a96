// Package trust finds out what can be believed of a stripped list, with what is attached to it and
// without its source: that it is the publisher's list with whole entries taken out, and that the
// publisher has signed that.
//
// Judge answers the second half, of any list whose bytes and signatures are held. Two judge
// signatures, and the library only asks them: a signature policy of containers/image, which reads
// simple signatures and cosign's, and a BundleVerifier, which reads sigstore bundles.
//
//   - judge.go: the question, the verdict, and who is asked in which order.
//   - candidate.go: what is attached to a list, taken apart into single signatures.
//   - policy.go: what a signature policy says of them, and which requirement accepts which.
//   - bundle.go: what a sigstore bundle says that it signs, before anybody verifies it.
//   - errors.go: every way to fail, each with its own reason and words.
package trust
