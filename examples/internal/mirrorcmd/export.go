package mirrorcmd

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/examples/internal/foreign"
)

// An exportCommand is mirror export.
type exportCommand struct {
	env        *environment
	form       *foreign.Export
	out        string // a file; "" for standard output
	acceptLost bool
}

func (c *exportCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [flags] FORMAT FILE",
		Short: "Make the file of another tool of a sync file",
		Long: "Export prints the file with which another tool copies what mirror sync copies from FILE. FILE \"-\" is standard input. What\n" +
			"the tool cannot do is listed on standard error, with its line, and so is what its command line has to say.\n" +
			"FORMAT is one of these:\n\n" + exportTable() + "\n" +
			"The exit status is 0, or 2 if something is lost, unless that is accepted.",
		Example: "  mirror export skopeo images.yaml -o sync.yml\n" +
			"  mirror export --accept-lost skopeo images.yaml",
		Args:              c.checkArgs,
		RunE:              func(_ *cobra.Command, args []string) error { return c.run(args[1]) },
		ValidArgsFunction: completeFormats(exportNames),
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&c.out, "out", "o", "", "write the other tool's file to `OUT`")
	flags.BoolVar(&c.acceptLost, "accept-lost", false, "succeed though the tool cannot do all that the file says")
	return cmd
}

// exportTable has a line for each form.
func exportTable() string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, form := range foreign.Exports() {
		fmt.Fprintf(table, "  %s\t%s\n", form.Name, form.Title)
	}
	table.Flush()
	return b.String()
}

func exportNames() (names []string) {
	for _, form := range foreign.Exports() {
		names = append(names, form.Name)
	}
	return names
}

func (c *exportCommand) checkArgs(_ *cobra.Command, args []string) (err error) {
	if len(args) != 2 {
		return misusef("mirror export takes FORMAT and FILE, and %d arguments were given; FORMAT is one of %s", len(args), strings.Join(exportNames(), ", "))
	}
	if c.form, err = foreign.FindExport(args[0]); err != nil {
		return misusef("%w; mirror copy SOURCE docker-archive:FILE writes an image into a file", err)
	}
	return nil
}

func (c *exportCommand) run(name string) error {
	if c.out != "" {
		if err := checkOut(c.out, name); err != nil {
			return err
		}
	}
	content, err := c.env.readAll(name)
	if err != nil {
		return &misuse{err}
	}
	exported, err := c.form.Export(name, content, parseReference)
	if err != nil {
		return &misuse{err}
	}
	if err := c.env.writeConverted(c.out, exported.Text); err != nil {
		return err
	}
	if _, err := io.WriteString(c.env.stderr, noteLines(exported.Lost, exported.Notes)); err != nil {
		return err
	}
	if n := len(exported.Lost); n > 0 && !c.acceptLost {
		return misusef("%s of %s that %s cannot say; --accept-lost takes that for success", counted(n, "key"), name, c.form.Title)
	}
	return nil
}
