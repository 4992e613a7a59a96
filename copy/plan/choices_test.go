package plan

import (
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestValidate has each enum on both sides of its borders, and everything that makes no sense
// together.
func TestValidate(t *testing.T) {
	specific := func(o Choices) Choices {
		o.ImageListSelection = CopySpecificImages
		return o
	}
	for name, c := range map[string]struct {
		choices Choices
		want    string // "" if they are valid
	}{
		"zero":               {Choices{}, ""},
		"largest":            {Choices{CopySpecificImages, nil, nil, nil, nil, nil, AutoSparseManifestList, KeepAllAttestations, SkipMissing, DropChangedSubjects, CopySingleImage, KeepPlatformlessEntries, AllReferrers, nil, true, AllDigestTags, true, true, true, GuardListSignatures, true, true, true, true, "x"}, ""},
		"selection -1":       {Choices{ImageListSelection: -1}, "invalid options: ImageListSelection: unknown value -1"},
		"selection 3":        {Choices{ImageListSelection: 3}, "invalid options: ImageListSelection: unknown value 3"},
		"action -1":          {Choices{SparseManifestListAction: -1}, "invalid options: SparseManifestListAction: unknown value -1"},
		"action 3":           {Choices{SparseManifestListAction: 3}, "invalid options: SparseManifestListAction: unknown value 3"},
		"attestations -1":    {Choices{Attestations: -1}, "invalid options: Attestations: unknown value -1"},
		"attestations 4":     {Choices{Attestations: 4}, "invalid options: Attestations: unknown value 4"},
		"subjects -1":        {Choices{ChangedSubjects: -1}, "invalid options: ChangedSubjects: unknown value -1"},
		"subjects 2":         {Choices{ChangedSubjects: 2}, "invalid options: ChangedSubjects: unknown value 2"},
		"referrers -1":       {Choices{Referrers: -1}, "invalid options: Referrers: unknown value -1"},
		"referrers 2":        {Choices{Referrers: 2}, "invalid options: Referrers: unknown value 2"},
		"types":              {Choices{Referrers: AllReferrers, ReferrerTypes: []string{"x"}}, ""},
		"types of none":      {Choices{ReferrerTypes: []string{"x"}}, "invalid options: ReferrerTypes and Referrers: types need AllReferrers"},
		"suffixes -1":        {Choices{DigestTags: true, DigestTagSuffixes: -1}, "invalid options: DigestTagSuffixes: unknown value -1"},
		"suffixes 2":         {Choices{DigestTags: true, DigestTagSuffixes: 2}, "invalid options: DigestTagSuffixes: unknown value 2"},
		"suffixes":           {Choices{DigestTags: true, DigestTagSuffixes: AllDigestTags}, ""},
		"suffixes of none":   {Choices{DigestTagSuffixes: AllDigestTags}, "invalid options: DigestTagSuffixes and DigestTags: no digest tags are asked for"},
		"list signatures -1": {Choices{ListSignatures: -1}, "invalid options: ListSignatures: unknown value -1"},
		"list signatures 2":  {Choices{ListSignatures: 2}, "invalid options: ListSignatures: unknown value 2"},
		"missing -1":         {Choices{MissingInstances: -1}, "invalid options: MissingInstances: unknown value -1"},
		"platformless -1":    {Choices{PlatformlessEntries: -1}, "invalid options: PlatformlessEntries: unknown value -1"},
		"platformless 2":     {Choices{PlatformlessEntries: 2}, "invalid options: PlatformlessEntries: unknown value 2"},
		"single -1":          {Choices{SingleImage: -1}, "invalid options: SingleImage: unknown value -1"},
		"single 2":           {Choices{SingleImage: 2}, "invalid options: SingleImage: unknown value 2"},
		"missing 2":          {Choices{MissingInstances: 2}, "invalid options: MissingInstances: unknown value 2"},

		"digest":              {Choices{Instances: []digest.Digest{"x"}}, `invalid options: Instances: "x": invalid checksum digest format`},
		"position -1":         {specific(Choices{InstanceIndexes: []int{3, -1}}), "invalid options: InstanceIndexes: negative position -1"},
		"position 0":          {specific(Choices{InstanceIndexes: []int{0}}), ""},
		"position of all":     {Choices{InstanceIndexes: []int{0}}, "invalid options: InstanceIndexes and ImageListSelection: selectors need CopySpecificImages"},
		"optional of all":     {Choices{OptionalPlatforms: platforms("*/*")}, "invalid options: OptionalPlatforms and ImageListSelection: selectors need CopySpecificImages"},
		"both of all":         {Choices{InstanceIndexes: []int{0}, OptionalPlatforms: platforms("*/*")}, "invalid options: InstanceIndexes, OptionalPlatforms and ImageListSelection: selectors need CopySpecificImages"},
		"platforms of all":    {Choices{InstancePlatforms: platforms("!linux/*")}, ""},
		"platform":            {specific(Choices{InstancePlatforms: []InstancePlatformFilter{{OS: "*"}}}), `invalid options: InstancePlatforms: platform */"": architecture is empty: "" matches only an entry without one, "*" matches any`},
		"excluding optional":  {specific(Choices{OptionalPlatforms: platforms("!linux/*")}), "invalid options: OptionalPlatforms: !linux/* excludes, which only InstancePlatforms can"},
		"excluding required":  {specific(Choices{RequiredPlatforms: platforms("linux/arm", "!linux/*")}), "invalid options: RequiredPlatforms: !linux/* excludes, which only InstancePlatforms can"},
		"required of nothing": {specific(Choices{RequiredPlatforms: platforms("linux/arm")}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.choices.Validate()
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, c.want)
			var invalid *OptionsError
			assert.ErrorAs(t, err, &invalid)
			_, err = New(Input{Choices: c.choices})
			assert.EqualError(t, err, c.want)
		})
	}
}

func TestWhatChoicesNeed(t *testing.T) {
	arm := platforms("linux/arm")
	for name, c := range map[string]struct {
		choices                            Choices
		needsPlatform, selects, attachment bool
	}{
		"zero":                {Choices{}, false, false, false},
		"required":            {Choices{RequiredPlatforms: arm}, true, false, false},
		"platforms of all":    {Choices{ImageListSelection: CopyAllImages, InstancePlatforms: arm}, false, false, false},
		"platforms":           {Choices{ImageListSelection: CopySpecificImages, InstancePlatforms: arm}, true, true, false},
		"optional":            {Choices{ImageListSelection: CopySpecificImages, OptionalPlatforms: arm}, true, true, false},
		"both":                {Choices{ImageListSelection: CopySpecificImages, InstancePlatforms: arm, OptionalPlatforms: arm}, true, true, false},
		"digests":             {Choices{ImageListSelection: CopySpecificImages, Instances: []digest.Digest{"x"}}, false, true, false},
		"positions":           {Choices{ImageListSelection: CopySpecificImages, InstanceIndexes: []int{0}}, false, true, false},
		"one of each":         {Choices{ImageListSelection: CopySpecificImages, InstanceIndexes: []int{0}, OptionalPlatforms: arm}, true, true, false},
		"platform, position":  {Choices{ImageListSelection: CopySpecificImages, InstancePlatforms: arm, InstanceIndexes: []int{0}}, true, true, false},
		"digest and platform": {Choices{ImageListSelection: CopySpecificImages, Instances: []digest.Digest{"x"}, InstancePlatforms: arm}, true, true, false},
		"nothing":             {Choices{ImageListSelection: CopySpecificImages}, false, false, false},
		"referrers":           {Choices{Referrers: AllReferrers}, false, false, true},
		"digest tags":         {Choices{DigestTags: true}, false, false, true},
	} {
		assert.Equal(t, c.needsPlatform, c.choices.NeedsPlatform(), name)
		assert.Equal(t, c.selects, c.choices.selects(), name)
		assert.Equal(t, c.attachment, c.choices.Attaches(), name)
	}
}

func TestSparseManifestListActionText(t *testing.T) {
	for action, text := range map[SparseManifestListAction]string{
		KeepSparseManifestList: "keep", StripSparseManifestList: "strip", AutoSparseManifestList: "auto",
	} {
		b, err := action.MarshalText()
		require.NoError(t, err)
		assert.Equal(t, text, string(b))
		read := SparseManifestListAction(7)
		require.NoError(t, read.UnmarshalText(b))
		assert.Equal(t, action, read)
	}
	assert.Equal(t, "SparseManifestListAction(7)", SparseManifestListAction(7).String())
	read := StripSparseManifestList
	assert.EqualError(t, read.UnmarshalText([]byte("Keep")), `unknown sparse action "Keep": write keep, strip or auto`)
	assert.Equal(t, StripSparseManifestList, read)
}
