package syncfile

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/late"
	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
	"github.com/sparsecopy/sparsecopy/examples/internal/schedule"
	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"
)

// A File is what a sync file says, with its defaults worked in.
type File struct {
	Images     []*Image        // in the order of the file, never empty
	Registries []Registry      // how they are reached, each with another name, whatever the case of its letters
	Notify     []notify.Sender // who may tell a server what was pushed, each with another name
}

// An Image is an element of images.
type Image struct {
	Line int // of the file, from 1

	// Source is the reference as it is written, with the values of variables. If Tags is set, it is
	// one of docker: that names no tag.
	Source string
	// Tags are those to be copied, nil for what Source itself names.
	Tags *tagselect.Selection
	// Options say how to copy. They have no contexts.
	Options copy.Options
	// Single says what becomes of a source that is a single image for another platform than those
	// that are selected.
	Single SingleAction
	// Schedule says when a server copies the image, its zero value if the file does not.
	Schedule schedule.Schedule
	// Check is how far destinations are looked at whose turn it is.
	Check Check
	// Settings is a fingerprint of all that the file says of what destinations are to have of their
	// sources, and Files are the paths of the files that it names for that.
	Settings digest.Digest
	Files    []string
	// Whole is a fingerprint of all that the file says of the image, but for when it is copied.
	Whole digest.Digest

	system      *system // nil if a list is copied
	prereleases bool    // ranges of Tags take them
	bounds      tagselect.Bounds
	budget      *semaphore.Weighted
	destination string // template
	referrers   string // template of the repository to look for referrers in, "" for none
	identity    string // template of what new signatures are for, "" for the destination
	changes     transform.Settings
	timing      timing
	named       reference.Named
	parse       ParseReference
}

// A SingleAction is what becomes of a source that is a single image, and no list, for another
// platform than those that are selected.
type SingleAction int

const (
	CheckSingle SingleAction = iota // it is an error
	CopySingle                      // it is copied; Image.Options say so
	SkipSingle                      // it is left out
)

// A Check is how far a destination is looked at.
type Check int

const (
	CheckManifests Check = iota // what the tag names, and each manifest
	CheckTag                    // what the tag names
	CheckBlobs                  // each config and layer, too
)

// Budget bounds what the copies of this element have in flight, all together. It is nil if the file
// sets no bound.
func (i *Image) Budget() *semaphore.Weighted { return i.budget }

// A Copy is one copy that the file wants.
type Copy struct {
	Image               *Image
	Source, Destination types.ImageReference
	// ReferrersFrom is another repository to look for referrers in, without a context, nil for
	// none.
	ReferrersFrom *copy.ReferrersSource
	// SignIdentity is what new signatures are for, nil for Destination.
	SignIdentity reference.Named
	// Tag is the tag of the source, "" if it has none.
	Tag string
}

// ParseReference parses a reference with its transport. what is its role, for the error.
type ParseReference func(what, text string) (types.ImageReference, error)

// Listed reports whether the source's tags must be listed to know what the image stands for.
func (i *Image) Listed() bool { return i.Tags != nil && i.Tags.Listed() }

// Wants reports whether one of the image's copies may be that of a tag, or, for "", of the source
// itself. Whether the tag is within the bounds that there may be, only a list of tags can say.
func (i *Image) Wants(tag string) bool {
	if i.Tags == nil {
		return tag == ""
	}
	return slices.Contains(i.Tags.Names, tag) || i.Tags.Takes(tag)
}

// Copies returns what the image stands for, in the order of versions. taken are the tags of the
// source's repository that its Tags take beside those that they name; there are some only if
// Listed.
func (i *Image) Copies(taken []string) (all []Copy, err error) {
	tags := []string{""}
	if i.Tags != nil {
		tags = tagselect.Sorted(slices.Concat(i.Tags.Names, taken))
	}
	for _, tag := range tags {
		c, err := i.copy(tag)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// CopyOf is what Copies has for a tag of the source, or for the source itself if Tags is nil: then
// tag is "". Whether the image Wants it is not looked at.
func (i *Image) CopyOf(tag string) (Copy, error) { return i.copy(tag) }

// copy is the copy of the source, or, if tag is set, of that tag of it. An error beside a Copy with
// a Destination is about the repository for referrers.
func (i *Image) copy(tag string) (Copy, error) {
	text, named := i.Source, i.named
	if pinned := PinnedIn(text); pinned != nil {
		text = ByDigest(pinned)
	}
	if tag != "" {
		tagged, err := reference.WithTag(named, tag)
		if err != nil {
			return Copy{}, fmt.Errorf("tag %q: %w", tag, err)
		}
		text, named = "docker://"+tagged.String(), tagged
	}
	source, err := i.parse("source", text)
	if err != nil {
		return Copy{}, err
	}
	to, err := expand("destination", i.destination, named)
	if err != nil {
		return Copy{}, err
	}
	if to, err = complete(to, named); err != nil {
		return Copy{}, err
	}
	destination, err := i.parse("destination", to)
	if err != nil {
		return Copy{}, err
	}
	identity, err := i.signIdentity(named)
	if err != nil {
		return Copy{}, err
	}
	from, err := i.referrersFrom(named)
	return Copy{Image: i, Source: source, Destination: destination, ReferrersFrom: from, SignIdentity: identity, Tag: tagOf(named)}, err
}

// referrersFrom returns the repository to look for the referrers of a source in, nil for none.
func (i *Image) referrersFrom(named reference.Named) (*copy.ReferrersSource, error) {
	if i.referrers == "" {
		return nil, nil
	}
	text, err := expand(keyReferrersSource, i.referrers, named)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(text, "docker://") {
		return nil, fmt.Errorf("%s: write docker://HOST/NAME, a repository of a registry, not %q", keyReferrersSource, text)
	}
	ref, err := i.parse(keyReferrersSource, text)
	if err != nil {
		return nil, err
	}
	return &copy.ReferrersSource{Reference: ref}, nil
}

// Repository is the key of the destination's repository (see Key), if that is the same for all
// tags.
func (i *Image) Repository() (key string, ok bool) {
	if i.Tags == nil {
		c, err := i.copy("")
		return Key(c.Destination), err == nil
	}
	one, err := i.copy("a")
	if err != nil {
		return "", false
	}
	other, err := i.copy("b")
	return Key(one.Destination), err == nil && Key(one.Destination) == Key(other.Destination)
}

// Key names what copies to a reference write into: a repository, a layout, a file. It is "" for
// nil. However the host of a registry is written, it is one.
func Key(ref types.ImageReference) string {
	if ref == nil {
		return ""
	}
	if named := ref.DockerReference(); named != nil && ref.Transport().Name() == "docker" {
		return "docker://" + repositoryOf(named)
	}
	where := ref.PolicyConfigurationIdentity()
	if where == "" {
		where = ref.StringWithinTransport()
	}
	if ref.Transport().Name() == "oci" { // the identity ends with the tag
		if tag := ref.StringWithinTransport(); strings.Contains(tag, ":") {
			where = strings.TrimSuffix(where, tag[strings.LastIndex(tag, ":"):])
		}
	}
	return ref.Transport().Name() + ":" + where
}

// repositoryOf names a repository, however its host is written.
func repositoryOf(named reference.Named) string {
	return strings.TrimSuffix(strings.ToLower(reference.Domain(named)), ":443") + "/" + reference.Path(named)
}

// variables are what destinations may have in braces.
var variables = map[string]func(reference.Named) string{
	"registry":   func(n reference.Named) string { return strings.ReplaceAll(reference.Domain(n), ":", "-") },
	"repository": reference.Path,
	"name":       func(n reference.Named) string { return path.Base(reference.Path(n)) },
	"tag":        tagOf,
}

var variable = late.Regexp(`\{([^{}]*)\}`)

// expand puts the parts of a source's name into the template that a key has.
func expand(key, template string, named reference.Named) (string, error) {
	var problem error
	out := variable().ReplaceAllStringFunc(template, func(match string) string {
		name := match[1 : len(match)-1]
		f, ok := variables[name]
		switch {
		case !ok:
			problem = fmt.Errorf("%s %q has {%s}, which is unknown%s", key, template, name, didYouMean(name, keysOf(variables)))
		case named == nil:
			problem = fmt.Errorf("%s %q has {%s}, and the source is in no registry", key, template, name)
		case f(named) == "":
			problem = fmt.Errorf("%s %q has {%s}, and the source has none", key, template, name)
		default:
			return f(named)
		}
		return match
	})
	return out, problem
}

// complete gives a repository without tag and digest those of the source.
func complete(destination string, source reference.Named) (string, error) {
	text, isDocker := strings.CutPrefix(destination, "docker://")
	if !isDocker || source == nil {
		return destination, nil
	}
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil || !reference.IsNameOnly(named) {
		return destination, nil //nolint:nilerr // whoever parses it says what is wrong
	}
	switch source := source.(type) {
	case reference.NamedTagged: // and perhaps read by a digest
		return destination + ":" + source.Tag(), nil
	case reference.Canonical:
		return destination + "@" + source.Digest().String(), nil
	}
	return "", errors.New("the source has neither tag nor digest")
}

// PinnedIn returns the name in a reference to a registry that has both tag and digest, nil if it
// has not. As a source, that is read by its digest (see ByDigest), and the tag is its tag.
func PinnedIn(text string) reference.Canonical {
	rest, isDocker := strings.CutPrefix(text, "docker://")
	if !isDocker {
		return nil
	}
	named, err := reference.ParseNormalizedNamed(rest)
	if err != nil || tagOf(named) == "" {
		return nil
	}
	pinned, _ := named.(reference.Canonical)
	return pinned
}

// ByDigest is a reference to what has the digest of named, whatever its tag names.
func ByDigest(named reference.Canonical) string {
	return "docker://" + named.Name() + "@" + named.Digest().String()
}

func tagOf(named reference.Named) string {
	if tagged, ok := named.(reference.NamedTagged); ok {
		return tagged.Tag()
	}
	return ""
}
