// Package ocihttp is what lies between the API of registries and the network: round trippers that
// stack. Each does one thing, states its contract, and passes on what it does not understand.
// internal/endpoint/registry stacks them (layers.go), and speaks the API on top.
//
// From the top, in the order in which a request passes them:
//
//   - Before and Answers are taps: requests are counted, and what answers say about the API is
//     noted.
//   - Pulls.Count counts what is pulled, and holds back what the host's rate limit does not allow.
//   - Ahead.Begin opens connections during the first request, unless the host is near.
//   - Host.Alone lets the first request go alone.
//   - Limiter.Limit bounds the requests in flight, as the host asks for it.
//   - Authorization.Authorize authorizes requests, as the host's challenges ask.
//   - Host.Learn notes what answers say about the host.
//   - Host.FindScheme finds out whether the host speaks TLS or plain HTTP.
//   - Pace bounds bytes per second.
//   - Describe says what errors are about, and whether they may pass.
//   - Content opens what a request sends, each time that it is sent, and tells our errors from
//     theirs.
//   - Stall ends requests that make no progress.
//   - Redirects follows redirects, and takes credentials to no other host.
//   - Transport dials, opens connections ahead, and speaks HTTP/1.1 over them.
//
// A request comes with GetBody and without Body, and may come without a scheme. What a layer must
// know of it beside that is a Call, in its context. A Host is what layers have learned about one
// registry.
package ocihttp
