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
)

// An inspectCommand is mirror inspect.
type inspectCommand struct {
	env    *environment
	access access
	out    output
	tree   bool
}

func (c *inspectCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect [flags] REFERENCE",
		Short: "Say what a list names, and what of it is there",
		Long: "Inspect reads what REFERENCE names: each entry of a list, whether its manifest is there, its platform or what it is\n" +
			"an attestation or SOCI index of, and sizes; of a single image, its platform and layers. Configs and layers of images are not\n" +
			"looked for (mirror verify does that); those that a build cache lists are. Nothing is written, and no signature policy is asked.",
		Example: "  mirror inspect docker://docker.io/library/alpine:3\n" +
			"  mirror inspect --tree oci:layout:alpine",
		Args: takes(1, "REFERENCE"),
		RunE: c.run,
	}
}

func (c *inspectCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&c.tree, "tree", false, "show lists in lists, images, and their config and layers as a tree")
	c.out.define(flags, "what was found")
	c.access.defineOnly(flags)
}

func (c *inspectCommand) run(cmd *cobra.Command, args []string) error {
	if err := checkAll(c.out.check, c.access.check); err != nil {
		return err
	}
	if c.tree && c.out.json {
		return misusef("--tree and --output json exclude each other: JSON has the tree already")
	}
	ref, err := c.access.parseSource("REFERENCE", args[0])
	if err != nil {
		return err
	}
	return c.env.withOnlyEnd(cmd, &c.access, &c.out, func(ctx context.Context, end onlyEnd) error {
		found, err := end.copier.Inspect(ctx, ref, &copy.ReadOptions{SystemContext: end.sys})
		if err != nil {
			return atOnlyEnd(args[0], err)
		}
		found.Reference = args[0]
		switch {
		case c.out.json:
			return printJSON(c.env.stdout, found)
		case c.tree:
			return printTree(c.env.stdout, found)
		}
		return printInspection(c.env.stdout, found)
	})
}

// printInspection prints a table of entries, or of layers.
func printInspection(w io.Writer, found *copy.Inspection) error {
	var b strings.Builder
	printHead(&b, found)
	table := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	if found.Image != nil {
		fmt.Fprintf(table, "BLOB\tDIGEST\tMEDIA TYPE\tBYTES\n")
		fmt.Fprintf(table, "config\t%s\t%s\t%s\n", found.Image.Config.Digest, printable(found.Image.Config.MediaType), copy.FormatBytes(found.Image.Config.Size))
		for i, layer := range found.Image.Layers {
			fmt.Fprintf(table, "layer %d\t%s\t%s\t%s\n", i, layer.Digest, printable(layer.MediaType), copy.FormatBytes(layer.Size))
		}
	} else {
		fmt.Fprintf(table, "ENTRY\tWHAT\tDIGEST\tSTATE\tMANIFEST\tCONFIG+LAYERS\n")
		printEntries(table, "", found.Entries)
	}
	table.Flush()
	printTotals(&b, found)
	_, err := io.WriteString(w, b.String())
	return err
}

// printEntries prints a row for each entry; those of nested lists have positions such as 1.0.
func printEntries(w io.Writer, above string, entries []copy.InspectedEntry) {
	names := platformNames(entries)
	for _, e := range entries {
		at := fmt.Sprintf("%s%d", above, e.Index)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", at, what(e, names), e.Digest, presence(e), copy.FormatBytes(e.Size), contentSize(e))
		printEntries(w, at+".", e.Entries)
	}
}

// platformNames are the platforms of entries, by digest.
func platformNames(entries []copy.InspectedEntry) map[digest.Digest]string {
	names := map[digest.Digest]string{}
	for _, e := range entries {
		if _, ok := names[e.Digest]; !ok {
			names[e.Digest] = e.Platform
		}
	}
	return names
}

// what names an entry: its platform, or what it is.
func what(e copy.InspectedEntry, names map[digest.Digest]string) string {
	name := cmp.Or(e.Platform, "image")
	switch {
	case e.List:
		name = "list"
	case e.Relation.Follows():
		name = related(e.Kind, cmp.Or(e.Subject, e.AttestationOf), names)
	case e.Relation == copy.Replaces:
		name += ", " + e.Kind
	case e.Kind != "": // of a blob, or an artifact
		name = e.Kind
	}
	if e.ArtifactType != "" {
		name += " (" + e.ArtifactType + ")"
	}
	return printable(name)
}

func presence(e copy.InspectedEntry) string {
	if e.Missing {
		return "missing"
	}
	return "present"
}

func contentSize(e copy.InspectedEntry) string {
	if e.Image == nil {
		return "-"
	}
	return copy.FormatBytes(e.Image.Bytes)
}

func printHead(b *strings.Builder, found *copy.Inspection) {
	fmt.Fprintf(b, "%s\n%s\n", found.Reference, found.Digest)
	var kind string
	switch {
	case found.Image == nil:
		kind = fmt.Sprintf("list with %s (%s)", countedEntries(len(found.Entries)), found.MediaType)
	case found.Kind != "":
		kind = fmt.Sprintf("%s (%s)", found.Kind, found.MediaType)
	case found.Image.Platform != "":
		kind = fmt.Sprintf("image for %s (%s)", found.Image.Platform, found.MediaType)
	default:
		kind = fmt.Sprintf("image without a platform (%s)", found.MediaType)
	}
	fmt.Fprintf(b, "%s, %s\n", printable(kind), copy.FormatBytes(found.Size))
	if found.ArtifactType != "" {
		fmt.Fprintf(b, "artifact type %s\n", printable(found.ArtifactType))
	}
	b.WriteString("\n")
}

func countedEntries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func printTotals(b *strings.Builder, found *copy.Inspection) {
	t := found.Totals
	fmt.Fprintf(b, "\nin all: %s (%s), %s (%s)", counted(t.Manifests, "manifest"), copy.FormatBytes(t.ManifestBytes), counted(t.Blobs, "blob"), copy.FormatBytes(t.BlobBytes))
	if t.Missing > 0 {
		fmt.Fprintf(b, "; missing: %d", t.Missing)
	}
	b.WriteString("\n")
}

// printTree prints what was found as a tree.
func printTree(w io.Writer, found *copy.Inspection) error {
	var b strings.Builder
	printHead(&b, found)
	b.WriteString(shortDigest(found.Digest) + "\n")
	if found.Image != nil {
		treeOfImage(&b, "", found.Image)
	} else {
		treeOfEntries(&b, "", found.Entries)
	}
	printTotals(&b, found)
	_, err := io.WriteString(w, b.String())
	return err
}

// branch returns what stands before the i-th of n children, and before what is below it.
func branch(indent string, i, n int) (before, below string) {
	if i == n-1 {
		return indent + "└─ ", indent + "   "
	}
	return indent + "├─ ", indent + "│  "
}

func treeOfEntries(b *strings.Builder, indent string, entries []copy.InspectedEntry) {
	names := platformNames(entries)
	for i, e := range entries {
		before, below := branch(indent, i, len(entries))
		fmt.Fprintf(b, "%s%s  %s", before, what(e, names), shortDigest(e.Digest))
		switch {
		case e.Missing:
			b.WriteString("  missing")
		case e.Image != nil:
			fmt.Fprintf(b, "  %s", copy.FormatBytes(e.Image.Bytes))
		}
		b.WriteString("\n")
		if e.Image != nil {
			treeOfImage(b, below, e.Image)
		}
		treeOfEntries(b, below, e.Entries)
	}
}

func treeOfImage(b *strings.Builder, indent string, image *copy.InspectedImage) {
	all := append([]copy.InspectedBlob{image.Config}, image.Layers...)
	for i, blob := range all {
		before, _ := branch(indent, i, len(all))
		name := "layer"
		if i == 0 {
			name = "config"
		}
		fmt.Fprintf(b, "%s%s  %s  %s\n", before, name, shortDigest(blob.Digest), copy.FormatBytes(blob.Size))
	}
}
