package mirrorcmd

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageWidth is how many columns the help of flags takes.
const usageWidth = 110

// printUsage prints how a command is called: what cobra prints, with narrower help of flags. It
// executes no template, which would take longer than all else that mirror --help does.
func printUsage(cmd *cobra.Command) error {
	var b strings.Builder
	writeUsage(&b, cmd)
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

func writeUsage(b *strings.Builder, cmd *cobra.Command) {
	b.WriteString("Usage:")
	if cmd.Runnable() {
		fmt.Fprintf(b, "\n  %s", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(b, "\n  %s [command]", cmd.CommandPath())
	}
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(b, "\n\nAliases:\n  %s", cmd.NameAndAliases())
	}
	if cmd.HasExample() {
		fmt.Fprintf(b, "\n\nExamples:\n%s", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\n\nAvailable Commands:")
		for _, child := range cmd.Commands() {
			if child.IsAvailableCommand() || child.Name() == "help" {
				fmt.Fprintf(b, "\n  %-*s %s", child.NamePadding(), child.Name(), child.Short)
			}
		}
	}
	writeFlags(b, "Flags", cmd.LocalFlags())
	writeFlags(b, "Global Flags", cmd.InheritedFlags())
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(b, "\n\nUse \"%s [command] --help\" for more information about a command.", cmd.CommandPath())
	}
	b.WriteByte('\n')
}

// writeFlags writes the help of flags below a title, and nothing if there are none.
func writeFlags(b *strings.Builder, title string, flags *pflag.FlagSet) {
	if flags.HasAvailableFlags() {
		fmt.Fprintf(b, "\n\n%s:\n%s", title, strings.TrimRightFunc(flags.FlagUsagesWrapped(usageWidth), unicode.IsSpace))
	}
}
