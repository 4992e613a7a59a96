package mirrorcmd

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/examples/internal/buildinfo"
)

// A command is one of those that mirror has. What only its own calls need, and help about it, is
// made for these: a start calls one of two dozen.
type command interface {
	// command returns it with what names it and tells it from others.
	command() *cobra.Command
	// finish adds its flags to what command has returned, and texts that take time to make.
	finish(cmd *cobra.Command)
}

// commands are mirror and its commands, as long as they are not all finished.
type commands struct {
	root       *cobra.Command
	unfinished map[*cobra.Command]command
}

func (c *commands) add(parent *cobra.Command, all ...command) {
	for _, one := range all {
		cmd := one.command()
		c.unfinished[cmd] = one
		parent.AddCommand(cmd)
	}
}

// finishCalled finishes the command that a command line calls, which may be mirror itself. If words
// follow that, it finishes all: help, and completions for shells, may be about any.
func (c *commands) finishCalled(args []string) {
	called, _, _ := c.root.Find(args) // what is wrong with the line, its execution says
	if called != c.root {
		c.finish(called)
		return
	}
	info := buildinfo.Read()
	c.root.Version = info.Version // which is what makes a flag of it
	c.root.SetVersionTemplate(info.Text(c.root.Name()))
	if slices.ContainsFunc(args, isWord) {
		c.finishAll()
	}
}

func isWord(arg string) bool { return !strings.HasPrefix(arg, "-") }

// finishAll finishes all commands, and lets shells complete the values of their flags. It returns
// the root.
func (c *commands) finishAll() *cobra.Command {
	for cmd := range c.unfinished {
		c.finish(cmd)
	}
	completeFlags(c.root)
	return c.root
}

// finish finishes a command that is none of cobra's own, if it is not finished yet.
func (c *commands) finish(cmd *cobra.Command) {
	if one, ok := c.unfinished[cmd]; ok {
		delete(c.unfinished, cmd)
		cmd.Flags().SortFlags = false // they are in the order of their definitions
		one.finish(cmd)
	}
}
