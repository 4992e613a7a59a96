package mirrorcmd

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/difference"
)

// print prints what differs.
func (c *diffCommand) print(r *difference.Report) error {
	switch {
	case c.out.quiet:
		return nil
	case c.out.json:
		return printJSON(c.env.stdout, r)
	}
	_, err := io.WriteString(c.env.stdout, differenceText(r))
	return err
}

// stateWords are the states for people. What differs has a sign, as in the output of diff(1).
var stateWords = map[difference.State][2]string{
	difference.Changed: {"~", "differs"},
	difference.OnlyA:   {"-", "only in A"},
	difference.OnlyB:   {"+", "only in B"},
	difference.AbsentA: {"+", "the same in both lists, and absent in A"},
	difference.AbsentB: {"-", "the same in both lists, and absent in B"},
}

// differenceText is a report for people: what differs, and how much is the same.
func differenceText(r *difference.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "A  %s\nB  %s\n", printable(r.A), printable(r.B))
	same := 0
	for i := range r.Images {
		if image := &r.Images[i]; image.Differs() {
			imageText(&b, image)
		} else {
			same++
		}
		for _, warning := range r.Images[i].Warnings {
			fmt.Fprintf(&b, "  warning: %s\n", oneLine(warning))
		}
	}
	attachedText(&b, "", "digest tags", r.AttachedTags)
	if len(r.Images) > 1 || same == 0 && len(r.Images) == 1 && r.Images[0].Tag != "" {
		fmt.Fprintf(&b, "%s the same, %s not\n", counted(same, "tag"), counted(len(r.Images)-same, "tag"))
	}
	switch {
	case r.Same:
		b.WriteString("no difference\n")
	case r.Subset:
		b.WriteString("B has less than A, and nothing else\n")
	}
	return b.String()
}

// imageText says what differs between two images.
func imageText(b *strings.Builder, i *difference.Image) {
	if i.Tag != "" {
		words, differs := stateWords[i.State]
		if !differs {
			words = [2]string{"~", "the same, but not all that belongs to it"}
		}
		fmt.Fprintf(b, "%s %s  %s\n", words[0], printable(i.Tag), words[1])
	}
	if i.Compared {
		fmt.Fprintf(b, "  %s\n", changeText(i))
	}
	entriesText(b, i.Entries)
	attachedText(b, "  ", "attached", i.Attached)
}

// relationWords are the relations for people.
var relationWords = map[difference.Relation]string{
	difference.BStripped: "B is A with whole entries taken out",
	difference.AStripped: "A is B with whole entries taken out",
	difference.BEntry:    "B is one of the images of A",
	difference.AEntry:    "A is one of the images of B",
}

// changeText says how what is named differs.
func changeText(i *difference.Image) string {
	digests := fmt.Sprintf("%s → %s", shortDigest(i.A), shortDigest(i.B))
	switch {
	case i.State == difference.Same:
		return "both name " + i.A.String()
	case i.Relation != "":
		return digests + ": " + relationWords[i.Relation]
	case i.Why != "":
		return digests + ": B is not A with whole entries taken out: " + oneLine(i.Why)
	}
	return digests
}

func entriesText(b *strings.Builder, entries []difference.Entry) {
	table := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	same := 0
	for _, e := range entries {
		words, differs := stateWords[e.State]
		if !differs {
			same++
			continue
		}
		fmt.Fprintf(table, "  %s %s\t%s\t%s\n", words[0], printable(e.What), cmp.Or(contentText(e.Content), words[1]), bothDigests(e.A, e.B))
	}
	table.Flush()
	if same > 0 && same < len(entries) {
		fmt.Fprintf(b, "    %s the same\n", map[bool]string{true: "1 entry is", false: fmt.Sprintf("%d entries are", same)}[same == 1])
	}
}

// bothDigests names what there is at both sides.
func bothDigests(a, b digest.Digest) string {
	switch {
	case a == "":
		return shortDigest(b)
	case b == "" || a == b:
		return shortDigest(a)
	}
	return shortDigest(a) + " → " + shortDigest(b)
}

// contentText says what differs in an image, "" if that is not known.
func contentText(c *difference.Content) string {
	if c == nil {
		return ""
	}
	var parts []string
	if c.Config == difference.Changed {
		parts = append(parts, "another config")
	}
	for _, only := range []struct {
		side  string
		blobs []difference.Blob
	}{{"A", c.OnlyA}, {"B", c.OnlyB}} {
		if n := len(only.blobs); n > 0 {
			bytes := int64(0)
			for _, blob := range only.blobs {
				bytes += blob.Size
			}
			parts = append(parts, fmt.Sprintf("%s only in %s (%s)", counted(n, "layer"), only.side, copy.FormatBytes(bytes)))
		}
	}
	if len(parts) == 0 {
		return "another manifest of the same config and layers"
	}
	return strings.Join(append(parts, counted(c.Same, "layer")+" the same"), ", ")
}

func attachedText(b *strings.Builder, indent, title string, attached []difference.Attachment) {
	var rows strings.Builder
	table := tabwriter.NewWriter(&rows, 0, 8, 2, ' ', 0)
	for _, a := range attached {
		if words, differs := stateWords[a.State]; differs {
			fmt.Fprintf(table, "%s%s %s\t%s\t%s\n", indent, words[0], printable(a.What), words[1], bothDigests(a.A, a.B))
		}
	}
	table.Flush()
	if rows.Len() > 0 {
		fmt.Fprintf(b, "%s%s:\n%s", indent, title, rows.String())
	}
}
