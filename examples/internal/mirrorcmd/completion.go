package mirrorcmd

import (
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
