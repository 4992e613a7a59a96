package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A list is written in the other format, Docker's or OCI's, where its own cannot be: because the
// other one is forced, or because the destination stores or takes only that. Images are converted
// as they are transformed.

// storable are the media types of manifests and lists that a destination may store of which nothing
// else is known, in the order in which upstream tries them.
var storable = []string{
	imgspecv1.MediaTypeImageManifest, manifest.MediaTypeDockerManifest,
	manifest.MediaTypeDockerList, imgspecv1.MediaTypeImageIndex,
	manifest.MediaTypeDockerSchema1Signed, manifest.MediaTypeDockerSchema1,
}

// Takes returns the media types of manifests and lists that the destination takes, as far as is
// known, those first that it takes rather; nil means any.
func (f *WayFacts) Takes() []string {
	if len(f.Rejected) == 0 {
		return f.Stores
	}
	types := f.Stores
	if types == nil {
		types = storable
	}
	return slices.DeleteFunc(slices.Clone(types), func(mt string) bool { return slices.Contains(f.Rejected, mt) })
}

// convert fills in whether the list is written in the other format, and why.
func convert(in *Input, l *ListPlan) error {
	if !transforms(in) {
		return nil
	}
	if l.Transform = reasonInType(in, l.MediaType); l.Transform == "" {
		return nil
	}
	forced, types := in.Choices.ForceManifestMIMEType != "", in.Way.Takes()
	if forced {
		types = []string{forcedType(&in.Choices, l.MediaType)}
	}
	i := slices.IndexFunc(types, manifest.IsListMediaType)
	switch {
	case i >= 0:
		l.ResultType = types[i]
		return nil
	case forced:
		return &OptionsError{[]string{"ForceManifestMIMEType"}, fmt.Sprintf("a list cannot be converted to %q", types[0])}
	}
	return &CannotModifyError{l.Digest, "it " + l.Transform + ", nor any other type of lists"}
}

// checkRejected fails if something has to be converted because the destination refuses what it is,
// and that must not be: of what is signed, nothing is converted that nobody has asked for.
func checkRejected(in *Input, p *Plan) error {
	if in.Way == nil || len(in.Way.Rejected) == 0 {
		return nil
	}
	refuse := func(d digest.Digest, why string) error {
		return &CannotModifyError{d, fmt.Sprintf("the destination refuses %s, and %s", strings.Join(in.Way.Rejected, ", "), why)}
	}
	o := in.Choices
	switch {
	case o.PreserveDigests:
		return refuse(in.Digest, "PreserveDigests is set")
	case in.DestinationDigest != "":
		return refuse(in.Digest, "the destination names the digest "+in.DestinationDigest.String())
	case o.ForceManifestMIMEType != "":
		return refuse(in.Digest, "ForceManifestMIMEType asks for "+o.ForceManifestMIMEType)
	}
	for _, d := range p.Wanted() {
		if in.Way.Signed[d] {
			return refuse(d, "it is signed; RemoveSignatures removes the signature")
		}
	}
	var signed error
	if p.List != nil && !o.RemoveSignatures && !o.RemoveListSignatures {
		p.List.Walk(func(l *ListPlan) {
			if in.SignedLists[l.Digest] > 0 {
				signed = refuse(l.Digest, "it is signed; RemoveListSignatures removes the signature")
			}
		})
	}
	return signed
}

// edited returns the list that is written, which is not empty of edits or is converted, and notes
// what a conversion drops. A list is edited while it is in OCI's format, which has a place for all
// that an entry may say, if it is that before it is converted, or after.
func edited(n *listtree.Node, l *ListPlan) (manifest.List, error) {
	list := n.List.Clone()
	if l.ResultType == imgspecv1.MediaTypeImageIndex && l.MediaType != l.ResultType {
		var err error
		if list, err = converted(l, list); err != nil {
			return nil, err
		}
	}
	if err := list.EditInstances(l.Edits); err != nil {
		return nil, err
	}
	return converted(l, list)
}

// converted returns the list in the format in which it is written.
func converted(l *ListPlan, list manifest.List) (manifest.List, error) {
	if list.MediaType() == l.ResultType {
		return list, nil
	}
	out, err := manifest.Convert(list, l.ResultType)
	if err != nil {
		return nil, err
	}
	about := fmt.Sprintf("the list %s is converted to %s", l.Digest, l.ResultType)
	if len(out.Lost) > 0 {
		l.notes = append(l.notes, fmt.Sprintf("%s, and loses: %s", about, prose.Some(out.Lost)))
	}
	if n := len(out.Assumed); n > 0 {
		l.notes = append(l.notes, fmt.Sprintf("%s, where every entry has a platform: %s none, and linux/amd64 is assumed", about, prose.Count(n, "entry states", "entries state")))
	}
	return out.List, nil
}
