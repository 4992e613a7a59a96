// Package bundle is a transport of containers/image that carries images to where their source
// cannot be reached: many of them, in one directory or one archive.
//
// # What a bundle is
//
// An OCI image layout (image-spec v1.1, "OCI Image Layout Specification"), whose index names each
// image by its full reference, such as docker.io/library/alpine:3, and beside it
//
//   - bundle.json, the Record: what was copied from where, what lists name and the bundle does not
//     have, what is attached to what, and which blobs are on the other side once the bundle is
//     loaded;
//   - signatures/, those that layouts have no place for, in the form of the dir: transport.
//
// An archive is the same files as an uncompressed tar archive whose name ends in .tar, the record
// first. The same images make the same bundle, byte for byte, in whatever order they come.
//
// A bundle that is made since an earlier one has all manifests and lists, and lacks the blobs that
// the earlier one brought.
//
// # Writing and reading
//
// Create begins a bundle, Writer.Reference names destinations in it, and Writer.Publish makes it
// appear. Open reads one, and Bundle.Reference names its images. The references are for package
// copy, which reads and writes them itself: manifests, layers and signatures arrive as they are at
// the source, and what is attached comes along if Options.Referrers and Options.DigestTags say so.
// To load a bundle as it was made, copy with CopyAllImages, PreserveDigests, SkipMissing and
// KeepVoid, AllReferrers and DigestTags.
//
// Package copy asks signature policies about an image of a bundle under the docker reference that
// it had, so that one policy serves both sides.
//
// Transport gives references a text, bundle:PATH:NAME. As a source, PATH is a bundle; as a
// destination, it is a new one, of this image. Upstream's copy reads bundles too, signatures in
// other forms than the simple one excepted. It cannot write them.
//
// # Files
//
// record.go has the record, layout.go and archive.go the files; open.go and source.go read bundles,
// content.go says what is in them, create.go and destination.go make them, transport.go names what
// is in them.
package bundle
