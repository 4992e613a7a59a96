package mirrorcmd

import (
	"context"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/pflag"
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
	token, confirmed, err := confirmRemoval(s.report.Removals, s.command.removal.confirm, s.command.removal.yes)
	if !confirmed {
		s.report.Confirm = token
		return err
	}
	return removeFound(ctx, s.report.Removals, func(ctx context.Context, ref types.ImageReference) error {
		return removeManifest(ctx, s.copier, s.sys.destinationIn(reference.Domain(ref.DockerReference())), ref)
	})
}

// A managedRepo is a repository that the file copies to.
type managedRepo struct {
	*taggedRepo
	named map[string]bool // tags that the file names
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
			repos[key] = &managedRepo{newTaggedRepo(s.copier, s.sys.destinationIn(reference.Domain(named)), named), map[string]bool{}}
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
	list, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	tags := slices.Sorted(slices.Values(list))
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
	attached, err := askEach(ctx, listsAtOnce, lists, func(list digest.Digest) (*copy.AttachedOriginal, error) {
		ref, err := r.at(list)
		if err != nil {
			return nil, err
		}
		return r.copier.AttachedOriginal(ctx, ref, r.options())
	})
	if err != nil {
		return nil, err
	}
	var found []syncRemoval
	for _, list := range lists {
		a := attached[list]
		for _, w := range a.Warnings {
			r.warnings = append(r.warnings, r.name.Name()+": "+w)
		}
		for _, artifact := range a.Artifacts {
			found = append(found, r.belongs(list, "", artifact.Digest))
		}
		for _, tag := range a.Tags {
			found = append(found, r.belongs(list, tag.Tag, tag.Digest))
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
