package manifest

import (
	"cmp"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Document is a manifest or a list as bytes.
type Document struct {
	// Digest is that of Bytes; "" where whoever has the document says it apart.
	Digest digest.Digest
	// MediaType is what the document was declared to be, without parameters, "" for nothing; once
	// it has been Read, what it is.
	MediaType string
	// Misdeclared is what it was declared to be instead, once it has been Read; "" if that was
	// right, or nothing.
	Misdeclared string
	Bytes       []byte // never modified
}

// Read returns the document with the media type by which it is read, and what it was declared to be
// instead.
func (d Document) Read() Document {
	is := d.Type()
	if d.MediaType != "" && d.MediaType != is {
		d.Misdeclared = d.MediaType
	}
	d.MediaType = is
	return d
}

// Type returns the media type by which a document is read: what the document says of itself, else
// the declared one. Whoever declares it is wrong at times, or declares text/plain, application/json
// or nothing. What is nothing at all has the type of an OCI image manifest: it is refused with the
// best error where it is parsed as one.
func (d Document) Type() string {
	return cmp.Or(TypeOf(d.Bytes, d.MediaType), imgspecv1.MediaTypeImageManifest)
}

// IsList reports whether the document is to be read as a list.
func (d Document) IsList() bool { return IsListMediaType(d.Type()) }

// HasDigest reports whether b has the digest d. Nothing has one that is not valid.
func HasDigest(b []byte, d digest.Digest) bool {
	return d.Validate() == nil && d.Algorithm().FromBytes(b) == d
}
