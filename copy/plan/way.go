package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// WayFacts are what decides who does the work of a copy, beside Choices and the images. They are
// facts about the two ends and about options that only concern how images are written.
type WayFacts struct {
	// Source and Destination are the names of the transports; the engine of package copy reads and
	// writes those that are native.
	Source, Destination             string
	NativeSource, NativeDestination bool
	// UpstreamOnly are the options that are set and that only upstream's copy carries out, whatever
	// the images are.
	UpstreamOnly []OptionUse
	// EveryImage are the options that are set and that change every image that has layers.
	EveryImage []OptionUse
	// Stores are the media types of manifests and lists that the destination stores; nil means any.
	// Rejected are those that it has refused, nevertheless: what is of such a type is converted.
	Stores, Rejected []string
	// Layers is what the destination wants of layers.
	Layers LayerChange
	// ForeignStay is set if the destination leaves layers with URLs where they are.
	ForeignStay bool
	// CompressionFormat is the name of the compression that is asked for, "" if none is.
	CompressionFormat string
	// Encrypts is set if layers are to be encrypted: those at the positions EncryptLayers, from the
	// end if they are negative, or all if there are none.
	Encrypts      bool
	EncryptLayers []int
	// Decrypts and DownloadsForeign are set if encrypted layers are to be decrypted, and layers
	// with URLs to be downloaded.
	Decrypts, DownloadsForeign bool
	// Variants are the names of the compressions with which instances are to be added for the
	// platforms of a list that has none such.
	Variants []string
	// Transformations are the digests of what is done to images, by the Format of variants: entries
	// of images that were transformed state these, and what they were made of. Nil for none.
	Transformations map[string]digest.Digest
	// Signed are the images whose signatures are copied.
	Signed map[digest.Digest]bool
}

// An OptionUse is an option that is set, and what it does: "OciEncryptConfig", "encrypts layers".
type OptionUse struct{ Option, Does string }

func (u OptionUse) text() string { return u.Option + " " + u.Does }

// A wayReason says why the work has to be done by upstream's copy; its zero value, that it is done
// natively.
type wayReason struct {
	option string // the option that is the cause, "" if it is something else
	text   string
}

// CertainWay returns who does the work, as far as that is certain before any image has been read.
func CertainWay(f *WayFacts) Way {
	if f.reasonInEnds().text != "" {
		return Upstream
	}
	return Native
}

// MayChangeImages reports whether images may be asked to be as they need not be at the source. Then
// a digest that the destination has already says nothing. usual is what its transport wants of
// layers if nobody asks for anything else.
func (f *WayFacts) MayChangeImages(o *Choices, usual LayerChange) bool {
	return f.asks(o) || f.Layers != usual
}

// asks reports whether options ask for images that need not be at the source as they ask for them.
func (f *WayFacts) asks(o *Choices) bool {
	return len(f.EveryImage) > 0 || len(f.Variants) > 0 || o.ForceManifestMIMEType != "" || f.CompressionFormat != "" || f.Decrypts || f.DownloadsForeign || f.Layers == DecompressLayers
}

// decideWay returns the plan p as it is carried out by whoever has to do the work. It fails with an
// *OptionsError for what they cannot do.
func decideWay(in *Input, p *Plan) (*Plan, error) {
	if in.Way == nil {
		return p, nil
	}
	reason := in.Way.reasonInEnds()
	if reason.text == "" {
		return p, nil
	}
	if in.Choices.Attaches() || in.Choices.AttachOriginal {
		return nil, in.Choices.CannotAttach("what is attached is not known to upstream's copy: " + reason.text)
	}
	return through(in, p, reason)
}

// through returns the plan p as upstream's work, for the given reason. It fails with an
// *OptionsError if upstream's options cannot express it.
func through(in *Input, p *Plan, reason wayReason) (*Plan, error) {
	if err := inexpressible(in, p, reason); err != nil {
		return nil, err
	}
	out := *p
	out.Way, out.WayReason = Upstream, reason.text
	out.Digest = ""
	return &out, nil
}

// reasonInEnds names an option that only upstream can carry out, or an end that only it reads or
// writes.
func (f *WayFacts) reasonInEnds() wayReason {
	if len(f.UpstreamOnly) > 0 {
		use := f.UpstreamOnly[0]
		return wayReason{use.Option, use.text()}
	}
	switch {
	case !f.NativeSource:
		return wayReason{text: fmt.Sprintf("the source transport %s is not read natively", f.Source)}
	case !f.NativeDestination:
		return wayReason{text: fmt.Sprintf("the destination transport %s is not written natively", f.Destination)}
	}
	return wayReason{}
}

// inexpressible refuses a plan that upstream's options cannot express. The error names the option
// that asks for it, and the one that makes it upstream's work, if it is one.
func inexpressible(in *Input, p *Plan, reason wayReason) error {
	if p.List == nil {
		return nil
	}
	refuse := func(option, why string) error {
		options := []string{option}
		if reason.option != "" && reason.option != option {
			options = append(options, reason.option)
		}
		return &OptionsError{options, fmt.Sprintf("%s, which upstream's copy cannot do, and the work has to go there: %s", why, reason.text)}
	}
	if len(p.BlobEntries()) > 0 {
		return refuse("ImageListSelection", "the list names blobs (a build cache), which are copied with it")
	}
	if in.Way != nil && len(in.Way.Variants) > 0 && !p.List.Everything() {
		reason.option = "ImageListSelection"
		return refuse(variantsOption, "variants are to be added to a subset")
	}
	decided := map[digest.Digest]Decision{}
	for _, ip := range p.List.Instances {
		if ip.Nested != nil && ip.Decision == Copy {
			return refuse("ImageListSelection", "nested lists are selected")
		}
		if before, ok := decided[ip.Digest]; ok && before != ip.Decision {
			return refuse("InstanceIndexes", fmt.Sprintf("one of the entries with the digest %s is selected and another is not", ip.Digest))
		}
		decided[ip.Digest] = ip.Decision
	}
	if p.Asked == AutoSparseManifestList && p.Sparse() {
		return refuse("SparseManifestListAction", "auto needs the registry's own refusal")
	}
	return nil
}

// checkAmbiguous refuses to have a document of p written anew that parsers read differently: what
// comes of it would be one of the readings. Images are written anew that are transformed, and
// everything where p is upstream's work.
func checkAmbiguous(in *Input, p *Plan) error {
	if in.Choices.PreserveDigests || in.DestinationDigest != "" {
		return nil // nothing is written anew
	}
	remarks, reasons := map[digest.Digest][]manifest.Remark{}, map[digest.Digest]string{}
	note := func(d digest.Digest, reason string) {
		if image, err := in.Tree.Image(d); err == nil && image != nil {
			remarks[d], reasons[d] = image.Remarks, reason
		}
	}
	for _, t := range p.Transforms() {
		note(t.Digest, t.Reason)
	}
	if p.Way == Upstream {
		if p.List != nil {
			p.List.Walk(func(l *ListPlan) { remarks[l.Digest], reasons[l.Digest] = l.List().Remarks(), p.WayReason })
		}
		for _, d := range p.Copies {
			note(d, p.WayReason)
		}
	}
	for _, d := range slices.Sorted(maps.Keys(remarks)) {
		isDuplicate := func(r manifest.Remark) bool { return r.Kind == manifest.Duplicate }
		if i := slices.IndexFunc(remarks[d], isDuplicate); i >= 0 {
			return &CannotModifyError{d, fmt.Sprintf("parsers read it differently (%s), and it cannot be left as it is: %s", remarks[d][i], reasons[d])}
		}
	}
	return nil
}
