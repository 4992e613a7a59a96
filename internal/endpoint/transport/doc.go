// Package transport implements the two ends of a copy over any containers/image transport.
//
//	source.go       Source: one opened reference, everything read from it verified
//	layoutimage.go  oci: and oci-archive: read straight from the files of a directory or an archive
//	layoutfiles.go  the files of a layout, in a directory or where they are in an archive
//	dirimage.go     dir: read straight from its files
//	pool.go         several upstream sources of one reference, where one cannot read in parallel
//	destination.go  Destination: what all transports have in common
//	docker.go       registries: existence asked at the destination itself; signatures before the tag
//	layout.go       oci: one writer at a time, blobs written in place, index.json replaced last
//	index.go        a layout's index.json, edited so that other entries keep their bytes
//	dir.go          dir: written beside, swapped in last
//	archive.go      oci-archive: written beside, renamed last
//	own.go          references of other packages, which nothing is done around
//	opened.go       references and sources that stand for what is open, for upstream's copy
//	errors.go       upstream's errors as ours: what is not found, what a registry answered
//
// Upstream's copy can take the same ends over: HandOver returns what was opened, which upstream
// closes, and Destination.Publish makes visible what upstream has committed there.
package transport
