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
	of    string // for flags: the command that it is about, "" for all that have what here names
}

// commandHabits are commands of Skopeo, crane, regctl, regsync, oras, Docker and Podman.
var commandHabits = []habit{
	{words: []string{"ls", "list", "list-tags", "tag ls", "tag list", "repo tags"}, here: "mirror tags docker://HOST/NAME lists tags"},
	{
		words: []string{"repo", "repo ls", "repo list", "catalog", "search", "images"},
		here:  "repositories are not listed here; mirror tags docker://HOST/NAME lists the tags of one",
	},
	{
		words: []string{"repo copy", "repo cp", "repo mirror"},
		here:  "mirror sync FILE copies all tags of a repository, with tags: ['*']",
	},
	{
		words: []string{"cp", "image", "image copy", "image cp", "index copy"},
		here:  "mirror copy --all SOURCE DESTINATION copies all platforms of an image, and mirror copy --platform some",
	},
	{
		words: []string{"pull", "image export", "save", "image save"},
		here:  "mirror copy --all docker://HOST/NAME:TAG oci:DIRECTORY:TAG writes a layout, oci-archive:FILE:TAG an archive, and mirror bundle create one file with many images",
	},
	{
		words: []string{"push", "image import", "load", "image load"},
		here:  "mirror copy --all oci:DIRECTORY:TAG docker://HOST/NAME:TAG pushes a layout, and mirror bundle load what is in a bundle",
	},
	{
		words: []string{"image digest", "manifest digest", "manifest head", "resolve", "manifest-digest"},
		here:  "mirror digest REFERENCE prints a digest, and sha256sum that of a file",
	},
	{
		words: []string{"manifest get", "manifest fetch", "manifest inspect", "image manifest", "imagetools", "buildx", "index list", "index ls", "index"},
		here:  "mirror manifest REFERENCE prints a manifest, with --raw as it is, and mirror inspect what is in a list",
	},
	{
		words: []string{"config", "image config", "image inspect", "manifest fetch-config"},
		here:  "mirror manifest --config --platform PLATFORM REFERENCE prints the config of an image",
	},
	{
		words: []string{"rm", "rmi", "remove", "del", "tag rm", "tag delete", "tag del", "manifest delete", "manifest rm", "image rm", "image delete"},
		here:  "mirror delete REFERENCE removes an image from a registry",
	},
	{words: []string{"auth login", "auth", "registry", "registry login"}, here: "mirror login HOST stores credentials"},
	{words: []string{"auth logout", "registry logout"}, here: "mirror logout HOST removes credentials"},
	{words: []string{"auth get", "auth token", "registry whoami"}, here: "mirror login --get-login HOST prints whose credentials are stored"},
	{
		words: []string{"registry set", "registry config", "config get", "config set"},
		here:  "registries.conf says how registries are reached, and --tls-verify=false is for those without HTTPS",
	},
	{words: []string{"image diff", "manifest diff", "compare"}, here: "mirror diff A B compares two images or repositories"},
	{words: []string{"index filter", "index create"}, here: "mirror copy --platform PLATFORM --sparse strip SOURCE DESTINATION leaves out the other platforms"},
	{
		words: []string{"artifact", "artifact list", "artifact ls", "artifact tree", "discover", "tree"},
		here:  "mirror plan --referrers SOURCE DESTINATION lists what is attached to an image, and mirror copy --referrers copies it",
	},
	{
		words: []string{"blob", "layers", "image get-file"},
		here:  "no blob is read alone; mirror copy SOURCE dir:DIRECTORY writes those of an image into files",
	},
	{
		words: []string{
			"append", "mutate", "rebase", "flatten", "edit", "optimize", "attach", "image mod", "image create", "manifest put", "artifact put",
			"index add", "index append", "index delete",
		},
		here: "images are copied here, and not made or edited; mirror copy --platform PLATFORM --sparse strip takes entries out of a list",
	},
	{words: []string{"standalone-verify", "cosign"}, here: "mirror copy --policy FILE copies what has the signatures that a policy wants"},
	{
		words: []string{"standalone-sign", "sign", "generate-sigstore-key"},
		here:  "mirror copy --sign-by-sigstore-private-key FILE signs what it copies, with a key of cosign or Skopeo",
	},
	{words: []string{"image ratelimit"}, here: "mirror copy --min-remaining N leaves so many of the pulls that a registry allows"},
	{words: []string{"once"}, here: "mirror sync --from regsync FILE copies what a file of regsync says"},
	{words: []string{"run", "dregsy", "image-syncer"}, here: "mirror sync --from FORMAT FILE copies what a file of another tool says"},
	{words: []string{"server", "daemon"}, here: "mirror serve --from regsync FILE runs by itself, with a file of regsync"},
	{words: []string{"check"}, here: "mirror sync --dry-run --from regsync FILE says what would be copied"},
	{words: []string{"validate"}, here: "mirror verify --all --blobs SOURCE DESTINATION, with one image as both, reads all of it and says whether it is complete and true"},
	{words: []string{"dry-run"}, here: "mirror plan SOURCE DESTINATION and mirror sync --dry-run FILE write nothing"},
	{words: []string{"convert"}, here: "mirror import converts files of other tools"},
}

// fileHabits are flags of tools without commands.
var fileHabits = []habit{
	{words: []string{"images", "auth"}, here: "mirror sync --from image-syncer --image-syncer-auth AUTH IMAGES copies what files of image-syncer say"},
	{words: []string{"config"}, here: "mirror sync --from image-syncer FILE and mirror sync --from dregsy FILE copy what files of these tools say"},
}

// flagHabits are flags of these tools, for the commands that have what is named in their place.
var flagHabits = []habit{
	{words: []string{"multi-arch", "all-platforms", "all-archs", "list", "a"}, here: "--all copies all platforms, --platform some, and without either it is the one for this system"},
	{words: []string{"platforms", "instance-platforms", "arch", "os", "p"}, here: "--platform chooses platforms, os/arch[/variant]"},
	{words: []string{"override-os", "override-arch", "override-variant"}, here: "system: linux/arm64 says it in the sync file", of: "sync"},
	{words: []string{"override-os", "override-arch", "override-variant", "platform"}, here: "mirror manifest --platform PLATFORM REFERENCE prints the manifest for one platform", of: "inspect"},
	{words: []string{"override-os", "override-arch", "override-variant"}, here: "--platform chooses the platform, os/arch[/variant]"},
	{words: []string{"list"}, here: "without --platform it is the list that is meant"},
	{words: []string{"insecure", "plain-http", "to-plain-http", "from-plain-http", "dest-plain-http", "src-plain-http", "skip-tls-verify"}, here: "--src-tls-verify=false and --dest-tls-verify=false are for registries without HTTPS"},
	{words: []string{"insecure", "plain-http", "skip-tls-verify", "host", "tls"}, here: "--tls-verify=false is for registries without HTTPS"},
	{
		words: []string{"src-username", "src-password", "dest-username", "dest-password", "username", "password", "user", "from-username", "to-username", "from-password", "to-password"},
		here:  "--src-creds and --dest-creds take USER[:PASSWORD], and mirror login stores it",
	},
	{words: []string{"username", "password", "user"}, here: "--creds takes USER[:PASSWORD], and mirror login stores it"},
	{words: []string{"pass-stdin"}, here: "--password-stdin reads the password from standard input"},
	{words: []string{"image-parallel-copies", "parallel-images", "jobs", "concurrency"}, here: "--parallel says how much is copied at the same time"},
	{words: []string{"dry-run"}, here: "without --confirm or --yes nothing is removed"},
	{words: []string{"dry-run"}, here: "mirror plan says what mirror copy would do"},
	{words: []string{"force-recursive", "recursive", "r"}, here: "--referrers and --digest-tags copy what is attached, too"},
	{words: []string{"strip-removed-platforms"}, here: "--sparse strip leaves out of the list what is not copied"},
	{words: []string{"retry-times", "retry"}, here: "mirror sync --retry-times N tries again what failed", of: "copy"},
	{words: []string{"dest-precompute-digests"}, here: "what is there already is not uploaded in any case", of: "copy"},
	{words: []string{"additional-tag"}, here: "mirror tag gives an image at a registry other tags", of: "copy"},
	{
		words: []string{"dest-compress", "dest-decompress", "dest-oci-accept-uncompressed-layers"},
		here:  "layers stay as they are unless --dest-compress-format says otherwise",
	},
	{words: []string{"src-shared-blob-dir", "dest-shared-blob-dir"}, here: "mirror bundle create keeps what images have in common once", of: "copy"},
	{words: []string{"f"}, here: "--format converts manifests"},
	{words: []string{"raw", "config", "manifest"}, here: "mirror manifest --raw prints a manifest as it is, and mirror manifest --config the config of an image", of: "inspect"},
	{words: []string{"no-tags"}, here: "no tags are listed in any case, but by mirror tags", of: "inspect"},
	{words: []string{"format", "template", "f"}, here: "mirror digest REFERENCE prints the digest, and --output json everything, for jq and the like", of: "inspect"},
	{words: []string{"format", "raw-body"}, here: "--raw prints a manifest as it is"},
	{words: []string{"descriptor"}, here: "mirror digest REFERENCE prints the digest", of: "manifest"},
	{words: []string{"format", "template"}, here: "--output json prints everything, for jq and the like"},
	{words: []string{"verbose", "verbosity", "v"}, here: "--debug logs what is done"},
	{words: []string{"omit-digest-tags", "O"}, here: "tags that are named after digests are left out in any case", of: "tags"},
	{words: []string{"full-ref"}, here: "--output json names the repository, too", of: "tags"},
	{words: []string{"limit", "last"}, here: "all tags are listed, and --newest N bounds them"},
	{words: []string{"all-tags"}, here: "mirror sync FILE copies many tags, with tags: ['*']"},
	{words: []string{"no-clobber"}, here: "mirror tag --if-absent replaces no tag"},
	{words: []string{"include", "filter"}, here: "--glob and --regexp choose tags"},
	{words: []string{"force", "f"}, here: "--yes removes without confirmation", of: "delete"},
	{
		words: []string{"src", "dest", "s", "d"},
		here:  "mirror sync --from skopeo FILE --to docker://HOST copies what a file of Skopeo says, and mirror sync FILE whole repositories, with tags: ['*']",
		of:    "sync",
	},
	{words: []string{"config", "c", "f"}, here: "mirror sync --from regsync FILE copies what a file of regsync says", of: "sync"},
	{words: []string{"config", "c", "f"}, here: "mirror serve --from regsync FILE keeps to a file of regsync", of: "serve"},
	{words: []string{"images"}, here: "mirror sync --from image-syncer FILE copies what a file of image-syncer says", of: "sync"},
	{words: []string{"proc"}, here: "--jobs says how many images are copied at the same time"},
	{words: []string{"retries"}, here: "--retry-times tries again what failed", of: "sync"},
	{words: []string{"digestfile"}, here: "--output json has the digest of each image", of: "sync"},
	{words: []string{"a"}, here: "--skopeo-all copies all platforms of the images of a file of Skopeo"},
	{words: []string{"keep-going"}, here: "an image that fails does not stop the others in any case", of: "sync"},
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

// hereForLine says what to type in the place of a command line that begins with a command of
// another tool; "" if that is not known.
func hereForLine(args []string) string {
	return cmp.Or(hereFor(strings.Join(args[:min(len(args), 2)], " ")), hereFor(args[0]))
}

// noCommand is the error for a command line in which no command was found: args are its arguments
// without what may be flags and their values, typed is all of it.
func noCommand(root *cobra.Command, args, typed []string) error {
	if len(typed) > 0 && strings.HasPrefix(typed[0], "-") {
		if err := flagsFirst(root, typed); err != nil {
			return err
		}
	}
	if len(args) == 0 {
		return misusef("no command was given; mirror --help lists them")
	}
	return unknownCommand(root, args)
}

// flagsFirst is the error for a command line that begins with flags, nil if nothing is known about
// it. It repeats no values: they may be secrets.
func flagsFirst(root *cobra.Command, typed []string) error {
	for i, word := range typed {
		if strings.HasPrefix(word, "-") {
			continue
		}
		if cmd, _, err := root.Find([]string{word}); err == nil && cmd != root {
			flag, _, _ := strings.Cut(typed[0], "=")
			return misusef("flags stand behind the command: mirror %s %s …", cmd.Name(), flag)
		}
		if hereForLine(typed[i:]) != "" {
			return unknownCommand(root, typed[i:])
		}
	}
	for _, word := range typed {
		flag, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
		for _, h := range fileHabits {
			if strings.HasPrefix(word, "-") && slices.Contains(h.words, flag) {
				return misusef("no command was given; %s", h.here)
			}
		}
	}
	return nil
}

// unknownCommand is the error for arguments of the root, none of which is a command.
func unknownCommand(root *cobra.Command, args []string) error {
	here := hereForLine(args)
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
		return cmp.Or(othersSubcommand(cmd, args), check(cmd, args))
	}
}

// othersSubcommand is the error for arguments that begin with a subcommand of another tool, nil for
// others.
func othersSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if here := hereFor(cmd.Name() + " " + args[0]); here != "" {
		return misusef("mirror %s has no command %q; %s", cmd.Name(), args[0], here)
	}
	return nil
}

// unknownFlag is an error of flags, with what to type in the place of one that is unknown.
func unknownFlag(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return &misuse{err}
	}
	if err := othersSubcommand(cmd, cmd.Flags().Args()); err != nil {
		return err
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
		if slices.Contains(h.words, name) && (h.of == "" || h.of == cmd.Name()) && hasAllFlags(cmd, h.here) {
			return h.here
		}
	}
	for _, tool := range []string{"skopeo", "image-syncer"} {
		if cmd.Flags().Lookup(tool+"-"+name) != nil {
			return fmt.Sprintf("for a file of another tool it is --%s-%s, with --from %s", tool, name, tool)
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
