package mirrorcmd

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commonPlatforms are offered where a platform is to be completed.
var commonPlatforms = []string{
	"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/ppc64le", "linux/s390x", "linux/riscv64", "windows/amd64",
}

// completeFlags lets shells complete the values of flags that have a few of them. All other values
// are completed as files.
func completeFlags(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		values := commonPlatforms
		if c, ok := flag.Value.(interface{ choices() []string }); ok {
			values = c.choices()
		} else if flag.Value.Type() != "PLATFORM" {
			return
		}
		_ = cmd.RegisterFlagCompletionFunc(flag.Name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // fails only the second time
	})
	for _, child := range cmd.Commands() {
		completeFlags(child)
	}
}

// completions are the shells that can be served, and what writes their scripts.
var completions = map[string]func(root *cobra.Command, w io.Writer) error{
	"bash":       func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
	"fish":       func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
	"powershell": func(root *cobra.Command, w io.Writer) error { return root.GenPowerShellCompletionWithDesc(w) },
	"zsh":        func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
}

// newCompletion is mirror completion.
func newCompletion(e *environment) *cobra.Command {
	shells := slices.Sorted(maps.Keys(completions))
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print what a shell needs to complete commands and flags",
		Long: "Completion prints a script for SHELL: " + strings.Join(shells, ", ") + ". With it, the shell completes commands, flags, and\n" +
			"values of flags that have a few of them.",
		Example: "  mirror completion bash > ~/.local/share/bash-completion/completions/mirror\n" +
			"  mirror completion zsh > \"${fpath[1]}/_mirror\"\n" +
			"  mirror completion fish > ~/.config/fish/completions/mirror.fish",
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || completions[args[0]] == nil {
				return misusef("mirror completion takes one of %s", strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := completions[args[0]](cmd.Root(), e.stdout); err != nil {
				return fmt.Errorf("writing the completions: %w", err)
			}
			return nil
		},
	}
}
