// Package difference compares what two references name. It is pure: facts that were read at both
// sides go in, and a value comes out.
//
// # Map
//
//	report.go    what comes out
//	compare.go   entries of lists, images, what is attached, and tags
//	matching.go  which things at both sides belong together
package difference
