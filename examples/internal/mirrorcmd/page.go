package mirrorcmd

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/examples/internal/page"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// A reportCommand is mirror report.
type reportCommand struct {
	env         *environment
	html, state string // files
}

func (c *reportCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "report --html FILE --state FILE",
		Short: "Write a page that shows what a mirror holds",
		Long: "Report makes one HTML page of the state that mirror sync --state keeps: each image with its platforms, what went wrong,\n" +
			"how old it is, and what was not copied. The page needs nothing else to be shown, and no registry is asked for it.\n" +
			"A state that a server has open is shown by that server.",
		Example: "  mirror report --html mirror.html --state /var/lib/mirror/state\n" +
			"  mirror report --html - --state /var/lib/mirror/state | ssh web 'cat > /srv/www/mirror.html'",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 {
				return misusef("mirror report takes no arguments, and %d were given; see mirror report --help", len(args))
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error { return c.run() },
	}
}

func (c *reportCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&c.html, "html", "", "write the page to `FILE`, or to standard output if it is -")
	flags.StringVar(&c.state, "state", "", "show the state in `FILE`, which mirror sync --state has written")
}

func (c *reportCommand) run() error {
	if c.html == "" || c.state == "" {
		return misusef("mirror report wants both --html FILE and --state FILE; see mirror report --help")
	}
	if c.html != "-" {
		if err := checkReplacedFile("html", c.html); err != nil {
			return err
		}
	}
	images, err := state.Read(c.state)
	switch {
	case errors.Is(err, state.ErrLocked):
		return fmt.Errorf("%w; mirror serve shows the same page itself, and mirror sync gives the state back when it ends", err)
	case err != nil:
		return misusef("--state: %w", err)
	}
	var document bytes.Buffer
	if err := page.Write(&document, page.Mirror{Name: filepath.Base(c.state), At: c.env.now(), Images: images}); err != nil {
		return err
	}
	if c.html == "-" {
		_, err = c.env.stdout.Write(document.Bytes())
		return err
	}
	return writeWhole(c.html, document.Bytes())
}
