package attach

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// A Destination is where attachments go.
type Destination struct {
	Name      string // for people
	Referrers endpoint.ReferrerDestination
	// Budget counts everything in flight.
	Budget *semaphore.Weighted
}

// A Comparison is what a destination says of attachments.
type Comparison struct {
	// NotListable are the subjects whose referrers cannot be listed there.
	NotListable []*endpoint.NotListableError
	// Kept says, for people, which tags name something there that stays, and will not name what
	// they are to name. They count as known.
	Kept []string

	known map[Key]bool
	// byManifest are known if their manifests are there.
	byManifest []Attachment
	byTag      []Attachment // are known, and what their tags name
}

// Compare asks a destination which of attached it knows as what they are. As with every question
// about what is there already, an answer that does not come is no reason to fail. read returns the
// manifests and lists of attached, and its errors end the comparison as they are.
func Compare(
	ctx context.Context, dst Destination, attached []Attachment, read Read,
) (Comparison, error) {
	c := Comparison{known: map[Key]bool{}}
	var subjects []digest.Digest // of referrers
	var tagged []Attachment
	asked := map[digest.Digest]bool{}
	for _, a := range attached {
		switch {
		case a.Tag != "":
			tagged = append(tagged, a)
		case !a.Child && !asked[a.Subject]:
			asked[a.Subject] = true
			subjects = append(subjects, a.Subject)
		}
	}
	listed, err := c.askReferrers(ctx, dst, subjects)
	if err != nil {
		return c, err
	}
	if err := c.askTags(ctx, dst, tagged, read); err != nil {
		return c, err
	}
	// A referrers tag may list what is not there, and a registry store what it cannot list.
	for _, a := range attached {
		if a.Tag == "" && (a.Child || c.isNotListable(a.Subject) || listed[a.Key()]) {
			c.byManifest = append(c.byManifest, a)
		}
	}
	return c, nil
}

// askReferrers returns the referrers of subjects that the destination lists.
func (c *Comparison) askReferrers(
	ctx context.Context, dst Destination, subjects []digest.Digest,
) (map[Key]bool, error) {
	ask := func(ctx context.Context, subject digest.Digest) ([]imgspecv1.Descriptor, error) {
		return dst.Referrers.Referrers(ctx, subject, "")
	}
	listed := map[Key]bool{}
	note := func(subject digest.Digest, there []imgspecv1.Descriptor, err error) error {
		if no, ok := errors.AsType[*endpoint.NotListableError](err); ok {
			c.NotListable = append(c.NotListable, no)
			return nil
		}
		if err != nil {
			logrus.Debugf("%s does not tell the referrers of %s: %v", dst.Name, subject, err)
			return nil
		}
		for _, r := range there {
			listed[Key{Subject: subject, Digest: r.Digest}] = true
		}
		return nil
	}
	err := inflight.Ask(ctx, dst.Budget, subjects, ask, note)
	return listed, err
}

// askTags notes which of what is tagged is all in what the tag names.
func (c *Comparison) askTags(
	ctx context.Context, dst Destination, tagged []Attachment, read Read,
) error {
	type answer struct {
		known, same bool
		kept        string
	}
	ask := func(ctx context.Context, a Attachment) (answer, error) {
		there, err := dst.Referrers.Tagged(ctx, a.Tag)
		if err != nil {
			logrus.Debugf("%s does not tell what %s names: %v", dst.Name, a.Tag, err)
			return answer{}, nil
		}
		ours, err := read(ctx, a.Digest)
		if err != nil {
			return answer{}, err
		}
		m := Merge(a.Tag, there, ours)
		return answer{m.Doc.Digest == there.Digest, a.Digest == there.Digest, m.kept(a.Tag, ours)}, nil
	}
	return inflight.Ask(ctx, dst.Budget, tagged, ask, func(a Attachment, there answer, err error) error {
		c.known[a.Key()] = there.known
		if there.known && there.same {
			c.byTag = append(c.byTag, a)
		}
		if there.kept != "" {
			c.Kept = append(c.Kept, there.kept)
		}
		return err
	})
}

func (c *Comparison) isNotListable(subject digest.Digest) bool {
	return slices.ContainsFunc(c.NotListable, func(no *endpoint.NotListableError) bool { return no.Subject == subject })
}

// Manifests returns the distinct manifests and lists that the destination has to be asked for: see
// Known.
func (c *Comparison) Manifests() []digest.Digest {
	var digests []digest.Digest
	asked := map[digest.Digest]bool{}
	for _, a := range c.byManifest {
		if !asked[a.Digest] {
			asked[a.Digest] = true
			digests = append(digests, a.Digest)
		}
	}
	return digests
}

// Named returns the manifests and lists that digest tags name at the destination, as they are.
func (c *Comparison) Named() []digest.Digest {
	var digests []digest.Digest
	for _, a := range c.byTag {
		digests = append(digests, a.Digest)
	}
	return digests
}

// Known returns the attachments that the destination knows as what they are, where present says of
// manifests whether it has them. It has those of Named, if present does not say otherwise.
func (c *Comparison) Known(present map[digest.Digest]bool) map[Key]bool {
	known := maps.Clone(c.known)
	for _, a := range c.byTag {
		has, told := present[a.Digest]
		known[a.Key()] = has || !told
	}
	for _, a := range c.byManifest {
		known[a.Key()] = present[a.Digest]
	}
	return known
}
