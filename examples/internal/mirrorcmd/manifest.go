package mirrorcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/copy/naming"
)

// A manifestCommand is mirror manifest.
type manifestCommand struct {
	env      *environment
	access   access
	out      output
	platform onePlatform
	raw      bool
	config   bool
}

func (c *manifestCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "manifest [flags] REFERENCE",
		Short: "Print the manifest of an image, or a list",
		Long: "Manifest prints the manifest or list that REFERENCE names, or the manifest of the image in it that --platform chooses:\n" +
			"indented, or, with --raw, byte for byte. It has been verified against its digest.",
		Example: "  mirror manifest docker://docker.io/library/alpine:3\n" +
			"  mirror manifest --raw --platform linux/arm64 docker://docker.io/library/alpine:3\n" +
			"  mirror manifest --config --platform linux/arm64 docker://docker.io/library/alpine:3",
		Args: takes(1, "REFERENCE"),
		RunE: c.run,
	}
}

func (c *manifestCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(&c.platform, "platform", "print the manifest of the image for `PLATFORM`, os/arch[/variant], of a list")
	flags.BoolVar(&c.raw, "raw", false, "print the bytes as they are, and nothing else: the digest is theirs")
	flags.BoolVar(&c.config, "config", false, "print the config of the image in place of its manifest")
	c.out.defineLog(flags)
	c.access.defineOnly(flags)
}

func (c *manifestCommand) run(cmd *cobra.Command, args []string) error {
	if err := checkAll(c.out.check, c.access.check); err != nil {
		return err
	}
	ref, err := c.access.parseSource("REFERENCE", args[0])
	if err != nil {
		return err
	}
	return c.env.withOnlyEnd(cmd, &c.access, &c.out, func(ctx context.Context, end onlyEnd) error {
		read := end.copier.Registries().Manifest
		if c.config {
			read = end.copier.Registries().Config
		}
		doc, err := read(ctx, ref, &naming.DocumentOptions{SystemContext: end.sys, Platform: c.platform.filter})
		if err != nil {
			return atOnlyEnd(args[0], err)
		}
		if c.raw {
			_, err := c.env.stdout.Write(doc.Bytes)
			return err
		}
		text, err := indented(doc.Bytes)
		if err != nil {
			return fmt.Errorf("%s: %s is no JSON (%w); --raw prints it as it is", args[0], doc.Digest, err)
		}
		_, err = io.WriteString(c.env.stdout, text)
		return err
	})
}

// indented is a document in JSON for people: with the same meaning, and nothing in it that could do
// something to a terminal.
func indented(content []byte) (string, error) {
	var lines bytes.Buffer
	if err := json.Indent(&lines, content, "", "  "); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, r := range strings.TrimSpace(lines.String()) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String() + "\n", nil
}
