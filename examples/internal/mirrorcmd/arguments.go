package mirrorcmd

import "github.com/spf13/cobra"

// takes checks the number of arguments; what is what they are. It repeats none of them: they may be
// secrets in the wrong place.
func takes(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return misusef("%s takes %s, and %d arguments were given; see %s --help", cmd.CommandPath(), what, len(args), cmd.CommandPath())
		}
		return nil
	}
}

// noArguments checks the number of arguments, as takes does.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) != 0 {
		return misusef("%s takes no arguments, and %d were given", cmd.CommandPath(), len(args))
	}
	return nil
}

// checkAll calls checks of flags until one fails.
func checkAll(checks ...func() error) error {
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}
