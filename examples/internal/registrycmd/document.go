package registrycmd

import (
	"io"

	"github.com/spf13/cobra"
)

// Command returns the command line as it is described to people and shells. It is not for running.
func Command() *cobra.Command {
	return command(nil, io.Discard)
}
