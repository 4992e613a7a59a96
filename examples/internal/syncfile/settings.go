package syncfile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/spelling"
	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/semaphore"
)

// settings are the keys that defaults and images have, and what they do.
var settings = map[string]func(*parser, *Image, *yaml.Node){
	"destination": destination,
	keyReferrersSource: func(p *parser, i *Image, n *yaml.Node) {
		text, _ := p.environed(n, keyReferrersSource, nil)
		if i.referrers = p.template(n, keyReferrersSource, text); i.referrers == noReferrersSource {
			i.referrers = ""
		}
	},
	keySystem: systemImage,
	"platforms": func(p *parser, i *Image, n *yaml.Node) {
		i.Options.InstancePlatforms = p.platforms(n, "platforms", true)
		if len(i.Options.InstancePlatforms) > 0 {
			i.Options.ImageListSelection = copy.CopySpecificImages
		}
	},
	"optional": func(p *parser, i *Image, n *yaml.Node) {
		i.Options.OptionalPlatforms = p.platforms(n, "optional", false)
		if len(i.Options.OptionalPlatforms) > 0 {
			i.Options.ImageListSelection = copy.CopySpecificImages
		}
	},
	"required": func(p *parser, i *Image, n *yaml.Node) {
		i.Options.RequiredPlatforms = p.platforms(n, "required", false)
	},
	"sparse": func(p *parser, i *Image, n *yaml.Node) {
		choose(p, n, "sparse", &i.Options.SparseManifestListAction, map[string]copy.SparseManifestListAction{
			"keep": copy.KeepSparseManifestList, "strip": copy.StripSparseManifestList, "auto": copy.AutoSparseManifestList,
		})
	},
	"attestations": func(p *parser, i *Image, n *yaml.Node) {
		choose(p, n, "attestations", &i.Options.Attestations, map[string]copy.AttestationAction{
			"default": copy.DefaultAttestations, "follow": copy.FollowSubject, "drop": copy.DropAttestations, "all": copy.KeepAllAttestations,
		})
	},
	"missing": func(p *parser, i *Image, n *yaml.Node) {
		choose(p, n, "missing", &i.Options.MissingInstances, map[string]copy.MissingInstanceAction{
			"fail": copy.FailOnMissing, "skip": copy.SkipMissing,
		})
	},
	"single": func(p *parser, i *Image, n *yaml.Node) {
		choose(p, n, "single", &i.Single, map[string]SingleAction{"check": CheckSingle, "copy": CopySingle, "skip": SkipSingle})
		if i.Single == CopySingle {
			i.Options.SingleImage = copy.CopySingleImage
		}
	},
	"platformless-entries": func(p *parser, i *Image, n *yaml.Node) {
		choose(p, n, "platformless-entries", &i.Options.PlatformlessEntries, map[string]copy.PlatformlessAction{
			"strip": copy.StripPlatformlessEntries, "keep": copy.KeepPlatformlessEntries,
		})
	},
	"referrers": func(p *parser, i *Image, n *yaml.Node) { p.referrers(i, resolve(n)) },
	"digest-tags": func(p *parser, i *Image, n *yaml.Node) {
		tags := digestTags{i.Options.DigestTags, i.Options.DigestTagSuffixes}
		choose(p, n, "digest-tags", &tags, map[string]digestTags{
			"true": {true, copy.CosignDigestTags}, "cosign": {true, copy.CosignDigestTags},
			"all": {true, copy.AllDigestTags}, "false": {},
		})
		i.Options.DigestTags, i.Options.DigestTagSuffixes = tags.wanted, tags.suffixes
	},
	"entries-as-referrers": yesOrNo("entries-as-referrers", func(o *copy.Options) *bool { return &o.EntriesAsReferrers }),
	"keep-void":            yesOrNo("keep-void", func(o *copy.Options) *bool { return &o.KeepVoid }),
	"check": func(p *parser, i *Image, n *yaml.Node) {
		choose(p, n, "check", &i.Check, map[string]Check{"tag": CheckTag, "manifests": CheckManifests, "blobs": CheckBlobs})
	},
	"check-blobs":            yesOrNo("check-blobs", func(o *copy.Options) *bool { return &o.CheckBlobs }),
	"widened-child-tags":     yesOrNo("widened-child-tags", func(o *copy.Options) *bool { return &o.WidenedChildTags }),
	"preserve-digests":       yesOrNo("preserve-digests", func(o *copy.Options) *bool { return &o.PreserveDigests }),
	"remove-signatures":      yesOrNo("remove-signatures", func(o *copy.Options) *bool { return &o.RemoveSignatures }),
	"remove-list-signatures": yesOrNo("remove-list-signatures", func(o *copy.Options) *bool { return &o.RemoveListSignatures }),
	"list-signatures": func(p *parser, i *Image, n *yaml.Node) {
		choose(p, n, "list-signatures", &i.Options.ListSignatures, map[string]copy.ListSignatureAction{
			"guard": copy.GuardListSignatures, "warn": copy.WarnListSignatures,
		})
	},
	keyPrereleases: func(p *parser, i *Image, n *yaml.Node) {
		choose(p, n, keyPrereleases, &i.prereleases, map[string]bool{"true": true, "false": false})
	},
	keyNewest: newest,
	keyNewestBy: func(p *parser, i *Image, n *yaml.Node) {
		choose(p, n, keyNewestBy, &i.bounds.By, map[string]tagselect.By{"version": tagselect.ByVersion, "created": tagselect.ByCreated})
	},
	keySince:  since,
	keyEvery:  duration(keyEvery, func(i *Image) *time.Duration { return &i.timing.every }),
	keyCron:   text(keyCron, func(i *Image) *string { return &i.timing.cron }),
	keyJitter: duration(keyJitter, func(i *Image) *time.Duration { return &i.timing.jitter }),
	"parallel": func(p *parser, i *Image, n *yaml.Node) {
		text, ok := p.scalar(n, "parallel")
		if !ok {
			return
		}
		number, err := strconv.ParseUint(text, 10, 16)
		if err != nil || number == 0 {
			p.problem(n.Line, "parallel: %q is no number from 1 to 65535", text)
			return
		}
		i.budget = semaphore.NewWeighted(int64(number))
	},
	transform.SignBy:                    text(transform.SignBy, func(i *Image) *string { return &i.changes.SignBy }),
	transform.SignBySigstore:            file(transform.SignBySigstore, func(i *Image) *string { return &i.changes.SignBySigstore }),
	transform.SignBySigstorePrivateKey:  file(transform.SignBySigstorePrivateKey, func(i *Image) *string { return &i.changes.SignBySigstorePrivateKey }),
	transform.SignPassphraseFile:        file(transform.SignPassphraseFile, func(i *Image) *string { return &i.changes.SignPassphraseFile }),
	transform.SignIdentity:              text(transform.SignIdentity, func(i *Image) *string { return &i.identity }),
	transform.AlwaysSign:                change(transform.AlwaysSign, func(s *transform.Settings) *bool { return &s.AlwaysSign }),
	transform.CompressFormat:            compressFormat,
	transform.CompressLevel:             compressLevel,
	transform.ForceCompressFormat:       change(transform.ForceCompressFormat, func(s *transform.Settings) *bool { return &s.ForceCompressFormat }),
	transform.EncryptionKey:             encryptionKeys,
	transform.EncryptLayer:              encryptLayers,
	transform.DecryptionKey:             decryptionKeys,
	transform.Format:                    format,
	transform.AnnotateTransformed:       change(transform.AnnotateTransformed, func(s *transform.Settings) *bool { return &s.AnnotateTransformed }),
	transform.AttachOriginal:            change(transform.AttachOriginal, func(s *transform.Settings) *bool { return &s.Original.Attach }),
	transform.VerifierID:                text(transform.VerifierID, func(i *Image) *string { return &i.changes.Original.VerifierID }),
	transform.OriginPolicy:              file(transform.OriginPolicy, func(i *Image) *string { return &i.changes.Original.OriginPolicy }),
	transform.PolicyURI:                 text(transform.PolicyURI, func(i *Image) *string { return &i.changes.Original.PolicyURI }),
	transform.PolicyDigest:              text(transform.PolicyDigest, func(i *Image) *string { return &i.changes.Original.PolicyDigest }),
	transform.PreviousPublicKey:         files(transform.PreviousPublicKey, func(i *Image) *[]string { return &i.changes.PreviousPublicKeys }),
	transform.OriginKey:                 files(transform.OriginKey, func(i *Image) *[]string { return &i.changes.Original.Origin.Keys }),
	transform.OriginTrustedRoot:         file(transform.OriginTrustedRoot, func(i *Image) *string { return &i.changes.Original.Origin.TrustedRoot }),
	transform.OriginCertificateIdentity: text(transform.OriginCertificateIdentity, func(i *Image) *string { return &i.changes.Original.Origin.CertificateIdentity }),
	transform.OriginCertificateIssuer:   text(transform.OriginCertificateIssuer, func(i *Image) *string { return &i.changes.Original.Origin.CertificateIssuer }),
	transform.ChangedSubjects: func(p *parser, i *Image, n *yaml.Node) {
		choose(p, n, transform.ChangedSubjects, &i.changes.ChangedSubjects, transform.Subjects)
	},
}

// keyReferrersSource is a key, and noReferrersSource its value that stands for no repository.
const (
	keyReferrersSource = "referrers-source"
	noReferrersSource  = "none"
)

// destination is the setting of the destination. "${tag}" is a "$" before the source's tag, which
// no name of a repository has.
func destination(p *parser, i *Image, n *yaml.Node) {
	text, _ := p.environed(n, "destination", keysOf(variables))
	if i.destination = p.template(n, "destination", text); !strings.HasPrefix(text, "docker://") {
		return
	}
	if _, after, found := strings.Cut(text, "${"); found {
		name, _, _ := strings.Cut(after, "}")
		p.problem(n.Line, "destination %q: write {%s} for the source's; no variable of the environment can have this name here", text, name)
	}
}

// template returns the text of a key, which may have variables in braces.
func (p *parser) template(n *yaml.Node, key, text string) string {
	for _, match := range variable().FindAllStringSubmatch(text, -1) {
		if variables[match[1]] == nil {
			p.problem(n.Line, "%s %q has {%s}, which is unknown%s", key, text, match[1], didYouMean(match[1], keysOf(variables)))
		}
	}
	return text
}

// digestTags are the options that the key of that name stands for.
type digestTags struct {
	wanted   bool
	suffixes copy.DigestTagSuffixes
}

// yesOrNo is the setting of an option that is true or false.
func yesOrNo(key string, option func(*copy.Options) *bool) func(*parser, *Image, *yaml.Node) {
	return func(p *parser, i *Image, n *yaml.Node) {
		choose(p, n, key, option(&i.Options), map[string]bool{"true": true, "false": false})
	}
}

// apply sets what the keys say.
func (p *parser) apply(image *Image, keys map[string]*yaml.Node) {
	for key, node := range keys {
		if set := settings[key]; set != nil {
			set(p, image, node)
		}
	}
}

// consistent refuses keys of one image that would have no effect. A default that has what it needs
// may be one of an image that lacks it.
func (p *parser) consistent(image *yaml.Node, keys, defaults map[string]*yaml.Node) {
	platforms := func(keys map[string]*yaml.Node) bool {
		has := func(key string) bool { return keys[key] != nil && len(resolve(keys[key]).Content) > 0 }
		return has("platforms") || has("optional")
	}
	for _, c := range []struct {
		key    string
		values []string
		text   string
	}{
		{"single", []string{"copy", "skip"}, "without them every image is copied"},
		{"platformless-entries", []string{"keep"}, "without them every entry is copied"},
	} {
		k := keys[c.key]
		byDefault := k == defaults[c.key] && platforms(defaults)
		if k != nil && slices.Contains(c.values, resolve(k).Value) && !platforms(keys) && !byDefault {
			p.problem(cmp.Or(k.Line, image.Line), "%s: %s needs platforms: %s", c.key, resolve(k).Value, c.text)
		}
	}
	strips := func(keys map[string]*yaml.Node) bool {
		return keys["sparse"] != nil && resolve(keys["sparse"]).Value != "keep"
	}
	on := func(key string) bool { return keys[key] != nil && resolve(keys[key]).Value != "false" }
	attach := keys[transform.AttachOriginal]
	byDefault := attach == defaults[transform.AttachOriginal] && strips(defaults)
	if attach != nil && resolve(attach).Value == "true" && !strips(keys) && !byDefault {
		p.problem(cmp.Or(attach.Line, image.Line), "%s needs sparse: strip or auto: a list that is kept is the original", transform.AttachOriginal)
	}
	if v := keys["keep-void"]; on("keep-void") && !on("referrers") && !on("digest-tags") {
		p.problem(cmp.Or(v.Line, image.Line), "keep-void needs referrers or digest-tags")
	}
	if v := keys[keyReferrersSource]; v != nil && resolve(v).Value != noReferrersSource && !on("referrers") && !on("digest-tags") {
		p.problem(cmp.Or(v.Line, image.Line), "%s needs referrers or digest-tags", keyReferrersSource)
	}
}

// referrers reads true, false, or a list of artifact types.
func (p *parser) referrers(image *Image, node *yaml.Node) {
	if node.Kind != yaml.SequenceNode {
		choose(p, node, "referrers", &image.Options.Referrers, map[string]copy.ReferrerAction{"true": copy.AllReferrers, "false": copy.NoReferrers})
		return
	}
	image.Options.Referrers = copy.AllReferrers
	for _, e := range p.sequence(node, "referrers") {
		if text, ok := p.scalar(e, "an artifact type"); ok {
			image.Options.ReferrerTypes = append(image.Options.ReferrerTypes, text)
		}
	}
	if len(image.Options.ReferrerTypes) == 0 {
		p.problem(node.Line, "referrers has no elements; write true for all types, or false for none")
	}
}

func (p *parser) platforms(node *yaml.Node, key string, mayExclude bool) []copy.InstancePlatformFilter {
	var all []copy.InstancePlatformFilter
	for _, e := range p.sequence(node, key) {
		text, ok := p.scalar(e, key)
		if !ok {
			continue
		}
		filter, err := copy.ParsePlatformFilter(text)
		switch {
		case err != nil:
			p.problem(e.Line, "%s: %v", key, err)
		case filter.Exclude && !mayExclude:
			p.problem(e.Line, "%s: %q excludes, which only platforms can", key, text)
		default:
			all = append(all, filter)
		}
	}
	return all
}

func choose[T any](p *parser, node *yaml.Node, key string, to *T, values map[string]T) {
	text, ok := p.scalar(node, key)
	if !ok {
		return
	}
	value, known := values[text]
	if !known {
		names := keysOf(values)
		p.problem(node.Line, "%s: write %s, not %q", key, strings.Join(names[:len(names)-1], ", ")+" or "+names[len(names)-1], text)
		return
	}
	*to = value
}

// resolve returns what an alias stands for.
func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// mapping returns the values of a mapping whose keys must be among known, nil if it is none.
//
// It does by hand what Decoder.KnownFields of the YAML library does, because that one says less: a
// type of Go in place of what the key stands in, no key that may have been meant, and the lines of
// values are gone when their contents are looked at.
func (p *parser) mapping(node *yaml.Node, what string, known []string) map[string]*yaml.Node {
	at := node.Line
	if node = resolve(node); node.Kind != yaml.MappingNode {
		p.problem(at, "%s must be a mapping of keys to values", what)
		return nil
	}
	values := map[string]*yaml.Node{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		switch {
		case !slices.Contains(known, key.Value):
			p.problem(key.Line, "%s has no key %q%s", what, key.Value, didYouMean(key.Value, known))
		case values[key.Value] != nil:
			p.problem(key.Line, "%s has the key %q twice", what, key.Value)
		default:
			values[key.Value] = node.Content[i+1]
		}
	}
	return values
}

func (p *parser) sequence(node *yaml.Node, what string) []*yaml.Node {
	at := node.Line
	if node = resolve(node); node.Kind != yaml.SequenceNode {
		p.problem(at, "%s must be a list", what)
		return nil
	}
	return node.Content
}

// scalar returns the text of a value as it is written: 1.10 is no number here.
func (p *parser) scalar(node *yaml.Node, what string) (string, bool) {
	at := node.Line
	node = resolve(node)
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" || node.Value == "" {
		p.problem(at, "%s must be a text", what)
		return "", false
	}
	return node.Value, true
}

func keysOf[V any](m map[string]V) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// didYouMean is "; did you mean …?" if one of known is close to text, else a list of them.
func didYouMean(text string, known []string) string {
	if best := spelling.Nearest(text, known); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; known are " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}
