// Command plan prints what a copy of a multi-platform image would do, without a network: which
// instances are copied and why, which entries the list loses, and the digest that the destination
// will have.
//
// It reads the list (an OCI index or a Docker list, or the manifest of a single image) from a file
// or from standard input:
//
//	plan --platform linux/arm64 --sparse strip index.json
//	skopeo inspect --raw docker://example.com/app | plan --platform 'linux/*' --exclude linux/s390x
//
// The first of these prints, for the list buildkit-attestations.json of this repository's
// testdata/lists,
//
//	copy buildkit-attestations.json to the destination
//	action strip
//	list sha256:893c3fc91cdd5ca19799d324eea439290e289b29030b78112e4d0a5e2753c6fa, 6 entries, becomes sha256:e64bbd4c6da8c871dc0b8b2a4e7b280cf612d12b3c2a5acf95b65785f3e8957f
//	  0  linux/amd64                         sha256:5861314d7fcc  skip  strip  not selected
//	  1  linux/arm/v7                        sha256:5ba6c8710dd1  skip  strip  not selected
//	  2  linux/arm64/v8                      sha256:f69162950f23  copy  keep   selected by linux/arm64
//	  3  attestation of sha256:5861314d7fcc  sha256:9c6bd5496b74  skip  strip  not selected
//	  4  attestation of sha256:5ba6c8710dd1  sha256:f63b44ed001c  skip  strip  not selected
//	  5  attestation of sha256:f69162950f23  sha256:7a5534a3f42a  copy  keep   follows sha256:f69162950f23
//	to move at most: 2 manifests, 0 blobs, 0 bytes
//	not counted: blobs of 2 manifests that were not read
//	destination digest sha256:e64bbd4c6da8c871dc0b8b2a4e7b280cf612d12b3c2a5acf95b65785f3e8957f
//
// and with --output json the same as JSON, in the form that docs/plan-schema.md describes.
//
// Without selectors, everything is copied. --platform takes os/arch[/variant][:osversion], where
// "*" is any. What the plan depends on and the list does not say comes from flags: --documents
// names files, or directories such as blobs/sha256 of an OCI layout, with nested lists (which are
// needed), manifests (by which blobs are counted) and the config of a single image; --missing says
// what the source does not have, and --present what the destination has already.
//
// A copy that cannot be planned is one line on standard error and exit status 1; a command line
// that makes no sense is exit status 2.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/copy"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program. It returns the exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cmd := command()
	cmd.SetArgs(append([]string{}, args...)) // cobra takes nil for the arguments of the process
	cmd.SetIn(stdin)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.Execute()
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "plan:", strings.ReplaceAll(err.Error(), "\n", "; "))
	var usage *usageError
	var options *copy.OptionsError
	if errors.As(err, &usage) || errors.As(err, &options) {
		return 2
	}
	return 1
}

// A usageError is a command line that makes no sense.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() + " (see plan --help)" }
func (e *usageError) Unwrap() error { return e.err }

// flags are what the command line says, as it says it.
type flags struct {
	platforms, excludes, optional, required []string
	digests                                 []string
	indexes                                 []int
	attestations, platformless, single      string
	sparse, output                          string
	skipMissing                             bool
	missing, present, documents             []string
}

func command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:           "plan [flags] [FILE]",
		Short:         "Print what a copy of a multi-platform image would do",
		Long:          "Print what a copy of the list in FILE (standard input if there is none, or \"-\") would do. Nothing is copied, and no network is used.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.MaximumNArgs(1)(cmd, args); err != nil {
				return &usageError{err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return printPlan(cmd, f, append(args, "-")[0])
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	set := cmd.Flags()
	set.SortFlags = false
	set.StringArrayVar(&f.platforms, "platform", nil, "copy `PLATFORM`: os/arch[/variant][:osversion], \"*\" is any; may be repeated, as all selectors")
	set.StringArrayVar(&f.excludes, "exclude", nil, "do not copy `PLATFORM`, whatever else selects it")
	set.StringArrayVar(&f.optional, "optional", nil, "copy `PLATFORM` if the list has it")
	set.StringArrayVar(&f.digests, "digest", nil, "copy the instance with `DIGEST`")
	set.IntSliceVar(&f.indexes, "index", nil, "copy the entry at `POSITION`, from 0")
	set.StringArrayVar(&f.required, "required", nil, "fail unless `PLATFORM` is copied")
	set.StringVar(&f.attestations, "attestations", "default", "`WHICH` attestations are copied: default, follow (their subjects), drop or all")
	set.StringVar(&f.platformless, "platformless-entries", "strip", "`ACTION` for entries that have no platform, where platforms select: strip or keep")
	set.StringVar(&f.single, "single", "check", "`ACTION` for a single image: check that platforms match it, or copy it all the same")
	set.StringVar(&f.sparse, "sparse", "keep", "`ACTION` for entries that are not copied: keep, strip or auto")
	set.StringArrayVar(&f.documents, "documents", nil, "`PATH` of a file, or a directory of files, with nested lists and manifests")
	set.StringArrayVar(&f.missing, "missing", nil, "the source does not have `DIGEST`")
	set.BoolVar(&f.skipMissing, "skip-missing", false, "skip what the source does not have, instead of failing")
	set.StringArrayVar(&f.present, "present", nil, "the destination has `DIGEST` already, with all that it names")
	set.StringVar(&f.output, "output", "text", "`FORMAT`: text or json")
	return cmd
}

// printPlan plans the copy of the list in a file, and prints the plan.
func printPlan(cmd *cobra.Command, f flags, file string) error {
	input, err := f.input()
	if err != nil {
		return &usageError{err}
	}
	if err := read(&input, cmd.InOrStdin(), file, f.documents); err != nil {
		return err
	}
	plan, err := copy.NewPlan(input)
	var unread *copy.UnreadError
	if errors.As(err, &unread) {
		return fmt.Errorf("%w; give their files with --documents", err)
	}
	if err != nil {
		return err
	}
	if f.output == "text" {
		_, err = fmt.Fprint(cmd.OutOrStdout(), plan)
		return err
	}
	encoder := json.NewEncoder(cmd.OutOrStdout())
	encoder.SetIndent("", "  ")
	return encoder.Encode(plan)
}

// input translates the command line. Every error is the caller's.
func (f flags) input() (copy.PlanInput, error) {
	in := copy.PlanInput{Destination: "the destination", Documents: map[digest.Digest]copy.Document{}}
	if f.output != "text" && f.output != "json" {
		return in, fmt.Errorf("--output %q: write text or json", f.output)
	}
	options, err := f.options()
	if err != nil {
		return in, err
	}
	in.Options = options
	if in.Missing, err = digestSet("missing", f.missing); err != nil {
		return in, err
	}
	in.Present, err = digestSet("present", f.present)
	return in, err
}

func (f flags) options() (*copy.Options, error) {
	o := &copy.Options{ImageListSelection: copy.CopyAllImages, InstanceIndexes: f.indexes}
	if len(f.platforms)+len(f.excludes)+len(f.optional)+len(f.digests)+len(f.indexes) > 0 {
		o.ImageListSelection = copy.CopySpecificImages
	}
	if f.skipMissing {
		o.MissingInstances = copy.SkipMissing
	}
	excludes, err := parsePlatforms("exclude", f.excludes)
	if err != nil {
		return nil, err
	}
	for i := range excludes {
		excludes[i].Exclude = true
	}
	if o.InstancePlatforms, err = parsePlatforms("platform", f.platforms); err != nil {
		return nil, err
	}
	o.InstancePlatforms = append(o.InstancePlatforms, excludes...)
	if o.OptionalPlatforms, err = parsePlatforms("optional", f.optional); err != nil {
		return nil, err
	}
	if o.RequiredPlatforms, err = parsePlatforms("required", f.required); err != nil {
		return nil, err
	}
	if o.Instances, err = parseDigests("digest", f.digests); err != nil {
		return nil, err
	}
	if err := o.SparseManifestListAction.UnmarshalText([]byte(f.sparse)); err != nil {
		return nil, fmt.Errorf("--sparse: %w", err)
	}
	if o.Attestations, err = parseAttestations(f.attestations); err != nil {
		return nil, err
	}
	switch f.platformless {
	case "strip":
	case "keep":
		o.PlatformlessEntries = copy.KeepPlatformlessEntries
	default:
		return nil, fmt.Errorf("--platformless-entries %q: write strip or keep", f.platformless)
	}
	switch f.single {
	case "check":
	case "copy":
		o.SingleImage = copy.CopySingleImage
	default:
		return nil, fmt.Errorf("--single %q: write check or copy", f.single)
	}
	return o, nil
}

func parseAttestations(text string) (copy.AttestationAction, error) {
	switch text {
	case "default":
		return copy.DefaultAttestations, nil
	case "follow":
		return copy.FollowSubject, nil
	case "drop":
		return copy.DropAttestations, nil
	case "all", "keep": // keep is what it was called before
		return copy.KeepAllAttestations, nil
	}
	return 0, fmt.Errorf("--attestations %q: write default, follow, drop or all", text)
}

func parsePlatforms(flag string, texts []string) ([]copy.InstancePlatformFilter, error) {
	var filters []copy.InstancePlatformFilter
	for _, text := range texts {
		f, err := copy.ParsePlatformFilter(text)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		filters = append(filters, f)
	}
	return filters, nil
}

func parseDigests(flag string, texts []string) ([]digest.Digest, error) {
	var digests []digest.Digest
	for _, text := range texts {
		d, err := digest.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("--%s %q: %w", flag, text, err)
		}
		digests = append(digests, d)
	}
	return digests, nil
}

func digestSet(flag string, texts []string) (map[digest.Digest]bool, error) {
	digests, err := parseDigests(flag, texts)
	set := map[digest.Digest]bool{}
	for _, d := range digests {
		set[d] = true
	}
	return set, err
}
