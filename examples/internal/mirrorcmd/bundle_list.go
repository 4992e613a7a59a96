package mirrorcmd

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/bundle"
)

// A bundleListCommand is mirror bundle list.
type bundleListCommand struct {
	env *environment
	out output
	all bool
}

func (c *bundleListCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "list [flags] BUNDLE",
		Short: "Say what is in a bundle",
		Long: "List reads the record, the manifests and the lists of BUNDLE, a directory or an archive, and prints for each image its\n" +
			"platforms, how large it is, how much of that this bundle carries, and what is attached. Layers are not read, and of\n" +
			"archives not unpacked: whether they are whole, mirror bundle load finds out. No registry is asked.",
		Example: "  mirror bundle list monday.tar\n" +
			"  mirror bundle list --output json monday.tar",
		Args: takes(1, "BUNDLE"),
		RunE: c.run,
	}
}

func (c *bundleListCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&c.all, "entries", false, "print a line for each entry of a list, and for what is attached")
	c.out.define(flags, "what is in the bundle")
}

// bundleListSchema names the JSON form of what a bundle has.
const bundleListSchema = "mirror.bundle-list/v1"

// A bundleListing is what a bundle has. Sizes are in bytes.
type bundleListing struct {
	Schema    string        `json:"schema"` // bundleListSchema
	Bundle    string        `json:"bundle"` // as it was given
	ID        digest.Digest `json:"id"`
	Since     digest.Digest `json:"since,omitempty"`
	SinceName string        `json:"sinceName,omitempty"`
	Images    []listedImage `json:"images"`
}

type listedImage struct {
	Name         string           `json:"name"`
	Digest       digest.Digest    `json:"digest"`
	SourceDigest digest.Digest    `json:"sourceDigest"`
	MediaType    string           `json:"mediaType"`
	Platform     string           `json:"platform,omitempty"` // of a single image
	Entries      []listedEntry    `json:"entries,omitempty"`
	Bytes        int64            `json:"bytes"`
	Carried      int64            `json:"carried"`
	Signatures   int              `json:"signatures,omitempty"`
	Attached     []listedAttached `json:"attached,omitempty"`
}

type listedEntry struct {
	Digest   digest.Digest `json:"digest"`
	Platform string        `json:"platform"`
	Kind     string        `json:"kind,omitempty"`
	Subject  digest.Digest `json:"subject,omitempty"`
	List     bool          `json:"list"`
	Absent   bool          `json:"absent"`
}

type listedAttached struct {
	Subject      digest.Digest `json:"subject"`
	Digest       digest.Digest `json:"digest"`
	Tag          string        `json:"tag,omitempty"`
	ArtifactType string        `json:"artifactType,omitempty"`
}

func (c *bundleListCommand) run(cmd *cobra.Command, args []string) error {
	if err := c.out.check(); err != nil {
		return err
	}
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	b, err := bundle.Open(ctx, args[0], &bundle.OpenOptions{Listing: true})
	if err != nil {
		return orStopped(ctx, notABundle(args[0], err))
	}
	defer func() { _ = b.Close() }()
	listing, err := listBundle(ctx, b, args[0])
	if err != nil {
		return orStopped(ctx, fmt.Errorf("%s: %w", args[0], err))
	}
	if c.out.json {
		return printJSON(c.env.stdout, listing)
	}
	_, err = io.WriteString(c.env.stdout, listing.text(c.all))
	return err
}

func listBundle(ctx context.Context, b *bundle.Bundle, path string) (*bundleListing, error) {
	record := b.Record()
	listing := &bundleListing{
		Schema: bundleListSchema, Bundle: path, ID: record.ID, Since: record.Since, SinceName: record.SinceName, Images: []listedImage{},
	}
	for _, i := range record.Images {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		content, err := b.Content(i.Name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", i.Name, err)
		}
		listed := listedImage{
			Name: i.Name, Digest: i.Digest, SourceDigest: i.SourceDigest, MediaType: content.MediaType, Platform: content.Platform,
			Bytes: content.Bytes, Carried: content.Carried,
		}
		for _, e := range content.Entries {
			listed.Entries = append(listed.Entries, listedEntry(e))
		}
		for _, a := range content.Attached {
			listed.Attached = append(listed.Attached, listedAttached{a.Subject, a.Digest, a.Tag, a.ArtifactType})
		}
		if listed.Signatures, err = b.Signatures(ctx, i.Name); err != nil {
			return nil, fmt.Errorf("%s: %w", i.Name, err)
		}
		listing.Images = append(listing.Images, listed)
	}
	return listing, nil
}

// text is a listing for people, with a line for each entry if all is set.
func (l *bundleListing) text(all bool) string {
	var b, rows strings.Builder
	table := tabwriter.NewWriter(&rows, 0, 8, 2, ' ', 0)
	fmt.Fprintf(table, "IMAGE\tDIGEST\tPLATFORMS\tBYTES\tCARRIED\tATTACHED\tSIGNATURES\n")
	for i := range l.Images {
		image := &l.Images[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%d\n", printable(image.Name), shortDigest(image.Digest), printable(image.platforms()),
			copy.FormatBytes(image.Bytes), copy.FormatBytes(image.Carried), len(image.Attached), image.Signatures)
		if all {
			image.rows(table)
		}
	}
	table.Flush()
	for line := range strings.Lines(rows.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	fmt.Fprintf(&b, "%s\n%s\n", counted(len(l.Images), "image"), l.ID)
	if l.Since != "" {
		fmt.Fprintf(&b, "load after %s %s\n", l.Since, printable(l.SinceName))
	}
	return b.String()
}

// maxPlatforms is how many platforms are shown in a line.
const maxPlatforms = 6

// platforms says which platforms of the image the bundle has, and how many it does not have.
func (i *listedImage) platforms() string {
	if len(i.Entries) == 0 {
		return cmp.Or(i.Platform, "-")
	}
	var there []string
	absent := 0
	for _, e := range i.Entries {
		switch {
		case e.Kind != "" || e.List:
		case e.Absent:
			absent++
		default:
			there = append(there, e.Platform)
		}
	}
	more := len(there) - maxPlatforms
	if more > 0 {
		there = append(there[:maxPlatforms], fmt.Sprintf("and %d more", more))
	}
	text := cmp.Or(strings.Join(there, ", "), "-")
	if absent > 0 {
		text += fmt.Sprintf(" (%d absent)", absent)
	}
	return text
}

// rows prints a line for each entry, and for what is attached.
func (i *listedImage) rows(w io.Writer) {
	names := map[digest.Digest]string{i.Digest: "list"}
	if len(i.Entries) == 0 {
		names[i.Digest] = cmp.Or(i.Platform, "image")
	}
	for _, e := range i.Entries {
		names[e.Digest] = cmp.Or(names[e.Digest], e.Platform)
	}
	for _, e := range i.Entries {
		what := e.Platform
		switch {
		case e.List:
			what = "list"
		case e.Kind != "":
			what = related(e.Kind, e.Subject, names)
		}
		if e.Absent {
			what += " (absent)"
		}
		fmt.Fprintf(w, "  %s\t%s\t\t\t\t\t\n", printable(what), shortDigest(e.Digest))
	}
	for _, a := range i.Attached {
		kind := attachedKind(copy.AttachedReport{Tag: a.Tag, ArtifactType: a.ArtifactType})
		fmt.Fprintf(w, "  %s\t%s\t\t\t\t\t\n", printable(related(kind, a.Subject, names)), shortDigest(a.Digest))
		names[a.Digest] = cmp.Or(names[a.Digest], kind)
	}
}
