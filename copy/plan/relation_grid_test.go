package plan

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"
	"golang.org/x/tools/txtar"

	"github.com/sparsecopy/sparsecopy/internal/systemimage"
)

// gridFile has the table of each relation, from every place and selection.
const gridFile = "../../testdata/plans/relations.md"

// A gridRelation is a way in which the entry "other-NAME" is tied to the image "NAME".
type gridRelation struct {
	name     string
	image    string // what follows the platform of an image in its line
	other    string // the line of the other entry, less its name
	replaces bool   // it is an image like the other
}

var gridRelations = []gridRelation{
	{name: "Attestations, by annotations", other: "attestation of NAME"},
	{name: "Attestations, by subject", other: "bare of NAME"},
	{name: "SOCI indexes", image: "soci=other-NAME", other: "soci of NAME"},
	{name: "Nydus images, by artifactType", other: "linux/NAME nydus"},
	{name: "Nydus images, by os.features", other: "linux/NAME os.features=nydus.remoteimage.v1"},
	{name: "zstd twins", other: "linux/NAME zstd", replaces: true},
}

// gridPlaces are the orders of entries, and what the source lacks.
var gridPlaces = []struct{ name, entries, missing string }{
	{"first", "other-amd64 other-arm64 amd64 arm64", ""},
	{"middle", "arm64 other-amd64 amd64 other-arm64", ""},
	{"last", "amd64 arm64 other-amd64 other-arm64", ""},
	{"missing", "amd64 arm64 other-amd64 other-arm64", "other-amd64"},
	{"twice", "amd64 arm64 other-amd64 other-arm64 other-amd64", ""},
}

// gridSelections select the image "amd64".
var gridSelections = []string{"platform", "digest", "position", "default", "default, gzip"}

// list returns the lines of a list of that order.
func (r gridRelation) list(entries string) string {
	var lines strings.Builder
	for _, entry := range strings.Fields(entries) {
		line := "linux/NAME " + r.image
		if strings.HasPrefix(entry, "other-") {
			line = r.other
		}
		fmt.Fprintln(&lines, entry, strings.ReplaceAll(line, "NAME", strings.TrimPrefix(entry, "other-")))
	}
	return lines.String()
}

// TestRelationGrid makes the plan of every relation, wherever what describes, accelerates or
// replaces stands, however the image is selected, for lists that are kept and for lists that are
// stripped; and expects what testdata/plans/relations.md says, which -update rewrites.
func TestRelationGrid(t *testing.T) {
	var table strings.Builder
	table.WriteString(gridHead)
	for _, r := range gridRelations {
		fmt.Fprintf(&table, "\n## %s\n\n| | %s |\n|---%s|\n", r.name, strings.Join(gridSelections, " | "), strings.Repeat("|---", len(gridSelections)))
		for _, place := range gridPlaces {
			for _, sparse := range []string{"strip", "keep"} {
				fmt.Fprintf(&table, "| %s, %s |", place.name, sparse)
				for _, selection := range gridSelections {
					fmt.Fprintf(&table, " %s |", r.cell(t, place.entries, place.missing, sparse, selection))
				}
				fmt.Fprintln(&table)
			}
		}
	}
	if *updatePlans {
		require.NoError(t, os.WriteFile(gridFile, []byte(table.String()), 0o644))
		return
	}
	want, err := os.ReadFile(gridFile)
	require.NoError(t, err)
	assert.Equal(t, string(want), table.String())
}

const gridHead = `# Relations, from every place

The image ` + "`amd64`" + ` is selected, of a list of two images and what is tied to each, ` + "`other-NAME`" + `. A cell is
the plan: the list that is written, in brackets, with what it names and is not copied in parentheses; or an image alone; or the type of the
error. *Missing*: the source lacks ` + "`other-amd64`" + `; *twice*: ` + "`other-amd64`" + ` is listed twice. *Default* is the image for a system that is
linux/amd64, and *gzip* that with PreferGzipInstances. *Void*: an annotation of what is copied names nothing;
*warning*: something is left behind of which nobody can say what it is. Written by
` + "`go test ./copy/plan -run TestRelationGrid -update`" + `.
`

// cell makes one plan, holds it against the rules, and returns it in short.
func (r gridRelation) cell(t *testing.T, entries, missing, sparse, selection string) string {
	options := "sparse " + sparse + "\n"
	if missing != "" {
		options += "missing " + missing + "\n"
	}
	switch selection {
	case "platform":
		options += "platform linux/amd64\n"
	case "digest":
		options += "digest amd64\n"
	case "position":
		options += fmt.Sprintf("index %d\n", slices.Index(strings.Fields(entries), "amd64"))
	}
	c := readPlanCase(t, &txtar.Archive{Files: []txtar.File{
		{Name: "top", Data: []byte(r.list(entries))}, {Name: "options", Data: []byte(options)},
	}})
	where := fmt.Sprintf("%s: %s, %s", r.name, entries, strings.ReplaceAll(options, "\n", ", "))
	if gzip, ok := strings.CutPrefix(selection, "default"); ok {
		chosen := c.systemImage(gzip != "")
		if !r.replaces {
			assert.Equal(t, "amd64", c.fixture.Name(chosen), "%s: what follows is not chosen", where)
		}
		c.in.System = chosen
	}
	plan, err := New(c.in)
	if err != nil {
		return strings.Replace(fmt.Sprintf("%T", err), "*plan.", "*copy.", 1)
	}
	if plan.Image != nil {
		return c.fixture.Name(plan.Image.Digest)
	}
	copied := map[string]bool{}
	var named []string
	for _, ip := range plan.List.Instances {
		name := c.fixture.Name(ip.Digest)
		copied[name] = copied[name] || ip.Decision == Copy
		switch {
		case ip.Decision == Copy:
			named = append(named, name)
		case ip.Entry == KeepEntry:
			named = append(named, "("+name+")")
		}
	}
	assert.Equal(t, map[string]bool{
		"amd64": true, "arm64": false, "other-arm64": false,
		"other-amd64": selection == "platform" && missing == "", // what was named is taken literally
	}, copied, where)
	text := "[" + strings.Join(named, " ") + "]"
	if len(plan.Void) > 0 {
		text += ", void"
	}
	if len(plan.Warnings) > 0 {
		text += ", warning"
	}
	return text
}

// systemImage returns the image that is chosen of the list for linux/amd64.
func (c *planCase) systemImage(gzip bool) digest.Digest {
	tree, err := ParseTree(c.in.Top, c.in.Digest, nil)
	require.NoError(c.t, err)
	sys := &types.SystemContext{OSChoice: "linux", ArchitectureChoice: "amd64"}
	chosen, err := systemimage.Choose(tree.Images(), c.in.Top.MediaType, sys, types.NewOptionalBool(gzip))
	require.NoError(c.t, err)
	return chosen
}
