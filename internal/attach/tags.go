package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

const (
	// minListed is how many questions for tags a list of all tags takes the place of.
	minListed = 20
	// perPage is how many questions, which are asked at the same time, a page of that list may
	// cost: it comes after the one before it.
	perPage = 10
)

// cosignSuffixes are those of cosign's tags.
var cosignSuffixes = []string{digesttag.Signatures, digesttag.Attestations, digesttag.SBOM}

// cosignTags returns cosign's tags of a subject that are wanted.
func (c *Choices) cosignTags(subject digest.Digest) []string {
	var tags []string
	for _, suffix := range cosignSuffixes {
		if tag := digesttag.Name(subject, suffix); tag != "" && c.wants(subject, tag) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// wants reports whether a digest tag of a subject is wanted, as far as its name tells.
func (c *Choices) wants(subject digest.Digest, tag string) bool {
	suffix := tag[len(digesttag.Stem(tag)):]
	return (c.AnySuffix || slices.Contains(cosignSuffixes, suffix)) &&
		(suffix != digesttag.Signatures || !c.Unsigned(subject))
}

// leavesToReferrers reports whether what a tag names is found in other ways: a list of referrers if
// they are looked for, and the subject itself, which cosign copy tags so and GitLab takes that tag
// for. That tag is the one by which referrers are listed where there is no API, and must not name
// anything else at the destination then.
func (c *Choices) leavesToReferrers(q Question, doc endpoint.Document) bool {
	return c.Referrers && q.Tag == endpoint.ReferrersTag(q.Subject) &&
		(endpoint.IsItself(q.Subject, doc) || endpoint.IsReferrersList(doc))
}

// A tagList has the digest tags of a place, by their stems; nil if they are not known.
type tagList map[string][]string

// of returns the tags of a subject.
func (l tagList) of(subject digest.Digest) []string {
	stems := []string{digesttag.Name(subject, ""), endpoint.ReferrersTag(subject)}
	var tags []string
	for _, stem := range slices.Compact(stems) { // the latter is a part of the digest if that is long
		tags = append(tags, l[stem]...)
	}
	return tags
}

// questions returns what is to be asked about a subject in a place.
func (f *finder) questions(subject digest.Digest, elsewhere bool) []Question {
	var questions []Question
	if f.Choices.Referrers {
		q := Question{Subject: subject, Elsewhere: elsewhere}
		if len(f.ReferrerTypes) == 1 {
			q.ArtifactType = f.ReferrerTypes[0]
		}
		questions = append(questions, q)
	}
	if !f.DigestTags {
		return questions
	}
	tags := f.cosignTags(subject)
	if list := f.lists[elsewhere]; list != nil {
		tags = list.of(subject)
	}
	for _, tag := range tags {
		q := Question{Subject: subject, Tag: tag, Elsewhere: elsewhere}
		if f.wants(subject, tag) && !f.asked[q] {
			questions = append(questions, q)
		}
	}
	return questions
}

// listTags lists the digest tags of each place, once, if that has to be, or if it takes fewer
// requests than to ask for each tag of subjects.
func (f *finder) listTags(ctx context.Context, subjects []digest.Digest) error {
	for _, elsewhere := range f.places() {
		if _, tried := f.lists[elsewhere]; tried || !f.DigestTags {
			continue
		}
		pages := 0
		if !f.AnySuffix {
			questions := 0
			for _, d := range subjects {
				questions += len(f.cosignTags(d))
			}
			if questions < minListed {
				continue
			}
			pages = questions / perPage
		}
		list, unlisted, err := f.tagList(ctx, elsewhere, pages)
		switch absent := elsewhere && errors.Is(unlisted, endpoint.ErrNotFound); {
		case err != nil:
			return err
		case unlisted != nil && f.AnySuffix && !absent:
			return &Error{"listing the tags of", f.at(elsewhere).Name, &TagListError{unlisted}, elsewhere}
		case absent && f.AnySuffix && !endpoint.SaysNameUnknown(unlisted):
			f.warn("%s lists no tags, and only cosign's are asked for: %v", f.at(elsewhere).Name, unlisted)
		case unlisted != nil:
			logrus.Debugf("The digest tags of %s are asked for one by one: %v", f.at(elsewhere).Name, unlisted)
		}
		f.lists[elsewhere] = list
	}
	return nil
}

// tagList lists the digest tags of a place, reading so many pages at most, or all if that is 0. At
// the same time it asks for cosign's tags of Top: a list that lacks one which is there, such as
// that of a cache, tells nothing. unlisted says why there is no list.
func (f *finder) tagList(ctx context.Context, elsewhere bool, pages int) (list tagList, unlisted, err error) {
	lister, ok := f.at(elsewhere).Referrers.(endpoint.TagLister)
	if !ok {
		return nil, errors.New("nothing lists its tags"), nil
	}
	var tags []string
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		unlisted = inflight.One(groupCtx, f.Budget, func() (err error) {
			tags, err = lister.DigestTags(groupCtx, pages)
			return err
		})
		return nil
	})
	before := len(f.candidates)
	group.Go(func() error { return inflight.Ask(groupCtx, f.Budget, f.control(elsewhere), f.ask, f.noteAnswer) })
	if err := cmp.Or(group.Wait(), context.Cause(ctx)); err != nil {
		return nil, nil, err
	}
	if unlisted != nil {
		return nil, unlisted, nil
	}
	list = tagList{}
	for _, tag := range tags {
		stem := digesttag.Stem(tag)
		list[stem] = append(list[stem], tag)
	}
	for _, c := range f.candidates[before:] {
		if !slices.Contains(list.of(c.Subject), c.Tag) {
			return nil, fmt.Errorf("the list of tags lacks %s, which is there", c.Tag), nil
		}
	}
	return list, nil, nil
}

// control returns the questions by which a list of tags is checked. They are not asked again.
func (f *finder) control(elsewhere bool) []Question {
	var questions []Question
	if f.Top != "" {
		for _, tag := range f.cosignTags(f.Top) {
			questions = append(questions, Question{Subject: f.Top, Tag: tag, Elsewhere: elsewhere})
		}
	}
	for _, q := range questions {
		f.asked[q] = true
	}
	return questions
}
