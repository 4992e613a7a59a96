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

// A syncRemoval is about a tag that the file does not name.
type syncRemoval struct {
	Repository string        `json:"repository"`
	Tag        string        `json:"tag"`
	Digest     digest.Digest `json:"digest"`
	Status     removalStatus `json:"status"`
	Reason     string        `json:"reason,omitempty"`
}

// remove finds what the file does not name, and removes it if that is confirmed. Registries remove
// manifests, and with them every tag that names them: a tag whose manifest is needed stays.
//
// If a single image failed, nothing is removed: what the file names is not known to be there.
func (s *syncRun) remove(ctx context.Context) error {
	if !s.removal.wanted {
		return nil
	}
	for _, i := range s.report.Images {
		if i.Status == imageFailed {
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
	case s.removal.confirm != "" && s.removal.confirm != token:
		s.report.Confirm = token
		return fmt.Errorf("--confirm %s is not about what would be removed now; nothing was removed", s.removal.confirm)
	case !s.removal.yes && s.removal.confirm == "":
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
// nothing else with it.
func (s *syncRun) removeFound(ctx context.Context) error {
	done := map[string]error{}
	for i := range s.report.Removals {
		m := &s.report.Removals[i]
		if m.Status != removable {
			continue
		}
		at := m.Repository + "@" + m.Digest.String()
		err, known := done[at]
		if !known {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			err = removeManifest(ctx, s.sys.destination, at)
			done[at] = err
		}
		m.Status = removed
		if err != nil {
			m.Status, m.Reason = removalFailed, err.Error()
		}
	}
	return nil
}

func removeManifest(ctx context.Context, sys *types.SystemContext, at string) error {
	ref, err := docker.ParseReference("//" + at)
	if err != nil {
		return err
	}
	return ref.DeleteImage(ctx, sys)
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
			repos[key] = &managedRepo{copier: s.copier, sys: s.sys.destination, name: reference.TrimNamed(named), named: map[string]bool{}}
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
	needed, err := r.needed(ctx, tags, strays)
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
	return found, nil
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
