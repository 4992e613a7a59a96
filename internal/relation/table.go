package relation

import (
	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// A row says how entries of one kind are recognised, and what they are.
type row struct {
	kind     string
	relation Relation
	// recognises reports whether an entry is of this kind, and returns the valid digest of what it
	// names as its subject, "" if it names none.
	recognises func(manifest.Instance) (subject digest.Digest, ok bool)
}

// table has the kinds that are known. The first row that recognises an entry says what it is.
var table = []row{
	{"attestation", Describes, manifest.Instance.AttestationOf},
}

// tieOf returns what an entry is, by itself.
func tieOf(instance manifest.Instance) Tie {
	for _, r := range table {
		if subject, ok := r.recognises(instance); ok {
			return Tie{Relation: r.relation, Kind: r.kind, Named: subject}
		}
	}
	return Tie{}
}
