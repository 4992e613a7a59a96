// Package slowlink joins two network namespaces by a link that is slow, far and lossy, so that
// programs in them can be measured as they are, over the TCP of the kernel. It needs no netem and
// no command: the kernel hands out packets at two TUN devices, and this process carries them.
//
// # Map
//
//	direction.go     what happens to a packet: pure, with a seed
//	carry.go         takes packets from one device to the other when they are due
//	link.go          Link: two namespaces and both directions
//	device_linux.go  a namespace, its thread and its device
//
// The namespaces have no other device but loopback, so nothing leaves them, and the addresses are
// of a network that is set aside for measurements (RFC 2544, 198.18.0.0/15). Both end with the
// Link, or with the process.
package slowlink
