package remembered

import (
	"context"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Memory is what is remembered of what one copy does to images. It may be used concurrently.
type Memory struct {
	file       *File // nil if there is none, and noFile says why
	noFile     error
	repository string
	done       map[string]Transformation
}

// Memory returns what is remembered for copies to a destination that is opened with sys, which may
// be nil. done is what they do to images, by the Format of variants: what is not in it is not
// remembered.
func (f *Files) Memory(to types.ImageReference, sys *types.SystemContext, done map[string]Transformation) *Memory {
	m := &Memory{repository: Repository(to), done: done}
	dir, err := Directory(sys)
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

// Note remembers results, but for those that are not to be. The error says why they could not be
// noted.
func (m *Memory) Note(ctx context.Context, results map[plan.TransformKey]Result) error {
	noted := map[Key]Result{}
	for of, result := range results {
		if key, ok := m.key(of); ok {
			noted[key] = result
		}
	}
	if m.file == nil && len(results) > 0 {
		return m.noFile
	}
	if len(noted) == 0 {
		return nil
	}
	return m.file.Remember(ctx, noted)
}
