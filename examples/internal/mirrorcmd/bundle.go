package mirrorcmd

import (
	"github.com/spf13/cobra"
)

// newBundle is mirror bundle, the parent of the commands about bundles.
func newBundle() *cobra.Command {
	return &cobra.Command{
		Use:   "bundle",
		Short: "Carry images to where the source cannot be reached",
		Long: "A bundle is a directory or one archive (a name that ends in .tar) with many images: an OCI image layout, whose\n" +
			"index names each by its full reference, and a record, bundle.json. See docs/bundles.md.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misusef("mirror bundle needs a command: create, list or load")
			}
			return misusef("unknown command %q; mirror bundle --help lists the commands", args[0])
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // Args lets nothing through
	}
}
