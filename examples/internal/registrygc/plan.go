package registrygc

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// Options say what a collection removes.
type Options struct {
	// Untagged removes manifests that nothing needs: no tag names them, no list that stays, and no
	// subject that stays has them as a referrer. Without it, every manifest stays but the indexes
	// of referrers that the server made for a tag, and has replaced.
	Untagged bool

	// Grace spares what was written, or asked for by a client, so long ago or less.
	Grace time.Duration
}

// A Plan is what a collection removes, and why. It does not change.
type Plan struct {
	Repositories []Repository // from which something goes
	Blobs        []Blob       // which no repository needs when that is gone
	Kept         Kept
	Damage       []Damage
}

// A Repository is what goes from one repository.
type Repository struct {
	Name string

	// Tags are those that the server has made for subjects that are gone, with what they name: an
	// index of referrers none of which stays.
	Tags []Note

	// Referrers and Notes are of manifests that go; Notes are about what tags have named before.
	Referrers []registrystore.Referrer
	Notes     []Note

	Manifests []Manifest // each before everything that it names, and before its subject
	Layers    []Layer
}

// A Note says that a tag names a manifest, or has named it.
type Note struct {
	Tag    string
	Digest digest.Digest
}

// A Manifest goes because nothing that stays needs it.
type Manifest struct {
	Digest   digest.Digest
	Subjects []digest.Digest // what it refers to
	Lists    []digest.Digest // what it lists, if it is an index of referrers that a tag names which goes
}

// A Layer is a link to a blob that goes.
type Layer struct {
	Digest  digest.Digest
	Content digest.Digest // what the link is to; "" if that cannot be told
	Why     Reason
}

// A Blob is a content that goes.
type Blob struct {
	Digest digest.Digest
	Size   int64 // in bytes
}

// A Reason says why something goes.
type Reason string

// Why manifests and layers go.
const (
	Unneeded Reason = "no tag, no list that stays and no subject that stays needs it"
	Unnamed  Reason = "no manifest that stays in the repository names it"
	Lost     Reason = "its content is not in the storage"
)

// Kept counts what stays.
type Kept struct {
	Repositories int `json:"repositories"`

	// Manifests that stay because a tag names them, because a list that stays names them, because
	// their subject stays, because they are young, because the repository is damaged, and because
	// untagged manifests are not removed. Each is counted once, by the first of these reasons.
	Tagged    int `json:"tagged"`
	Listed    int `json:"listed"`
	Referrers int `json:"referrers"`
	Young     int `json:"young"`
	Damaged   int `json:"damaged"`
	Untagged  int `json:"untagged"`

	Layers      int   `json:"layers"`      // links that stay
	YoungLayers int   `json:"youngLayers"` // of these, because they are young
	Blobs       int   `json:"blobs"`       // contents that stay, of manifests and of layers
	YoungBlobs  int   `json:"youngBlobs"`  // of these, because they are young
	Bytes       int64 `json:"bytes"`       // of the contents that stay
}

// Damage is something that cannot be read, so that everything in its repository stays: nobody knows
// what it needs.
type Damage struct {
	Repository string
	Object     string // a tag, or a manifest
	Err        error
}

// Totals counts what a plan removes.
type Totals struct {
	Tags      int   `json:"tags"` // that the server has made
	Manifests int   `json:"manifests"`
	Layers    int   `json:"layers"`    // links
	Referrers int   `json:"referrers"` // links
	Blobs     int   `json:"blobs"`     // contents, of manifests and of layers
	Bytes     int64 `json:"bytes"`     // of the contents
}

// Totals counts what the plan removes.
func (p *Plan) Totals() Totals {
	var t Totals
	for _, r := range p.Repositories {
		t.Tags += len(r.Tags)
		t.Manifests += len(r.Manifests)
		t.Layers += len(r.Layers)
		t.Referrers += len(r.Referrers)
	}
	for _, b := range p.Blobs {
		t.Blobs++
		t.Bytes += b.Size
	}
	return t
}
