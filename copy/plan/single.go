package plan

import (
	"fmt"
	"slices"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// KindArtifact is the kind of what is no image.
const KindArtifact = manifest.KindArtifact

// planSingle plans the copy of a source that is a single image, or an artifact, which platforms do
// not concern.
func planSingle(in *Input) (*Plan, error) {
	if err := checkSingleOptions(in); err != nil {
		return nil, err
	}
	if err := in.Parse(); err != nil {
		return nil, err
	}
	image := ImagePlan{
		Digest: in.Digest, MediaType: in.Top.MediaType, Size: int64(len(in.Top.Bytes)),
		Reason: Reason{ReasonSingle, "the source is a single image"},
	}
	if in.Tree.isArtifact(in.Digest) {
		image.Kind, image.Reason.Text = KindArtifact, "the source is an artifact"
	}
	warnings := otherDigests(in, image.Reason.Text)
	if image.Kind == "" {
		if err := checkSingleRequired(in, in.Platform); err != nil {
			return nil, err
		}
		unmatched, err := checkSinglePlatform(in)
		if err != nil {
			return nil, err
		}
		warnings = slices.Concat(unmatched, warnings)
		if in.Platform != nil {
			image.Platform = platform.Format(in.Platform)
		}
	}
	p, err := imagePlan(in, image)
	if err != nil {
		return nil, err
	}
	p.Warnings = slices.Concat(p.Warnings, warnings, in.Tree.warnings)
	return p, nil
}

// planSystem plans the copy of the one image that suits the running system, in whichever list of
// the source it is.
func planSystem(in *Input) (*Plan, error) {
	if err := checkSingleOptions(in); err != nil {
		return nil, err
	}
	list, i := in.Tree.find(in.System)
	if list == nil {
		return nil, fmt.Errorf("list %s does not name %q, which was chosen for this system", in.Digest, in.System)
	}
	instance := list.Instances[i]
	if err := checkSingleRequired(in, instance.Platform); err != nil {
		return nil, err
	}
	if in.gone(instance) {
		return nil, &MissingError{Missing: []MissingInstance{missingInstance(list, i, in.Tree.ties[list][i])}}
	}
	p, err := imagePlan(in, ImagePlan{
		Digest: instance.Digest, MediaType: instance.MediaType, Size: instance.Size, Platform: platform.Format(instance.Platform),
		Reason: Reason{ReasonSystem, "suits this system"},
	})
	if err != nil {
		return nil, err
	}
	p.Warnings = append(p.Warnings, in.Tree.warnings...)
	return p, nil
}

// checkSingleOptions refuses options that make sense only where a list is copied.
func checkSingleOptions(in *Input) error {
	if in.Choices.RemoveListSignatures {
		return &OptionsError{[]string{"RemoveListSignatures"}, "not applicable when copying a single instance"}
	}
	if transforms(in) && len(in.Way.Variants) > 0 {
		options := []string{variantsOption}
		if manifest.IsListMediaType(in.Top.MediaType) {
			options = append(options, "ImageListSelection")
		}
		return &OptionsError{options, "variants are added to lists, and a single image is copied"}
	}
	return nil
}

// imagePlan plans the copy of one image.
func imagePlan(in *Input, image ImagePlan) (*Plan, error) {
	doc, _ := in.Tree.Document(image.Digest)
	if err := in.CheckDestination(image.Digest, doc.Bytes); err != nil {
		return nil, err
	}
	c, err := changeOf(in, image.Digest)
	if err != nil {
		return nil, err
	}
	image.Transform, image.Became, image.Present = c.reason, c.became, arrived(in, image.Digest, c)
	p := newPlan(in)
	p.Image = &image
	p.Digest = image.Result()
	p.Copies = p.carried()
	attach(in, p)
	return p, tally(in, p)
}

// checkSingleRequired holds the platform of the only image that is copied against the requirements.
func checkSingleRequired(in *Input, is *imgspecv1.Platform) error {
	var failed []RequiredPlatform
	for _, f := range in.Choices.RequiredPlatforms {
		if !platform.Pattern(f).Matches(is) {
			failed = append(failed, RequiredPlatform{
				Platform: f.String(), Reason: "the only image that is copied is for " + platform.Format(is),
			})
		}
	}
	return requiredError(in, failed)
}

// checkSinglePlatform holds the platform of a single image against the filters. One of them must
// match; the others are warned of.
func checkSinglePlatform(in *Input) (warnings []string, err error) {
	o := in.Choices
	if o.ImageListSelection != CopySpecificImages || o.SingleImage == CopySingleImage {
		return nil, nil
	}
	include, exclude := newFilters(o.InstancePlatforms, o.OptionalPlatforms)
	matches := func(f *filter) bool { return f.Matches(in.Platform) }
	selected := len(include) == 0 || slices.ContainsFunc(include, matches) || slices.Contains(o.Instances, in.Digest)
	if !selected || slices.ContainsFunc(exclude, matches) {
		return nil, &NoMatchError{Asked: texts(append(include, exclude...)), Offered: []string{platform.Format(in.Platform)}, Single: true}
	}
	for _, text := range texts(slices.DeleteFunc(include, matches)) {
		warnings = append(warnings, fmt.Sprintf("the source is a single image for %s: nothing matches %s", platform.Format(in.Platform), text))
	}
	return warnings, nil
}

// otherDigests warns of selected digests that are not that of the source, which is no list but what
// is says.
func otherDigests(in *Input, is string) (warnings []string) {
	if in.Choices.ImageListSelection != CopySpecificImages {
		return nil
	}
	for _, d := range slices.Compact(slices.Sorted(slices.Values(in.Choices.Instances))) {
		if d != in.Digest {
			warnings = append(warnings, fmt.Sprintf("%s: the selected digest %s is not its own", is, d))
		}
	}
	return warnings
}

// texts returns the distinct texts of filters, sorted.
func texts(filters []*filter) []string {
	texts := make([]string, len(filters))
	for i, f := range filters {
		texts[i] = f.text
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}
