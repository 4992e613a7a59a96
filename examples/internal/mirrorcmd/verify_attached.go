package mirrorcmd

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// attachments checks that the destination lists the referrers that the plan wants, and that its digest tags name what they should. What they
// consist of is checked with the images, by run.
func (v *verifier) attachments(ctx context.Context, src endpoint.Source) error {
	wanted := slices.DeleteFunc(slices.Clone(v.plan.Attached), func(a copy.AttachedPlan) bool { return a.Decision != copy.Copy })
	if len(wanted) == 0 {
		return nil
	}
	v.found.Attached = len(wanted)
	dst, err := endpoint.ReferrersAt(v.dst)
	if err != nil {
		return atEnd("dest", v.plan.Destination, err)
	}
	v.attached = v.namesOf(wanted)
	var tagged []copy.AttachedPlan
	referrers := map[digest.Digest][]copy.AttachedPlan{} // by subject
	for _, a := range wanted {
		switch {
		case a.Tag != "":
			tagged = append(tagged, a)
		case !a.Child:
			referrers[a.Subject] = append(referrers[a.Subject], a)
		}
	}
	var subjects []digest.Digest
	for d := range referrers {
		subjects = append(subjects, d)
	}
	if err := inParallel(ctx, v.parallel, subjects, func(ctx context.Context, d digest.Digest) error {
		v.listed(ctx, dst, d, referrers[d])
		return nil
	}); err != nil {
		return err
	}
	return inParallel(ctx, v.parallel, tagged, func(ctx context.Context, a copy.AttachedPlan) error { return v.tagged(ctx, dst, src, a) })
}

// namesOf are the manifests and lists that have to be there by their digests, with what they are; but for those that are checked as images or
// lists of the plan. What a digest tag names is not among them: another manifest may have taken it up.
func (v *verifier) namesOf(wanted []copy.AttachedPlan) map[digest.Digest]string {
	names, lists := map[digest.Digest]string{}, map[digest.Digest]bool{}
	eachList(v.plan.List, func(l *copy.ListPlan) { lists[l.Result] = true })
	for _, a := range wanted {
		_, image := v.images[a.Digest]
		if a.Tag != "" || image || lists[a.Digest] {
			continue
		}
		names[a.Digest] = oneLine(cmp.Or(a.ArtifactType, "referrer")) + " of " + cmp.Or(v.images[a.Subject], shortDigest(a.Subject))
	}
	return names
}

// listed checks that the destination lists referrers of a subject, if it can.
func (v *verifier) listed(ctx context.Context, dst endpoint.ReferrerSource, subject digest.Digest, wanted []copy.AttachedPlan) {
	there, err := dst.Referrers(ctx, subject, "")
	if ctx.Err() != nil {
		return
	}
	if no, ok := errors.AsType[*endpoint.NotListableError](err); ok {
		v.warn("at the destination, %v; they can be had by their digests only", no)
		return
	}
	has := map[digest.Digest]bool{}
	for _, r := range there {
		has[r.Digest] = true
	}
	for _, a := range wanted {
		switch name := v.images[subject]; {
		case err != nil:
			v.violated(name, "referrer", a.Digest, "whether it is listed could not be asked: %v", err)
		case !has[a.Digest]:
			v.violated(name, "referrer", a.Digest, "the destination does not list it as a referrer of %s", subject)
		}
	}
}

// tagged checks what a digest tag names: the source's manifest, or, of signatures and attestations, one that has all of its layers. That is
// checked with the images.
func (v *verifier) tagged(ctx context.Context, dst endpoint.ReferrerSource, src endpoint.Source, a copy.AttachedPlan) error {
	there, err := dst.Tagged(ctx, a.Tag)
	name := v.images[a.Subject]
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, endpoint.ErrNotFound):
		v.violated(name, "tag", a.Digest, "the tag %s names nothing", a.Tag)
		return nil
	case err != nil:
		v.violated(name, "tag", a.Digest, "what the tag %s names could not be asked: %v", a.Tag, err)
		return nil
	}
	if there.Digest != a.Digest {
		ours, err := src.Manifest(ctx, a.Digest)
		if err != nil {
			return atEnd("src", "tag "+a.Tag, err)
		}
		if attach.Merge(a.Tag, there, ours).Doc.Digest != there.Digest { // a copy would write it
			v.violated(name, "tag", a.Digest, "the tag %s names %s instead", a.Tag, there.Digest)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, image := v.images[there.Digest]; !image {
		v.attached[there.Digest] = "tag " + a.Tag
	}
	return nil
}
