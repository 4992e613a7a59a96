package plan

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

var updatePlans = flag.Bool("update", false, "rewrite testdata/plans")

// TestPlanGolden makes the plans of testdata/plans; README.md there says how a case is written.
// Every case also has to come out the same with its selectors in other orders, leave its input
// alone, and survive JSON.
func TestPlanGolden(t *testing.T) {
	files, err := filepath.Glob("../../testdata/plans/*.txtar")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 40)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			require.NotEmpty(t, archive.Comment, "the comment says the rule")
			c := readPlanCase(t, archive)
			plan, err := New(c.in)
			c.checkPermutations(t, plan, err)
			if err == nil {
				checkPlanJSON(t, plan)
			}
			got := c.results(plan, err)
			if *updatePlans {
				require.NoError(t, os.WriteFile(file, txtar.Format(&txtar.Archive{Comment: archive.Comment, Files: append(c.inputs, got...)}), 0o644))
				return
			}
			assert.Equal(t, string(txtar.Format(&txtar.Archive{Files: c.expected})), string(txtar.Format(&txtar.Archive{Files: got})))
		})
	}
}

// A planCase is one golden case.
type planCase struct {
	t        *testing.T
	fixture  *imagetest.Fixture
	in       Input
	blobs    map[digest.Digest]bool // entries of lists that are blobs
	document bool                   // the lists that are written are part of the result
	inputs   []txtar.File
	expected []txtar.File
}

func readPlanCase(t *testing.T, archive *txtar.Archive) *planCase {
	t.Helper()
	c := &planCase{t: t, fixture: imagetest.New(), blobs: map[digest.Digest]bool{}, in: Input{
		PresentBlobs: map[digest.Digest]bool{}, MissingBlobs: map[digest.Digest]bool{},
		Documents: map[digest.Digest]Document{}, Missing: map[digest.Digest]bool{}, Present: map[digest.Digest]bool{},
		SignedLists: map[digest.Digest]int{}, Choices: Choices{},
	}}
	var options string
	lists := map[string]string{}
	var order []string
	for _, file := range archive.Files {
		switch {
		case file.Name == "options":
			options = string(file.Data)
		case file.Name == "plan" || file.Name == "error" || strings.HasPrefix(file.Name, "written "):
			c.expected = append(c.expected, file)
			continue
		case strings.HasSuffix(file.Name, ".json"):
			name := strings.TrimSuffix(file.Name, ".json")
			c.fixture.Raw(name, "application/vnd.oci.image.index.v1+json", file.Data)
			c.read(name)
		default:
			lists[file.Name] = string(file.Data)
			order = append(order, file.Name)
		}
		c.inputs = append(c.inputs, file)
	}
	c.buildLists(order, lists)
	c.setSource("top")
	for line := range strings.Lines(options) {
		if line = strings.TrimSpace(line); line != "" {
			word, rest, _ := strings.Cut(line, " ")
			require.NoError(t, c.option(word, strings.TrimSpace(rest)), line)
		}
	}
	return c
}

// buildLists makes the images that the lists name, and then the lists.
func (c *planCase) buildLists(order []string, lists map[string]string) {
	made := map[string]bool{}
	for _, name := range order {
		made[name] = true
	}
	// Images first, because attestations may stand before their subjects.
	for _, name := range order {
		docker := strings.Contains(lists[name], "% docker\n")
		for line := range strings.Lines(lists[name]) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] == "%" || slices.Contains([]string{"list", "attestation", "bare", "soci"}, words[1]) || made[words[0]] {
				continue
			}
			made[words[0]] = true
			c.image(words[0], words[1], words[2:], docker)
		}
	}
	// Then SOCI indexes, which images may name.
	for _, name := range order {
		for line := range strings.Lines(lists[name]) {
			if words := strings.Fields(line); len(words) > 3 && words[1] == "soci" {
				c.subject(words[3], made)
				if !made[words[0]] {
					made[words[0]] = true
					c.fixture.SOCIIndex(words[0], words[3])
					c.read(words[0])
				}
			}
		}
	}
	for _, name := range order {
		var entries []imagetest.Option
		for line := range strings.Lines(lists[name]) {
			entries = append(entries, c.line(strings.TrimSpace(line), made)...)
		}
		c.fixture.List(name, entries...)
		c.read(name)
	}
}

// read gives the document of that name to the planner.
func (c *planCase) read(name string) {
	doc, mediaType := c.fixture.Document(name)
	c.in.Documents[c.fixture.Digest(name)] = Document{MediaType: mediaType, Bytes: doc}
}

// subject makes an image that no list names, unless there is one of that name.
func (c *planCase) subject(name string, made map[string]bool) {
	if !made[name] {
		made[name] = true
		c.image(name, "linux/amd64", nil, false)
	}
}

func (c *planCase) image(name, pl string, words []string, docker bool) {
	var options []imagetest.Option
	if docker {
		options = append(options, imagetest.Docker())
	}
	for _, w := range words {
		if layers, ok := strings.CutPrefix(w, "layers="); ok {
			options = append(options, imagetest.Layers(strings.Split(layers, ",")...))
			for _, layer := range strings.Split(layers, ",") {
				c.layer(layer)
			}
		}
	}
	switch pl {
	case "layer", "cache-config", "elsewhere":
		c.blob(name, pl)
		return
	case "artifact":
		c.fixture.Artifact(name, options...)
	case "none":
		c.fixture.Image(name, options...)
	default:
		c.fixture.Image(name, append(options, imagetest.Platform(pl))...)
	}
	c.read(name)
}

// blob makes an entry that is no manifest.
func (c *planCase) blob(name, kind string) {
	switch kind {
	case "layer":
		c.fixture.Layer(name)
	case "elsewhere":
		c.fixture.Layer(name, imagetest.Foreign("https://example.com/"+name))
	default:
		c.fixture.Blob(name, manifest.MediaTypeCacheConfig, []byte(`{"layers":[],"records":[]}`))
	}
	c.blobs[c.fixture.Digest(name)] = true
}

// layer makes a layer that several images may name.
func (c *planCase) layer(name string) {
	defer func() { _ = recover() }() // the name is taken: the layer is there
	switch filepath.Ext(name) {
	case ".tar":
		c.fixture.Layer(name, imagetest.Uncompressed())
	case ".zst":
		c.fixture.Layer(name, imagetest.Zstd())
	case ".urls":
		c.fixture.Layer(name, imagetest.Foreign("https://example.com/"+name))
	default:
		c.fixture.Layer(name)
	}
}

// line reads one line of a list: an entry, or what the document looks like.
func (c *planCase) line(line string, made map[string]bool) []imagetest.Option {
	words := strings.Fields(line)
	switch {
	case len(words) == 0:
		return nil
	case words[0] == "%":
		return []imagetest.Option{documentOption(words[1:])}
	case words[1] == "attestation", words[1] == "bare", words[1] == "soci":
		return []imagetest.Option{imagetest.Entry(words[0], c.related(words, made)...)}
	}
	return []imagetest.Option{imagetest.Entry(words[0], c.entryOptions(words[1], words[2:])...)}
}

// related reads NAME attestation|bare|soci of SUBJECT, and what follows that, and makes what is
// called NAME.
func (c *planCase) related(words []string, made map[string]bool) []imagetest.Option {
	name, kind, subject := words[0], words[1], words[3]
	options := c.entryOptions("", words[4:])
	if kind == "bare" {
		options = append(options, imagetest.NoAnnotations())
	}
	c.subject(subject, made)
	if !made[name] {
		made[name] = true
		var with []imagetest.Option
		if kind == "bare" && !slices.Contains(words, "no-subject") {
			with = append(with, imagetest.Subject(subject))
		}
		c.fixture.Attestation(name, subject, with...)
		c.read(name)
	}
	return options
}

func documentOption(words []string) imagetest.Option {
	switch words[0] {
	case "docker":
		return imagetest.Docker()
	case "indent":
		n, err := strconv.Atoi(words[1])
		if err != nil {
			panic(err)
		}
		return imagetest.Indent(strings.Repeat(" ", n))
	}
	panic("unknown line: % " + words[0])
}

func (c *planCase) entryOptions(pl string, words []string) []imagetest.Option {
	var options []imagetest.Option
	switch pl {
	case "", "list", "artifact", "layer", "cache-config", "elsewhere":
	case "none":
		options = append(options, imagetest.NoPlatform())
	default:
		options = append(options, imagetest.Platform(pl))
	}
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "platform":
			options = append(options, imagetest.Platform(value))
		case "os.version":
			options = append(options, imagetest.OSVersion(value))
		case "os.features":
			options = append(options, imagetest.OSFeatures(strings.Split(value, "+")...))
		case "media-type":
			options = append(options, imagetest.EntryMediaType(value))
		case "artifact-type":
			options = append(options, imagetest.ArtifactType(value))
		case "nydus":
			options = append(options, imagetest.Nydus())
		case "zstd":
			options = append(options, imagetest.ZstdEntry())
		case "soci":
			options = append(options, c.fixture.SOCI(value))
		case "no-annotations":
			options = append(options, imagetest.NoAnnotations())
		case "layers", "no-subject":
		default:
			panic("unknown word: " + w)
		}
	}
	return options
}

func (c *planCase) setSource(name string) {
	doc, mediaType := c.fixture.Document(name)
	c.in.Top = Document{MediaType: mediaType, Bytes: doc}
	c.in.Digest = c.fixture.Digest(name)
}

// option reads one line of the file "options".
func (c *planCase) option(word, rest string) (err error) {
	o := &c.in.Choices
	switch word {
	case "all":
		o.ImageListSelection = CopyAllImages
	case "specific":
		o.ImageListSelection = CopySpecificImages
	case "system":
		c.in.System = c.digest(rest)
	case "features":
		o.ImageListSelection = CopySpecificImages
		o.InstancePlatforms = append(o.InstancePlatforms, InstancePlatformFilter{OS: "*", Architecture: "*", OSFeatures: strings.Fields(rest)})
	case "platform", "exclude":
		err = c.filter(&o.InstancePlatforms, rest, word == "exclude")
	case "optional":
		err = c.filter(&o.OptionalPlatforms, rest, false)
	case "required":
		c.addFilter(&o.RequiredPlatforms, rest, &err)
	case "digest":
		o.ImageListSelection = CopySpecificImages
		o.Instances = append(o.Instances, c.digest(rest))
	case "index":
		o.ImageListSelection = CopySpecificImages
		var i int
		i, err = strconv.Atoi(rest)
		o.InstanceIndexes = append(o.InstanceIndexes, i)
	case "sparse":
		err = o.SparseManifestListAction.UnmarshalText([]byte(rest))
	case "attestations":
		o.Attestations = map[string]AttestationAction{"follow": FollowSubject, "drop": DropAttestations, "keep": KeepAllAttestations}[rest]
	case "skip-missing":
		o.MissingInstances = SkipMissing
	case "keep-platformless":
		o.PlatformlessEntries = KeepPlatformlessEntries
	case "single-copy":
		o.SingleImage = CopySingleImage
	case "force":
		o.ForceManifestMIMEType = rest
	case "preserve-digests":
		o.PreserveDigests = true
	case "remove-list-signatures":
		o.RemoveListSignatures = true
	case "remove-signatures":
		o.RemoveSignatures = true
	case "referrers":
		o.Referrers, o.ReferrerTypes = AllReferrers, strings.Fields(rest)
	case "digest-tags":
		o.DigestTags = true
	case "guard-list-signatures":
		o.ListSignatures = GuardListSignatures
	case "keep-void":
		o.KeepVoid = true
	case "attach-original":
		o.AttachOriginal, c.in.OriginalClaim = true, rest
	default:
		err = c.fact(word, rest)
	}
	return err
}

// fact reads a line that is not about Choices.
func (c *planCase) fact(word, rest string) error {
	switch word {
	case "source":
		c.setSource(rest)
	case "config":
		p, err := platform.Parse(rest)
		c.in.Platform = &imgspecv1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
		return err
	case "missing":
		if c.blobs[c.digest(rest)] {
			c.in.MissingBlobs[c.digest(rest)] = true
			return nil
		}
		c.in.Missing[c.digest(rest)] = true
		delete(c.in.Documents, c.digest(rest))
	case "unread":
		delete(c.in.Documents, c.digest(rest))
	case "declared":
		name, mediaType, _ := strings.Cut(rest, " ")
		if c.digest(name) == c.in.Digest {
			c.in.Top.MediaType = mediaType
		} else {
			doc := c.in.Documents[c.digest(name)]
			c.in.Documents[c.digest(name)] = Document{MediaType: mediaType, Bytes: doc.Bytes}
		}
	case "present":
		if c.blobs[c.digest(rest)] {
			c.in.PresentBlobs[c.digest(rest)] = true
			return nil
		}
		c.in.Present[c.digest(rest)] = true
	case "signed":
		c.in.SignedLists[c.digest(rest)] = 2
	case "signature-of", "unknown-of", "unanswered-of":
		name, text, _ := strings.Cut(rest, " ")
		if c.in.ListSignatures == nil {
			c.in.ListSignatures = map[digest.Digest]ListSignatures{}
		}
		s := c.in.ListSignatures[c.digest(name)]
		if word == "signature-of" {
			s.Found = append(s.Found, text)
		} else {
			s.Unknown, s.Unanswered = text, word == "unanswered-of"
		}
		c.in.ListSignatures[c.digest(name)] = s
	case "original-signature":
		name, kind, _ := strings.Cut(rest, " ")
		c.in.OriginalSignatures = append(c.in.OriginalSignatures, c.signature(name, kind))
	case "destination-digest":
		c.in.DestinationDigest = c.digest(rest)
	case "registry":
		answer, required, _ := strings.Cut(rest, " ")
		c.in.Sparse = SparseSupport{Known: true, Accepts: answer == "accepts", Basis: "it says so"}
		for what := range strings.FieldsSeq(required) {
			switch {
			case what == "no-platform":
				c.in.Sparse.RequiresWithoutPlatform = true
			case strings.Contains(what, "/"):
				c.in.Sparse.RequiredPlatforms = append(c.in.Sparse.RequiredPlatforms, what)
			default:
				c.in.Sparse.RequiredArchitectures = append(c.in.Sparse.RequiredArchitectures, what)
			}
		}
	case "document":
		c.document = true
	case "referrer", "digest-tag":
		c.attach(word == "referrer", strings.Fields(rest))
	default:
		return c.transformFact(word, rest)
	}
	return nil
}

// signature returns what is attached under a name, or that name itself, as a signature of a kind;
// of the kind "broken", it is a referrer that lacks its blobs.
func (c *planCase) signature(name, kind string) OriginalSignature {
	if kind == string(original.Lookaside) {
		return OriginalSignature{Kind: original.Lookaside, Blob: []byte(name)}
	}
	doc, mediaType := c.fixture.Document(name)
	s := OriginalSignature{
		Kind: original.Kind(kind), Document: Document{Digest: c.fixture.Digest(name), MediaType: mediaType, Bytes: doc},
		Blobs: map[digest.Digest][]byte{},
	}
	if kind == "broken" {
		s.Kind = original.Referrer
		return s
	}
	for _, d := range c.fixture.Blobs(name) {
		s.Blobs[d] = c.fixture.Content(c.fixture.Name(d))
	}
	return s
}

// has reports whether the case has a document of that name.
func (c *planCase) has(name string) (has bool) {
	defer func() { has = recover() == nil }()
	c.fixture.Digest(name)
	return true
}

// attach reads NAME of SUBJECT TYPE|SUFFIX [present]. NAME may be an entry of a list, too.
func (c *planCase) attach(referrer bool, words []string) {
	name, subject, kind := words[0], words[2], words[3]
	artifactType := "application/vnd.example.signature"
	if referrer {
		artifactType = kind
	}
	if !c.has(name) {
		c.fixture.Artifact(name, imagetest.ArtifactType(artifactType), imagetest.Subject(subject))
	}
	doc, mediaType := c.fixture.Document(name)
	d := c.fixture.Digest(name)
	c.in.Documents[d] = Document{MediaType: mediaType, Bytes: doc}
	a := Attachment{
		Subject: c.fixture.Digest(subject), Digest: d, Size: int64(len(doc)), MediaType: mediaType, ArtifactType: artifactType,
		Present: len(words) > 4,
	}
	if !referrer {
		a.Tag = strings.Replace(a.Subject.String(), ":", "-", 1) + kind
	}
	c.in.Attachments = append(c.in.Attachments, a)
}

func (c *planCase) filter(to *[]InstancePlatformFilter, text string, exclude bool) (err error) {
	c.in.Choices.ImageListSelection = CopySpecificImages
	c.addFilter(to, text, &err)
	(*to)[len(*to)-1].Exclude = exclude
	return err
}

func (c *planCase) addFilter(to *[]InstancePlatformFilter, text string, err *error) {
	if text == "none" {
		*to = append(*to, InstancePlatformFilter{})
		return
	}
	var f InstancePlatformFilter
	f, *err = ParsePlatformFilter(text)
	*to = append(*to, f)
}

// digest returns the digest of a name, or name itself if it is a digest.
func (c *planCase) digest(name string) digest.Digest {
	if d := digest.Digest(name); d.Validate() == nil {
		return d
	}
	return c.fixture.Digest(name)
}

// results are the files that a case expects.
func (c *planCase) results(plan *Plan, err error) []txtar.File {
	if err != nil {
		name := strings.Replace(fmt.Sprintf("%T", err), "*plan.", "*copy.", 1) // as its users know it
		text := fmt.Sprintf("%s\n%v\n", name, err)
		return []txtar.File{{Name: "error", Data: []byte(c.symbolic(text, nil))}}
	}
	files := []txtar.File{{Name: "plan", Data: []byte(c.symbolic(plan.String(), plan))}}
	if c.document {
		plan.List.Walk(func(l *ListPlan) {
			if l.Result == "" {
				return
			}
			assert.Equal(c.t, l.Result, digest.FromBytes(l.result))
			files = append(files, txtar.File{Name: "written " + c.fixture.Name(l.Digest), Data: l.result})
		})
	}
	return files
}

var (
	digestText = regexp.MustCompile(`sha256[:-][0-9a-f]{12,64}`)
	columns    = regexp.MustCompile(`(\S)  +`)
)

// symbolic puts names in the place of digests. A list that changes is called what it was called,
// followed by an asterisk.
func (c *planCase) symbolic(text string, plan *Plan) string {
	names := map[string]string{}
	for d := range c.in.Documents {
		names[d.String()] = c.fixture.Name(d)
	}
	for d := range c.blobs {
		names[d.String()] = c.fixture.Name(d)
	}
	for d := range c.in.Missing {
		names[d.String()] = c.fixture.Name(d)
	}
	names[c.in.Digest.String()] = c.fixture.Name(c.in.Digest)
	for key, doc := range c.in.Transformed {
		if result := digest.FromBytes(doc.Bytes).String(); names[result] == "" {
			names[result] = strings.TrimSpace(c.fixture.Name(key.Digest) + "* " + key.Format)
		}
	}
	for _, s := range c.in.OriginalSignatures {
		if s.Kind == original.Lookaside {
			names[s.Digest().String()] = string(s.Blob)
		}
	}
	for p := plan; p != nil; p = p.IfRefused {
		if p.Original != nil {
			names[p.Original.Digest.String()] = "original of " + c.fixture.Name(p.Original.List)
			for _, s := range p.Original.Signatures {
				names[s.Digest.String()] = "artifact of " + names[s.Of.String()]
			}
		}
		if p.List == nil {
			continue
		}
		p.List.Walk(func(l *ListPlan) {
			if l.Result != l.Digest && l.Result != "" {
				names[l.Result.String()] = c.fixture.Name(l.Digest) + "*"
			}
		})
	}
	text = digestText.ReplaceAllStringFunc(text, func(found string) string {
		for d, name := range names {
			if strings.HasPrefix(d, strings.Replace(found, "-", ":", 1)) && !strings.HasPrefix(name, "sha256:") {
				return name
			}
		}
		return found
	})
	return columns.ReplaceAllString(text, "$1  ") // the columns were aligned for digests
}

// checkPermutations makes the plan again with the selectors in other orders.
func (c *planCase) checkPermutations(t *testing.T, want *Plan, wantErr error) {
	t.Helper()
	before := snapshot(c.in)
	random := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		in, o := c.in, c.in.Choices
		in.Attachments = slices.Clone(in.Attachments)
		random.Shuffle(len(in.Attachments), func(i, j int) {
			in.Attachments[i], in.Attachments[j] = in.Attachments[j], in.Attachments[i]
		})
		in.OriginalSignatures = shuffled(random, in.OriginalSignatures)
		o.Instances = shuffled(random, o.Instances)
		o.InstanceIndexes = shuffled(random, o.InstanceIndexes)
		o.InstancePlatforms = shuffled(random, o.InstancePlatforms)
		o.OptionalPlatforms = shuffled(random, o.OptionalPlatforms)
		o.RequiredPlatforms = shuffled(random, o.RequiredPlatforms)
		in.Choices = o
		got, err := New(in)
		assert.Equal(t, wantErr, err)
		if wantErr == nil {
			assert.Equal(t, mustJSON(t, want), mustJSON(t, got))
			assert.Equal(t, want.String(), got.String())
		}
	}
	assert.Equal(t, before, snapshot(c.in), "the input has changed")
}

// snapshot is all that an input consists of. %s has documents as text, in a tenth of the time that
// %v takes for a number of each byte.
func snapshot(in Input) string { return fmt.Sprintf("%s", []any{in, in.Choices}) }

// shuffled returns the elements of s in a random order, some of them twice.
func shuffled[E any](random *rand.Rand, s []E) []E {
	s = slices.Clone(s)
	if len(s) > 0 {
		s = append(s, s[random.IntN(len(s))])
	}
	random.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	return s
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

// checkPlanJSON decodes the plan's JSON form and expects the same plan, but for the documents to be
// written.
func checkPlanJSON(t *testing.T, plan *Plan) {
	t.Helper()
	text := mustJSON(t, plan)
	var decoded Plan
	require.NoError(t, json.Unmarshal([]byte(text), &decoded))
	assert.Equal(t, text, mustJSON(t, &decoded))
	assert.Equal(t, plan.String(), decoded.String())
}
