package plan

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

var planSeed = flag.Uint64("plan-seed", 20260312, "seed of the random inputs; 0 draws one for each test")

// worldSeed is the seed of the random inputs of a test.
func worldSeed() uint64 {
	if *planSeed == 0 {
		return rand.Uint64()
	}
	return *planSeed
}

// enough demands more than few random inputs of a kind. A seed that was drawn may be out of luck.
func enough(t *testing.T, n, few int, complaint string) {
	t.Helper()
	if *planSeed != 0 {
		assert.Greater(t, n, few, complaint)
	}
}

// TestPlanProperties makes plans of random lists under random options, and holds them against what
// is true of every plan.
func TestPlanProperties(t *testing.T) {
	seed := worldSeed()
	planned := 0
	for i := range uint64(1000) {
		w := &planWorld{random: rand.New(rand.NewPCG(seed, i)), in: Input{
			Documents: map[digest.Digest]Document{}, Missing: map[digest.Digest]bool{}, Present: map[digest.Digest]bool{},
			PresentBlobs: map[digest.Digest]bool{}, MissingBlobs: map[digest.Digest]bool{},
		}}
		w.build()
		if plan, ok := w.check(t); ok {
			planned++
			w.checkPlan(t, plan)
		}
		if t.Failed() {
			t.Fatalf("world %d; to see it again: go test ./copy/plan -run TestPlanProperties -plan-seed %d\n%+v\n%s", i, seed, w.in.Choices, w.in.Top.Bytes)
		}
	}
	enough(t, planned, 200, "too few of the random inputs can be planned")
}

// A planWorld is a random input.
type planWorld struct {
	random  *rand.Rand
	in      Input
	digests []digest.Digest // that selectors may name
	blobs   []digest.Digest // that lists name in the place of manifests
}

var (
	worldPlatforms = []string{"linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7", "windows/amd64", ""}
	worldFilters   = []string{"linux/amd64", "linux/arm64", "linux/arm", "linux/arm/v7", "linux/*", "*/amd64", "windows/*", "linux/s390x", "unknown/unknown"}
)

func (w *planWorld) chance(percent int) bool { return w.random.IntN(100) < percent }

func pick[E any](w *planWorld, s []E) E { return s[w.random.IntN(len(s))] }

func (w *planWorld) build() {
	w.in.Top = w.list(0)
	w.in.Digest = digest.FromBytes(w.in.Top.Bytes)
	for _, d := range w.digests {
		_, isList := w.in.Documents[d]
		if w.chance(8) {
			w.in.Missing[d] = true
			delete(w.in.Documents, d)
		} else if w.chance(8) && !isList {
			w.in.Present[d] = true
		}
	}
	for _, d := range w.blobs {
		if w.chance(8) {
			w.in.MissingBlobs[d] = true
		} else if w.chance(8) {
			w.in.PresentBlobs[d] = true
		}
	}
	o := &Choices{
		ImageListSelection:       pick(w, []ImageListSelection{CopyAllImages, CopySpecificImages, CopySpecificImages}),
		SparseManifestListAction: pick(w, []SparseManifestListAction{KeepSparseManifestList, StripSparseManifestList, AutoSparseManifestList}),
		Attestations:             pick(w, []AttestationAction{DefaultAttestations, FollowSubject, DropAttestations, KeepAllAttestations}),
		MissingInstances:         pick(w, []MissingInstanceAction{FailOnMissing, SkipMissing, SkipMissing}),
		PlatformlessEntries:      pick(w, []PlatformlessAction{StripPlatformlessEntries, KeepPlatformlessEntries}),
	}
	for w.chance(60) {
		o.InstancePlatforms = append(o.InstancePlatforms, w.filter(w.chance(25)))
	}
	for w.chance(20) {
		o.RequiredPlatforms = append(o.RequiredPlatforms, w.filter(false))
	}
	for w.chance(30) && len(w.digests) > 0 {
		o.Instances = append(o.Instances, pick(w, w.digests))
	}
	if o.ImageListSelection == CopySpecificImages {
		for w.chance(30) {
			o.OptionalPlatforms = append(o.OptionalPlatforms, w.filter(false))
		}
		for w.chance(20) {
			o.InstanceIndexes = append(o.InstanceIndexes, w.random.IntN(5))
		}
	}
	w.in.Choices = *o
}

func (w *planWorld) filter(exclude bool) InstancePlatformFilter {
	f, err := ParsePlatformFilter(pick(w, worldFilters))
	if err != nil {
		panic(err)
	}
	f.Exclude = exclude
	return f
}

// list makes a random list and the lists nested in it.
func (w *planWorld) list(depth int) Document {
	index := imgspecv1.Index{MediaType: imgspecv1.MediaTypeImageIndex, Manifests: []imgspecv1.Descriptor{}}
	index.SchemaVersion = 2
	for range w.random.IntN(7) {
		index.Manifests = append(index.Manifests, w.entry(depth, index.Manifests))
	}
	b, err := json.MarshalIndent(index, "", pick(w, []string{"", " ", "\t"}))
	if err != nil {
		panic(err)
	}
	declared := index.MediaType
	if w.chance(10) {
		declared = pick(w, []string{"", "text/plain", manifest.MediaTypeDockerList, manifest.MediaTypeDockerManifest})
	}
	return Document{MediaType: declared, Bytes: w.oddly(b)}
}

// oddly makes some lists irregular, and some such that parsers read them differently, which takes
// nothing away from what they say.
func (w *planWorld) oddly(list []byte) []byte {
	text := string(list)
	for _, odd := range [][2]string{
		{`"schemaVersion": 2,`, ""},
		{`"manifests": []`, `"manifests": null`},
		{`"manifests":`, `"annotations": {"a": null, "b": "1", "b": "2", "B": "3"}, "manifests":`},
		{`"size":`, `"x": {"Size": 1, "size": 2, "size": [3]}, "size":`},
		{`"os": "linux"`, `"os": "linux", "variant": null`},
	} {
		if w.chance(15) && !strings.Contains(text, `"variant": "`) {
			text = strings.Replace(text, odd[0], odd[1], 1)
		}
	}
	return []byte(text)
}

func (w *planWorld) entry(depth int, before []imgspecv1.Descriptor) imgspecv1.Descriptor {
	switch {
	case w.chance(1 + 3*min(depth, 1)):
		return w.blob()
	case depth < 3 && w.chance(20):
		doc := w.list(depth + 1)
		d := digest.FromBytes(doc.Bytes)
		w.in.Documents[d] = doc
		w.digests = append(w.digests, d)
		stated := imgspecv1.MediaTypeImageIndex
		if w.chance(10) {
			stated = imgspecv1.MediaTypeImageManifest
		}
		e := imgspecv1.Descriptor{MediaType: stated, Digest: d, Size: int64(len(doc.Bytes))}
		if w.chance(30) {
			e.Platform = worldPlatform(pick(w, worldPlatforms))
		}
		return e
	case w.chance(25):
		subject := digest.FromString("elsewhere")
		switch {
		case w.chance(20): // itself, or one that comes later, perhaps
			subject = digest.FromString(fmt.Sprintf(pick(w, []string{"attestation %d", "index %d"}), w.random.IntN(6)))
		case len(before) > 0 && w.chance(90):
			subject = pick(w, before).Digest
		}
		return w.related(subject)
	}
	e := w.image(fmt.Sprintf("image %d", w.random.IntN(8)), pick(w, worldPlatforms))
	switch {
	case w.chance(8):
		e.ArtifactType = nydusType
	case w.chance(8):
		e.Annotations = map[string]string{manifest.AnnotationZstd: "true"}
	case w.chance(8):
		e.Annotations = map[string]string{manifest.AnnotationSOCIIndex: digest.FromString(fmt.Sprintf("index %d", w.random.IntN(6))).String()}
	case w.chance(5):
		e.ArtifactType = imgspecv1.MediaTypeImageConfig
	}
	return e
}

const (
	sociType  = "application/vnd.amazon.soci.index.v2+json"
	nydusType = "application/vnd.nydus.image.manifest.v1+json"
)

// related makes an entry that describes or accelerates the one with digest subject.
func (w *planWorld) related(subject digest.Digest) imgspecv1.Descriptor {
	switch w.random.IntN(4) {
	case 0: // as BuildKit makes them now, after another tool has wiped the annotations
		doc := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},"layers":[],"subject":{"mediaType":%[1]q,"digest":%[3]q,"size":1}}`,
			imgspecv1.MediaTypeImageManifest, digest.FromString("{}"), subject)
		e := w.image(string(doc), "unknown/unknown")
		w.in.Documents[e.Digest] = Document{MediaType: e.MediaType, Bytes: doc}
		return e
	case 1:
		e := w.image(fmt.Sprintf("index %d", w.random.IntN(6)), pick(w, worldPlatforms))
		e.ArtifactType = sociType
		if w.chance(70) {
			e.Annotations = map[string]string{manifest.AnnotationSOCIImage: subject.String()}
		}
		return e
	}
	e := w.image(fmt.Sprintf("attestation %d", w.random.IntN(20)), "unknown/unknown")
	e.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject.String()}
	return e
}

// relation is what entry i of l is to others, any of which may be its subject, as somebody would
// find out who looks through the whole list for each.
func (w *planWorld) relation(l *ListPlan, i int) (Relation, []digest.Digest) {
	entries := l.node.Instances
	all := func(is func(manifest.Instance) bool) (found []digest.Digest) {
		for _, e := range entries {
			if is(e) {
				found = append(found, e.Digest)
			}
		}
		return found
	}
	listed := func(d digest.Digest) []digest.Digest {
		return all(func(e manifest.Instance) bool { return e.Digest == d })
	}
	bare := func(e manifest.Instance) bool {
		return e.Annotations == nil && e.Platform != nil && e.Platform.OS == "unknown" && strings.Contains(string(w.in.Documents[e.Digest].Bytes), `"subject"`)
	}
	image := func(e manifest.Instance, marked bool) bool {
		_, attests := e.AttestationOf()
		return !attests && !platform.Unknown(e.Platform) && !e.IsList() && !e.IsBlob() && e.ArtifactType != sociType && e.ArtifactType != nydusType &&
			marked == (e.Annotations[manifest.AnnotationZstd] == "true")
	}
	images := func(marked bool) []digest.Digest {
		return all(func(e manifest.Instance) bool {
			return image(e, marked) && platform.Format(e.Platform) == platform.Format(entries[i].Platform)
		})
	}
	anyImage := slices.ContainsFunc(entries, func(e manifest.Instance) bool { return image(e, false) || image(e, true) })
	e := entries[i]
	subject, attests := e.AttestationOf()
	switch {
	case attests:
		return Describes, listed(subject)
	case bare(e):
		_, rest, _ := strings.Cut(string(w.in.Documents[e.Digest].Bytes), `"subject"`)
		_, rest, _ = strings.Cut(rest, `"digest":"`)
		return Describes, listed(digest.Digest(rest[:strings.Index(rest, `"`)]))
	case e.ArtifactType == sociType:
		if named := listed(digest.Digest(e.Annotations[manifest.AnnotationSOCIImage])); named != nil {
			return Accelerates, named
		}
		pointing := all(func(other manifest.Instance) bool {
			return other.Annotations[manifest.AnnotationSOCIIndex] == e.Digest.String() && (image(other, false) || image(other, true))
		})
		slices.Sort(pointing)
		return Accelerates, pointing[:min(len(pointing), 1)]
	case e.ArtifactType == nydusType && anyImage:
		if unmarked := images(false); unmarked != nil {
			return Accelerates, unmarked
		}
		return Accelerates, images(true)
	case image(e, true) && images(false) != nil:
		return Replaces, images(false)
	}
	return "", nil
}

// adrift returns which entries of l follow nothing but others that do, in a circle, or what is
// untied.
func (w *planWorld) adrift(l *ListPlan) []bool {
	adrift := make([]bool, len(l.Instances))
	for i, ip := range l.Instances {
		adrift[i] = ip.Relation.Follows() && ip.Nested == nil && slices.Contains([]ReasonCode{ReasonNotSelected, ReasonUntied}, ip.Reason.Code)
	}
	for range l.Instances {
		for i := range l.Instances {
			_, subjects := w.relation(l, i)
			adrift[i] = adrift[i] && !slices.ContainsFunc(l.Instances, func(ip InstancePlan) bool {
				return slices.Contains(subjects, ip.Digest) && !adrift[ip.Index]
			})
		}
	}
	return adrift
}

// checkRelations: entries are to each other what they are, nothing that follows is chosen by its
// platform, and what is not chosen itself goes as its subject goes.
func (w *planWorld) checkRelations(t *testing.T, plan *Plan) {
	o := w.in.Choices
	lead := func(ip InstancePlan) bool {
		return ip.Decision == Copy && ip.Entry != UpdateEntry &&
			(o.Attestations == FollowSubject || ip.Reason.Code == ReasonPlatform || ip.Reason.Text == reasonRest.Text)
	}
	plan.List.Walk(func(l *ListPlan) {
		copied, chosen := map[digest.Digest]bool{}, map[digest.Digest]bool{}
		for _, ip := range l.Instances {
			copied[ip.Digest] = copied[ip.Digest] || ip.Decision == Copy
			chosen[ip.Digest] = chosen[ip.Digest] || lead(ip)
		}
		adrift := w.adrift(l)
		for i, ip := range l.Instances {
			relation, subjects := w.relation(l, i)
			subject := ip.Subject
			assert.Equal(t, relation, ip.Relation, "entry %d", i)
			switch {
			case len(subjects) == 0:
				assert.Empty(t, subject, "entry %d", i)
			case ip.Reason.Code == ReasonFollows, ip.Missing:
				assert.Contains(t, subjects, subject, "entry %d", i)
			default:
				assert.Equal(t, subjects[0], subject, "entry %d", i)
			}
			if ip.Nested != nil || l.NamesBlobs() {
				continue
			}
			switch ip.Reason.Code {
			case ReasonFollows:
				assert.True(t, relation.Follows() && copied[subject], "entry %d follows what is not copied", i)
			case ReasonPlatform:
				assert.True(t, relation != Accelerates, "entry %d was taken for an image", i)
			case ReasonAll, ReasonWithin:
				gone := slices.ContainsFunc(l.Instances, func(other InstancePlan) bool { return other.Missing && other.Digest == subject })
				stays := slices.ContainsFunc(subjects, func(d digest.Digest) bool { return copied[d] })
				assert.False(t, relation == Accelerates && ip.Decision == Copy && gone && !stays, "entry %d accelerates what is missing", i)
			case ReasonUntied:
				assert.True(t, adrift[i], "entry %d has a subject", i)
			case ReasonNotSelected:
				// A Nydus image follows those with its platform, and not others with their digests.
				left := ip.ArtifactType != nydusType && slices.ContainsFunc(subjects, func(d digest.Digest) bool { return chosen[d] })
				if adrift[i] {
					left = o.Attestations == FollowSubject ||
						len(o.InstancePlatforms)+len(o.OptionalPlatforms) > 0 && (relation == Accelerates || o.Attestations == DefaultAttestations)
				}
				left = left && relation.Follows()
				assert.False(t, left, "entry %d was left behind in silence", i)
			}
		}
	})
}

// blob makes an entry that is no manifest, and may have the digest of one.
func (w *planWorld) blob() imgspecv1.Descriptor {
	content := fmt.Sprintf("%s %d", pick(w, []string{"blob", "blob", "image"}), w.random.IntN(8))
	e := imgspecv1.Descriptor{
		MediaType: pick(w, []string{imgspecv1.MediaTypeImageLayerGzip, manifest.MediaTypeDockerLayer, manifest.MediaTypeCacheConfig}),
		Digest:    digest.FromString(content), Size: int64(len(content)),
	}
	if w.chance(10) {
		e.URLs = []string{"https://example.com/"}
	}
	w.digests, w.blobs = append(w.digests, e.Digest), append(w.blobs, e.Digest)
	return e
}

func (w *planWorld) image(content, text string) imgspecv1.Descriptor {
	e := imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageManifest, Digest: digest.FromString(content), Size: int64(len(content))}
	e.Platform = worldPlatform(text)
	w.digests = append(w.digests, e.Digest)
	return e
}

// worldPlatform returns the platform with a text, nil for none.
func worldPlatform(text string) *imgspecv1.Platform {
	p, err := platform.Parse(text)
	if err != nil {
		return nil
	}
	return &imgspecv1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

// check makes the plan, several times.
func (w *planWorld) check(t *testing.T) (*Plan, bool) {
	before := snapshot(w.in)
	plan, err := New(w.in)
	again, againErr := New(w.in)
	assert.Equal(t, err, againErr)
	assert.Equal(t, plan, again)

	in, o := w.in, w.in.Choices
	o.InstancePlatforms = shuffled(w.random, o.InstancePlatforms)
	o.Instances = shuffled(w.random, o.Instances)
	o.InstanceIndexes = shuffled(w.random, o.InstanceIndexes)
	in.Choices = o
	permuted, permutedErr := New(in)
	assert.Equal(t, err, permutedErr)
	assert.Equal(t, plan, permuted)
	assert.Equal(t, before, snapshot(w.in), "the input has changed")
	if err != nil {
		assert.Nil(t, plan)
		return nil, false
	}
	checkPlanJSON(t, plan)
	return plan, true
}

func (w *planWorld) checkPlan(t *testing.T, plan *Plan) {
	w.checkCopies(t, plan)
	w.checkRequired(t, plan)
	w.checkBlobs(t, plan)
	w.checkPlatformless(t, plan)
	w.checkRelations(t, plan)
	if plan.Action == KeepSparseManifestList {
		plan.List.Walk(func(l *ListPlan) {
			assert.Empty(t, l.Edits)
			assert.Equal(t, l.Digest, l.Result)
		})
		assert.Equal(t, w.in.Top.Bytes, plan.List.result)
	} else {
		w.checkStripped(t, plan)
	}
	if o := w.in.Choices; o.ImageListSelection == CopyAllImages && len(w.in.Missing)+len(w.in.MissingBlobs) == 0 &&
		(o.Attestations == DefaultAttestations || o.Attestations == KeepAllAttestations) {
		plan.List.Walk(func(l *ListPlan) { assert.Empty(t, l.Edits, "everything is selected") })
		assert.Equal(t, w.in.Top.Bytes, plan.List.result)
	}
	if plan.IfRefused != nil {
		w.checkCopies(t, plan.IfRefused)
		w.checkStripped(t, plan.IfRefused)
	}
}

// checkCopies: copies are distinct, wanted, not there already, and not missing.
func (w *planWorld) checkCopies(t *testing.T, plan *Plan) {
	seen := map[digest.Digest]bool{}
	for _, d := range plan.Copies {
		assert.False(t, seen[d], "copied twice")
		assert.False(t, w.in.Present[d], "copied, and there")
		assert.False(t, w.in.Missing[d], "copied, and missing")
		seen[d] = true
	}
	assert.Equal(t, plan.List.Result, digest.FromBytes(plan.List.result))
	assert.Equal(t, plan.List.ResultSize, int64(len(plan.List.result)))
}

// checkBlobs: a list that names blobs is copied as a whole, but for what is missing or elsewhere,
// nothing is stripped from it, and no blob is taken for a manifest.
func (w *planWorld) checkBlobs(t *testing.T, plan *Plan) {
	blobs, manifests := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	plan.List.Walk(func(l *ListPlan) {
		entire := l.NamesBlobs()
		if entire {
			assert.Contains(t, plan.Judged(), l.Digest)
		}
		for i, ip := range l.Instances {
			if ip.IsBlob() {
				blobs[ip.Digest] = ip.Decision == Copy || blobs[ip.Digest]
			} else {
				manifests[ip.Digest] = true
			}
			if entire && ip.Nested == nil {
				assert.True(t, ip.Decision == Copy || ip.Missing || len(l.node.Instances[i].URLs) > 0, "entry %d of %s", i, l.Digest)
				assert.Equal(t, KeepEntry, ip.Entry)
			}
		}
	})
	entries := plan.BlobEntries()
	for _, ip := range entries {
		assert.True(t, blobs[ip.Digest])
		assert.False(t, w.in.MissingBlobs[ip.Digest] && !ip.Present)
		delete(blobs, ip.Digest)
	}
	for d, copied := range blobs {
		assert.False(t, copied, "%s is not among the blobs", d)
	}
	for _, d := range plan.Wanted() {
		assert.True(t, manifests[d], "%s is no manifest", d)
	}
}

// checkRequired: an image for each required platform is copied or there.
func (w *planWorld) checkRequired(t *testing.T, plan *Plan) {
	if plan.List.NamesBlobs() {
		return // nobody runs it
	}
	for _, f := range w.in.Choices.RequiredPlatforms {
		met := false
		plan.List.Walk(func(l *ListPlan) {
			for i, ip := range l.Instances {
				copied := ip.Present || slices.Contains(plan.Copies, ip.Digest)
				met = met || ip.Decision == Copy && copied && !ip.Relation.Follows() && platform.Pattern(f).Matches(l.node.Instances[i].Platform)
			}
		})
		assert.True(t, met, "required platform %s", f)
	}
}

// checkPlatformless: where platforms select, entries without one are kept or left, and counted.
func (w *planWorld) checkPlatformless(t *testing.T, plan *Plan) {
	o := w.in.Choices
	include, _ := newFilters(o.InstancePlatforms, o.OptionalPlatforms)
	if o.ImageListSelection != CopySpecificImages || len(include) == 0 {
		assert.Zero(t, plan.PlatformlessKept+plan.PlatformlessLeft)
		return
	}
	kept, left := 0, 0
	var walk func(l *ListPlan)
	walk = func(l *ListPlan) {
		for i, ip := range l.Instances {
			if ip.Nested != nil {
				walk(ip.Nested)
			} else if instance := l.node.Instances[i]; platform.Absent(instance.Platform) && ip.Relation == "" && !instance.IsList() {
				assert.NotEqual(t, ReasonNotSelected, ip.Reason.Code)
			}
			switch {
			case ip.Reason.Code != ReasonPlatformless:
			case ip.Decision == Copy:
				kept++
			default:
				left++
			}
		}
	}
	walk(plan.List)
	assert.Equal(t, []int{kept, left}, []int{plan.PlatformlessKept, plan.PlatformlessLeft})
	assert.False(t, kept > 0 && o.PlatformlessEntries == StripPlatformlessEntries)
	assert.False(t, left > 0 && o.PlatformlessEntries == KeepPlatformlessEntries)
}

// onlyPlatformless reports whether all that a plan copies are entries without a platform, which are
// kept beside what is selected, and what belongs to them.
func onlyPlatformless(plan *Plan) bool {
	selected := false
	plan.List.Walk(func(l *ListPlan) {
		selected = selected || l.NamesBlobs() // which suits any platform
		for _, ip := range l.Instances {
			beside := []ReasonCode{ReasonPlatformless, ReasonFollows, ReasonKept, ReasonContains}
			selected = selected || ip.Decision == Copy && !slices.Contains(beside, ip.Reason.Code)
		}
	})
	return !selected && plan.PlatformlessKept > 0
}

// checkStripped: edits are in order, whatever a stripped list names will be there, no attestation
// that follows is orphaned, there is nothing more to strip, and what is stripped is proven.
func (w *planWorld) checkStripped(t *testing.T, plan *Plan) {
	w.checkProven(t, plan)
	there := maps.Clone(w.in.Present)
	for _, d := range plan.Copies {
		there[d] = true
	}
	plan.List.Walk(func(l *ListPlan) { there[l.Result] = true })
	plan.List.Walk(func(l *ListPlan) {
		checkEditOrder(t, l.Edits)
		checkBytesStay(t, l)
		if l.NamesBlobs() {
			return // see checkBlobs
		}
		assert.Empty(t, l.Absent)
		list, err := manifest.Parse(l.result, l.MediaType)
		require.NoError(t, err)
		named := map[digest.Digest]bool{}
		for _, instance := range list.Instances() {
			named[instance.Digest] = true
			assert.True(t, there[instance.Digest], "a stripped list names %s, which will not be there", instance.Digest)
		}
		for _, ip := range l.Instances {
			if ip.Decision == Copy && ip.Reason.Code == ReasonFollows {
				assert.True(t, named[ip.Subject], "entry %d is orphaned", ip.Index)
			}
		}
	})
	w.checkStripTwice(t, plan)
}

// checkBytesStay: what is not removed or updated has the bytes that it had.
func checkBytesStay(t *testing.T, l *ListPlan) {
	var before, after struct {
		Manifests []json.RawMessage `json:"manifests"`
	}
	require.NoError(t, json.Unmarshal(l.node.Bytes, &before))
	require.NoError(t, json.Unmarshal(l.result, &after))
	var stay []int
	for _, ip := range l.Instances {
		if ip.Entry != StripEntry {
			stay = append(stay, ip.Index)
		}
	}
	require.Len(t, after.Manifests, len(stay))
	for i, index := range stay {
		if l.Instances[index].Entry == KeepEntry {
			assert.Equal(t, string(before.Manifests[index]), string(after.Manifests[i]))
		}
	}
}

func checkEditOrder(t *testing.T, edits []manifest.ListEdit) {
	deleting := false
	for i, e := range edits {
		switch {
		case e.ListOperation == manifest.ListOpUpdate:
			assert.False(t, deleting, "an update after a delete")
		case deleting:
			assert.Less(t, e.DeleteIndex, edits[i-1].DeleteIndex, "deletes strictly descend")
		}
		deleting = e.ListOperation == manifest.ListOpDelete
	}
}

// checkStripTwice strips the result by the same selectors. Those that have nothing left to match
// are optional now, and what named a nested list by digest names what it has become.
func (w *planWorld) checkStripTwice(t *testing.T, plan *Plan) {
	o := w.in.Choices
	if len(o.InstanceIndexes) > 0 {
		return // positions are those of the source
	}
	if len(o.Instances) > 0 && slices.ContainsFunc(plan.Judged(), func(d digest.Digest) bool { return w.in.Documents[d].IsList() }) {
		return // a list that names blobs is copied for what is, or was, in it
	}
	untied := false
	plan.List.Walk(func(l *ListPlan) { untied = untied || unties(t, l) })
	if untied {
		return // what is stripped by now has taken along what said whose a SOCI index is
	}
	in := w.in
	in.Top = Document{Bytes: plan.List.result}
	in.Digest = plan.Digest
	in.Documents = maps.Clone(w.in.Documents)
	became, left := map[digest.Digest]digest.Digest{}, map[digest.Digest]bool{}
	plan.List.Walk(func(l *ListPlan) {
		in.Documents[l.Result] = Document{MediaType: l.MediaType, Bytes: l.result}
		became[l.Digest] = l.Result
		for _, ip := range l.Instances {
			if ip.Entry == UpdateEntry {
				left[ip.Nested.Result] = true
			} else if ip.Entry == KeepEntry {
				left[ip.Digest] = true
			}
		}
	})
	o.SparseManifestListAction = StripSparseManifestList
	o.Instances = nil
	for _, d := range w.in.Choices.Instances {
		if now, ok := became[d]; ok {
			d = now
		}
		if left[d] {
			o.Instances = append(o.Instances, d)
		}
	}
	if o.ImageListSelection == CopySpecificImages {
		o.InstancePlatforms = nil
		for _, f := range w.in.Choices.InstancePlatforms {
			if f.Exclude {
				o.InstancePlatforms = append(o.InstancePlatforms, f)
			} else {
				o.OptionalPlatforms = append(slices.Clone(o.OptionalPlatforms), f)
			}
		}
	}
	in.Choices = o
	again, err := New(in)
	var none *NoMatchError
	if onlyPlatformless(plan) && errors.As(err, &none) {
		return // they are kept beside what is selected, and that was missing: nothing is selected any more
	}
	if assert.NoError(t, err) {
		assert.Equal(t, plan.Digest, again.Digest, "stripped twice:\n%s\n%s", plan, again)
		assert.Empty(t, again.List.Edits)
	}
}

// unties reports whether nothing in the stripped list says whose a SOCI index in it is, which goes
// with its image: an entry for the image said so and is gone, and another one with the same digest
// stays.
func unties(t *testing.T, l *ListPlan) bool {
	list, err := manifest.Parse(l.result, l.ResultType)
	require.NoError(t, err)
	left := list.Instances()
	for _, index := range left {
		ties := func(e manifest.Instance) bool {
			return index.Annotations[manifest.AnnotationSOCIImage] == e.Digest.String() ||
				e.Annotations[manifest.AnnotationSOCIIndex] == index.Digest.String()
		}
		if index.ArtifactType == sociType && !slices.ContainsFunc(left, ties) &&
			slices.ContainsFunc(l.node.Instances, ties) {
			return true
		}
	}
	return false
}
