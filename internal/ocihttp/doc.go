// Package ocihttp is what lies between the API of registries and the network: round trippers that
// stack. Each does one thing, states its contract, and passes on what it does not understand.
// internal/endpoint/registry stacks them, and speaks the API on top.
//
// From the bottom:
//
//   - Transport dials, opens connections ahead, and speaks HTTP/1.1 over them.
//   - Redirects follows redirects, and takes credentials to no other host.
//   - Stall ends requests that make no progress.
//   - Content opens what a request sends, each time that it is sent, and tells our errors from theirs.
//   - Describe says what errors are about, and whether they may pass.
//   - Pace bounds bytes per second.
//   - Host.FindScheme finds out whether the host speaks TLS or plain HTTP.
//   - Host.Learn notes what answers say about the host.
//   - Authorization.Authorize authorizes requests, as the host's challenges ask.
//   - Limiter.Limit bounds the requests in flight, as the host asks for it.
//   - Host.Alone lets the first request go alone.
//
// What a layer must know of a request beside what stands in it is a Call, in the request's context.
package ocihttp
