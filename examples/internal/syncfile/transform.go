package syncfile

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
)

// unchanged is the value by which an image takes back what the defaults say about changes.
const unchanged = "none"

// A textOf is where a setting has its text.
type textOf = func(*Image) *string

// text is the setting of a text.
func text(key string, to textOf) func(*parser, *Image, *yaml.Node) {
	return func(p *parser, i *Image, n *yaml.Node) {
		if value, ok := p.scalar(n, key); ok && value != unchanged {
			*to(i) = value
		}
	}
}

// change is the setting of a change that is made or not.
func change(key string, to func(*transform.Settings) *bool) func(*parser, *Image, *yaml.Node) {
	return func(p *parser, i *Image, n *yaml.Node) {
		choose(p, n, key, to(&i.changes), map[string]bool{"true": true, "false": false})
	}
}

// file is the setting of a path, which is relative to the directory of the sync file.
func file(key string, to textOf) func(*parser, *Image, *yaml.Node) {
	return func(p *parser, i *Image, n *yaml.Node) {
		text(key, to)(p, i, n)
		if path := to(i); *path != "" {
			*path = p.path(*path)
		}
	}
}

// files is the setting of paths, each as that of a file.
func files(key string, to func(*Image) *[]string) func(*parser, *Image, *yaml.Node) {
	return func(p *parser, i *Image, n *yaml.Node) {
		for _, e := range p.sequence(n, key) {
			if path, ok := p.scalar(e, key); ok {
				*to(i) = append(*to(i), p.path(path))
			}
		}
	}
}

// path returns the path that a text of the file stands for, and notes it.
func (p *parser) path(text string) string {
	if !filepath.IsAbs(text) {
		text = filepath.Join(filepath.Dir(p.name), text)
	}
	p.files = append(p.files, text)
	return text
}

func compressFormat(p *parser, i *Image, n *yaml.Node) {
	names := map[string]string{unchanged: ""}
	for _, name := range transform.Compressions {
		names[name] = name
	}
	choose(p, n, transform.CompressFormat, &i.changes.CompressFormat, names)
}

func compressLevel(p *parser, i *Image, n *yaml.Node) {
	value, ok := p.scalar(n, transform.CompressLevel)
	if !ok || value == unchanged {
		return
	}
	level, err := strconv.Atoi(value)
	if err != nil {
		p.problem(n.Line, "%s: %q is no number", transform.CompressLevel, value)
		return
	}
	i.changes.CompressLevel = &level
}

func format(p *parser, i *Image, n *yaml.Node) {
	names := map[string]string{unchanged: ""}
	for name, mediaType := range transform.Formats {
		names[name] = mediaType
	}
	choose(p, n, transform.Format, &i.changes.Format, names)
}

func encryptionKeys(p *parser, i *Image, n *yaml.Node) {
	for _, e := range p.sequence(n, transform.EncryptionKey) {
		key, _ := p.scalar(e, transform.EncryptionKey)
		if protocol, path, found := strings.Cut(key, ":"); found && slices.Contains([]string{"jwe", "pkcs7", "pkcs11"}, protocol) {
			key = protocol + ":" + p.path(path)
		}
		i.changes.EncryptionKeys = append(i.changes.EncryptionKeys, key)
	}
}

func encryptLayers(p *parser, i *Image, n *yaml.Node) {
	for _, e := range p.sequence(n, transform.EncryptLayer) {
		value, _ := p.scalar(e, transform.EncryptLayer)
		layer, err := strconv.Atoi(value)
		if err != nil {
			p.problem(e.Line, "%s: %q is no position: they count from 0, or from -1, the last, down", transform.EncryptLayer, value)
		}
		i.changes.EncryptLayers = append(i.changes.EncryptLayers, layer)
	}
}

func decryptionKeys(p *parser, i *Image, n *yaml.Node) {
	for _, e := range p.sequence(n, transform.DecryptionKey) {
		key, _ := p.scalar(e, transform.DecryptionKey)
		path, passphrase, locked := strings.Cut(key, ":")
		secret, inFile := strings.CutPrefix(passphrase, "file=")
		switch {
		case path == "provider":
		case locked && !inFile:
			p.problem(e.Line, "%s: a passphrase does not belong into this file: write KEY:file=FILE, with its path", transform.DecryptionKey)
			continue
		case locked:
			key = p.path(path) + ":file=" + p.path(secret)
		default:
			key = p.path(path)
		}
		i.changes.DecryptionKeys = append(i.changes.DecryptionKeys, key)
	}
}

// transform checks what is said about changes, reads the keys and passphrases that it names, and
// sets the options.
func (p *parser) transform(image *Image, keys map[string]*yaml.Node) {
	s := &image.changes
	line := func(setting string) int {
		if keys[setting] == nil {
			return image.Line
		}
		return keys[setting].Line
	}
	if image.identity != "" {
		named := image.named
		if image.Tags != nil && named != nil {
			named, _ = reference.WithTag(named, anyTag(image))
		}
		identity, err := expand(transform.SignIdentity, image.identity, named)
		if err != nil {
			p.problem(line(transform.SignIdentity), "%v", err)
			return
		}
		s.SignIdentity = identity
	}
	err := s.Apply(&image.Options)
	if err == nil {
		err = s.CheckUnattended()
	}
	if err == nil {
		err = s.Unlock(&image.Options, transform.People{})
	}
	if problem, ok := errors.AsType[*transform.Problem](err); ok {
		p.problem(line(problem.Setting), "%v", err)
	} else if err != nil {
		p.problem(line(transform.SignPassphraseFile), "%v", err)
	}
}

// Context returns the context of the image's destinations: sys with the compression that the file
// asks for.
func (i *Image) Context(sys *types.SystemContext) *types.SystemContext { return i.changes.Context(sys) }

// signIdentity returns what new signatures of a source are for, nil for its destination.
func (i *Image) signIdentity(named reference.Named) (reference.Named, error) {
	if i.identity == "" {
		return nil, nil
	}
	text, err := expand(transform.SignIdentity, i.identity, named)
	if err != nil {
		return nil, err
	}
	return reference.ParseNamed(text)
}
