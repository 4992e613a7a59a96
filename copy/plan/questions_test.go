package plan

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A family is a list with the images a and b, and a nested list with the images c and d.
type family struct {
	a, b, c, d, nested, top digest.Digest
	in                      Input
}

func newFamily(action SparseManifestListAction, wanted ...string) family {
	of := func(name string) digest.Digest { return digest.FromString(name) }
	f := family{a: of("a"), b: of("b"), c: of("c"), d: of("d")}
	nested := listOf(entryOf(f.c, ""), entryOf(f.d, ""))
	f.nested = digest.FromBytes(nested)
	top := listOf(entryOf(f.a, ""), entryOf(f.b, ""), nestedEntryOf(f.nested))
	f.top = digest.FromBytes(top)
	f.in = Input{
		Top: Document{Bytes: top}, Digest: f.top, Documents: map[digest.Digest]Document{f.nested: {Bytes: nested}},
		Choices: Choices{ImageListSelection: CopySpecificImages, SparseManifestListAction: action},
	}
	for _, name := range wanted {
		f.in.Choices.Instances = append(f.in.Choices.Instances, of(name))
	}
	return f
}

func (f family) plan(t *testing.T) *Plan {
	t.Helper()
	p, err := New(f.in)
	require.NoError(t, err)
	return p
}

func setTo(ds ...digest.Digest) map[digest.Digest]bool { return setOf(ds) }

// TestWidening is about children that are added to lists which a destination has.
func TestWidening(t *testing.T) {
	takes := SparseSupport{Known: true, Accepts: true, Basis: "it says so"}
	widens := takes
	widens.Widens = true
	for name, c := range map[string]struct {
		sparse  SparseSupport
		there   func(f family, in *Input)
		tags    bool
		refused string   // names of the children, "" if it is not
		widened []string // names of those that get tags
	}{
		"nothing is known":         {SparseSupport{}, func(f family, in *Input) { in.Stored = setTo(f.top, f.nested) }, true, "", nil},
		"children stay":            {widens, func(f family, in *Input) { in.Stored = setTo(f.top, f.nested) }, true, "", nil},
		"the list is new":          {takes, func(family, *Input) {}, false, "", nil},
		"the list is there":        {takes, func(f family, in *Input) { in.Stored = setTo(f.top) }, false, "a nested", nil},
		"what it names, too":       {takes, func(f family, in *Input) { in.Stored = setTo(f.top, f.nested, f.a, f.c) }, false, "", nil},
		"by what the tag names":    {takes, func(f family, in *Input) { in.DestinationTop = f.top }, false, "a nested", nil},
		"the nested one is there":  {takes, func(f family, in *Input) { in.Stored = setTo(f.nested) }, false, "c", nil},
		"with tags":                {takes, func(f family, in *Input) { in.Stored = setTo(f.top) }, true, "", []string{"a", "nested"}},
		"with tags, both":          {takes, func(f family, in *Input) { in.Stored = setTo(f.top, f.nested) }, true, "", []string{"a", "c"}},
		"the list may be there":    {takes, func(f family, in *Input) { in.PresenceUnknown = setTo(f.top) }, false, "", nil},
		"it may, with tags":        {takes, func(f family, in *Input) { in.PresenceUnknown = setTo(f.top) }, true, "", []string{"a", "nested"}},
		"a child may be there":     {takes, func(f family, in *Input) { in.Stored, in.PresenceUnknown = setTo(f.top), setTo(f.a, f.nested) }, false, "", nil},
		"it was asked in vain":     {SparseSupport{Unanswered: true}, func(f family, in *Input) { in.Stored = setTo(f.top) }, false, "", nil},
		"asked in vain, with tags": {SparseSupport{Unanswered: true}, func(f family, in *Input) { in.Stored = setTo(f.top) }, true, "", []string{"a", "nested"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFamily(KeepSparseManifestList, "a", "c")
			f.in.Sparse, f.in.Choices.WidenedChildTags = c.sparse, c.tags
			c.there(f, &f.in)
			named := func(ds []digest.Digest) (names []string) {
				for _, name := range []string{"a", "b", "c", "d", "nested"} {
					d := map[string]digest.Digest{"a": f.a, "b": f.b, "c": f.c, "d": f.d, "nested": f.nested}[name]
					for _, other := range ds {
						if d == other {
							names = append(names, name)
						}
					}
				}
				return names
			}
			p, err := New(f.in)
			if c.refused != "" {
				var refused *WidenError
				require.ErrorAs(t, err, &refused)
				assert.Equal(t, "["+c.refused+"]", fmt.Sprint(named(refused.Children)))
				assert.Equal(t, "it says so, and not that children may be added to one that is there", refused.Basis)
				assert.ErrorContains(t, err, fmt.Sprintf("the destination has the list %s already, and does not keep what is added to it: %s (it lacks %s",
					refused.List, refused.Basis, refused.Children[0]))
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.widened, named(p.Widened))
		})
	}
}

// TestWideningUnderAuto: what would be refused is not tried if the destination refuses the sparse
// list.
func TestWideningUnderAuto(t *testing.T) {
	f := newFamily(AutoSparseManifestList, "a", "c")
	f.in.Sparse = SparseSupport{Unanswered: true}
	f.in.Choices.WidenedChildTags = true
	stripped := f.plan(t).IfRefused
	require.NotNil(t, stripped)
	f.in.PresenceUnknown = setTo(stripped.Digest)
	p := f.plan(t)
	require.NotNil(t, p.IfRefused)
	assert.ElementsMatch(t, []digest.Digest{f.a, stripped.List.Instances[2].Nested.Result}, p.Widened)
}

func TestMayWidenAndAdds(t *testing.T) {
	for name, c := range map[string]struct {
		there     func(f family, in *Input)
		may, adds bool
	}{
		"nothing is there":         {func(family, *Input) {}, false, false},
		"everything is":            {func(f family, in *Input) { in.Present = setTo(f.a, f.c, f.nested, f.top) }, false, false},
		"one child is":             {func(f family, in *Input) { in.Present = setTo(f.a) }, true, false},
		"the list is":              {func(f family, in *Input) { in.Stored = setTo(f.top) }, false, true},
		"the list may be":          {func(f family, in *Input) { in.PresenceUnknown = setTo(f.top) }, false, true},
		"the nested one is":        {func(f family, in *Input) { in.Stored = setTo(f.nested) }, true, true},
		"the nested one is, whole": {func(f family, in *Input) { in.Stored = setTo(f.nested, f.c) }, true, false},
	} {
		f := newFamily(KeepSparseManifestList, "a", "c")
		c.there(f, &f.in)
		p := f.plan(t)
		assert.Equal(t, c.may, MayWiden(&f.in, p), name)
		assert.Equal(t, c.adds, Adds(&f.in, p), name)
	}
	image := &Plan{Image: &ImagePlan{}}
	assert.False(t, MayWiden(&Input{}, image))
	assert.False(t, Adds(&Input{}, image))
}

func TestChildTag(t *testing.T) {
	d := digest.FromString("x")
	assert.Equal(t, "sha256-"+d.Encoded()+".child", ChildTag(d))
	assert.Empty(t, ChildTag(digest.SHA512.FromString("x")), "a tag has 128 characters at most")
}

// TestDemanded is about children without which a destination refuses a list.
func TestDemanded(t *testing.T) {
	for name, c := range map[string]struct {
		sparse SparseSupport
		want   []string
	}{
		"accepts":                {SparseSupport{Known: true, Accepts: true}, nil},
		"refuses":                {SparseSupport{Known: true}, []string{"b", "d"}},
		"requires amd64":         {SparseSupport{Known: true, Accepts: true, RequiredArchitectures: []string{"amd64"}}, []string{"b", "d"}},
		"requires linux/amd64":   {SparseSupport{Known: true, Accepts: true, RequiredPlatforms: []string{"linux/amd64"}}, []string{"b", "d"}},
		"requires windows/amd64": {SparseSupport{Known: true, Accepts: true, RequiredPlatforms: []string{"windows/amd64"}, RequiresWithoutPlatform: true}, nil},
		"requires arm":           {SparseSupport{Known: true, Accepts: true, RequiredArchitectures: []string{"arm"}}, nil},
	} {
		f := newFamily(KeepSparseManifestList, "a", "c")
		p := f.plan(t)
		f.in.Sparse = c.sparse
		var want []digest.Digest
		for _, name := range c.want {
			want = append(want, digest.FromString(name))
		}
		assert.ElementsMatch(t, want, Demanded(&f.in, p), name)
		f.in.Sparse = SparseSupport{}
		assert.Equal(t, len(want) == 0, Suffices(&f.in, p, c.sparse), name)
	}
}

// TestSufficesForAStrippedList: it would be kept, if that were possible.
func TestSufficesForAStrippedList(t *testing.T) {
	f := newFamily(StripSparseManifestList, "a", "c")
	p := f.plan(t)
	assert.True(t, Suffices(&f.in, p, SparseSupport{Known: true, Accepts: true}))
	for _, stricter := range []SparseSupport{
		{Known: true}, {Known: true, Accepts: true, RequiredArchitectures: []string{"amd64"}}, {Known: true, Accepts: true, RequiredPlatforms: []string{"linux/amd64"}},
	} {
		assert.False(t, Suffices(&f.in, p, stricter), "%+v", stricter)
	}
}

// TestUnknownPresenceIsNoRefusal: what the destination did not tell it may have.
func TestUnknownPresenceIsNoRefusal(t *testing.T) {
	f := newFamily(KeepSparseManifestList, "a", "c")
	f.in.Sparse = SparseSupport{Known: true, Basis: "it says so"}
	_, err := New(f.in)
	var refused *SparseRefusedError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "SparseManifestListAction is keep", refused.NotStripped)
	assert.Equal(t, []digest.Digest{f.b}, refused.Absent)

	f.in.PresenceUnknown = setTo(f.b)
	_, err = New(f.in)
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, f.nested, refused.List)

	f.in.PresenceUnknown = setTo(f.b, f.d)
	f.plan(t)
}

func TestWhatAPlanBrings(t *testing.T) {
	f := newFamily(StripSparseManifestList, "a", "c")
	referrer, dropped := digest.FromString("referrer"), digest.FromString("dropped")
	f.in.Choices.Referrers = AllReferrers
	f.in.Attachments = []Attachment{
		{Subject: f.a, Digest: referrer, Annotations: map[string]string{"k": "v"}},
		{Subject: f.b, Digest: dropped},
		{Subject: f.a, Digest: digest.FromString("there"), Present: true},
	}
	p := f.plan(t)
	nested := p.List.Instances[2].Nested

	assert.Equal(t, []digest.Digest{f.a, f.c}, p.Wanted())
	assert.Equal(t, []digest.Digest{nested.Result, p.Digest}, p.Lists())
	assert.Equal(t, []digest.Digest{nested.Result}, p.List.NestedLists())
	assert.ElementsMatch(t, []digest.Digest{f.top, f.nested}, p.Changing())
	assert.Equal(t, map[digest.Digest]bool{f.top: true, f.nested: true, f.a: false, f.c: false}, p.Subjects())
	assert.Equal(t, []digest.Digest{"", f.a, nested.Result}, p.List.Needs())
	assert.Equal(t, []digest.Digest{"", f.c}, nested.Needs())
	assert.Equal(t, []digest.Digest{f.a}, p.List.Copies())
	assert.Equal(t, p.Digest, digest.FromBytes(p.List.Written()))
	assert.Len(t, p.List.List().Instances(), 3)
	assert.True(t, p.Strips())
	assert.False(t, p.Sparse())
	assert.False(t, p.List.Everything())

	for _, d := range []digest.Digest{f.a, f.c, p.Digest, nested.Result, referrer, digest.FromString("there")} {
		assert.True(t, p.Brings(d), d)
	}
	for _, d := range []digest.Digest{f.b, f.d, f.top, f.nested, dropped} {
		assert.False(t, p.Brings(d), d)
	}
	toAttach := p.ToAttach()
	require.Len(t, toAttach, 1)
	assert.Equal(t, referrer, toAttach[0].Digest)
	assert.Equal(t, map[string]string{"k": "v"}, toAttach[0].Annotations())

	kept := newFamily(KeepSparseManifestList, "a", "c").plan(t)
	assert.Empty(t, kept.Changing())
	assert.False(t, kept.Strips())
	assert.True(t, kept.Sparse())
	nothing := newFamily(StripSparseManifestList, "a", "b", "c", "d").plan(t)
	assert.False(t, nothing.Strips(), "nothing to strip")
	assert.True(t, nothing.List.Everything())

	auto := newFamily(AutoSparseManifestList, "a", "c").plan(t)
	assert.ElementsMatch(t, []digest.Digest{f.top, f.nested}, auto.Changing(), "by what is done instead")
	warned := auto.WithWarnings([]string{"beware"})
	assert.Contains(t, warned.Warnings, "beware")
	assert.Contains(t, warned.IfRefused.Warnings, "beware")
	assert.NotContains(t, auto.Warnings, "beware")
	assert.Same(t, auto, auto.WithWarnings(nil))
	assert.Nil(t, (*Plan)(nil).WithWarnings([]string{"beware"}))

	image, err := New(Input{Top: Document{Bytes: imageOf(ociImage, ociConfig)}})
	require.NoError(t, err)
	assert.Empty(t, image.Lists())
	assert.Empty(t, image.Changing())
	assert.False(t, image.Strips())
	assert.False(t, image.Sparse())
	assert.False(t, image.Attests(image.Digest))
	assert.True(t, image.Brings(image.Digest))
	assert.Equal(t, map[digest.Digest]bool{image.Digest: false}, image.Subjects())
	assert.Nil(t, (&ListPlan{}).List())
}

func TestAttests(t *testing.T) {
	a, attestation := digest.FromString("a"), digest.FromString("attestation")
	p, err := New(Input{Top: Document{Bytes: listOf(entryOf(a, ""), entryOf(attestation, a))}, Choices: Choices{ImageListSelection: CopyAllImages}})
	require.NoError(t, err)
	assert.True(t, p.Attests(attestation))
	assert.False(t, p.Attests(a))
}

func TestFollows(t *testing.T) {
	o := Choices{Referrers: AllReferrers, ReferrerTypes: []string{"x/sbom"}}
	for name, c := range map[string]struct {
		attachment Attachment
		unselected bool
		want       Decision
		code       ReasonCode
	}{
		"selected type":            {Attachment{ArtifactType: "x/sbom"}, false, Copy, ReasonFollows},
		"another type":             {Attachment{ArtifactType: "x/other"}, false, Skip, ReasonType},
		"a tag's":                  {Attachment{ArtifactType: "x/other", Tag: "sha256-x.sig"}, false, Copy, ReasonFollows},
		"a child's":                {Attachment{ArtifactType: "x/other", Child: true}, false, Copy, ReasonFollows},
		"an entry, not selected":   {Attachment{ArtifactType: "x/sbom"}, true, Skip, ReasonEntry},
		"an entry, a tag's, too":   {Attachment{Tag: "sha256-x.sig"}, true, Copy, ReasonFollows},
		"an entry, a child's, too": {Attachment{Child: true}, true, Copy, ReasonFollows},
	} {
		c.attachment.Subject = digest.FromString("subject")
		decision, reason := o.Follows(c.attachment, c.unselected)
		assert.Equal(t, c.want, decision, name)
		assert.Equal(t, c.code, reason.Code, name)
	}
	_, reason := (&Choices{}).Follows(Attachment{Subject: digest.FromString("subject"), ArtifactType: "x/other"}, false)
	assert.Equal(t, ReasonFollows, reason.Code, "no types are all types")
}

// TestTreeWith reads on: what is there already stays, and what is not gets parsed.
func TestTreeWith(t *testing.T) {
	f := newFamily(KeepSparseManifestList)
	tree, err := ParseTree(f.in.Top, f.top, nil)
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{f.nested}, tree.Unread())
	assert.Equal(t, []digest.Digest{f.top}, tree.Lists())

	more, err := tree.With(f.in.Documents)
	require.NoError(t, err)
	assert.Empty(t, more.Unread())
	assert.ElementsMatch(t, []digest.Digest{f.top, f.nested}, more.Lists())
	assert.Equal(t, []digest.Digest{f.nested}, tree.Unread(), "the tree does not change")
	again, err := more.With(f.in.Documents)
	require.NoError(t, err)
	assert.Same(t, more, again)
	assert.Len(t, more.List().Instances(), 3)

	_, err = more.Image(f.nested)
	assert.Error(t, err, "a list is no image")
	image, err := more.Image(f.a)
	require.NoError(t, err)
	assert.Nil(t, image, "not read")
	broken := digest.FromString("broken")
	_, err = tree.With(map[digest.Digest]Document{f.nested: {Bytes: listOf("{}")}, broken: {}})
	assert.ErrorContains(t, err, "list "+f.nested.String())
	withBroken, err := more.With(map[digest.Digest]Document{broken: {Bytes: []byte(`{"schemaVersion":2,"layers":[]}`)}})
	require.NoError(t, err)
	_, err = withBroken.Image(broken)
	assert.ErrorContains(t, err, "no config")

	content := imageOf(ociImage, ociConfig)
	single, err := ParseTree(Document{Bytes: content}, digest.FromBytes(content), nil)
	require.NoError(t, err)
	assert.Empty(t, single.Unread())
	assert.Empty(t, single.Lists())
	assert.Nil(t, single.List())
	image, err = single.Image(digest.FromBytes(content))
	require.NoError(t, err)
	assert.Equal(t, ociImage, image.MediaType)
	assert.False(t, Document{Bytes: content}.IsList())
	assert.True(t, f.in.Top.IsList())
}

// TestAttachedLists are parsed for what is to be said of them, and counted for nothing.
func TestAttachedLists(t *testing.T) {
	f := newFamily(KeepSparseManifestList, "a")
	odd := []byte(`{"schemaVersion":2,"manifests":[],"annotations":{"a":"","a":""}}`)
	broken := listOf(`{}`)
	f.in.Choices.DigestTags = true
	attach := func(content []byte) {
		f.in.Documents[digest.FromBytes(content)] = Document{Bytes: content}
		f.in.Attachments = []Attachment{{Subject: f.a, Digest: digest.FromBytes(content), Tag: "sha256-x.att"}}
	}
	attach(odd)
	p := f.plan(t)
	assert.Equal(t, []string{"parsers may read " + digest.FromBytes(odd).String() + " differently, and it is left as it is: annotations.a (byte 56): duplicate key"}, p.Warnings)
	assert.Equal(t, 1, p.Unread, "the image a")
	attach(broken)
	_, err := New(f.in)
	assert.EqualError(t, err, "list "+digest.FromBytes(broken).String()+": manifests[0] (byte 32): no digest")
}

// TestDestinationDigest is about destinations that name what is to be there.
func TestDestinationDigest(t *testing.T) {
	content := imageOf(ociImage, ociConfig)
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		_, err := New(Input{Top: Document{Bytes: content}, DestinationDigest: algorithm.FromBytes(content)})
		require.NoError(t, err)
	}
	other := digest.FromString("other")
	_, err := New(Input{Top: Document{Bytes: content}, DestinationDigest: other})
	assert.EqualError(t, err, "list "+digest.FromBytes(content).String()+" must not be changed: the destination names the digest "+other.String())
	_, err = New(Input{Top: Document{Bytes: content}, DestinationDigest: "x"})
	assert.ErrorContains(t, err, `digest of the destination "x"`)
	in := Input{DestinationDigest: digest.FromString("")}
	assert.Error(t, in.CheckDestination(other, nil), "of no content nothing is known")
	assert.NoError(t, in.CheckDestination(digest.FromString(""), nil))

	stored := Input{Present: setTo("p"), Stored: setTo("s"), DestinationTop: "t"}
	for _, d := range []digest.Digest{"p", "s", "t"} {
		assert.True(t, stored.IsStored(d), d)
	}
	assert.False(t, stored.IsStored("x"))
}

// TestDigestsOfASingleImage warns of those that are not its own.
func TestDigestsOfASingleImage(t *testing.T) {
	content, other := imageOf(ociImage, ociConfig), digest.FromString("other")
	p, err := New(Input{Top: Document{Bytes: content}, Choices: Choices{
		ImageListSelection: CopySpecificImages, Instances: []digest.Digest{digest.FromBytes(content), other},
	}})
	require.NoError(t, err)
	assert.Equal(t, []string{"the source is a single image: the selected digest " + other.String() + " is not its own"}, p.Warnings)
}
