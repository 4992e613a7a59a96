package copy

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// listsOf returns the distinct lists of a tree.
func listsOf(root *listtree.Node) map[digest.Digest]manifest.List {
	lists := map[digest.Digest]manifest.List{}
	root.Walk(func(n *listtree.Node) { lists[n.Digest] = n.List })
	return lists
}

// A claim is about what documents are, and wrong.
type claim struct {
	list   digest.Digest // whose entries make it; "" for whoever handed the documents out
	claims string        // media type
	is     string        // media type
}

func (c claim) about(documents []digest.Digest) string {
	slices.Sort(documents)
	all := someOf(digestStrings(slices.Compact(documents)))
	if c.list == "" {
		return fmt.Sprintf("declared as %s, and copied as what it is, %s: %s", c.claims, c.is, all)
	}
	return fmt.Sprintf("the list %s has entries for %s, and what they name is %s: %s", c.list, c.claims, c.is, all)
}

// bodyWarnings says where whoever handed out a document, or an entry of one of lists, takes it for something else than it is. Only documents
// that were read count.
func (in *PlanInput) bodyWarnings(lists map[digest.Digest]manifest.List) []string {
	wrong := map[claim][]digest.Digest{}
	types := map[digest.Digest]string{}
	for d, doc := range in.Documents {
		doc = doc.read()
		types[d] = doc.MediaType
		if doc.misdeclared != "" {
			c := claim{"", doc.misdeclared, doc.MediaType}
			wrong[c] = append(wrong[c], d)
		}
	}
	if in.Top.misdeclared != "" {
		c := claim{"", in.Top.misdeclared, in.Top.MediaType}
		wrong[c] = append(wrong[c], in.Digest)
	}
	var warnings []string
	for of, list := range lists {
		for _, instance := range list.Instances() {
			if is := types[instance.Digest]; is != "" && instance.MediaType != "" && is != instance.MediaType {
				c := claim{of, instance.MediaType, is}
				wrong[c] = append(wrong[c], instance.Digest)
			}
		}
	}
	for c, documents := range wrong {
		warnings = append(warnings, c.about(documents))
	}
	slices.Sort(warnings)
	return warnings
}

// warnOfRemarks warns of what parsers may read differently in a document that is written. What is only irregular is nobody's trouble.
func (p *Plan) warnOfRemarks(d digest.Digest, remarks []manifest.Remark) {
	for _, r := range remarks {
		text := fmt.Sprintf("parsers may read %s differently, and it is left as it is: %s", d, r)
		if r.Kind != manifest.Irregular && !slices.Contains(p.Warnings, text) {
			p.Warnings = append(p.Warnings, text)
		}
	}
}

// remarks returns those on the list as it is written.
func (l *ListPlan) remarks() []manifest.Remark {
	remarks := l.node.List.Remarks()
	if len(remarks) == 0 || len(l.Edits) == 0 {
		return remarks
	}
	list, err := manifest.Parse(l.result, l.MediaType)
	if err != nil {
		return remarks // cannot happen: what edits make of a list is one
	}
	return list.Remarks()
}

// checkUnambiguous refuses to have anything written anew, for the given reason, that parsers read differently: what comes of it would be one
// of the readings.
func (j *job) checkUnambiguous(reason string) error {
	if j.o.PreserveDigests || j.in.DestinationDigest != "" {
		return nil // nothing is
	}
	remarks := map[digest.Digest][]manifest.Remark{}
	if j.plan.List != nil {
		j.plan.List.walk(func(l *ListPlan) { remarks[l.Digest] = l.node.List.Remarks() })
	}
	for _, d := range j.plan.Copies {
		doc, err := j.document(d)
		if err != nil {
			return err
		}
		if image, err := parseImage(doc); err == nil && image != nil {
			remarks[d] = image.Remarks
		}
	}
	for _, d := range sortedKeys(remarks) {
		for _, r := range remarks[d] {
			if r.Kind == manifest.Duplicate {
				return &Error{"converting", SourceSide, d.String(), fmt.Errorf("parsers read it differently (%s), and it cannot be left as it is: %s", r, reason)}
			}
		}
	}
	return nil
}
