package mirrorcmd

import (
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
	return &cobra.Command{
		Use:   "export [flags] FORMAT FILE",
		Short: "Make the file of another tool of a sync file",
		Long: "Export prints the file with which another tool copies what mirror sync copies from FILE. FILE \"-\" is standard input. What\n" +
			"the tool cannot do is listed on standard error, with its line, and so is what its command line has to say.\n" +
			"FORMAT is one of these:\n\n",
		Example: "  mirror export skopeo images.yaml -o sync.yml\n" +
			"  mirror export --accept-lost skopeo images.yaml",
		Args: c.checkArgs,
		RunE: func(_ *cobra.Command, args []string) error { return c.run(args[1]) },
	}
}

func (c *exportCommand) finish(cmd *cobra.Command) {
	forms := exportForms()
	cmd.Long += forms.table() + "\n" +
		"The exit status is 0, or 2 if something is lost, unless that is accepted."
	cmd.ValidArgsFunction = forms.complete
	flags := cmd.Flags()
	flags.StringVarP(&c.out, "out", "o", "", "write the other tool's file to `OUT`")
	flags.BoolVar(&c.acceptLost, "accept-lost", false, "succeed though the tool cannot do all that the file says")
}

func (c *exportCommand) checkArgs(_ *cobra.Command, args []string) (err error) {
	if err := exportForms().checkCount("export", args); err != nil {
		return err
	}
	if c.form, err = foreign.FindExport(args[0]); err != nil {
		return misusef("%w; mirror copy SOURCE docker-archive:FILE writes an image into a file", err)
	}
	return nil
}

func (c *exportCommand) run(name string) error {
	content, err := c.env.readConverted(name, c.out)
	if err != nil {
		return err
	}
	exported, err := c.form.Export(name, content, parseReference)
	if err != nil {
		return &misuse{err}
	}
	if err := c.env.writeConverted(c.out, exported.Text, noteLines(exported.Lost, exported.Notes)); err != nil {
		return err
	}
	if n := len(exported.Lost); n > 0 && !c.acceptLost {
		return misusef("%s of %s that %s cannot say; --accept-lost takes that for success", counted(n, "key"), name, c.form.Title)
	}
	return nil
}
