package mirrorcmd

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// newMan is mirror man, which writes the manual pages: for those who package the program.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Args:   takes(1, "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeManPages(cmd.Root(), args[0])
		},
	}
}

// writeManPages writes a page for each command. The same commands make the same pages: they have no
// date of their own.
func writeManPages(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root.DisableAutoGenTag = true
	prepareUsages(root)
	never := time.Unix(0, 0).UTC()
	return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "sparsecopy", Manual: "mirror", Date: &never}, dir)
}

// prepareUsages says in the help of flags which values they take: the pages show the default only.
// The text is read as Markdown, which takes <hex> for HTML and drops it.
func prepareUsages(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if c, ok := f.Value.(interface{ choices() []string }); ok {
			f.Usage += " (" + strings.Join(c.choices(), ", ") + ")"
		}
		f.Usage = strings.ReplaceAll(f.Usage, "<", `\<`)
	})
	for _, child := range cmd.Commands() {
		prepareUsages(child)
	}
}
