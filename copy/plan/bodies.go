package plan

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A claim is about what documents are, and wrong.
type claim struct {
	list   digest.Digest // whose entries make it; "" for whoever handed the documents out
	claims string        // media type
	is     string        // media type
}

func (c claim) about(documents []digest.Digest) string {
	slices.Sort(documents)
	all := prose.Some(prose.Digests(slices.Compact(documents)))
	if c.list == "" {
		return fmt.Sprintf("declared as %s, and copied as what it is, %s: %s", c.claims, c.is, all)
	}
	return fmt.Sprintf("the list %s has entries for %s, and what they name is %s: %s", c.list, c.claims, c.is, all)
}

// wrongClaims returns a warning for each way in which documents that were read are taken for what
// they are not: by whoever handed them out, or by the entries of a list of the tree.
func (t *Tree) wrongClaims() []string {
	wrong := map[claim][]digest.Digest{}
	for d, doc := range t.documents {
		if manifest.IsMisdeclared(doc.MediaType, doc.Misdeclared) {
			c := claim{"", doc.Misdeclared, doc.MediaType}
			wrong[c] = append(wrong[c], d)
		}
	}
	if t.list != nil {
		seen := map[digest.Digest]bool{}
		t.list.Root.Walk(func(n *listtree.Node) {
			if seen[n.Digest] {
				return
			}
			seen[n.Digest] = true
			for _, instance := range n.List.Instances() { // as they are in the document
				doc := t.documents[instance.Digest]
				if instance.IsBlob() {
					continue
				}
				if is := doc.MediaType; is != "" && instance.MediaType != "" && is != instance.MediaType {
					c := claim{n.Digest, instance.MediaType, is}
					wrong[c] = append(wrong[c], instance.Digest)
				}
			}
		})
	}
	var warnings []string
	for c, documents := range wrong {
		warnings = append(warnings, c.about(documents))
	}
	slices.Sort(warnings)
	return warnings
}

// warnOfRemarks warns of what parsers may read differently in a document that is written. What is
// only irregular is nobody's trouble.
func warnOfRemarks(p *Plan, d digest.Digest, remarks []manifest.Remark) {
	for _, r := range remarks {
		text := fmt.Sprintf("parsers may read %s differently, and it is left as it is: %s", d, r)
		if r.Kind != manifest.Irregular && !slices.Contains(p.Warnings, text) {
			p.Warnings = append(p.Warnings, text)
		}
	}
}

// remarksOn returns the remarks on a list as it is written.
func remarksOn(l *ListPlan) []manifest.Remark {
	remarks := l.node.List.Remarks()
	if len(remarks) == 0 || l.result == nil || l.Result == l.Digest {
		return remarks
	}
	list, err := manifest.Parse(l.result, l.ResultType)
	if err != nil {
		return remarks // cannot happen: what edits make of a list is one
	}
	return list.Remarks()
}
