package mirrorcmd

import (
	"bytes"
	"fmt"
	"io"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/foreign"
)

// An importCommand is mirror import.
type importCommand struct {
	env   *environment
	from  fromFlags
	out   string // a file; "" for standard output
	check bool
}

func (c *importCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "import [flags] FORMAT FILE",
		Short: "Make a sync file of the file of another tool",
		Long: "Import prints the file for mirror sync that does what FILE does for another tool. FILE \"-\" is standard input. What has no\n" +
			"counterpart is listed on standard error, with its line, and so is what is done another way. Passwords are left out.\n" +
			"FORMAT is one of these:\n\n",
		Example: "  mirror import skopeo sync.yml --to docker://mirror.example/images -o images.yaml\n" +
			"  mirror import --check skopeo sync.yml --to 'docker://mirror.example/{registry}/{repository}'",
		Args: c.checkArgs,
		RunE: func(_ *cobra.Command, args []string) error { return c.run(args[1]) },
	}
}

func (c *importCommand) finish(cmd *cobra.Command) {
	forms := importForms()
	cmd.Long += forms.table() + "\n" +
		"mirror sync --from FORMAT FILE does the same, and copies the images.\n\n" +
		"The exit status is 0, or 2 if something has no counterpart, unless that is accepted. With --check and -o OUT, it is 1\n" +
		"if OUT is not what would be written now."
	cmd.ValidArgsFunction = forms.complete
	flags := cmd.Flags()
	flags.StringVarP(&c.out, "out", "o", "", "write the sync file to `OUT`")
	flags.BoolVar(&c.check, "check", false, "write nothing, and say what would be lost, what would be done another way, and how OUT differs")
	c.from.defineConversion(flags)
}

func (c *importCommand) checkArgs(_ *cobra.Command, args []string) (err error) {
	if err := importForms().checkCount("import", args); err != nil {
		return err
	}
	if c.from.format, err = foreign.Find(args[0]); err != nil {
		return &misuse{err}
	}
	return c.from.check()
}

func (c *importCommand) run(name string) error {
	content, err := c.env.readConverted(name, c.out)
	if err != nil {
		return err
	}
	c.from.elsewhere = true
	result, err := c.from.convert(name, content)
	if err != nil {
		return err
	}
	notes := noteLines(result.Lost, result.Notes)
	if c.check {
		return c.compare(name, result, notes)
	}
	if err := c.env.writeConverted(c.out, result.Sync, notes); err != nil {
		return err
	}
	return c.lost(name, result)
}

// lost says how many keys of a file are lost: which, stands in the lines before.
func (c *importCommand) lost(name string, result *foreign.Result) error {
	if n := len(result.Lost); n > 0 && !c.from.acceptLost {
		return misusef("%s of %s without a counterpart; --accept-lost takes that for success", counted(n, "key"), name)
	}
	return nil
}

// compare says what would be different.
func (c *importCommand) compare(name string, result *foreign.Result, notes string) error {
	changes, err := c.changes(result.Sync)
	if err != nil {
		return &misuse{err}
	}
	if _, err := io.WriteString(c.env.stdout, notes+changes); err != nil {
		return err
	}
	if err := c.lost(name, result); err != nil {
		return err
	}
	if changes != "" {
		return fmt.Errorf("%s is not what mirror import makes of %s", c.out, name)
	}
	return nil
}

// changes are the differences between what OUT says, and what would be written, "" if there are
// none. Comments and lines are none.
func (c *importCommand) changes(sync []byte) (string, error) {
	if c.out == "" {
		return "", nil
	}
	content, err := c.env.readAll(c.out)
	if err != nil {
		return "", err
	}
	there, err := withoutComments(content)
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.out, err)
	}
	now, err := withoutComments(sync)
	return string(diff.Diff(c.out, there, "now", now)), err
}

// withoutComments writes YAML anew, in one form and without its comments.
func withoutComments(text []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	uncomment(&document)
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(&document); err != nil {
		return nil, err
	}
	return b.Bytes(), encoder.Close()
}

// uncomment takes from YAML what means nothing.
func uncomment(node *yaml.Node) {
	node.HeadComment, node.LineComment, node.FootComment, node.Style = "", "", "", 0
	for _, c := range node.Content {
		uncomment(c)
	}
}
