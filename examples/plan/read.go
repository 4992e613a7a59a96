package main

import (
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// read fills in the list in file ("-" is stdin), and what can be found about it in paths.
func read(in *copy.PlanInput, stdin io.Reader, file string, paths []string) error {
	var err error
	in.Source = file
	if file == "-" {
		in.Source = "standard input"
		in.Top.Bytes, err = readDocument(stdin)
	} else {
		in.Top.Bytes, err = readFile(file)
	}
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := readDocuments(in.Documents, path); err != nil {
			return err
		}
	}
	in.Platform = singlePlatform(in)
	return nil
}

// readDocument reads not much more than a manifest may have: whoever parses it says that it is too
// large.
func readDocument(r io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, manifest.MaxSize+1))
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readDocument(f)
}

// readDocuments adds the files at or below path by their SHA-256, but for those that are too large
// to be manifests: layers, for example.
func readDocuments(documents map[digest.Digest]copy.Document, path string) error {
	return filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() || info.Size() > manifest.MaxSize {
			return err
		}
		b, err := readFile(name)
		if err != nil {
			return err
		}
		documents[digest.FromBytes(b)] = copy.Document{Bytes: b}
		return nil
	})
}

// singlePlatform returns what the config of a single image says, nil if the source is none or its
// config was not given.
func singlePlatform(in *copy.PlanInput) *imgspecv1.Platform {
	image, err := manifest.ParseImage(in.Top.Bytes, "")
	if err != nil {
		return nil // a list, or what the planner refuses
	}
	config, ok := in.Documents[image.Config.Digest]
	if !ok {
		return nil
	}
	var p imgspecv1.Platform
	if err := json.Unmarshal(config.Bytes, &p); err != nil {
		return nil
	}
	return &p
}
