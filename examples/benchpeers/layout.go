package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// sourceFiles is where the source of w is, if that is a layout. It is made for the first copy.
func (b *bench) sourceFiles(ctx context.Context, p *registryProcess, w workload) (place, error) {
	files := place{"", filepath.Join(b.dir, "source", w.Name), tag}
	if _, err := os.Stat(files.Repo); err == nil {
		return files, nil
	}
	if _, err := p.ask(question{Prepare: &subjectQuestion{w, ""}}); err != nil {
		return files, err
	}
	return files, copyFloorToLayout(ctx, job{Source: place{p.Source, w.sourceRepo(), tag}, Destination: files}, false)
}

// inLayout returns how many bytes a layout has of what a complete copy of w has, and what it lacks;
// "" for nothing.
func (r *registries) inLayout(w workload, dir string) (stored int64, missing string) {
	f := r.fixtures[w.Name][0]
	top, err := tagged(dir)
	if err == nil && top != f.Digest(imagetest.Top) {
		err = fmt.Errorf("the layout's tag names %s", top)
	}
	if err != nil {
		return 0, err.Error()
	}
	wanted := f.Manifests(imagetest.Top)
	for _, d := range w.images(f) {
		wanted = append(wanted, f.Blobs(f.Name(d))...)
	}
	for _, d := range wanted {
		n, err := verifiedSize(filepath.Join(dir, "blobs", d.Algorithm().String(), d.Encoded()), d)
		if err != nil {
			return stored, err.Error()
		}
		stored += n
	}
	return stored, ""
}

// tagged is what the tag names in the index of a layout.
func tagged(dir string) (digest.Digest, error) {
	content, err := os.ReadFile(filepath.Join(dir, imgspecv1.ImageIndexFile))
	if err != nil {
		return "", err
	}
	var index imgspecv1.Index
	if err := json.Unmarshal(content, &index); err != nil {
		return "", err
	}
	for _, d := range index.Manifests {
		if d.Annotations[imgspecv1.AnnotationRefName] == tag {
			return d.Digest, nil
		}
	}
	return "", fmt.Errorf("the layout has no tag %s", tag)
}

// verifiedSize is the size of a file, whose content must have that digest.
func verifiedSize(path string, want digest.Digest) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	got, err := want.Algorithm().FromReader(file)
	if err != nil {
		return 0, err
	}
	if got != want {
		return 0, fmt.Errorf("the layout has %s where %s should be", got, want)
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
