package mirrorcmd

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/naming"
	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
)

// tagsSchema names the JSON form of what mirror tags prints.
const tagsSchema = "mirror.tags/v1"

// A tagsReport is what mirror tags prints.
type tagsReport struct {
	Schema     string         `json:"schema"`
	Repository string         `json:"repository"`
	Tags       []string       `json:"tags"`
	Listed     int            `json:"listed"`
	PassedOver tagsPassedOver `json:"passedOver"`
	Warnings   []string       `json:"warnings,omitempty"`
}

// tagsPassedOver counts the tags that are listed and not printed.
type tagsPassedOver struct {
	Unmatched  int `json:"unmatched,omitempty"`  // no pattern takes them, or one excludes them
	DigestTags int `json:"digestTags,omitempty"` // named after digests, and taken otherwise
	// As tagselect.Left has them.
	Older      int `json:"older,omitempty"`
	NoVersions int `json:"noVersions,omitempty"`
}

// String says for people how many there are, "" if there are none.
func (p tagsPassedOver) String() string {
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(p.Unmatched, "that do not match")
	add(p.NoVersions, "that are no versions")
	add(p.Older, "that are older")
	add(p.DigestTags, "named after digests (--digest-tags shows them)")
	return strings.Join(parts, ", ")
}

// A tagsCommand is mirror tags.
type tagsCommand struct {
	env    *environment
	access access
	out    output
	filter tagFilter
	listed bool
}

func (c *tagsCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "tags [flags] REPOSITORY",
		Short: "List the tags of a repository",
		Long: "Tags lists the tags of REPOSITORY, docker://HOST/NAME, one in a line: all pages, sorted as versions, the newest last.\n" +
			"Tags that are named after digests, as those of signatures, are left out. What is left out is counted on standard error.",
		Example: "  mirror tags docker://docker.io/library/alpine\n" +
			"  mirror tags --semver '>=3.18 <4' --newest 3 docker://docker.io/library/alpine\n" +
			"  mirror tags --glob '*-alpine' --since 90d docker://docker.io/library/nginx",
		Args: takes(1, "REPOSITORY"),
		RunE: c.run,
	}
}

func (c *tagsCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	c.filter.define(flags)
	flags.Var(newChoice(&c.listed, []string{"version", "listed"}, []bool{false, true}), "order", "sort by version, or leave the tags as the registry lists them")
	c.out.define(flags, "the tags")
	flags.BoolVarP(&c.out.quiet, "quiet", "q", false, "do not say what is left out")
	c.access.defineOnly(flags)
}

func (c *tagsCommand) run(cmd *cobra.Command, args []string) error {
	if err := checkAll(c.out.check, c.filter.check, c.access.check); err != nil {
		return err
	}
	ref, err := c.access.parseSource("REPOSITORY", args[0])
	if err == nil {
		err = atRegistry(args[0], ref)
	}
	if err != nil {
		return err
	}
	return c.env.withOnlyEnd(cmd, &c.access, &c.out, func(ctx context.Context, end onlyEnd) error {
		list, err := end.copier.Tags(ctx, ref, &copy.TagsOptions{SystemContext: end.sys})
		if err != nil {
			return atOnlyEnd(args[0], err)
		}
		report := &tagsReport{Schema: tagsSchema, Repository: list.Repository, Listed: len(list.Tags), Warnings: list.Warnings}
		report.Tags, report.PassedOver, err = c.filter.choose(list.Tags, c.env.now(), func(tags []string) (map[string]time.Time, error) {
			return tagTimes(ctx, end, ref, tags)
		})
		if err != nil {
			return atOnlyEnd(args[0], err)
		}
		if !c.listed {
			report.Tags = tagselect.Sorted(report.Tags)
		}
		return c.print(args[0], report)
	})
}

// print prints the tags. That there are none although some were asked for is an error.
func (c *tagsCommand) print(repository string, report *tagsReport) error {
	passedOver := report.PassedOver.String()
	if c.out.json {
		if err := printJSON(c.env.stdout, report); err != nil {
			return err
		}
	} else {
		for _, text := range report.Warnings {
			logrus.Warn(text)
		}
		var b strings.Builder
		for _, tag := range report.Tags {
			b.WriteString(tag + "\n")
		}
		if _, err := io.WriteString(c.env.stdout, b.String()); err != nil {
			return err
		}
	}
	switch {
	case len(report.Tags) == 0 && c.filter.any():
		return fmt.Errorf("%s: none of its %s is what was asked for: %s", repository, counted(report.Listed, "tag"), cmp.Or(passedOver, "there is none"))
	case passedOver != "" && !c.out.json && !c.out.quiet:
		c.env.note("left out: " + passedOver)
	}
	return nil
}

// A tagFilter are the flags that say which tags are wanted.
type tagFilter struct {
	flags                   *pflag.FlagSet
	globs, regexps, ranges  []string
	exclude, excludeRegexps []string
	suffix, since           string
	prereleases, digestTags bool
	newest                  uint
	by                      tagselect.By

	patterns, excluded []tagselect.Pattern // that check has made of them
	bounds             tagselect.Bounds
}

func (f *tagFilter) define(flags *pflag.FlagSet) {
	f.flags = flags
	flags.StringArrayVar(&f.globs, "glob", nil, "list tags that match `GLOB` as a whole, with *, ? and [sets]; may be repeated")
	flags.StringArrayVar(&f.regexps, "regexp", nil, "list tags that the regular expression `RE` matches as a whole; may be repeated")
	flags.StringArrayVar(&f.ranges, "semver", nil, "list tags that are versions within `RANGE`, such as '>=3.1 <4' or '1.x || 2.x'; may be repeated")
	flags.BoolVar(&f.prereleases, "prereleases", false, "--semver takes versions with a suffix, too: 2.0.0-rc.1, 1.27.3-alpine")
	flags.StringVar(&f.suffix, "suffix", "", "--semver takes versions in front of `GLOB`, such as -alpine, only")
	flags.StringArrayVar(&f.exclude, "exclude", nil, "leave out tags that match `GLOB` as a whole; may be repeated")
	flags.StringArrayVar(&f.excludeRegexps, "exclude-regexp", nil, "leave out tags that the regular expression `RE` matches as a whole; may be repeated")
	flags.Var(count{&f.newest}, "newest", "list the newest `N` only, of those that match")
	flags.Var(newChoice(&f.by, []string{"version", "created"}, []tagselect.By{tagselect.ByVersion, tagselect.ByCreated}), "newest-by", "what makes a tag newer: its version, or when its image was made, which has to be read")
	flags.StringVar(&f.since, "since", "", "list tags whose images were made since `TIME`: a day (2025-01-31), a time (RFC 3339), or an age (90d, 720h)")
	flags.BoolVar(&f.digestTags, "digest-tags", false, "list tags that are named after digests, too")
}

// check reads the flags.
func (f *tagFilter) check() error {
	var err error
	if f.since != "" {
		if f.bounds.Since, err = tagselect.ParseSince(f.since); err != nil {
			return misusef("--since: %w", err)
		}
	}
	f.bounds.Newest, f.bounds.By = int(f.newest), f.by
	semver := func(text string) (tagselect.Pattern, error) {
		return tagselect.Range(text, tagselect.RangeOptions{Prereleases: f.prereleases, Suffix: f.suffix})
	}
	for _, g := range []struct {
		flag  string
		texts []string
		parse func(string) (tagselect.Pattern, error)
		to    *[]tagselect.Pattern
	}{
		{"glob", f.globs, tagselect.Glob, &f.patterns},
		{"regexp", f.regexps, tagselect.Regexp, &f.patterns},
		{"semver", f.ranges, semver, &f.patterns},
		{"exclude", f.exclude, tagselect.Glob, &f.excluded},
		{"exclude-regexp", f.excludeRegexps, tagselect.Regexp, &f.excluded},
	} {
		for _, text := range g.texts {
			p, err := g.parse(text)
			if err != nil {
				return misusef("--%s: %w", g.flag, err)
			}
			*g.to = append(*g.to, p)
		}
	}
	switch {
	case len(f.ranges) == 0 && (f.prereleases || f.suffix != ""):
		return misusef("%s has no effect without --semver", dashed(changed(f.flags, []string{"prereleases", "suffix"})))
	case f.newest == 0 && f.flags.Changed("newest-by"):
		return misusef("--newest-by has no effect without --newest")
	}
	return nil
}

// any reports whether the flags ask for some tags only.
func (f *tagFilter) any() bool { return len(f.patterns)+len(f.excluded) > 0 || f.bounds.Any() }

// choose returns those of tags that are wanted, in their order, and counts the others. times is
// asked when their images were made, if that matters.
func (f *tagFilter) choose(
	tags []string, now time.Time, times func([]string) (map[string]time.Time, error),
) (wanted []string, left tagsPassedOver, err error) {
	for _, tag := range tags {
		switch {
		case !f.takes(tag):
			left.Unmatched++
		case copy.IsDigestTag(tag) && !f.digestTags:
			left.DigestTags++
		default:
			wanted = append(wanted, tag)
		}
	}
	created, err := times(f.bounds.Candidates(wanted))
	if err != nil {
		return nil, left, err
	}
	wanted, beyond, err := f.bounds.Choose(wanted, created, now)
	left.Older, left.NoVersions = beyond.Older, beyond.NoVersions
	return slices.Concat([]string{}, wanted), left, err
}

// takes reports whether patterns take a tag, all if there are none.
func (f *tagFilter) takes(tag string) bool {
	takes := func(p tagselect.Pattern) bool { return p.Takes(tag) }
	return (len(f.patterns) == 0 || slices.ContainsFunc(f.patterns, takes)) && !slices.ContainsFunc(f.excluded, takes)
}

// tagTimes asks when the images of tags of the repository of ref were made.
func tagTimes(ctx context.Context, end onlyEnd, ref types.ImageReference, tags []string) (map[string]time.Time, error) {
	return askEach(ctx, timesAtOnce, tags, func(tag string) (time.Time, error) {
		at, err := atTag(ref.DockerReference(), tag)
		if err != nil {
			return time.Time{}, err
		}
		created, err := end.copier.Registries().Created(ctx, at, &naming.CreatedOptions{SystemContext: end.sys})
		return created, aboutTag(tag, err)
	})
}
