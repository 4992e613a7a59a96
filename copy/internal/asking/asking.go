// Package asking asks a destination what it has, and what it makes of sparse lists. No question
// fails a copy: what is not answered is not known.
package asking

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/copy/report"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
)

// A Destination asks one. Its methods may run concurrently. Their errors say that ctx has ended.
type Destination struct {
	End    endpoint.Destination
	Name   string              // for people
	Budget *semaphore.Weighted // of all questions that are in flight
	Warn   func(text string)
}

// Top returns what the destination's reference names, "" if nothing, and whether it tells.
func (d Destination) Top(ctx context.Context) (top digest.Digest, known bool) {
	top, err := d.top(ctx, d.End.Top)
	return top, err == nil
}

// Names reports whether the destination's reference is known to name what now. Only registries are
// asked: elsewhere, what was written becomes visible with the reference.
func (d Destination) Names(ctx context.Context, what digest.Digest) bool {
	if access.TransportOf(d.End.Reference()) != "docker" {
		return false
	}
	now, known := d.Top(ctx)
	return known && now == what
}

// Read is Top by what the destination hands out, if it is a registry. If that is something else
// than it says, spoilt says so, and what it names is nothing that can be used.
func (d Destination) Read(ctx context.Context) (top digest.Digest, known bool, spoilt error) {
	dst, ok := d.End.(*registry.Destination)
	if !ok {
		top, known = d.Top(ctx)
		return top, known, nil
	}
	top, err := d.top(ctx, dst.ReadTop)
	if mismatch, ok := errors.AsType[*endpoint.MismatchError](err); ok {
		return "", true, mismatch
	}
	return top, err == nil, nil
}

// top returns what ask does, "" if there is nothing, and warns if it was not answered.
func (d Destination) top(ctx context.Context, ask func(context.Context) (digest.Digest, error)) (top digest.Digest, err error) {
	err = inflight.One(ctx, d.Budget, func() (err error) {
		top, err = ask(ctx)
		return err
	})
	switch {
	case errors.Is(err, endpoint.ErrNotFound):
		return "", nil
	case err != nil:
		logrus.Debugf("%s does not tell what it names: %v", d.Name, err)
		if endpoint.IsUnanswered(err) && ctx.Err() == nil { // else nobody waits for the answer any more
			d.Warn(fmt.Sprintf("what the destination names could not be asked, and is not known: %v", err))
		}
		return "", err
	}
	return top, nil
}

// Absent returns those of manifests or blobs that are definitely no manifests at the destination.
func (d Destination) Absent(ctx context.Context, digests []digest.Digest) ([]digest.Digest, error) {
	there, err := endpoint.AskManifests(ctx, d.Budget, d.End, digests)
	return slices.DeleteFunc(slices.Clone(digests), func(of digest.Digest) bool {
		return there.Has[of] || there.Untold[of] != nil
	}), err
}

// Present asks which manifests there are, and warns of what could not be asked.
func (d Destination) Present(ctx context.Context, digests []digest.Digest) (endpoint.Answers, error) {
	out, err := endpoint.AskManifests(ctx, d.Budget, d.End, digests)
	if untold, why := out.Unanswered(digests); err == nil && why != nil {
		d.Warn(fmt.Sprintf("whether the destination has %s could not be asked, and is not known: %v", prose.Some(untold), why))
	}
	return out, err
}

// Spare returns missing, images that the source does not have, without those that the destination
// has the manifests of, and there with them: who may leave images out that are missing leaves none
// out that is there, although nobody can tell any more which blobs it has.
func (d Destination) Spare(
	missing map[digest.Digest]error, there known.Destination, action plan.MissingInstanceAction,
) (map[digest.Digest]error, known.Destination) {
	if action != plan.SkipMissing {
		return missing, there
	}
	var spared []digest.Digest
	for _, of := range slices.Sorted(maps.Keys(missing)) {
		if there.Stored[of] {
			spared = append(spared, of)
		}
	}
	if len(spared) == 0 {
		return missing, there
	}
	d.Warn(fmt.Sprintf("blobs of %s are not looked at: the source does not have it any more, and the destination has the manifest", prose.Some(prose.Digests(spared))))
	missing = maps.Clone(missing)
	maps.DeleteFunc(missing, func(of digest.Digest, _ error) bool { return there.Stored[of] })
	return missing, there.WithPresent(endpoint.All(spared))
}

// Wanted asks which of the plan's copies, and of its nested lists, there are. A single image is
// what the reference names.
func (d Destination) Wanted(ctx context.Context, p *plan.Plan, there known.Destination) (endpoint.Answers, error) {
	if p.List == nil {
		image := p.Image.Digest
		return endpoint.Answers{Has: map[digest.Digest]bool{image: there.Top == image}}, nil
	}
	wanted := slices.Concat(p.Copies, p.List.NestedLists())
	if o := p.Original; there.Top == p.Digest && o != nil && o.Reason == "" {
		wanted = append(wanted, originals.Forms(d.End)[0].Of(o.Artifact()).Document.Digest)
	}
	return d.Present(ctx, wanted)
}

// List asks for the list that the reference is to name, unless that is known: another reference may
// name it. Nested lists are asked for with the images.
func (d Destination) List(ctx context.Context, in *plan.Input, p *plan.Plan, there known.Destination) (endpoint.Answers, error) {
	_, asked := there.Stored[p.Digest]
	_, untold := there.Untold[p.Digest]
	if p.Digest == "" || asked || untold || in.IsStored(p.Digest) {
		return endpoint.Answers{}, nil
	}
	return d.Present(ctx, []digest.Digest{p.Digest})
}

// Support asks what the destination says of sparse lists, if it is a registry: what it says of all
// repositories, if that will do, else of the destination's own. The error says why that is not
// known.
func (d Destination) Support(ctx context.Context, willDo func(plan.SparseSupport) bool) (support plan.SparseSupport, err error) {
	dst, ok := d.End.(*registry.Destination)
	if !ok {
		return plan.SparseSupport{}, nil
	}
	err = inflight.One(ctx, d.Budget, func() error {
		said, err := sparsesupport.Ask(ctx, dst, func(said sparsesupport.Support) bool { return willDo(plan.SparseSupport(said)) })
		support = plan.SparseSupport(said)
		return err
	})
	if err != nil {
		logrus.Debugf("%s announces nothing about sparse lists: %v", d.Name, err)
	}
	return support, err
}

// Complete returns answers about manifests that were read from source, more among them that are
// there: of which those are there that have all their blobs, too. A blob that is not told of is
// taken for there.
func (d Destination) Complete(
	ctx context.Context, source known.Source, manifests endpoint.Answers, more []digest.Digest,
) (endpoint.Answers, error) {
	manifests.Has = known.Merged(manifests.Has, endpoint.All(more).Has)
	blobs := map[digest.Digest][]endpoint.Blob{} // by manifest
	distinct := map[digest.Digest]endpoint.Blob{}
	for of, has := range manifests.Has {
		doc, read := source.Document(of)
		if !has || !read || doc.IsList() {
			continue
		}
		image, err := source.Image(doc)
		if err != nil {
			return manifests, failure.New("parsing manifest", failure.SourceSide, of.String(), err)
		}
		blobs[of], _ = endpoint.PlacesOf(image)
		for _, b := range blobs[of] {
			distinct[b.Digest] = b
		}
	}
	there, err := endpoint.Present(ctx, d.Budget, d.End, slices.Collect(maps.Values(distinct)))
	lost := func(b endpoint.Blob) bool {
		has, told := there[b.Digest]
		return told && !has
	}
	manifests.Has = maps.Clone(manifests.Has)
	for of := range blobs {
		manifests.Has[of] = !slices.ContainsFunc(blobs[of], lost)
	}
	return manifests, err
}

// Checked returns how much was looked at to find that the destination has all that the plan names,
// "" if that is not known.
func Checked(p *plan.Plan, there known.Destination) report.CheckLevel {
	if there.Top == "" || there.Top != p.Digest || len(p.Transforms()) > 0 || len(work.Entries(p)) > 0 {
		return ""
	}
	lacking := slices.Clone(p.Copies)
	if p.List != nil {
		isThere := func(d digest.Digest) bool { return there.Present[d] }
		lacking = append(lacking, slices.DeleteFunc(p.List.NestedLists(), isThere)...)
	}
	told := func(d digest.Digest) bool { return there.Untold[d] == nil }
	switch {
	case len(lacking) == 0:
		return report.CheckedChildren
	case p.Strips() && !slices.ContainsFunc(lacking, told):
		// Nobody has a reason to write that list but a copy like this one, which writes it after
		// everything that it names.
		return report.CheckedList
	}
	return ""
}
