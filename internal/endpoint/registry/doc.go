// Package registry is the end of a copy that speaks to registries directly, over the API of the OCI
// distribution specification v1.1. It reads the same configuration as the docker transport of
// containers/image, through that project's public packages, and needs fewer round trips, keeps many
// connections, retries, and keeps every error of a registry's answer.
//
// From the top:
//
//   - Tags lists the tags of a repository.
//   - Source and Destination implement the interfaces of package endpoint. They know the API: which
//     request does what.
//   - A repository is one repository at one host, with the credentials for it. Its method send
//     carries out one request, and do repeats that while a retrier allows it.
//   - layers.go is the list of what a request passes on its way: the round trippers of package
//     ocihttp.
//   - A host is what is known and shared about one registry: connections, challenges, tokens,
//     limit, whether it mounts, how it takes content. Shared holds the hosts, so that several
//     copies of one process share them.
//   - Credentials come from where containers/image looks, and last from Docker's credsStore.
//   - config.go finds out which repositories a reference means, and with which TLS and credentials.
//
// Nothing is asked that is not needed: there is no ping, the scheme and the authentication come
// from the first real answer.
//
// The Repository of oras-go would refuse upload locations on other hosts, manifests whose answers
// lack Content-Length or Content-Type, and keeps no more than 8 KiB of an error; and for a manifest
// with a subject it writes a referrers tag of its own.
package registry
