package mirrorcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// needed returns the digests of manifests that must stay, each with the reason: what tags that stay
// lead to, and what is attached to something by its subject. lists are those that strays name and
// that need not stay, sorted.
func (r *taggedRepo) needed(ctx context.Context, tags, strays []string) (needed map[digest.Digest]string, lists []digest.Digest, err error) {
	stray := func(tag string) bool { return slices.Contains(strays, tag) }
	goals := make([]digest.Digest, len(strays))
	for i, tag := range strays {
		goals[i] = r.digests[tag]
	}
	if needed, err = r.followed(ctx, slices.DeleteFunc(slices.Clone(tags), stray), goals); err != nil {
		return nil, nil, err
	}
	bound := func(tag string) bool { return needed[r.digests[tag]] != "" }
	lists, err = r.keepReferrers(ctx, slices.DeleteFunc(slices.Clone(strays), bound), needed)
	return needed, lists, err
}

// followed returns the digests of what tags lead to, each with the reason. It may leave some out if
// all goals are among the rest.
func (r *taggedRepo) followed(ctx context.Context, tags []string, goals []digest.Digest) (map[digest.Digest]string, error) {
	needed := map[digest.Digest]string{}
	var followed, others []follower
	for _, tag := range tags {
		if d := r.digests[tag]; needed[d] == "" {
			needed[d] = "tag " + tag + " names it too"
			followed = append(followed, follower{d: d, tag: tag, top: true})
		}
	}
	free := func(d digest.Digest) bool { return needed[d] == "" }
	// What entries call lists is read first. The rest may be lists all the same, which matters only
	// if something is to be removed.
	for len(followed)+len(others) > 0 && slices.ContainsFunc(goals, free) {
		level := followed
		if followed = nil; len(level) == 0 {
			level, others = others, nil
		}
		below, err := r.follow(ctx, level)
		if err != nil {
			return nil, err
		}
		for _, f := range below {
			switch {
			case needed[f.d] != "":
				continue
			case f.list:
				followed = append(followed, f)
			default:
				others = append(others, f)
			}
			needed[f.d] = "the list of tag " + f.tag + " names it"
		}
	}
	return needed, nil
}

// keepReferrers marks what is attached to something by its subject as needed, and returns the
// digests of the lists among the rest, sorted.
func (r *taggedRepo) keepReferrers(ctx context.Context, tags []string, needed map[digest.Digest]string) (lists []digest.Digest, err error) {
	read := make([]digest.Digest, len(tags))
	for i, tag := range tags {
		read[i] = r.digests[tag]
	}
	slices.Sort(read)
	read = slices.Compact(read)
	docs, errs := r.read(ctx, read)
	for i, doc := range docs {
		if errs[i] != nil {
			return nil, errs[i]
		}
		var refers struct{ Subject *imgspecv1.Descriptor }
		if err := json.Unmarshal(doc.Bytes, &refers); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", read[i], err)
		}
		switch {
		case refers.Subject != nil:
			needed[read[i]] = "it refers to " + string(refers.Subject.Digest)
		case doc.IsList():
			lists = append(lists, read[i])
		}
	}
	return lists, context.Cause(ctx)
}

// A follower is a manifest or list that must stay because of a tag.
type follower struct {
	d     digest.Digest
	tag   string
	depth int
	top   bool // the tag names it
	list  bool // an entry calls it a list
}

// maxDepth is how deep lists may be nested.
const maxDepth = 8

// follow returns what the lists in level name. What something is, its document says, and not the
// entry that names it.
func (r *taggedRepo) follow(ctx context.Context, level []follower) ([]follower, error) {
	read := make([]digest.Digest, len(level))
	for i, f := range level {
		read[i] = f.d
	}
	var below []follower
	docs, errs := r.read(ctx, read)
	for i, f := range level {
		switch {
		case errs[i] != nil && f.mayBeAbsent(errs[i]):
			continue
		case errs[i] != nil:
			return nil, errs[i]
		case !docs[i].IsList():
			continue
		case f.depth > maxDepth:
			return nil, fmt.Errorf("lists are nested deeper than %d", maxDepth)
		}
		list, err := manifest.Parse(docs[i].Bytes, docs[i].MediaType)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", f.d, err)
		}
		for _, in := range list.Instances() {
			if in.IsBlob() {
				continue // no tag names it
			}
			below = append(below, follower{d: in.Digest, tag: f.tag, depth: f.depth + 1, list: in.IsList()})
		}
	}
	return below, context.Cause(ctx)
}

// mayBeAbsent reports whether an error says that there is nothing to follow: a sparse list names
// what is not there. Of what an entry calls a list, a registry has to say so in its own words: a
// proxy's page does not suffice to remove what depends on it.
func (f follower) mayBeAbsent(err error) bool {
	if f.top || f.list {
		return f.list && copy.SaysAbsent(err)
	}
	said, answered := errors.AsType[*copy.RegistryError](err)
	return answered && said.Status == http.StatusNotFound
}
