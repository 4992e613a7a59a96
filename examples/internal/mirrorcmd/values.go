package mirrorcmd

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
)

// A listValue is a flag that may be repeated, and whose values may hold several elements, separated
// by commas.
type listValue[T any] struct {
	to       *[]T
	parse    func(string) (T, error)
	typeName string
	text     []string
}

var _ pflag.Value = (*listValue[int])(nil)

func (v *listValue[T]) Set(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			return errors.New("an element is empty")
		}
		element, err := v.parse(part)
		if err != nil {
			return err
		}
		*v.to = append(*v.to, element)
		v.text = append(v.text, part)
	}
	return nil
}

func (v *listValue[T]) String() string { return strings.Join(v.text, ",") }
func (v *listValue[T]) Type() string   { return v.typeName }

// A onePlatform is a flag that chooses an image of a list.
type onePlatform struct {
	filter *copy.InstancePlatformFilter // nil if it was not given
	text   string
}

func (p *onePlatform) Set(s string) error {
	f, err := copy.ParsePlatformFilter(s)
	if err == nil && f.Exclude {
		err = errors.New("one image is wanted, and an exclusion chooses none")
	}
	p.filter, p.text = &f, s
	return err
}

func (p *onePlatform) String() string { return p.text }
func (p *onePlatform) Type() string   { return "PLATFORM" }

// anyPlatform parses a filter, which may exclude.
func anyPlatform(s string) (copy.InstancePlatformFilter, error) { return copy.ParsePlatformFilter(s) }

// includedPlatform parses a filter that does not exclude.
func includedPlatform(s string) (copy.InstancePlatformFilter, error) {
	f, err := copy.ParsePlatformFilter(s)
	if err == nil && f.Exclude {
		err = errors.New("only --platform can exclude")
	}
	return f, err
}

func position(s string) (int, error) {
	i, err := strconv.Atoi(s)
	if err != nil || i < 0 {
		return 0, fmt.Errorf("%q is no position: they count from 0", s)
	}
	return i, nil
}

// A choice is a flag with a few values.
type choice[T any] struct {
	to     *T
	name   string // the value now
	names  []string
	values []T
}

// newChoice makes the flag's value; to gets the first of values.
func newChoice[T any](to *T, names []string, values []T) *choice[T] {
	*to = values[0]
	return &choice[T]{to: to, name: names[0], names: names, values: values}
}

func (c *choice[T]) Set(s string) error {
	for i, name := range c.names {
		if name == s {
			*c.to, c.name = c.values[i], s
			return nil
		}
	}
	return fmt.Errorf("write %s", strings.Join(c.names[:len(c.names)-1], ", ")+" or "+c.names[len(c.names)-1])
}

func (c *choice[T]) choices() []string { return c.names }

func (c *choice[T]) String() string { return c.name }
func (c *choice[T]) Type() string   { return strings.Join(c.names, "|") }

// allReferrers is the value of --referrers that stands for all types.
const allReferrers = "all"

// referrerTypes is a flag that asks for referrers: of all types, or of those that are named.
type referrerTypes struct{ options *copy.Options }

func (r *referrerTypes) Set(s string) error {
	r.options.Referrers = copy.AllReferrers
	if s == allReferrers {
		r.options.ReferrerTypes = nil
		return nil
	}
	return (&listValue[string]{to: &r.options.ReferrerTypes, parse: artifactType}).Set(s)
}

// The values of --digest-tags, beside true and false.
const (
	cosignTags = "cosign"
	allTags    = "all"
)

// digestTags is a flag that asks for digest tags: for cosign's, or for all.
type digestTags struct{ options *copy.Options }

func (d *digestTags) Set(s string) error {
	o := d.options
	o.DigestTags, o.DigestTagSuffixes = true, copy.CosignDigestTags
	switch s {
	case cosignTags, "true":
	case allTags:
		o.DigestTagSuffixes = copy.AllDigestTags
	case "false":
		o.DigestTags = false
	default:
		return fmt.Errorf("write %s or %s", cosignTags, allTags)
	}
	return nil
}

func (d *digestTags) choices() []string { return []string{cosignTags, allTags} }

func (d *digestTags) String() string {
	switch {
	case d.options == nil || !d.options.DigestTags:
		return ""
	case d.options.DigestTagSuffixes == copy.AllDigestTags:
		return allTags
	}
	return cosignTags
}

func (d *digestTags) Type() string { return cosignTags + "|" + allTags }

// referrersSourceHelp is the help of --referrers-source.
const referrersSourceHelp = "look for referrers and digest tags in `REPOSITORY`, docker://HOST/NAME, too: there are images whose attestations are in another registry"

// referrersSource is a flag that names a repository.
type referrersSource struct {
	options *copy.Options
	text    string
}

func (r *referrersSource) Set(s string) error {
	ref, err := parseRepository(s)
	if err != nil {
		return err
	}
	r.options.ReferrersFrom, r.text = &copy.ReferrersSource{Reference: ref}, s
	return nil
}

func (r *referrersSource) String() string { return r.text }
func (r *referrersSource) Type() string   { return "REPOSITORY" }

// reachedBy returns a repository with the configuration by which it is reached; nil for none.
func reachedBy(from *copy.ReferrersSource, sys *types.SystemContext) *copy.ReferrersSource {
	if from == nil {
		return nil
	}
	return &copy.ReferrersSource{Reference: from.Reference, SystemContext: sys}
}

// artifactType accepts what has the form of a media type (RFC 6838, section 4.2).
func artifactType(s string) (string, error) {
	if kind, subtype, ok := strings.Cut(s, "/"); !ok || kind == "" || subtype == "" || strings.ContainsAny(s, " \t") {
		return "", fmt.Errorf("%q is no artifact type: they have the form of media types, such as application/spdx+json", s)
	}
	return s, nil
}

func (r *referrerTypes) String() string {
	if r.options == nil || r.options.Referrers == copy.NoReferrers {
		return ""
	}
	if len(r.options.ReferrerTypes) == 0 {
		return allReferrers
	}
	return strings.Join(r.options.ReferrerTypes, ",")
}

func (r *referrerTypes) Type() string { return "TYPES" }

// A count is a flag that is a number of at least 1, and may have none to begin with.
type count struct{ to *uint }

func (c count) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return errors.New("write a number from 1 to 65535")
	}
	*c.to = uint(n)
	return nil
}

func (c count) String() string { return optionalCount(c).String() }
func (c count) Type() string   { return "N" }

func platforms(to *[]copy.InstancePlatformFilter, parse func(string) (copy.InstancePlatformFilter, error)) pflag.Value {
	return &listValue[copy.InstancePlatformFilter]{to: to, parse: parse, typeName: "PLATFORM"}
}

func digests(to *[]digest.Digest) pflag.Value {
	return &listValue[digest.Digest]{to: to, parse: digest.Parse, typeName: "DIGEST"}
}

func positions(to *[]int) pflag.Value {
	return &listValue[int]{to: to, parse: position, typeName: "N"}
}
