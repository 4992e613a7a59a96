package remembered

import (
	"context"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/transforming"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Memory is what is remembered of what one copy does to images. It may be used concurrently.
type Memory struct {
	file       *File // nil if there is none, and noFile says why
	noFile     error
	repository string
	// formats are those of images ("") and of variants; done is what is done to these, without that
	// whose results are not to be remembered.
	formats []string
	done    map[string]Transformation
}

// Memory returns what is remembered of copies to a destination with these traits by which upstream
// would copy images with options, and the variants among these. What is not to be remembered of
// them is not.
func (f *Files) Memory(to types.ImageReference, options *upstream.Options, wants access.Traits) *Memory {
	m := &Memory{repository: Repository(to), formats: []string{""}, done: map[string]Transformation{}}
	for _, variant := range options.EnsureCompressionVariantsExist {
		m.formats = append(m.formats, variant.Algorithm.Name())
	}
	for _, format := range m.formats {
		o := *options
		transforming.ForVariant(&o, format)
		done, unknowable := Describe(&o, wants)
		if unknowable != "" {
			logrus.Debugf("what becomes of images is not remembered: %s", unknowable)
			continue
		}
		m.done[format] = done
	}
	dir, err := Directory(options.DestinationCtx)
	if err != nil {
		m.noFile = err
		return m
	}
	m.file = f.In(dir)
	return m
}

// String names the file, or says why there is none.
func (m *Memory) String() string {
	if m.file == nil {
		return "no file: " + m.noFile.Error()
	}
	return m.file.path()
}

// Transformations returns the digests of what is done to images, by the Format of variants.
func (m *Memory) Transformations() map[string]digest.Digest {
	digests := map[string]digest.Digest{}
	for format, done := range m.done {
		digests[format] = done.Digest()
	}
	return digests
}

// key returns what the file calls a result, and whether it has such results.
func (m *Memory) key(of plan.TransformKey) (Key, bool) {
	done, ok := m.done[of.Format]
	return Key{m.repository, of.Digest, done.String()}, ok && m.file != nil
}

// Find returns what is remembered of keys. The error says why nothing could be read.
func (m *Memory) Find(keys []plan.TransformKey) (map[plan.TransformKey]Result, error) {
	if m.file == nil {
		return nil, m.noFile
	}
	asked := map[Key]plan.TransformKey{}
	var all []Key
	for _, of := range keys {
		if key, ok := m.key(of); ok {
			asked[key], all = of, append(all, key)
		}
	}
	results, err := m.file.Results(all)
	found := map[plan.TransformKey]Result{}
	for key, result := range results {
		found[asked[key]] = result
	}
	return found, err
}

// Stated returns which entry of a list at the destination says that its image was made as one of
// keys would be. Whoever writes to the destination can say so, unlike what Find returns.
func (m *Memory) Stated(entries []manifest.Instance, keys []plan.TransformKey) map[plan.TransformKey]digest.Digest {
	type origin struct{ from, by string }
	made := map[origin]digest.Digest{}
	for _, e := range entries {
		made[origin{e.Annotations[manifest.AnnotationTransformedFrom], e.Annotations[manifest.AnnotationTransformedBy]}] = e.Digest
	}
	found := map[plan.TransformKey]digest.Digest{}
	for _, of := range keys {
		done, ok := m.done[of.Format]
		if result := made[origin{of.Digest.String(), done.Digest().String()}]; ok && result != "" {
			found[of] = result
		}
	}
	return found
}

// Knows reports whether anything is remembered of copies like this one.
func (m *Memory) Knows() bool {
	for _, done := range m.done {
		if m.file != nil && m.file.Knows(m.repository, done.String()) {
			return true
		}
	}
	return false
}

// Noted is what there is to remember of a copy.
type Noted struct {
	Plan    *plan.Plan // that the destination has accepted
	Results map[plan.TransformKey]endpoint.Document
	// Source returns the manifest of an image as it was read at the source, and whether it was;
	// Recalled has what is known of others.
	Source   func(digest.Digest) (endpoint.Document, bool)
	Recalled map[digest.Digest]plan.Recalled
	// Carried is set if images that stayed as they were are remembered, too: those of which only
	// their manifests tell that they may.
	Carried bool
}

// Note remembers what became of images. The error says why that could not be noted.
func (m *Memory) Note(ctx context.Context, n Noted) error {
	results, reasons := map[Key]Result{}, n.Plan.Transformed()
	note := func(of plan.TransformKey, doc endpoint.Document, reason string) {
		before := n.Recalled[of.Digest].MediaType
		if source, read := n.Source(of.Digest); read {
			before = source.MediaType
		}
		if done, ok := m.done[of.Format]; ok {
			results[Key{m.repository, of.Digest, done.String()}] = Result{doc.Digest, int64(len(doc.Bytes)), doc.MediaType, before, reason}
		}
	}
	for of, doc := range n.Results {
		reason := reasons[of.Digest]
		if of.Format != "" {
			reason = "gets a variant with " + of.Format
		}
		note(of, doc, reason)
	}
	for _, d := range n.Plan.Wanted() {
		if doc, read := n.Source(d); n.Carried && read && reasons[d] == "" {
			note(plan.TransformKey{Digest: d}, doc, "")
		}
	}
	switch {
	case len(results) == 0:
		return nil
	case m.file == nil:
		return m.noFile
	}
	return m.file.Remember(ctx, results)
}
