package mirrorcmd

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/examples/internal/buildinfo"
)

// versionSchema names the JSON form of what mirror version prints.
const versionSchema = "mirror.version/v1"

// A versionReport is what mirror version prints.
type versionReport struct {
	Schema string `json:"schema"`
	buildinfo.Info
}

// A versionCommand is mirror version.
type versionCommand struct {
	env *environment
	out output
}

func (c *versionCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "version [flags]",
		Short: "Say which version this is",
		Long: "Version prints the version of mirror, the commit that it was built of, Go's version, and that of containers/image.\n" +
			"A build that knows no version says (devel). mirror --version prints the same.",
		Example: "  mirror version --output json",
		Args:    noArguments,
		RunE:    c.run,
	}
}

func (c *versionCommand) finish(cmd *cobra.Command) { c.out.defineForm(cmd.Flags(), "the version") }

func (c *versionCommand) run(*cobra.Command, []string) error {
	info := buildinfo.Read()
	if c.out.json {
		return printJSON(c.env.stdout, versionReport{versionSchema, info})
	}
	_, err := io.WriteString(c.env.stdout, info.Text("mirror"))
	return err
}
