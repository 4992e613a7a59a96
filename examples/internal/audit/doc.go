// Package audit checks the storage of a registry: that it has what clients were told it has, byte
// for byte, and that lists lack no more than a policy allows.
//
// Check reads and never writes, so that a registry may serve the same storage meanwhile. What
// changes while it reads is not damage: whatever looks wrong is looked at once more at the end, and
// is reported only if it is still so.
//
// The files:
//
//   - finding.go: what can be found, how bad it is, and what to do about it
//   - judge.go: from the facts about one repository to findings; pure
//   - gather.go: these facts
//   - inventory.go: what the storage has, and whether its bytes have the digest under which it is
//     kept; many are read at the same time, and none is in memory as a whole
//   - check.go: options, all repositories, and the second look
//   - report.go: what was found, for people and for programs
//   - rebuild.go: the links of referrers made anew, which is the one thing that writes
package audit
