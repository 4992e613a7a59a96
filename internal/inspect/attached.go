package inspect

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// An Attached is a manifest or list that should be there because of another one.
type Attached struct {
	Subject, Digest digest.Digest
	ArtifactType    string // "" if it has none
	Tag             string // a digest tag that names it; "" for a referrer
	Child           bool   // it is in a list that is attached, and not attached itself
	// Or is what may be there instead, without a tag; "" for nothing.
	Or digest.Digest
}

// checkAttached checks that the destination lists the referrers that it should, and that its digest
// tags name what they should. What they consist of is checked with the images, by checkContent.
func (v *verifier) checkAttached(ctx context.Context) error {
	if v.found.Attached = len(v.want.Attached); v.found.Attached == 0 {
		return nil
	}
	dst, err := endpoint.ReferrersAt(v.dst)
	if err != nil {
		return &ReadError{Op: "reading what is attached to", Object: v.want.Digest.String(), Err: err}
	}
	v.attached = v.namesOfAttached()
	var tagged []Attached
	referrers := map[digest.Digest][]Attached{} // by subject
	for _, a := range v.want.Attached {
		switch {
		case a.Tag != "":
			tagged = append(tagged, a)
		case !a.Child:
			referrers[a.Subject] = append(referrers[a.Subject], a)
		}
	}
	subjects := slices.Sorted(maps.Keys(referrers))
	if err := inflight.Each(ctx, v.Limit, subjects, func(ctx context.Context, d digest.Digest) error {
		v.listed(ctx, dst, d, referrers[d])
		return nil
	}); err != nil {
		return err
	}
	return inflight.Each(ctx, v.Limit, tagged, func(ctx context.Context, a Attached) error {
		return v.tagged(ctx, dst, a)
	})
}

// namesOfAttached returns the manifests and lists that have to be there by their digests, with what
// they are, but for those that are checked as images or lists. What a digest tag names is not among
// them: another manifest may have taken it up. Nor is what may be there as something else.
func (v *verifier) namesOfAttached() map[digest.Digest]string {
	names := map[digest.Digest]string{}
	for _, a := range v.want.Attached {
		_, image := v.want.Images[a.Digest]
		if a.Tag != "" || a.Or != "" || image || a.Digest == v.want.Digest || slices.Contains(v.want.Lists, a.Digest) {
			continue
		}
		names[a.Digest] = v.nameOfAttached(a)
	}
	return names
}

// nameOfAttached says what a referrer or a child is.
func (v *verifier) nameOfAttached(a Attached) string {
	return cmp.Or(a.ArtifactType, "referrer") + " of " + cmp.Or(v.want.Images[a.Subject], prose.Short(a.Subject))
}

// settle returns what was to be there as one of two things as the one that it is: the one that is
// listed, or, if none is, that can be read; else the first.
func (v *verifier) settle(ctx context.Context, a Attached, listed map[digest.Digest]bool) Attached {
	if a.Or == "" {
		return a
	}
	reads := func(d digest.Digest) bool {
		_, err := v.dst.Manifest(ctx, d)
		return err == nil
	}
	if !listed[a.Digest] && (listed[a.Or] || !reads(a.Digest) && reads(a.Or)) {
		a.Digest = a.Or
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.attached[a.Digest] = v.nameOfAttached(a)
	return a
}

// listed checks that the destination lists referrers of a subject, if it can.
func (v *verifier) listed(ctx context.Context, dst endpoint.ReferrerSource, subject digest.Digest, wanted []Attached) {
	there, err := dst.Referrers(ctx, subject, "")
	if ctx.Err() != nil {
		return
	}
	v.noteReferrers(subject, there)
	has := map[digest.Digest]bool{}
	for _, r := range there {
		has[r.Digest] = true
	}
	for i, a := range wanted {
		wanted[i] = v.settle(ctx, a, has)
	}
	if no, ok := errors.AsType[*endpoint.NotListableError](err); ok {
		v.warn("at the destination, %v; they can be had by their digests only", no)
		return
	}
	for _, a := range wanted {
		switch name := v.want.Images[subject]; {
		case has[a.Digest]:
		case err != nil:
			v.violated(name, aReferrer, a.Digest, "whether it is listed could not be asked: %v", err)
		default:
			v.violated(name, aReferrer, a.Digest, "the destination does not list it as a referrer of %s", subject)
		}
	}
}

// tagged checks what a digest tag names: the source's manifest, or, of signatures and attestations,
// one that has all of its layers. What that consists of is checked with the images.
func (v *verifier) tagged(ctx context.Context, dst endpoint.ReferrerSource, a Attached) error {
	there, err := dst.Tagged(ctx, a.Tag)
	name := v.want.Images[a.Subject]
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, endpoint.ErrNotFound):
		v.violated(name, aTag, a.Digest, "the tag %s names nothing", a.Tag)
		return nil
	case err != nil:
		v.violated(name, aTag, a.Digest, "what the tag %s names could not be asked: %v", a.Tag, err)
		return nil
	}
	if there.Digest != a.Digest {
		ours, err := v.Options.Manifest(ctx, a.Digest)
		if err != nil {
			return &ReadError{Op: "reading tag", Object: a.Tag, AtSource: true, Err: err}
		}
		if attach.Merge(a.Tag, there, ours).Doc.Digest != there.Digest { // a copy would write it
			v.violated(name, aTag, a.Digest, "the tag %s names %s instead", a.Tag, there.Digest)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, image := v.want.Images[there.Digest]; !image {
		v.attached[there.Digest] = "tag " + a.Tag
	}
	return nil
}
