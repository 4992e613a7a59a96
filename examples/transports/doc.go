// Package transports consists of tests: copies from and to the transports of containers/image that
// are no place for lists, or that need something beside the library (a daemon, a store, programs),
// made by containers/image's own copy and by this module's. Both must end alike. It is a package of
// the examples, because the library itself does without what these transports depend on.
//
//   - main_test.go: one copy, made by both, and what is compared
//   - archive_test.go: docker-archive: and tarball:
//   - daemon_test.go: docker-daemon:, with none, and with a small one
//   - sif_test.go: sif:, without the programs that it calls, and with stand-ins
//   - storage_test.go: containers-storage:, in a directory of the test
package transports
