package mirrorcmd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// inspectionSchema names the JSON form of an inspection. The number changes when a reader of the old form would go wrong.
const inspectionSchema = "sparsecopy.inspection/v1"

// An inspection says what a reference names, and what of it is there. Sizes are in bytes.
type inspection struct {
	Schema       string        `json:"schema"` // inspectionSchema
	Reference    string        `json:"reference"`
	Digest       digest.Digest `json:"digest"`
	MediaType    string        `json:"mediaType"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Size         int64         `json:"size"` // of the list or manifest

	// Entries are those of the list, in its order. Absent for a single image.
	Entries []inspectedEntry `json:"entries,omitempty"`
	// Image is the single image. Absent for a list.
	Image *inspectedImage `json:"image,omitempty"`

	Totals inspectedTotals `json:"totals"`
}

// An inspectedEntry is one entry of a list.
type inspectedEntry struct {
	Index         int              `json:"index"`
	Digest        digest.Digest    `json:"digest"`
	MediaType     string           `json:"mediaType"`
	ArtifactType  string           `json:"artifactType,omitempty"`
	Platform      string           `json:"platform"`
	AttestationOf digest.Digest    `json:"attestationOf,omitempty"`
	Size          int64            `json:"size"` // of the manifest, as the list states it
	Missing       bool             `json:"missing"`
	List          bool             `json:"list"`
	Entries       []inspectedEntry `json:"entries,omitempty"` // of a nested list that is there
	Image         *inspectedImage  `json:"image,omitempty"`   // of a manifest that is there
}

// An inspectedImage is the manifest of a single image or artifact.
type inspectedImage struct {
	Platform string          `json:"platform,omitempty"` // of a single image; "" if its config has none
	Config   inspectedBlob   `json:"config"`
	Layers   []inspectedBlob `json:"layers"`
	Bytes    int64           `json:"bytes"` // of config and distinct layers
	blobs    []endpoint.Blob // distinct
}

type inspectedBlob struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Size      int64         `json:"size"`
}

// inspectedTotals count what is distinct.
type inspectedTotals struct {
	Manifests     int   `json:"manifests"` // lists and manifests that are there
	ManifestBytes int64 `json:"manifestBytes"`
	Missing       int   `json:"missing"` // that lists name, and that are not there
	Blobs         int   `json:"blobs"`   // of the manifests that are there; whether they are themselves is not asked
	BlobBytes     int64 `json:"blobBytes"`
}

// An inspectCommand is mirror inspect.
type inspectCommand struct {
	env    *environment
	access access
	out    output
	tree   bool
}

func (c *inspectCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect [flags] REFERENCE",
		Short: "Say what a list names, and what of it is there",
		Long: "Inspect reads what REFERENCE names: each entry of a list, whether its manifest is there, its platform or what it is\n" +
			"an attestation of, and sizes; of a single image, its platform and layers. Configs and layers are not looked for\n" +
			"(mirror verify does that). Nothing is written, and no signature policy is asked.",
		Example: "  mirror inspect docker://docker.io/library/alpine:3\n" +
			"  mirror inspect --tree oci:layout:alpine",
		Args: oneReference,
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&c.tree, "tree", false, "show lists in lists, images, and their config and layers as a tree")
	c.out.define(flags, "what was found")
	c.access.defineOnly(flags)
	return cmd
}

// oneReference checks the number of arguments, as twoReferences does.
func oneReference(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return misusef("mirror %s takes REFERENCE, and %d arguments were given; see mirror %s --help", cmd.Name(), len(args), cmd.Name())
	}
	return nil
}

func (c *inspectCommand) run(cmd *cobra.Command, args []string) error {
	for _, check := range []func() error{c.out.check, c.access.check} {
		if err := check(); err != nil {
			return err
		}
	}
	if c.tree && c.out.json {
		return misusef("--tree and --output json exclude each other: JSON has the tree already")
	}
	ref, err := parseReference("REFERENCE", args[0])
	if err != nil {
		return err
	}
	sys, err := c.access.oneContext(c.env)
	if err != nil {
		return err
	}
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	shared := c.access.times.shared()
	defer func() { _ = shared.Close() }() // closes connections that nobody uses any more
	src, err := openSource(ctx, ref, sys, shared)
	if err != nil {
		return orStopped(ctx, atEnd("", args[0], err))
	}
	defer src.Close() // nothing was written
	found, err := inspect(ctx, src, args[0])
	if err != nil {
		return orStopped(ctx, atEnd("", args[0], err))
	}
	switch {
	case c.out.json:
		return printJSON(c.env.stdout, found)
	case c.tree:
		return printTree(c.env.stdout, found)
	}
	return printInspection(c.env.stdout, found)
}

// inspect reads all lists and manifests of src, and the config of a single image.
func inspect(ctx context.Context, src endpoint.Source, name string) (*inspection, error) {
	c, err := readContent(ctx, src, defaultParallel)
	if err != nil {
		return nil, err
	}
	found := &inspection{
		Schema: inspectionSchema, Reference: name, Digest: c.top.Digest, MediaType: c.top.MediaType, Size: int64(len(c.top.Bytes)),
	}
	if c.root != nil {
		found.ArtifactType = c.root.List.ArtifactType()
		if found.Entries, err = c.entries(c.root); err != nil {
			return nil, err
		}
		found.Totals, err = c.totals()
		return found, err
	}
	if found.Image, found.ArtifactType, err = inspectImage(c.top); err != nil {
		return nil, err
	}
	if found.Image.Platform, err = configPlatform(ctx, src, found.Image); err != nil {
		return nil, err
	}
	found.Totals, err = c.totals()
	return found, err
}

func (c *content) entries(n *listtree.Node) ([]inspectedEntry, error) {
	entries := make([]inspectedEntry, 0, len(n.Instances))
	for _, in := range n.Instances {
		e := inspectedEntry{
			Index: in.Index, Digest: in.Digest, MediaType: in.MediaType, ArtifactType: in.ArtifactType,
			Platform: platform.Format(in.Platform), Size: in.Size, Missing: c.missing[in.Digest], List: in.IsList(),
		}
		e.AttestationOf, _ = in.AttestationOf()
		var err error
		switch doc, there := c.documents[in.Digest]; {
		case !there:
		case n.Nested[in.Index] != nil:
			e.Entries, err = c.entries(n.Nested[in.Index])
		default:
			var artifactType string
			e.Image, artifactType, err = inspectImage(doc)
			e.ArtifactType = cmp.Or(e.ArtifactType, artifactType)
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// inspectImage returns what a manifest says, and its artifact type.
func inspectImage(doc endpoint.Document) (*inspectedImage, string, error) {
	image, distinct, err := blobs(doc)
	if err != nil {
		return nil, "", err
	}
	if image == nil {
		return &inspectedImage{Layers: []inspectedBlob{}}, "", nil // Docker schema 1
	}
	of := func(d manifest.Descriptor) inspectedBlob { return inspectedBlob{d.Digest, d.MediaType, d.Size} }
	found := &inspectedImage{Config: of(image.Config), Layers: make([]inspectedBlob, len(image.Layers)), blobs: distinct}
	for i, layer := range image.Layers {
		found.Layers[i] = of(layer)
	}
	for _, b := range distinct {
		found.Bytes += b.Size
	}
	artifactType := image.ArtifactType
	if artifactType == "" && !strings.Contains(image.Config.MediaType, ".image.") {
		artifactType = image.Config.MediaType // as artifacts were marked before image-spec v1.1
	}
	return found, artifactType, nil
}

// maxConfig is the number of bytes of a config that is read for its platform.
const maxConfig = 4 << 20

// configPlatform reads the platform of a single image out of its config; "" if that says nothing.
func configPlatform(ctx context.Context, src endpoint.Source, image *inspectedImage) (string, error) {
	if len(image.blobs) == 0 || image.Config.Size > maxConfig || !strings.Contains(image.Config.MediaType, ".image.") {
		return "", nil
	}
	r, err := src.Blob(ctx, image.blobs[0])
	if err != nil {
		return "", fmt.Errorf("config %s: %w", image.Config.Digest, err)
	}
	defer r.Close()
	var config strings.Builder
	if err := copyVerified(&config, io.LimitReader(r, maxConfig+1), image.blobs[0]); err != nil {
		return "", fmt.Errorf("config %s: %w", image.Config.Digest, err)
	}
	return platformOf(config.String()), nil
}

// totals counts what is distinct.
func (c *content) totals() (inspectedTotals, error) {
	t := inspectedTotals{Missing: len(c.missing)}
	seen := map[digest.Digest]bool{}
	for _, doc := range c.documents {
		t.Manifests++
		t.ManifestBytes += int64(len(doc.Bytes))
		if manifest.IsListMediaType(doc.MediaType) {
			continue
		}
		_, distinct, err := blobs(doc)
		if err != nil {
			return t, err
		}
		for _, b := range distinct {
			if !seen[b.Digest] {
				seen[b.Digest] = true
				t.Blobs++
				t.BlobBytes += b.Size
			}
		}
	}
	return t, nil
}

// printInspection prints a table of entries, or of layers.
func printInspection(w io.Writer, found *inspection) error {
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
func printEntries(w io.Writer, above string, entries []inspectedEntry) {
	names := platformNames(entries)
	for _, e := range entries {
		at := fmt.Sprintf("%s%d", above, e.Index)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", at, what(e, names), e.Digest, state(e), copy.FormatBytes(e.Size), contentSize(e))
		printEntries(w, at+".", e.Entries)
	}
}

// platformNames are the platforms of entries, by digest.
func platformNames(entries []inspectedEntry) map[digest.Digest]string {
	names := map[digest.Digest]string{}
	for _, e := range entries {
		if _, ok := names[e.Digest]; !ok {
			names[e.Digest] = e.Platform
		}
	}
	return names
}

// what names an entry: its platform, or what it is.
func what(e inspectedEntry, names map[digest.Digest]string) string {
	name := cmp.Or(e.Platform, "image")
	switch {
	case e.List:
		name = "list"
	case e.AttestationOf != "":
		name = "attestation of " + cmp.Or(names[e.AttestationOf], shortDigest(e.AttestationOf))
	case e.Platform == "" && e.ArtifactType != "":
		name = "artifact"
	}
	if e.ArtifactType != "" {
		name += " (" + e.ArtifactType + ")"
	}
	return printable(name)
}

func state(e inspectedEntry) string {
	if e.Missing {
		return "missing"
	}
	return "present"
}

func contentSize(e inspectedEntry) string {
	if e.Image == nil {
		return "-"
	}
	return copy.FormatBytes(e.Image.Bytes)
}

func printHead(b *strings.Builder, found *inspection) {
	fmt.Fprintf(b, "%s\n%s\n", found.Reference, found.Digest)
	kind := found.MediaType
	switch {
	case found.Image == nil:
		kind = fmt.Sprintf("list with %s (%s)", countedEntries(len(found.Entries)), found.MediaType)
	case found.Image.Platform != "":
		kind = fmt.Sprintf("image for %s (%s)", found.Image.Platform, found.MediaType)
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

func printTotals(b *strings.Builder, found *inspection) {
	t := found.Totals
	fmt.Fprintf(b, "\nin all: %s (%s), %s (%s)", counted(t.Manifests, "manifest"), copy.FormatBytes(t.ManifestBytes), counted(t.Blobs, "blob"), copy.FormatBytes(t.BlobBytes))
	if t.Missing > 0 {
		fmt.Fprintf(b, "; %s missing", counted(t.Missing, "manifest"))
	}
	b.WriteString("\n")
}

// printTree prints what was found as a tree.
func printTree(w io.Writer, found *inspection) error {
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

func treeOfEntries(b *strings.Builder, indent string, entries []inspectedEntry) {
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

func treeOfImage(b *strings.Builder, indent string, image *inspectedImage) {
	all := append([]inspectedBlob{image.Config}, image.Layers...)
	for i, blob := range all {
		before, _ := branch(indent, i, len(all))
		name := "layer"
		if i == 0 {
			name = "config"
		}
		fmt.Fprintf(b, "%s%s  %s  %s\n", before, name, shortDigest(blob.Digest), copy.FormatBytes(blob.Size))
	}
}

// platformOf returns the platform that a config states, "" if it states none, or, as attestations do, that it is unknown.
func platformOf(config string) string {
	var p imgspecv1.Platform
	if err := json.Unmarshal([]byte(config), &p); err != nil || p.OS == "" || p.OS == "unknown" {
		return ""
	}
	return platform.Format(&p)
}
