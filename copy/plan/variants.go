package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A list may have several images for a platform that differ in how they are compressed. Variants
// that are asked for and that it lacks are added to it, each made of the first image for the
// platform that is copied.

// variantsOption is the option that asks for variants.
const variantsOption = "EnsureCompressionVariantsExist"

// A VariantPlan is an entry that is added to a list: an image of the list, compressed otherwise.
type VariantPlan struct {
	Of       digest.Digest `json:"of"`     // the image at the source that it is made of
	Format   string        `json:"format"` // its compression
	Platform string        `json:"platform"`
	// Became is what is made of the image, nil until that is known.
	Became *Became `json:"became,omitempty"`
	// Present is set if that is known to be at the destination.
	Present bool `json:"present,omitempty"`

	index int // of the entry of the image
}

// Result returns the digest of the variant, "" until that is known.
func (v *VariantPlan) Result() digest.Digest {
	if v.Became == nil {
		return ""
	}
	return v.Became.Digest
}

// why says of what image the variant is made, and whether it is at the destination already.
func (v *VariantPlan) why() string {
	return fmt.Sprintf("made of %s: %s adds what the list lacks%s", prose.Short(v.Of), variantsOption, there(v.Present))
}

// checkVariants refuses variants that cannot be, wherever they would be added.
func checkVariants(in *Input) error {
	forced := in.Choices.ForceManifestMIMEType
	for _, format := range in.Way.Variants {
		switch {
		case !slices.Contains([]string{gzip, zstd, zstdChunked}, format):
			return &OptionsError{[]string{variantsOption}, "no manifest can state " + format}
		case format != gzip && forced != "" && forced != imgspecv1.MediaTypeImageManifest:
			return &OptionsError{[]string{variantsOption, "ForceManifestMIMEType"}, fmt.Sprintf("%s does not state %s", forced, format)}
		}
	}
	return nil
}

// addVariants fills in the variants that are added to a list. What is to become of its entries has
// been decided.
func addVariants(t *treePlanner, n *listtree.Node, l *ListPlan) error {
	if !transforms(t.in) || len(t.in.Way.Variants) == 0 || n.HasBlobs {
		return nil
	}
	if err := checkVariants(t.in); err != nil {
		return err
	}
	all, named := variantsThere(t, n, l), written(l)
	for i := range l.Instances {
		ip := &l.Instances[i]
		if ip.Decision != Copy || !mayHaveVariants(ip) {
			continue
		}
		there := all[platformKey(n.Instances[i].Platform)]
		for _, format := range t.in.Way.Variants {
			if there[format] {
				continue
			}
			v, err := variantOf(t, l, ip, format, named)
			if err != nil {
				return err
			}
			if v != nil {
				there[format] = true
				l.Variants = append(l.Variants, *v)
			}
		}
	}
	return nil
}

// mayHaveVariants reports whether the instance is an image that one could run: nothing that
// describes or accelerates one, and no artifact.
func mayHaveVariants(ip *InstancePlan) bool {
	return ip.isImage() && !ip.Relation.Follows() && ip.Kind != KindArtifact
}

// variantsThere returns, by platform, with which compressions the list that is written names
// images.
func variantsThere(t *treePlanner, n *listtree.Node, l *ListPlan) map[string]map[string]bool {
	there := map[string]map[string]bool{}
	for i := range l.Instances {
		ip := &l.Instances[i]
		if ip.Entry == StripEntry || !mayHaveVariants(ip) {
			continue
		}
		key := platformKey(n.Instances[i].Platform)
		if there[key] == nil {
			there[key] = map[string]bool{}
		}
		image, _ := t.in.Tree.Image(ip.Digest) // what cannot be parsed fails where it is copied
		for _, format := range compressions(image, n.Instances[i].Annotations) {
			there[key][format] = true
		}
	}
	return there
}

// platformKey is equal for equal platforms, whatever the order of their features.
func platformKey(p *imgspecv1.Platform) string {
	if p == nil {
		p = &imgspecv1.Platform{}
	}
	sorted := *p
	sorted.OSFeatures = slices.Sorted(slices.Values(p.OSFeatures))
	return platform.Format(&sorted)
}

// chunkedAnnotation is on layers that are compressed with zstd:chunked (containers/storage).
const chunkedAnnotation = "io.github.containers.zstd-chunked.manifest-checksum"

// compressions returns the names of the compressions that an image stands for, with the given
// annotations of its entry; image is nil if it was not read. What is not compressed with zstd is
// there for those who know gzip.
func compressions(image *manifest.Image, annotations map[string]string) []string {
	formats := map[string]bool{}
	if annotations[manifest.AnnotationZstd] == "true" {
		formats[zstd] = true
	}
	if image != nil {
		for _, layer := range image.Layers {
			if isZstd(image, layer) {
				formats[zstd] = true
				formats[zstdChunked] = formats[zstdChunked] || layer.Annotations[chunkedAnnotation] != ""
			}
		}
	}
	if len(formats) == 0 {
		return []string{gzip}
	}
	maps.DeleteFunc(formats, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(formats))
}

// isZstd reports whether a layer of an image is compressed with zstd, encrypted or not.
func isZstd(image *manifest.Image, layer manifest.Descriptor) bool {
	layer.MediaType = strings.TrimSuffix(layer.MediaType, encryptedSuffix)
	algorithm, _ := compressionOf(image, layer)
	return algorithm == zstd
}

// written returns what the entries of the list name that is written, variants apart, as far as it
// is known.
func written(l *ListPlan) map[digest.Digest]bool {
	written := map[digest.Digest]bool{}
	for i := range l.Instances {
		if ip := &l.Instances[i]; ip.Entry != StripEntry {
			written[ip.Result()] = true
		}
	}
	return written
}

// variantOf returns the variant of an instance with the given compression, nil if there can be
// none; named is what the list names already.
func variantOf(t *treePlanner, l *ListPlan, ip *InstancePlan, format string, named map[digest.Digest]bool) (*VariantPlan, error) {
	in := t.in
	what := fmt.Sprintf("the list %s would get a variant of %s (%s) with %s", l.Digest, prose.Short(ip.Digest), ip.Platform, format)
	none := fmt.Sprintf("no variant of %s (%s) with %s is added: ", ip.Digest, ip.Platform, format)
	switch {
	case in.Choices.PreserveDigests:
		return nil, &OptionsError{[]string{variantsOption, "PreserveDigests"}, what}
	case in.DestinationDigest != "":
		return nil, &OptionsError{[]string{variantsOption}, fmt.Sprintf("%s, and the destination names the digest %s", what, in.DestinationDigest)}
	case in.Way.Signed[ip.Digest]:
		l.notes = append(l.notes, none+"it is signed, and the variant would not be")
		return nil, nil
	}
	image, err := in.Tree.Image(ip.Digest)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", ip.Digest, err)
	}
	changeable := func(layer manifest.Descriptor) bool {
		if in.Way.Decrypts {
			layer.MediaType = strings.TrimSuffix(layer.MediaType, encryptedSuffix)
		}
		_, is := compressionOf(image, layer)
		return is
	}
	if image != nil && !slices.ContainsFunc(image.Layers, changeable) {
		return nil, nil
	}
	v := &VariantPlan{Of: ip.Digest, Format: format, Platform: ip.Platform, index: ip.Index}
	doc, known := in.Transformed[TransformKey{ip.Digest, format}]
	if !known {
		return v, nil
	}
	v.Became = becameOf(doc)
	v.Present = in.Present[v.Became.Digest]
	made := parse(doc)
	if made.err != nil {
		return nil, fmt.Errorf("variant of %s with %s: %w", ip.Digest, format, made.err)
	}
	if named[v.Became.Digest] || !slices.Contains(compressions(made.image, nil), format) {
		l.notes = append(l.notes, none+"what is made of it is in the list already, or not compressed so")
		return nil, nil
	}
	return v, nil
}

// variantsKnown reports whether all variants of the list are known.
func variantsKnown(l *ListPlan) bool {
	return !slices.ContainsFunc(l.Variants, func(v VariantPlan) bool { return v.Became == nil })
}

// additions returns the edits that add the variants of a list: where entries can say that an image
// needs zstd, those come last, as upstream has them. Clients that know no annotations take the
// first image for their platform.
func additions(in *Input, n *listtree.Node, l *ListPlan) []manifest.ListEdit {
	if len(l.Variants) == 0 || !variantsKnown(l) {
		return nil
	}
	oci := l.ResultType == imgspecv1.MediaTypeImageIndex
	var plain, marked []manifest.ListEdit
	stated := n.List.Instances()
	for i := range l.Variants {
		v := &l.Variants[i]
		edit := addition(v, stated[v.index], oci, originOf(in, l, TransformKey{v.Of, v.Format}))
		if edit.AddAnnotations[manifest.AnnotationZstd] == "true" {
			marked = append(marked, edit)
		} else {
			plain = append(plain, edit)
		}
	}
	var moves []manifest.ListEdit
	last := true // the entries that are marked are the last ones
	for i := range l.Instances {
		isMarked := oci && (l.Instances[i].Marked || stated[i].Annotations[manifest.AnnotationZstd] == "true")
		switch {
		case l.Instances[i].Entry == StripEntry:
		case isMarked:
			moves = append(moves, manifest.ListEdit{ListOperation: manifest.ListOpMove, MoveIndex: i})
		case len(moves) > 0:
			last = false
		}
	}
	if last && len(plain) == 0 {
		moves = nil
	}
	return slices.Concat(plain, moves, marked)
}

// addition returns the edit that adds a variant of what an entry names. It has the annotations of
// that, but for those about how it is compressed and what it was made of, and about what
// accelerates it and not the variant; and those of origin. Docker lists have a platform in every
// entry, and annotations in none.
func addition(v *VariantPlan, of manifest.Instance, oci bool, origin map[string]string) manifest.ListEdit {
	edit := manifest.ListEdit{
		ListOperation: manifest.ListOpAdd, AddDigest: v.Became.Digest, AddSize: v.Became.Size, AddMediaType: v.Became.MediaType,
		AddPlatform: of.Platform,
	}
	if !oci {
		edit.AddPlatform = cmp.Or(of.Platform, &imgspecv1.Platform{})
		return edit
	}
	edit.AddArtifactType = of.ArtifactType
	edit.AddAnnotations = maps.Clone(of.Annotations)
	for _, about := range []string{
		manifest.AnnotationZstd, manifest.AnnotationSOCIIndex, manifest.AnnotationTransformedFrom, manifest.AnnotationTransformedBy,
	} {
		delete(edit.AddAnnotations, about)
	}
	if v.Format != gzip {
		edit.AddAnnotations = with(edit.AddAnnotations, needsZstd)
	}
	edit.AddAnnotations = with(edit.AddAnnotations, origin)
	return edit
}

// needsZstd says of an entry that its image needs zstd.
var needsZstd = map[string]string{manifest.AnnotationZstd: "true"}

// with returns annotations and more, which replace those of the same keys.
func with(annotations, more map[string]string) map[string]string {
	if len(more) == 0 {
		return annotations
	}
	all := map[string]string{}
	maps.Copy(all, annotations)
	maps.Copy(all, more)
	return all
}

// marksZstd reports whether entries of a list are to say that their images need zstd: if options
// ask for that, the list can say so, and nothing forbids to change it, nor asks that its original
// prove it.
func marksZstd(t *treePlanner, n *listtree.Node, l *ListPlan) bool {
	if !transforms(t.in) || l.ResultType != imgspecv1.MediaTypeImageIndex || n.HasBlobs || t.cannotModify(l) != "" {
		return false
	}
	if t.in.Choices.AttachOriginal && unprovable(l) == "" {
		return false
	}
	asked := append(slices.Clone(t.in.Way.Variants), t.in.Way.CompressionFormat)
	return slices.Contains(asked, zstd) || slices.Contains(asked, zstdChunked)
}

// markZstd returns updates with what marks the entries whose images need zstd at the destination
// and that do not say so, and fills in which they are.
func markZstd(t *treePlanner, n *listtree.Node, l *ListPlan, updates []manifest.ListEdit) ([]manifest.ListEdit, error) {
	if !marksZstd(t, n, l) {
		return updates, nil
	}
	edits := map[int]manifest.ListEdit{}
	for _, u := range updates {
		edits[u.UpdateIndex] = u
	}
	for i := range l.Instances {
		ip := &l.Instances[i]
		if ip.Decision != Copy || !ip.isImage() || n.Instances[i].Annotations[manifest.AnnotationZstd] == "true" {
			continue
		}
		image, err := atDestination(t.in, ip)
		if err != nil {
			return nil, err
		}
		if image == nil || !slices.Contains(compressions(image, nil), zstd) {
			continue
		}
		edit := edits[i]
		edit.ListOperation, edit.UpdateIndex = manifest.ListOpUpdate, i
		edit.UpdateAnnotations = with(edit.UpdateAnnotations, needsZstd)
		edits[i] = edit
		ip.Entry, ip.Marked = UpdateEntry, true
	}
	marking := make([]manifest.ListEdit, 0, len(edits))
	for _, i := range slices.Sorted(maps.Keys(edits)) {
		marking = append(marking, edits[i])
	}
	return marking, nil
}

// atDestination returns the manifest that an image has at the destination, nil as long as that is
// not known, and for Docker schema 1.
func atDestination(in *Input, ip *InstancePlan) (*manifest.Image, error) {
	image, err := in.Tree.Image(ip.Digest)
	if ip.Transform != "" {
		doc, known := in.Transformed[TransformKey{Digest: ip.Digest}]
		if !known {
			return nil, nil
		}
		result := parse(doc)
		image, err = result.image, result.err
	}
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", ip.Digest, err)
	}
	return image, nil
}
