package mirrorcmd

import (
	"io"

	"github.com/spf13/cobra"
)

// A planCommand is mirror plan.
type planCommand struct {
	env     *environment
	sel     selection
	access  access
	out     output
	compare bool
}

func (c *planCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "plan [flags] SOURCE DESTINATION",
		Short: "Say what copy would do, and write nothing",
		Long: "Plan reads the lists and manifests of SOURCE and prints what copy with the same flags would do. It writes\n" +
			"nothing, and does not ask DESTINATION anything unless --compare is given.",
		Example: "  mirror plan --platform 'linux/*' --sparse strip docker://docker.io/library/alpine:3 docker://registry.example/alpine:3",
		Args:    takes(2, "SOURCE and DESTINATION"),
		RunE:    c.run,
	}
}

func (c *planCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	c.sel.define(flags)
	flags.BoolVar(&c.compare, "compare", false, "ask DESTINATION what it has, so that the plan is about what remains")
	c.out.define(flags, "the plan")
	c.access.define(flags)
}

func (c *planCommand) run(cmd *cobra.Command, args []string) (retErr error) {
	if stray := changed(cmd.Flags(), []string{"check-blobs", "widened-child-tags"}); len(stray) > 0 && !c.compare {
		return misusef("%s has no effect on a plan without --compare", dashed(stray))
	}
	ends, err := c.env.prepare(args, &c.sel, &c.access, &c.out)
	if err != nil {
		return err
	}
	defer ends.close()
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()

	options := ends.options
	options.CompareDestination = c.compare
	prepared, err := ends.copier.Prepare(ctx, ends.policy, ends.destination, ends.source, &options)
	if err != nil {
		return orStopped(ctx, err)
	}
	defer func() {
		if err := prepared.Close(); retErr == nil {
			retErr = err
		}
	}()
	if c.out.json {
		return printJSON(c.env.stdout, prepared.Plan())
	}
	_, err = io.WriteString(c.env.stdout, printable(c.env.told(prepared.Plan().String())))
	return err
}
