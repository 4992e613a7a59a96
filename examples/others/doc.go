// Package others consists of tests that hold what the library relies on against other libraries of the field, whose modules the
// library itself does not require.
//
//   - clients_test.go: the clients of containers/image and oras-go against the registry that the library's tests use
//   - platforms_test.go: spellings of platforms, as containerd reads them
package others
