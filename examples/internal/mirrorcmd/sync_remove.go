package mirrorcmd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// removalFlags are the flags of --delete.
type removalFlags struct {
	wanted  bool
	confirm string
	yes     bool
}

func (f *removalFlags) define(flags *pflag.FlagSet) {
	flags.BoolVar(&f.wanted, "delete", false, "find the tags that the file does not name, in the repositories that it copies to, and remove them if that is confirmed")
	flags.StringVar(&f.confirm, "confirm", "", "remove what an earlier --delete found, if it is still the same: `TOKEN` is what that printed")
	flags.BoolVar(&f.yes, "yes", false, "remove whatever --delete finds, without confirmation")
}

func (f *removalFlags) check(dryRun bool) error {
	switch {
	case !f.wanted && (f.confirm != "" || f.yes):
		return misusef("--confirm and --yes have no effect without --delete")
	case f.confirm != "" && f.yes:
		return misusef("--confirm and --yes exclude each other")
	case dryRun && (f.confirm != "" || f.yes):
		return misusef("--confirm and --yes have no effect on a --dry-run")
	}
	return nil
}

// removalStatus is what became of a tag that the file does not name.
type removalStatus string

const (
	removed       removalStatus = "removed"
	removable     removalStatus = "would be removed"
	removalKept   removalStatus = "not removed" // its manifest is needed, the reason says for what
	removalFailed removalStatus = "could not be removed"
)

// A syncRemoval is about a tag that the file does not name, or about an artifact in which the
// original of a list travels along that such a tag names.
type syncRemoval struct {
	Repository string        `json:"repository"`
	Tag        string        `json:"tag"` // "" for an artifact
	Digest     digest.Digest `json:"digest"`
	// Of is the digest of that list: it goes first. Artifacts have it, and tags that list these.
	Of     digest.Digest `json:"of,omitempty"`
	Status removalStatus `json:"status"`
	Reason string        `json:"reason,omitempty"`
}

// name is how people call what is removed.
func (m *syncRemoval) name() string {
	if m.Tag == "" {
		return m.Repository + "@" + shortDigest(m.Digest) + ", which was attached to " + shortDigest(m.Of)
	}
	return m.Repository + ":" + m.Tag + " " + shortDigest(m.Digest)
}

// remove finds what the file does not name, and removes it if that is confirmed. Registries remove
// manifests, and with them every tag that names them: a tag whose manifest is needed stays.
//
// If a single image failed, nothing is removed: what the file names is not known to be there.
func (s *syncRun) remove(ctx context.Context) error {
	if !s.command.removal.wanted {
		return nil
	}
	for _, i := range s.report.Images {
		if i.Status == imageFailed || i.Status == imageDamaged || i.Status == imagePostponed {
			s.report.Warnings = append(s.report.Warnings, "--delete removes nothing, because an image failed")
			return nil
		}
	}
	s.report.Removals = []syncRemoval{}
	for _, repo := range s.managed() {
		found, err := repo.find(ctx)
		s.report.Warnings = append(s.report.Warnings, repo.warnings...)
		if err != nil {
			return atEnd("dest", "looking for what could be removed from "+repo.name.Name(), err)
		}
		s.report.Removals = append(s.report.Removals, found...)
	}
	token := removalToken(s.report.Removals)
	switch {
	case token == "":
		return nil
	case s.command.removal.confirm != "" && s.command.removal.confirm != token:
		s.report.Confirm = token
		return fmt.Errorf("--confirm %s is not about what would be removed now; nothing was removed", s.command.removal.confirm)
	case !s.command.removal.yes && s.command.removal.confirm == "":
		s.report.Confirm = token
		return nil
	}
	return s.removeFound(ctx)
}

// removalToken stands for exactly what would be removed; "" if that is nothing.
func removalToken(all []syncRemoval) string {
	h, n := sha256.New(), 0
	for _, m := range all {
		if m.Status == removable {
			fmt.Fprintf(h, "%s:%s@%s\n", m.Repository, m.Tag, m.Digest)
			n++
		}
	}
	if n == 0 {
		return ""
	}
	const shown = 12
	return hex.EncodeToString(h.Sum(nil))[:shown]
}

// removeFound removes each manifest once, by its digest: a tag that was moved in the meantime takes
// nothing else with it. What belongs to a list stays if that does.
func (s *syncRun) removeFound(ctx context.Context) error {
	done := map[string]error{}
	for i := range s.report.Removals {
		m := &s.report.Removals[i]
		if m.Status != removable {
			continue
		}
		if m.Of != "" && done[m.Repository+"@"+m.Of.String()] != nil {
			m.Status, m.Reason = removalKept, "its list was not removed"
			continue
		}
		at := m.Repository + "@" + m.Digest.String()
		err, known := done[at]
		if !known {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			err = s.removeManifest(ctx, at)
			done[at] = err
		}
		m.Status = removed
		if err != nil {
			m.Status, m.Reason = removalFailed, err.Error()
		}
	}
	return nil
}

// removeManifest removes a manifest. What the registry says is not there is removed: some remove
// what refers to a manifest with it.
func (s *syncRun) removeManifest(ctx context.Context, at string) error {
	ref, err := docker.ParseReference("//" + at)
	if err != nil {
		return err
	}
	sys := s.sys.destinationIn(reference.Domain(ref.DockerReference()))
	err = ref.DeleteImage(ctx, sys)
	if err == nil {
		return nil
	}
	_, gone := s.copier.ReadManifest(ctx, ref, &copy.ReadOptions{SystemContext: sys, Side: copy.DestinationSide})
	if copy.SaysAbsent(gone) {
		return nil
	}
	return err
}

// A managedRepo is a repository that the file copies to.
type managedRepo struct {
	copier *copy.Copier
	sys    *types.SystemContext
	name   reference.Named
	named  map[string]bool // tags that the file names

	digests  map[string]digest.Digest // of all tags
	warnings []string                 // about the list of tags
}

// managed returns the repositories that this run is about, sorted. Those to which something goes by
// digest are left out: nobody can tell from their tags what the file names.
func (s *syncRun) managed() []*managedRepo {
	repos, byDigest := map[string]*managedRepo{}, map[string]bool{}
	for _, c := range s.todo {
		named := c.Destination.DockerReference()
		if named == nil || c.Destination.Transport().Name() != "docker" {
			continue
		}
		key := syncfile.Key(c.Destination)
		if repos[key] == nil {
			repos[key] = &managedRepo{
				copier: s.copier, sys: s.sys.destinationIn(reference.Domain(named)), name: reference.TrimNamed(named), named: map[string]bool{},
			}
		}
		if tagged, ok := named.(reference.NamedTagged); ok {
			repos[key].named[tagged.Tag()] = true
		} else {
			byDigest[key] = true
		}
	}
	maps.DeleteFunc(repos, func(key string, _ *managedRepo) bool { return byDigest[key] })
	var all []*managedRepo
	for _, key := range slices.Sorted(maps.Keys(repos)) {
		all = append(all, repos[key])
	}
	return all
}

// find returns the tags that the file does not name, sorted, with what is to become of them.
func (r *managedRepo) find(ctx context.Context) ([]syncRemoval, error) {
	any, err := docker.NewReference(reference.TagNameOnly(r.name))
	if err != nil {
		return nil, err
	}
	list, err := r.copier.Tags(ctx, any, &copy.TagsOptions{SystemContext: r.sys, Side: copy.DestinationSide})
	if err != nil {
		return nil, err
	}
	r.warnings = list.Warnings
	tags := slices.Sorted(slices.Values(list.Tags))
	var strays []string
	for _, tag := range tags {
		if !r.named[tag] && !copy.IsDigestTag(tag) {
			strays = append(strays, tag)
		}
	}
	if len(strays) == 0 {
		return nil, nil
	}
	if err := r.resolve(ctx, tags); err != nil {
		return nil, err
	}
	needed, lists, err := r.needed(ctx, tags, strays)
	if err != nil {
		return nil, err
	}
	var found []syncRemoval
	for _, tag := range strays {
		m := syncRemoval{Repository: r.name.Name(), Tag: tag, Digest: r.digests[tag], Status: removable}
		if why := needed[m.Digest]; why != "" {
			m.Status, m.Reason = removalKept, why
		}
		found = append(found, m)
	}
	attached, err := r.originals(ctx, lists)
	return append(found, attached...), err
}

// originals returns what this library has attached to lists so that they can be checked, and the
// tags that name nothing else, in the order of lists.
func (r *managedRepo) originals(ctx context.Context, lists []digest.Digest) ([]syncRemoval, error) {
	attached, errs := make([]*copy.AttachedOriginal, len(lists)), make([]error, len(lists))
	eachOf(ctx, listsAtOnce, len(lists), func(i int) {
		ref, err := r.at(lists[i])
		if err == nil {
			attached[i], err = r.copier.AttachedOriginal(ctx, ref, r.options())
		}
		errs[i] = err
	})
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	var found []syncRemoval
	for i, a := range attached {
		if errs[i] != nil {
			return nil, errs[i]
		}
		for _, w := range a.Warnings {
			r.warnings = append(r.warnings, r.name.Name()+": "+w)
		}
		for _, artifact := range a.Artifacts {
			found = append(found, r.belongs(lists[i], "", artifact.Digest))
		}
		for _, tag := range a.Tags {
			found = append(found, r.belongs(lists[i], tag.Tag, tag.Digest))
		}
	}
	return found, nil
}

// belongs says what is to become of what belongs to a list that is removed: it stays if any other
// tag names it.
func (r *managedRepo) belongs(list digest.Digest, tag string, d digest.Digest) syncRemoval {
	m := syncRemoval{Repository: r.name.Name(), Tag: tag, Digest: d, Of: list, Status: removable}
	for _, other := range slices.Sorted(maps.Keys(r.digests)) {
		if other != tag && r.digests[other] == d {
			m.Status, m.Reason = removalKept, "tag "+other+" names it too"
		}
	}
	return m
}

// resolve asks the repository itself what its tags name.
func (r *managedRepo) resolve(ctx context.Context, tags []string) error {
	digests := make([]digest.Digest, len(tags))
	errs := make([]error, len(tags))
	eachOf(ctx, listsAtOnce, len(tags), func(i int) {
		tagged, err := reference.WithTag(r.name, tags[i])
		if err != nil {
			errs[i] = err
			return
		}
		ref, err := docker.NewReference(tagged)
		if err == nil {
			digests[i], err = docker.GetDigest(ctx, r.sys, ref)
		}
		errs[i] = err
	})
	r.digests = map[string]digest.Digest{}
	for i, tag := range tags {
		if errs[i] != nil {
			return fmt.Errorf("tag %s: %w", tag, errs[i])
		}
		r.digests[tag] = digests[i]
	}
	return context.Cause(ctx)
}
