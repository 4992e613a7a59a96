package differential

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containers/ocicrypt"
	encconfig "github.com/containers/ocicrypt/config"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	upstreammanifest "go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/pkg/compression"
	compressiontypes "go.podman.io/image/v5/pkg/compression/types"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

var transformedAll = flag.Bool("differential.transformed", false, "every case of TestTransformedLikeUpstream, instead of an eighth that goes by the seed")

// A transformation is something that options, or the destination, have done to images on their way.
type transformation struct {
	set    func(*copy.Options) // its DestinationCtx is there
	source string              // of transformedSources
	ends   []string            // nil for all
	random bool                // what comes of it is never the same twice
	marks  bool                // entries may be marked as zstd; then they come last
	every  bool                // every image is transformed, also if nothing of it has to change
	keys   *encconfig.DecryptConfig
}

// transformationsToCompare returns transformations by name, and how the images of the encrypted
// source are encrypted.
func transformationsToCompare(t *testing.T) (map[string]transformation, *encconfig.EncryptConfig) {
	encrypt, decrypt := copytest.NewCryptKeys(t)
	format := func(f compressiontypes.Algorithm, level int, force bool) func(*copy.Options) {
		return func(o *copy.Options) {
			o.DestinationCtx.CompressionFormat, o.ForceCompressionFormat = &f, force
			if level != 0 {
				o.DestinationCtx.CompressionLevel = &level
			}
		}
	}
	encrypting := func(layers ...int) func(*copy.Options) {
		return func(o *copy.Options) { o.OciEncryptConfig, o.OciEncryptLayers = encrypt, &layers }
	}
	as := func(mediaType string) func(*copy.Options) {
		return func(o *copy.Options) { o.ForceManifestMIMEType = mediaType }
	}
	both := func(sets ...func(*copy.Options)) func(*copy.Options) {
		return func(o *copy.Options) {
			for _, set := range sets {
				set(o)
			}
		}
	}
	decrypting := func(o *copy.Options) { o.OciDecryptConfig = decrypt }
	chunkedLevel := 1 // at its own, each part of a file takes an encoder of 50 MiB
	if *transformedAll {
		chunkedLevel = 0
	}
	return map[string]transformation{
		"what the destination wants":              {set: func(*copy.Options) {}, source: "OCI"},
		"what the destination wants, of Docker's": {set: func(*copy.Options) {}, source: "Docker"},
		"gzip":                       {set: format(compression.Gzip, 0, false), source: "OCI"},
		"gzip, forced, with a level": {every: true, set: format(compression.Gzip, 1, true), source: "OCI"},
		"zstd":                       {set: format(compression.Zstd, 0, false), source: "OCI", marks: true},
		"zstd, of Docker's":          {set: format(compression.Zstd, 0, false), source: "Docker", marks: true},
		"zstd, forced, with a level": {every: true, set: format(compression.Zstd, 1, true), source: "OCI", marks: true},
		"zstd:chunked":               {every: true, set: format(compression.ZstdChunked, chunkedLevel, true), source: "OCI", marks: true, ends: []string{"docker", "oci"}},
		"uncompressed, where the destination lets it": {set: func(o *copy.Options) { o.DestinationCtx.OCIAcceptUncompressedLayers = true }, source: "OCI"},
		"compressed in a directory":                   {set: func(o *copy.Options) { o.DestinationCtx.DirForceCompress = true }, source: "OCI", ends: []string{"dir"}},
		"decompressed":                                {set: func(o *copy.Options) { o.DestinationCtx.DirForceDecompress = true }, source: "OCI", ends: []string{"dir"}},
		"decompressed, of Docker's":                   {set: func(o *copy.Options) { o.DestinationCtx.DirForceDecompress = true }, source: "Docker", ends: []string{"dir"}},
		"as Docker's":                                 {set: as(manifest.MediaTypeDockerManifest), source: "gzipped", ends: []string{"docker", "dir"}},
		"as OCI's":                                    {set: as(imgspecv1.MediaTypeImageManifest), source: "Docker"},
		"as OCI's, zstd":                              {set: both(as(imgspecv1.MediaTypeImageManifest), format(compression.Zstd, 0, false)), source: "Docker", marks: true},
		"encrypted":                                   {every: true, set: encrypting(), source: "gzipped", random: true, keys: decrypt},
		"encrypted, the first and the last":           {every: true, set: encrypting(0, -1), source: "OCI", random: true, keys: decrypt},
		"encrypted, zstd":                             {every: true, set: both(encrypting(), format(compression.Zstd, 0, false)), source: "OCI", random: true, marks: true, keys: decrypt},
		"decrypted":                                   {set: decrypting, source: "encrypted", keys: decrypt},
		"decrypted, as Docker's":                      {set: both(decrypting, as(manifest.MediaTypeDockerManifest)), source: "encrypted", keys: decrypt, ends: []string{"docker", "dir"}},
		"carried although it is encrypted":            {set: func(*copy.Options) {}, source: "encrypted", keys: decrypt},
		"downloaded":                                  {set: func(o *copy.Options) { o.DownloadForeignLayers = true }, source: "elsewhere"},
		"left where it is":                            {set: func(*copy.Options) {}, source: "elsewhere", ends: []string{"docker"}},
	}, encrypt
}

// A transformedSelection is what is selected of one of the lists of a transformedSource.
type transformedSelection struct {
	options copy.Options
	// top is the list that is copied: "plain", which upstream can copy, or imagetest.Top.
	top    string
	strict bool // the destination refuses sparse lists
	// copied are the positions that are copied, by list. Others are removed if stripped is set.
	copied   map[string][]int
	stripped bool
	// dropped are positions that are left behind, in the top list, if their subject is transformed.
	dropped map[int]string
}

// The lists. Positions of what a source does not have, as attestations, are left out.
var transformedLists = map[string][]string{
	"plain":       {"amd64", "arm64", "s390x"},
	"inner":       {"riscv64", "ppc64le"},
	imagetest.Top: {"amd64", "arm64", "arm64", "s390x", "inner", "att-amd64", "att-arm64"},
}

func transformedSelections() map[string]transformedSelection {
	specific := func(action copy.SparseManifestListAction, filters ...string) copy.Options {
		return copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms(filters...), SparseManifestListAction: action}
	}
	positions := copy.Options{ImageListSelection: copy.CopySpecificImages, InstanceIndexes: []int{2}, SparseManifestListAction: copy.StripSparseManifestList}
	required := specific(copy.StripSparseManifestList, "linux/s390x", "linux/ppc64le")
	required.RequiredPlatforms = copytest.Platforms("linux/ppc64le")
	drop := copy.Options{ImageListSelection: copy.CopyAllImages, ChangedSubjects: copy.DropChangedSubjects}
	everything := map[string][]int{imagetest.Top: {0, 1, 2, 3, 4, 5, 6}, "inner": {0, 1}}
	return map[string]transformedSelection{
		"all":                       {options: copy.Options{ImageListSelection: copy.CopyAllImages}, top: "plain", copied: map[string][]int{"plain": {0, 1, 2}}},
		"system":                    {top: "plain", copied: map[string][]int{"plain": {0}}},
		"strip":                     {options: specific(copy.StripSparseManifestList, "linux/amd64", "linux/arm64"), top: "plain", copied: map[string][]int{"plain": {0, 1}}, stripped: true},
		"keep":                      {options: specific(copy.KeepSparseManifestList, "linux/amd64", "linux/s390x"), top: "plain", copied: map[string][]int{"plain": {0, 2}}},
		"everything":                {options: copy.Options{ImageListSelection: copy.CopyAllImages}, top: imagetest.Top, copied: everything},
		"auto, kept":                {options: specific(copy.AutoSparseManifestList, "linux/amd64", "linux/riscv64"), top: imagetest.Top, copied: map[string][]int{imagetest.Top: {0, 4, 5}, "inner": {0}}},
		"auto, stripped":            {options: specific(copy.AutoSparseManifestList, "linux/amd64", "linux/riscv64"), top: imagetest.Top, strict: true, copied: map[string][]int{imagetest.Top: {0, 4, 5}, "inner": {0}}, stripped: true},
		"one of two that are equal": {options: specific(copy.KeepSparseManifestList, "linux/arm/v7"), top: imagetest.Top, copied: map[string][]int{imagetest.Top: {2, 6}}},
		"a position":                {options: positions, top: imagetest.Top, copied: map[string][]int{imagetest.Top: {2}}, stripped: true},
		"required":                  {options: required, top: imagetest.Top, copied: map[string][]int{imagetest.Top: {3, 4}, "inner": {1}}, stripped: true},
		"what is void dropped":      {options: drop, top: imagetest.Top, copied: everything, dropped: map[int]string{5: "amd64", 6: "arm64"}},
	}
}

// A transformedSource is a repository with the lists of transformedLists, and what they name.
type transformedSource struct {
	reg  *registrytest.Registry
	repo string
	docs map[string]sourceDocument
}

// A sourceDocument is a manifest or list of a transformedSource.
type sourceDocument struct {
	content   []byte
	mediaType string
}

func (d sourceDocument) digest() digest.Digest { return digest.FromBytes(d.content) }

// ref is the reference of an image by its digest, or of a list by its name.
func (s *transformedSource) ref(t testing.TB, name string) types.ImageReference {
	if transformedLists[name] == nil {
		return copytest.RegistryRef(t, s.reg, s.repo, s.docs[name].digest().String())
	}
	return copytest.RegistryRef(t, s.reg, s.repo, name)
}

// A transformedForm says how a source differs from one with OCI's types whose layers are gzipped.
type transformedForm struct {
	name     string
	form     []imagetest.Option
	layers   map[string]imagetest.LayerOption // by architecture, of each image's own layer
	attested bool
}

// transformedSources are lists whose images are compressed in all ways, the same with Docker's
// types, lists of compressed images, with a layer that is elsewhere, and encrypted ones.
func transformedSources(t *testing.T, encrypt *encconfig.EncryptConfig) map[string]*transformedSource {
	var elsewhere []byte
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(elsewhere) }))
	t.Cleanup(host.Close)
	plain := imagetest.Uncompressed()
	reg := registrytest.Start(t, registrytest.Options{})
	sources := map[string]*transformedSource{}
	for _, form := range []transformedForm{
		{name: "OCI", layers: map[string]imagetest.LayerOption{"amd64": plain, "s390x": imagetest.Zstd(), "riscv64": plain}, attested: true},
		{name: "Docker", form: []imagetest.Option{imagetest.Docker()}, layers: map[string]imagetest.LayerOption{"amd64": plain, "riscv64": plain}},
		{name: "gzipped"},
		{name: "elsewhere", layers: map[string]imagetest.LayerOption{"arm64": imagetest.Foreign(host.URL + "/layer")}},
	} {
		f := form.fixture()
		s := &transformedSource{reg, strings.ToLower(form.name), map[string]sourceDocument{}}
		for list, images := range transformedLists {
			for _, name := range append(slices.Clone(images), list) {
				if form.attested || !strings.HasPrefix(name, "att-") {
					content, mediaType := f.Document(name)
					s.docs[name] = sourceDocument{content, mediaType}
				}
			}
			f.PushTo(reg, s.repo, list, list)
		}
		sources[form.name], elsewhere = s, f.Content("arm64.app")
	}
	sources["encrypted"] = encryptedSource(t, sources["gzipped"], encrypt)
	return sources
}

// fixture has what transformedLists names.
func (form transformedForm) fixture() *imagetest.Fixture {
	f := imagetest.New()
	with := func(options ...imagetest.Option) []imagetest.Option { return slices.Concat(form.form, options) }
	f.Layer("base", imagetest.File("etc/motd", strings.Repeat("hello\n", 50)))
	for _, arch := range []string{"amd64", "arm64", "s390x", "riscv64", "ppc64le"} {
		layer := []imagetest.LayerOption{imagetest.File("app", "for "+arch)}
		if encoding := form.layers[arch]; encoding != nil {
			layer = append(layer, encoding)
		}
		f.Layer(arch+".app", layer...)
		f.Image(arch, with(imagetest.Platform("linux/"+arch), imagetest.Layers("base", arch+".app"))...)
	}
	f.List("plain", with(imagetest.Entries("amd64", "arm64", "s390x"))...)
	f.List("inner", with(imagetest.Indent(" "), imagetest.Entries("riscv64", "ppc64le"))...)
	top := with(imagetest.Indent("   "), imagetest.Unknown("x", `{"b":1.50}`),
		imagetest.Entries("amd64", "arm64"), imagetest.Entry("arm64", imagetest.Platform("linux/arm/v7")), imagetest.Entries("s390x", "inner"))
	if form.attested {
		f.Attestation("att-amd64", "amd64")
		f.Attestation("att-arm64", "arm64")
		top = append(top, imagetest.Entries("att-amd64", "att-arm64"))
	}
	f.List(imagetest.Top, top...)
	return f
}

// encryptedSource is a source whose images are encrypted by upstream.
func encryptedSource(t *testing.T, of *transformedSource, encrypt *encconfig.EncryptConfig) *transformedSource {
	e := newEnv(t)
	s := &transformedSource{of.reg, "encrypted", map[string]sourceDocument{}}
	for name := range of.docs {
		if transformedLists[name] != nil {
			continue
		}
		content, err := upstream.Image(t.Context(), e.Policy, copytest.RegistryRef(t, s.reg, s.repo, "encrypting"), of.ref(t, name), &upstream.Options{
			SourceCtx: e.Sys, DestinationCtx: e.Sys, OciEncryptConfig: encrypt, OciEncryptLayers: &[]int{},
		})
		require.NoError(t, err)
		s.docs[name] = sourceDocument{content, imgspecv1.MediaTypeImageManifest}
	}
	for _, list := range []string{"inner", "plain", imagetest.Top} {
		content := of.edited(t, list, nil, func(_ string, _ int, name string) *sourceDocument { doc := s.docs[name]; return &doc })
		s.docs[list] = sourceDocument{content, imgspecv1.MediaTypeImageIndex}
		s.reg.PutManifest(s.repo, list, imgspecv1.MediaTypeImageIndex, content)
		s.reg.PutManifest(s.repo, digest.FromBytes(content).String(), imgspecv1.MediaTypeImageIndex, content)
	}
	return s
}

// edited returns a list of s in which each entry names what became says, if anything, and in which
// none of the positions of remove are.
func (s *transformedSource) edited(t testing.TB, list string, remove []int, became func(list string, position int, name string) *sourceDocument) []byte {
	parsed, err := manifest.Parse(s.docs[list].content, s.docs[list].mediaType)
	require.NoError(t, err)
	var updates, deletes []manifest.ListEdit
	for i, instance := range parsed.Instances() {
		name := transformedLists[list][i]
		if slices.Contains(remove, i) {
			deletes = append(deletes, manifest.ListEdit{ListOperation: manifest.ListOpDelete, DeleteIndex: i})
			continue
		}
		doc := became(list, i, name)
		if doc == nil || doc.digest() == instance.Digest {
			continue
		}
		edit := manifest.ListEdit{ListOperation: manifest.ListOpUpdate, UpdateIndex: i, UpdateDigest: doc.digest(), UpdateSize: int64(len(doc.content))}
		if doc.mediaType != instance.MediaType {
			edit.UpdateMediaType = doc.mediaType
		}
		updates = append(updates, edit)
	}
	slices.Reverse(deletes)
	edited := parsed.Clone()
	require.NoError(t, edited.EditInstances(append(updates, deletes...)))
	content, err := edited.Serialize()
	require.NoError(t, err)
	return content
}

// A transformedCase is a copy of TestTransformedLikeUpstream.
type transformedCase struct {
	*diffCase
	transformation transformation
	selection      transformedSelection
	source         *transformedSource
	alone          func(name string) (*sourceDocument, error) // what upstream makes of one image
}

// TestTransformedLikeUpstream has images changed in all ways, between all kinds of ends, in all
// kinds of selections. What upstream makes of each image alone is what becomes of it, and the list
// is the source's, edited; where upstream can copy the list, its copy is the same, too. What
// differs each time is held against the image that it was made of.
func TestTransformedLikeUpstream(t *testing.T) {
	transformations, encrypt := transformationsToCompare(t)
	sources := transformedSources(t, encrypt)
	selections := transformedSelections()
	for i, name := range slices.Sorted(maps.Keys(transformations)) {
		x := transformations[name]
		ends := x.ends
		if ends == nil {
			ends = []string{"docker", "oci", "dir", "oci-archive"}
		}
		for j, to := range ends {
			alone := x.alone(t, to, sources[x.source])
			for k, selection := range slices.Sorted(maps.Keys(selections)) {
				if !*transformedAll && (i+j+k+int(*differentialSeed))%8 != 0 {
					continue
				}
				if selections[selection].strict && to != "docker" {
					continue // nobody but registries refuses sparse lists
				}
				t.Run(strings.Join([]string{name, to, selection}, "/"), func(t *testing.T) {
					t.Parallel()
					c := &transformedCase{newFixedCase(t, to, copy.Options{}), x, selections[selection], sources[x.source], alone}
					c.from = "docker"
					c.run()
				})
			}
		}
	}
}

// alone returns a function that says what upstream makes of an image of s at a destination, which
// it is asked for once.
func (x transformation) alone(t *testing.T, to string, s *transformedSource) func(string) (*sourceDocument, error) {
	made := map[string]func() (*sourceDocument, error){}
	for name, doc := range s.docs {
		made[name] = sync.OnceValues(func() (*sourceDocument, error) {
			c := newFixedCase(t, to, copy.Options{})
			x.set(&c.options)
			content, err := upstream.Image(t.Context(), c.e.Policy, c.newDestination().ref, s.ref(t, name), c.upstreamOptions())
			if err != nil {
				return nil, err
			}
			return &sourceDocument{content, cmp.Or(upstreammanifest.GuessMIMEType(content), doc.mediaType)}, nil
		})
	}
	return func(name string) (*sourceDocument, error) { return made[name]() }
}

func (c *transformedCase) run() {
	sys := c.options.DestinationCtx
	c.options = c.selection.options
	c.options.DestinationCtx = sys
	c.transformation.set(&c.options)
	c.registry.Strict = c.selection.strict
	src := c.source.ref(c.t, c.selection.top)

	end, ours := c.newDestination(), outcome{}
	var r copy.Report
	o := c.options
	o.Report, o.ReportResolvedReference = &r, &ours.resolved
	ours.copied, ours.err = copy.Image(c.t.Context(), c.e.Policy, end.ref, src, c.e.Options(o))
	require.NoError(c.t, ours.err)
	ours.lines, ours.plan = end.lines(), r.Plan
	require.Equal(c.t, copy.Native, r.Plan.Way, r.Plan.WayReason)
	c.check(end, ours.copied)
	if c.selection.top == "plain" && !c.transformation.random {
		theirs := c.upstreams(src)
		require.NoError(c.t, theirs.err)
		require.Empty(c.t, c.compare(theirs, ours))
	}
}

// check holds what was copied against what should have been.
func (c *transformedCase) check(end diffEnd, copied []byte) {
	src, err := end.ref.NewImageSource(c.t.Context(), c.e.Sys)
	require.NoError(c.t, err)
	defer func() { require.NoError(c.t, src.Close()) }()
	there := &transformedCopy{c, src}
	require.Equal(c.t, string(copied), string(there.manifest(nil)))
	if c.options.ImageListSelection == copy.CopySystemImage {
		there.checkImage("amd64", sourceDocument{content: copied})
		return
	}
	there.checkList(c.selection.top, copied)
}

// want is what an image has to be at the destination; false if it cannot be changed, and stays
// behind.
func (c *transformedCase) want(name string) (*sourceDocument, bool) {
	doc, err := c.alone(name)
	if err == nil {
		return doc, true
	}
	require.True(c.t, strings.HasPrefix(name, "att-"), "%s: %v", name, err)
	return nil, false
}

// changes reports whether an image is another one at the destination.
func (c *transformedCase) changes(name string) bool {
	doc, ok := c.want(name)
	return ok && doc.digest() != c.source.docs[name].digest()
}

// copies reports whether what is at a position of a list is copied.
func (c *transformedCase) copies(list string, position int) bool {
	name := transformedLists[list][position]
	if !slices.Contains(c.selection.copied[list], position) || transformedLists[name] == nil && !c.has(name) {
		return false
	}
	subject := c.selection.dropped[position]
	return subject == "" || !c.transformation.every && !c.changes(subject)
}

// has reports whether an image can be at the destination.
func (c *transformedCase) has(name string) bool {
	_, ok := c.want(name)
	return ok
}

// A transformedCopy is what is at the destination.
type transformedCopy struct {
	*transformedCase
	src types.ImageSource
}

func (c *transformedCopy) manifest(d *digest.Digest) []byte {
	content, _, err := c.src.GetManifest(c.t.Context(), d)
	require.NoError(c.t, err)
	if d != nil {
		require.Equal(c.t, *d, digest.FromBytes(content))
	}
	return content
}

// checkList checks a list, and what it names. It returns the list that there should be.
func (c *transformedCopy) checkList(name string, content []byte) *sourceDocument {
	mediaType := upstreammanifest.GuessMIMEType(content)
	list, err := manifest.Parse(content, mediaType)
	require.NoError(c.t, err)
	entries := map[string]manifest.Instance{}
	for _, entry := range list.Instances() {
		entries[entryName(entry)] = entry
	}
	require.Len(c.t, entries, len(list.Instances()))

	source, err := manifest.Parse(c.source.docs[name].content, c.source.docs[name].mediaType)
	require.NoError(c.t, err)
	instances := source.Instances()
	var removed []int
	for i, instance := range instances {
		if c.selection.stripped && !c.copies(name, i) {
			removed = append(removed, i)
			assert.NotContains(c.t, entries, entryName(instance))
		}
	}
	edited := c.source.edited(c.t, name, removed, func(_ string, i int, child string) *sourceDocument {
		if !c.copies(name, i) {
			return nil
		}
		entry, ok := entries[entryName(instances[i])]
		require.True(c.t, ok, "%s lacks %s", name, child)
		there := sourceDocument{c.manifest(&entry.Digest), entry.MediaType}
		if transformedLists[child] != nil {
			return c.checkList(child, there.content)
		}
		return c.checkImage(child, there)
	})
	parsed, err := manifest.Parse(edited, source.MediaType())
	require.NoError(c.t, err)
	want, err := manifest.Convert(parsed, mediaType)
	require.NoError(c.t, err)
	wanted, err := want.List.Serialize()
	require.NoError(c.t, err)
	if c.transformation.marks {
		assert.Equal(c.t, unordered(wanted), unordered(content), name)
		return &sourceDocument{content, mediaType}
	}
	assert.Equal(c.t, string(wanted), string(content), name)
	return &sourceDocument{wanted, mediaType}
}

// entryName tells the entries of a list apart, whatever images they name.
func entryName(entry manifest.Instance) string {
	name := entry.Annotations["vnd.docker.reference.digest"]
	if p := entry.Platform; p != nil && p.Architecture != "" {
		name += " " + p.OS + "/" + p.Architecture + "/" + p.Variant
	}
	return name
}

// unordered is what a list says but for the order of its entries, and for those that are marked as
// zstd.
func unordered(list []byte) any {
	says := withoutMarks(listSays(list)).(map[string]any)
	var entries []string
	for _, entry := range says["manifests"].([]any) {
		text, _ := json.Marshal(entry) // it was read as JSON
		entries = append(entries, string(text))
	}
	slices.Sort(entries)
	says["manifests"] = entries
	return says
}

// checkImage checks an image at the destination: its manifest, if that is the same each time, and
// its layers, which are those of the source's in some form. It returns the image.
func (c *transformedCopy) checkImage(name string, image sourceDocument) *sourceDocument {
	if want, _ := c.want(name); !c.transformation.random || !c.changes(name) {
		require.Equal(c.t, string(want.content), string(image.content), name)
		image.mediaType = want.mediaType
	}
	source, there := readLayers(c.t, c.source.docs[name].content), readLayers(c.t, image.content)
	before, ok := c.source.reg.Blob(c.source.repo, source.Config.Digest)
	require.True(c.t, ok)
	after := c.blob(there.Config)
	assert.Equal(c.t, diffIDs(c.t, before), diffIDs(c.t, after), name)
	require.Len(c.t, there.Layers, len(source.Layers), name)
	for i, id := range diffIDs(c.t, after) {
		layer := there.Layers[i]
		if len(layer.URLs) > 0 {
			continue // it stays where it is
		}
		assert.Equal(c.t, id, c.uncompressed(layer), "%s: layer %d", name, i)
	}
	return &image
}

// blob reads a blob, which must be what its descriptor says.
func (c *transformedCopy) blob(desc imgspecv1.Descriptor) []byte {
	r, _, err := c.src.GetBlob(c.t.Context(), types.BlobInfo{Digest: desc.Digest, Size: desc.Size}, none.NoCache)
	require.NoError(c.t, err)
	defer r.Close()
	content, err := io.ReadAll(r)
	require.NoError(c.t, err)
	require.Equal(c.t, desc.Digest, digest.FromBytes(content))
	require.Len(c.t, content, int(desc.Size))
	return content
}

// uncompressed is the digest of a layer without encryption and compression.
func (c *transformedCopy) uncompressed(layer imgspecv1.Descriptor) digest.Digest {
	var content io.Reader = bytes.NewReader(c.blob(layer))
	if strings.HasSuffix(layer.MediaType, "+encrypted") {
		decrypted, _, err := ocicrypt.DecryptLayer(c.transformation.keys, content, layer, false)
		require.NoError(c.t, err)
		content = decrypted
	}
	plain, _, err := compression.AutoDecompress(content)
	require.NoError(c.t, err)
	defer plain.Close()
	d, err := digest.FromReader(plain)
	require.NoError(c.t, err)
	return d
}

func readLayers(t *testing.T, image []byte) imgspecv1.Manifest {
	var m imgspecv1.Manifest // Docker's manifests say as much by the same names
	require.NoError(t, json.Unmarshal(image, &m))
	return m
}

func diffIDs(t *testing.T, config []byte) []digest.Digest {
	var c imgspecv1.Image
	require.NoError(t, json.Unmarshal(config, &c))
	return c.RootFS.DiffIDs
}
