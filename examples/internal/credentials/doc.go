// Package credentials keeps credentials for registries where Podman, Docker and this library look
// for them: in files, and with the programs that these name, docker-credential-NAME.
//
// # Map
//
//	key.go     what credentials are for: a registry, or a namespace of one
//	store.go   Store: finds, puts and removes them
//	file.go    what a file says beside its credentials
//	helper.go  programs that are named, and may be missing
//
// No error and no log of this package has a password in it.
package credentials
