// Package others consists of tests that hold the library, and what it relies on, against other
// libraries of the field, whose modules the library itself does not require.
//
//   - servers_test.go: the registries that can be had as modules (distribution,
//     go-containerregistry's, cue-labs' ociserver, olareg), and in what they differ
//   - scenarios_test.go: what is done with each of them, as a table
//   - notifications_test.go: what distribution sends when somebody pushes to it, and what comes of it
//   - secondclients_test.go: oras-go and regclient, which read what was written, and write what is
//     read
//   - clients_test.go: the clients of containers/image and oras-go against the registry that the
//     library's tests use
//   - retry_test.go: whether programs try again, which the errors of this library and of upstream
//     tell alike
//   - platforms_test.go: spellings of platforms, as containerd reads them
package others
