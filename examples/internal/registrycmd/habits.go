package registrycmd

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/examples/internal/spelling"
)

// commandHabits are commands of plain distribution, with what to type here.
var commandHabits = map[string]string{
	"serve":           "sparse-registry serves without a command; " + distributionsFile,
	"garbage-collect": "type sparse-registry gc, which removes nothing without --delete; " + distributionsFile,
	"version":         "type sparse-registry --version",
}

const distributionsFile = "name the configuration of plain distribution with --distribution-config FILE"

// flagHabits are flags of plain distribution's collector, and words for what has another name here,
// with what to type. A command that has no such flag ignores them.
var flagHabits = []struct {
	words      []string
	flag, here string
}{
	{[]string{"dry-run", "d"}, "untagged", "gc is a dry run without --delete"},
	{[]string{"delete-untagged", "m"}, "untagged", "here that is --untagged"},
	{[]string{"port", "listen", "host"}, "address", "here that is --address"},
	{[]string{"data", "data-dir", "root", "rootdirectory", "dir"}, "storage", "here that is --storage"},
}

// refuseArguments refuses whatever is neither a flag nor a subcommand.
func refuseArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("unexpected argument %q: %s", args[0], argumentHere(cmd, args[0]))
}

// argumentHere says what to type in the place of an argument.
func argumentHere(cmd *cobra.Command, arg string) string {
	if _, err := strconv.ParseBool(arg); err == nil {
		return "a value of BOOL is written behind the flag with an equals sign, as in --delete=" + arg
	}
	var commands []string
	for _, c := range cmd.Commands() {
		commands = append(commands, c.Name())
	}
	near, extension := spelling.Nearest(arg, commands), filepath.Ext(arg)
	switch {
	case !cmd.HasParent() && commandHabits[arg] != "":
		return commandHabits[arg]
	case extension == ".yml" || extension == ".yaml":
		return "name a file of settings with --config FILE, and one of plain distribution with --distribution-config FILE"
	case strings.ContainsRune(arg, '/'):
		return "name the storage with --storage DIRECTORY"
	case near != "":
		return fmt.Sprintf("did you mean %s %s?", cmd.CommandPath(), near)
	case len(commands) > 0:
		return fmt.Sprintf("%s takes flags, or a command: %s; see %[1]s --help", cmd.CommandPath(), strings.Join(commands, ", "))
	}
	return fmt.Sprintf("%s takes flags only; see %[1]s --help", cmd.CommandPath())
}

// unknownFlag is an error of flags, with what to type in the place of one that is unknown.
func unknownFlag(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return err
	}
	return fmt.Errorf("%w; %s", err, flagHere(cmd, unknown.GetSpecifiedName()))
}

// flagHere says what to type in the place of a flag that a command does not have: what is known of
// it, else the one flag that it is a part of, else the one that is most like it.
func flagHere(cmd *cobra.Command, name string) string {
	for _, h := range flagHabits {
		if slices.Contains(h.words, name) && cmd.Flags().Lookup(h.flag) != nil {
			return h.here
		}
	}
	var all, beginning, containing []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		all = append(all, f.Name)
		if strings.HasPrefix(f.Name, name) {
			beginning = append(beginning, f.Name)
		}
		if strings.Contains(f.Name, name) {
			containing = append(containing, f.Name)
		}
	})
	near := spelling.Nearest(name, all)
	switch {
	case len(name) < 3:
	case len(beginning) == 1:
		near = beginning[0]
	case len(containing) == 1:
		near = containing[0]
	}
	if near == "" {
		return fmt.Sprintf("see %s --help", cmd.CommandPath())
	}
	return fmt.Sprintf("did you mean --%s?", near)
}
