package mirrorcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/naming"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// deletionSchema names the JSON form of what mirror delete prints.
const deletionSchema = "mirror.delete/v1"

// A deletion is what mirror delete prints.
type deletion struct {
	Schema   string        `json:"schema"`
	Removals []syncRemoval `json:"removals"`
	Confirm  string        `json:"confirm,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
}

// A deleteCommand is mirror delete.
type deleteCommand struct {
	env          *environment
	access       access
	out          output
	confirm      string
	yes          bool
	keepAttached bool
}

func (c *deleteCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "delete [flags] REFERENCE...",
		Short: "Remove images and lists from a registry",
		Long: "Delete finds what REFERENCES name at a registry and what is attached to that (signatures, referrers, originals), says what\n" +
			"would be removed, and prints a token; it removes exactly that if it is run again with --confirm. Registries remove\n" +
			"manifests, and with a manifest every tag that names it: what another tag names too, or a list that a tag names, is not\n" +
			"removed, and then nothing is. The images of a list stay until the registry collects what no tag leads to.",
		Example: "  mirror delete docker://registry.example/app:1.2.3\n" +
			"  mirror delete --confirm 3f2a90b1c4d5 docker://registry.example/app:1.2.3\n" +
			"  mirror delete --yes docker://registry.example/app:1.2.3 docker://registry.example/app:1.2",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misusef("mirror delete takes at least one REFERENCE, and none was given; see mirror delete --help")
			}
			return nil
		},
		RunE: c.run,
	}
}

func (c *deleteCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&c.confirm, "confirm", "", "remove what an earlier run found, if it is still the same: `TOKEN` is what that printed")
	flags.BoolVar(&c.yes, "yes", false, "remove without confirmation")
	flags.BoolVar(&c.keepAttached, "keep-attached", false, "leave what is attached to what is removed")
	c.out.define(flags, "what is removed")
	c.access.defineWritten(flags)
}

func (c *deleteCommand) run(cmd *cobra.Command, args []string) error {
	if err := checkAll(c.out.check, c.access.check); err != nil {
		return err
	}
	if c.confirm != "" && c.yes {
		return misusef("--confirm and --yes exclude each other")
	}
	var named []reference.Named
	for _, arg := range args {
		ref, err := parseRegistryImage(arg)
		if err != nil {
			return err
		}
		if pinned := syncfile.PinnedIn("docker://" + strings.TrimPrefix(arg, "docker://")); pinned != nil {
			tagged, _, _ := lastCut(arg, "@")
			return misusef("%s has a tag and a digest: write %s, to remove what the tag names now, or %s", arg, tagged, syncfile.ByDigest(pinned))
		}
		named = append(named, ref.DockerReference())
	}
	return c.env.withOnlyEnd(cmd, &c.access, &c.out, func(ctx context.Context, end onlyEnd) error {
		found, err := c.find(ctx, end, named)
		if err != nil {
			return err
		}
		err = c.remove(ctx, end, found)
		return errors.Join(err, c.print(args, found))
	})
}

// find finds what is to be removed, by repositories, each in the order of the command line.
func (c *deleteCommand) find(ctx context.Context, end onlyEnd, named []reference.Named) (*deletion, error) {
	found := &deletion{Schema: deletionSchema, Removals: []syncRemoval{}}
	var done []string
	for _, n := range named {
		if slices.Contains(done, n.Name()) {
			continue
		}
		done = append(done, n.Name())
		w := &unwanted{taggedRepo: newTaggedRepo(end.copier, end.sys, n), keepAttached: c.keepAttached}
		for _, other := range named {
			if other.Name() == n.Name() {
				w.asked = append(w.asked, other)
			}
		}
		removals, err := w.find(ctx)
		if err != nil {
			return nil, atOnlyEnd("docker://"+n.Name(), err)
		}
		found.Removals, found.Warnings = append(found.Removals, removals...), append(found.Warnings, w.warnings...)
	}
	return found, nil
}

// remove removes what was found, if that is confirmed, and if all that was asked for can be.
func (c *deleteCommand) remove(ctx context.Context, end onlyEnd, found *deletion) error {
	for _, m := range found.Removals {
		if m.Of == "" && m.Status == removalKept {
			return fmt.Errorf("nothing was removed: %s is needed: %s", m.name(), m.Reason)
		}
	}
	token, confirmed, err := confirmRemoval(found.Removals, c.confirm, c.yes)
	if !confirmed {
		found.Confirm = token
		return err
	}
	var first error
	err = removeFound(ctx, found.Removals, func(ctx context.Context, ref types.ImageReference) error {
		err := removeManifest(ctx, end.copier, end.sys, ref)
		if first == nil {
			first = err
		}
		return err
	})
	if err != nil {
		return err
	}
	return atOnlyEnd("not all was removed", first)
}

// print says what was found, and what became of it.
func (c *deleteCommand) print(args []string, found *deletion) error {
	if c.out.json {
		return printJSON(c.env.stdout, found)
	}
	var b strings.Builder
	for _, w := range found.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", oneLine(w))
	}
	for _, m := range found.Removals {
		fmt.Fprintf(&b, "%s: %s%s\n", m.Status, m.name(), because(oneLine(m.Reason)))
	}
	if found.Confirm != "" {
		fmt.Fprintf(&b, "to remove exactly that: mirror delete --confirm %s %s\n", found.Confirm, strings.Join(args, " "))
	}
	_, err := io.WriteString(c.env.stdout, b.String())
	return err
}

// An unwanted is what is to be removed from a repository.
type unwanted struct {
	*taggedRepo
	asked        []reference.Named // tags and digests
	keepAttached bool

	refers map[digest.Digest]digest.Digest // the subjects that what is attached states
}

// find says what is to become of what was asked for, and of what is attached to it.
func (w *unwanted) find(ctx context.Context) ([]syncRemoval, error) {
	found, err := w.resolveAsked(ctx)
	if err != nil {
		return nil, err
	}
	var subjects []digest.Digest
	for _, m := range found {
		if !slices.Contains(subjects, m.Digest) {
			subjects = append(subjects, m.Digest)
		}
	}
	w.refers = map[digest.Digest]digest.Digest{}
	if !w.keepAttached {
		for _, d := range subjects {
			attached, err := w.attachedTo(ctx, d)
			if err != nil {
				return nil, err
			}
			for _, m := range attached {
				if !slices.ContainsFunc(found, m.isAbout) {
					found = append(found, m)
				}
			}
		}
	}
	return found, w.judge(ctx, found, subjects)
}

// resolveAsked resolves what was asked for, and all tags of the repository.
func (w *unwanted) resolveAsked(ctx context.Context) ([]syncRemoval, error) {
	tags, err := w.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range w.asked {
		if tagged, ok := n.(reference.NamedTagged); ok && !slices.Contains(tags, tagged.Tag()) {
			tags = append(tags, tagged.Tag()) // lists of tags may lag behind
		}
	}
	if err := w.resolve(ctx, tags); err != nil {
		return nil, err
	}
	var found []syncRemoval
	for _, n := range w.asked {
		m := syncRemoval{Repository: w.name.Name(), Status: removable}
		switch n := n.(type) {
		case reference.Canonical:
			m.Digest = n.Digest()
			if _, err := w.manifest(ctx, m.Digest); err != nil {
				return nil, err
			}
		case reference.NamedTagged:
			m.Tag, m.Digest = n.Tag(), w.digests[n.Tag()]
		}
		if !slices.Contains(found, m) {
			found = append(found, m)
		}
	}
	return found, nil
}

// attachedTo finds what is attached to a manifest or list.
func (w *unwanted) attachedTo(ctx context.Context, d digest.Digest) ([]syncRemoval, error) {
	ref, err := w.at(d)
	if err != nil {
		return nil, err
	}
	attached, err := w.copier.Registries().Attached(ctx, ref, &naming.Options{SystemContext: w.sys, Side: copy.DestinationSide})
	if err != nil {
		return nil, err
	}
	w.warnings = append(w.warnings, attached.Warnings...)
	var found []syncRemoval
	goes := map[digest.Digest]bool{d: true}
	for more := true; more; { // something may be attached to a child that is attached itself, further on
		more = false
		for _, a := range attached.Attached {
			m := syncRemoval{Repository: w.name.Name(), Tag: a.Tag, Digest: a.Digest, Of: a.Subject, Status: removable}
			if a.Child || !goes[a.Subject] || slices.Contains(found, m) {
				continue // the images of a list are not removed
			}
			found, goes[a.Digest], w.refers[a.Digest], more = append(found, m), true, a.Refers, true
		}
	}
	return found, nil
}

// judge marks what has to stay: what tags that stay lead to, and what is attached to that.
func (w *unwanted) judge(ctx context.Context, found []syncRemoval, asked []digest.Digest) error {
	goals := make([]digest.Digest, len(found))
	for i, m := range found {
		goals[i] = m.Digest
	}
	for {
		needed, err := w.followed(ctx, w.staying(found), goals)
		if err != nil {
			return err
		}
		keep(found, needed)
		if !w.keepAttachedTo(found, asked) { // else there may be more tags that stay
			return nil
		}
	}
}

// staying returns the tags that stay as far as is known, sorted.
func (w *unwanted) staying(found []syncRemoval) []string {
	goes := map[string]bool{}
	for _, m := range found {
		goes[m.Tag] = m.Status == removable
	}
	var stay []string
	for tag := range w.digests {
		if !goes[tag] {
			stay = append(stay, tag)
		}
	}
	slices.Sort(stay)
	return stay
}

// keep marks what has a reason to stay.
func keep(found []syncRemoval, reasons map[digest.Digest]string) {
	for i := range found {
		if why := reasons[found[i].Digest]; why != "" && found[i].Status == removable {
			found[i].Status, found[i].Reason = removalKept, why
		}
	}
}

// keepAttachedTo marks what is attached to something that stays, unless it was asked for, and
// reports whether there was any.
func (w *unwanted) keepAttachedTo(found []syncRemoval, asked []digest.Digest) bool {
	goes := map[digest.Digest]bool{}
	for _, m := range found {
		goes[m.Digest] = m.Status == removable
	}
	reasons := map[digest.Digest]string{}
	for more := true; more; {
		more = false
		for _, m := range found {
			if !goes[m.Digest] || slices.Contains(asked, m.Digest) {
				continue
			}
			for _, subject := range []digest.Digest{m.Of, w.refers[m.Digest]} {
				if subject != "" && !goes[subject] {
					reasons[m.Digest], goes[m.Digest], more = "it belongs to "+shortDigest(subject)+", which stays", false, true
				}
			}
		}
	}
	keep(found, reasons)
	return len(reasons) > 0
}
