// Package e2e consists of tests: the command mirror (examples/internal/mirrorcmd) against the
// registry that accepts sparse lists under a policy (examples/internal/sparseserver), over real
// connections on loopback.
//
//   - place_test.go: a sparse registry behind a proxy that notes every request and can hide what
//     the registry announces
//   - mirror_test.go: the command in this process, and containers/image's own copy as a client of
//     the mirror
//   - scenario_test.go: one platform into a registry with required architectures, out of it again,
//     and on to a strict registry
//   - policy_test.go: each policy with each action of the command, announced and hidden, OCI and
//     Docker
//   - announcement_test.go: what is announced is a hint, and is asked for once
//   - trusted_test.go: a stripped list that cosign has signed, verified without its source
//   - programs_test.go: both programs as processes, and the commands of
//     docs/sparse-registry-scenario.md
package e2e
