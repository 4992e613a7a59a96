package mirrorcmd

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/examples/internal/spelling"
)

// A habit is what people type who know another tool, and what to type here.
type habit struct {
	words []string // commands, or flags without their dashes
	here  string
}

// commandHabits are commands of Skopeo, crane, regctl, regsync, oras, Docker and Podman.
var commandHabits = []habit{
	{[]string{"ls", "list", "list-tags", "tag ls", "tag list", "repo tags"}, "mirror tags docker://HOST/NAME lists tags"},
	{
		[]string{"cp", "image copy", "image cp", "index copy"},
		"mirror copy --all SOURCE DESTINATION copies all platforms of an image, and mirror copy --platform some",
	},
	{
		[]string{"pull", "image export", "save", "image save"},
		"mirror copy --all docker://HOST/NAME:TAG oci:DIRECTORY:TAG writes a layout, and mirror bundle create one file with many images",
	},
	{
		[]string{"push", "image import", "load", "image load"},
		"mirror copy --all oci:DIRECTORY:TAG docker://HOST/NAME:TAG pushes a layout, and mirror bundle load what is in a bundle",
	},
	{[]string{"image digest", "manifest digest", "manifest head", "resolve", "manifest-digest"}, "mirror digest REFERENCE prints a digest"},
	{
		[]string{"manifest get", "manifest fetch", "manifest inspect", "image manifest", "imagetools inspect", "buildx imagetools"},
		"mirror manifest REFERENCE prints a manifest, and mirror inspect what is in a list",
	},
	{
		[]string{"config", "image config", "image inspect", "manifest fetch-config"},
		"mirror manifest --config REFERENCE prints the config of an image",
	},
	{
		[]string{"rm", "rmi", "remove", "del", "tag rm", "tag delete", "tag del", "manifest delete", "manifest rm", "image rm", "image delete"},
		"mirror delete REFERENCE removes an image from a registry",
	},
	{[]string{"auth login", "auth", "registry login", "registry set"}, "mirror login HOST stores credentials"},
	{[]string{"auth logout", "registry logout"}, "mirror logout HOST removes credentials"},
	{[]string{"image diff", "manifest diff", "compare"}, "mirror diff A B compares two images or repositories"},
	{[]string{"index filter", "index create"}, "mirror copy --platform PLATFORM --sparse strip SOURCE DESTINATION leaves out the other platforms"},
	{[]string{"once", "run", "dregsy", "image-syncer"}, "mirror sync FILE copies what a file says; mirror import converts files of other tools"},
	{[]string{"server", "daemon"}, "mirror serve FILE runs by itself"},
	{[]string{"check", "validate"}, "mirror verify SOURCE DESTINATION says whether a copy is complete and true, and mirror sync --dry-run FILE what would be copied"},
	{[]string{"dry-run"}, "mirror plan SOURCE DESTINATION and mirror sync --dry-run FILE write nothing"},
	{[]string{"convert"}, "mirror import converts files of other tools"},
}

// flagHabits are flags of these tools, for the commands that have what is named in their place.
var flagHabits = []habit{
	{[]string{"multi-arch", "all-platforms", "all-archs", "list", "a"}, "--all copies all platforms, and --platform some"},
	{[]string{"platforms", "arch", "os"}, "--platform chooses platforms, os/arch[/variant]"},
	{[]string{"insecure", "plain-http", "to-plain-http", "from-plain-http", "dest-plain-http", "src-plain-http", "skip-tls-verify"}, "--src-tls-verify=false and --dest-tls-verify=false are for registries without HTTPS"},
	{[]string{"insecure", "plain-http", "skip-tls-verify"}, "--tls-verify=false is for registries without HTTPS"},
	{
		[]string{"src-username", "src-password", "dest-username", "dest-password", "username", "password", "user", "from-username", "to-username", "from-password", "to-password"},
		"--src-creds and --dest-creds take USER[:PASSWORD], and mirror login stores it",
	},
	{[]string{"username", "password", "user"}, "--creds takes USER[:PASSWORD], and mirror login stores it"},
	{[]string{"image-parallel-copies", "parallel-images", "jobs", "concurrency"}, "--parallel says how much is copied at the same time"},
	{[]string{"dry-run"}, "without --confirm or --yes nothing is removed"},
	{[]string{"dry-run"}, "mirror plan says what mirror copy would do"},
	{[]string{"force-recursive", "recursive"}, "--referrers and --digest-tags copy what is attached, too"},
	{[]string{"strip-removed-platforms"}, "--sparse strip leaves out of the list what is not copied"},
	{[]string{"raw", "config", "manifest"}, "mirror manifest --raw prints a manifest as it is, and mirror manifest --config the config of an image"},
	{[]string{"format", "template"}, "--output json prints everything, for jq and the like"},
	{[]string{"verbose", "verbosity", "v"}, "--debug logs what is done"},
	{[]string{"omit-digest-tags"}, "tags that are named after digests are left out in any case"},
	{[]string{"all-tags"}, "mirror sync FILE copies many tags, with tags: ['*']"},
	{[]string{"no-clobber"}, "mirror tag --if-absent replaces no tag"},
	{[]string{"include", "filter"}, "--glob and --regexp choose tags"},
	{[]string{"force", "f"}, "--yes removes without confirmation"},
	{[]string{"list-only", "raw-body"}, "mirror manifest --raw prints a manifest as it is"},
	{[]string{"src", "dest", "s", "d"}, "--from names the form of a file of another tool, --to where its images go, and mirror copy has the transport in the reference"},
	{[]string{"keep-going"}, "an image that fails does not stop the others in any case"},
}

// hereFor says what to type in the place of words of another tool; "" if that is not known.
func hereFor(words string) string {
	for _, h := range commandHabits {
		if slices.Contains(h.words, words) {
			return h.here
		}
	}
	return ""
}

// unknownCommand is the error for arguments of the root, none of which is a command.
func unknownCommand(root *cobra.Command, args []string) error {
	here := cmp.Or(hereFor(strings.Join(args[:min(len(args), 2)], " ")), hereFor(args[0]))
	if here == "" {
		if near := nearestCommand(root, args[0]); near != "" {
			here = fmt.Sprintf("did you mean mirror %s?", near)
		}
	}
	if here == "" {
		here = "mirror --help lists the commands"
	}
	return misusef("unknown command %q; %s", args[0], here)
}

func nearestCommand(root *cobra.Command, typed string) string {
	var names []string
	for _, c := range root.Commands() {
		if !c.Hidden {
			names = append(append(names, c.Name()), c.Aliases...)
		}
	}
	return spelling.Nearest(typed, names)
}

// habitual wraps the check of a command's arguments: where they are a subcommand of another tool,
// the error says what to type here.
func habitual(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if len(args) == 0 {
			return err
		}
		if here := hereFor(cmd.Name() + " " + args[0]); here != "" {
			return misusef("mirror %s has no command %q; %s", cmd.Name(), args[0], here)
		}
		return err
	}
}

// unknownFlag is an error of flags, with what to type in the place of one that is unknown.
func unknownFlag(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return &misuse{err}
	}
	if here := flagHere(cmd, unknown.GetSpecifiedName()); here != "" {
		return misusef("%w; %s", err, here)
	}
	return misusef("%w; see %s --help", err, cmd.CommandPath())
}

// flagHere says what to type in the place of a flag that a command does not have; "" if that is not
// known.
func flagHere(cmd *cobra.Command, name string) string {
	if others := otherEnds(cmd, name); len(others) > 0 {
		return "here that is --" + strings.Join(others, " and --")
	}
	for _, h := range flagHabits {
		if slices.Contains(h.words, name) && hasAllFlags(cmd, h.here) {
			return h.here
		}
	}
	if near := spelling.Nearest(name, flagsOf(cmd)); near != "" && len(name) > 2 {
		return fmt.Sprintf("did you mean --%s?", near)
	}
	return ""
}

// otherEnds returns the flags of a command that say of its ends what name says of one, or of all.
func otherEnds(cmd *cobra.Command, name string) []string {
	bare := name
	for _, prefix := range []string{"src-", "dest-", "from-", "to-"} {
		bare = strings.TrimPrefix(bare, prefix)
	}
	if !slices.Contains(flagNames, bare) {
		return nil
	}
	all := flagsOf(cmd)
	var others []string
	for _, other := range []string{bare, "src-" + bare, "dest-" + bare} {
		if slices.Contains(all, other) {
			others = append(others, other)
		}
	}
	return others
}

func flagsOf(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

// hasAllFlags reports whether a command has the flags that a sentence names, but for those of
// another command that it names before.
func hasAllFlags(cmd *cobra.Command, sentence string) bool {
	all := flagsOf(cmd)
	own, _, _ := strings.Cut(sentence, "mirror ")
	for word := range strings.FieldsSeq(own) {
		name, isFlag := strings.CutPrefix(strings.Trim(word, ",;"), "--")
		name, _, _ = strings.Cut(name, "=")
		if isFlag && !slices.Contains(all, name) {
			return false
		}
	}
	return true
}
