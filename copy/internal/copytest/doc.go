// Package copytest is what the tests of package copy share, its suites' too: an environment that
// has nothing to do with the machine (Env), places to copy from and to (Place), registries that
// come and go (Peer), fixtures of what is attached and signed, what programs look for in errors,
// and Run, which fails tests that leave something behind.
package copytest
