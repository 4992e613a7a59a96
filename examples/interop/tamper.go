package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A tampering is what somebody does who can write to the mirror, or what a caller gets wrong.
type tampering struct {
	name string
	do   func(*mirrored)       // nil for nothing
	as   func(*scene, *caller) // changes what the caller says; nil for nothing
	want string                // words of the refusal, in which digests have names
}

// tamper does everything there is to the mirror of v1, each time to another copy of it, and demands
// that mirror verify refuses each with words of its own, and that cosign refuses lists that the
// mirror has not made.
func (s *scene) tamper(ctx context.Context, reg *registrytest.Registry) error {
	said := map[string]string{}
	for i, t := range tamperings {
		m := &mirrored{Registry: reg, repo: fmt.Sprintf("tampered/%d", i), publisher: s.source, lists: s.lists}
		m.fill(repository)
		was := m.list().Digest
		if t.do != nil {
			t.do(m)
		}
		c := caller{origin: s.origin("v1"), policy: "publisher.json", key: "cosign.pub"}
		if t.as != nil {
			t.as(s, &c)
		}
		refused, err := s.refusal(ctx, at(reg.Host(), m.repo, "v1"), c)
		words := m.named(refused)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", t.name, err)
		case !strings.Contains(words, t.want):
			return fmt.Errorf("%s: refused, but not with %q: %s", t.name, t.want, words)
		case said[words] != "":
			return fmt.Errorf("%s: refused with the same words as %s: %s", t.name, said[words], words)
		}
		said[words] = t.name
		if m.list().Digest != was {
			if err := s.cosignVerify(ctx, "mirror.pub", reg.Host()+"/"+m.repo+":v1", "no matching attestations"); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
		}
		fmt.Fprintf(s.out, "%s:\n    %s\n", t.name, words)
	}
	return nil
}

// refusal is why mirror verify does not accept a mirror. To be accepted is an error.
func (s *scene) refusal(ctx context.Context, ref string, c caller) (string, error) {
	output, err := s.verify(ctx, ref, c)
	var refused *failure
	switch {
	case err == nil:
		return "", fmt.Errorf("accepted: %s", output)
	case !errors.As(err, &refused) || refused.status != 1:
		return "", err
	}
	return strings.TrimPrefix(strings.TrimSpace(refused.stderr), "mirror: "), nil
}

var digests = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// named is a text with the names of what the publisher has in place of digests; other digests,
// which differ in any case, are left out.
func (m *mirrored) named(text string) string {
	return digests.ReplaceAllStringFunc(text, func(d string) string {
		if name := m.lists.Name(digest.Digest(d)); name != d {
			return "<" + name + ">"
		}
		return "<…>"
	})
}

// A mirrored is a repository with a mirror of v1, in the hands of somebody who can write to it.
type mirrored struct {
	*registrytest.Registry
	repo      string
	publisher *registrytest.Registry // which has been stopped, but can be looked into
	lists     *imagetest.Fixture
}

// fill puts everything there that another repository has.
func (m *mirrored) fill(from string) {
	for _, d := range m.Blobs(from) {
		content, _ := m.Content(from, d)
		m.PutContent(m.repo, content)
	}
	for _, ref := range append(texts(m.Manifests(from)), m.Tags(from)...) {
		b, mediaType, _ := m.Manifest(from, ref)
		m.PutManifest(m.repo, ref, mediaType, b)
	}
}

func texts(digests []digest.Digest) (texts []string) {
	for _, d := range digests {
		texts = append(texts, d.String())
	}
	return texts
}

// list is what the tag names.
func (m *mirrored) list() manifest.Document {
	b, mediaType, _ := m.Manifest(m.repo, "v1")
	return document(b, mediaType)
}

func document(b []byte, mediaType string) manifest.Document {
	return manifest.Document{Digest: digest.FromBytes(b), MediaType: mediaType, Bytes: b}.Read()
}

// edit replaces a part of the list that occurs once.
func (m *mirrored) edit(old, changed string) {
	m.replace(replaceOnce(m.list().Bytes, old, changed))
}

// replaceOnce panics unless old occurs once: the edit would not be what its author had in mind.
func replaceOnce(b []byte, old, changed string) []byte {
	if n := bytes.Count(b, []byte(old)); n != 1 {
		panic(fmt.Sprintf("%q occurs %d times in %s", old, n, b))
	}
	return bytes.Replace(b, []byte(old), []byte(changed), 1)
}

// entries are those of a list, as they are written.
func entries(list []byte) (entries []string) {
	var parsed struct{ Manifests []json.RawMessage }
	if err := json.Unmarshal(list, &parsed); err != nil {
		panic(err)
	}
	for _, e := range parsed.Manifests {
		entries = append(entries, string(e))
	}
	return entries
}

// replace puts another list in the place of the one that the tag names, with the same artifacts.
func (m *mirrored) replace(list []byte) {
	artifacts, mediaType := m.artifacts(original.RoleNone, original.RoleOriginal, original.RoleSignature), m.list().MediaType
	m.PutManifest(m.repo, "v1", mediaType, list)
	for _, doc := range artifacts {
		m.point(doc)
	}
}

// point puts an artifact once more, with the list as its subject.
func (m *mirrored) point(artifact manifest.Document) {
	var fields map[string]any
	if err := json.Unmarshal(artifact.Bytes, &fields); err != nil {
		panic(err)
	}
	fields["subject"] = m.subject()
	b, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	m.PutManifest(m.repo, digest.FromBytes(b).String(), artifact.MediaType, b)
}

// artifacts are the referrers of the list with one of the roles.
func (m *mirrored) artifacts(roles ...original.Role) (artifacts []manifest.Document) {
	list := m.list().Digest
	for _, d := range m.Manifests(m.repo) {
		b, mediaType, _ := m.Manifest(m.repo, d.String())
		var parsed imgspecv1.Manifest
		if err := json.Unmarshal(b, &parsed); err != nil || parsed.Subject == nil || parsed.Subject.Digest != list {
			continue
		}
		if slices.Contains(roles, original.KindOf(parsed.ArtifactType, parsed.Annotations)) {
			artifacts = append(artifacts, document(b, mediaType))
		}
	}
	return artifacts
}

// remove removes the artifacts with one of the roles.
func (m *mirrored) remove(roles ...original.Role) {
	for _, doc := range m.artifacts(roles...) {
		m.DeleteManifest(m.repo, doc.Digest)
	}
}

// put stores an artifact.
func (m *mirrored) put(a original.Artifact) {
	for _, part := range append(a.Layers, a.Config) {
		m.PutBlob(m.repo, part.Content)
	}
	m.PutManifest(m.repo, a.Document.Digest.String(), a.Document.MediaType, a.Document.Bytes)
}

// subject describes the list.
func (m *mirrored) subject() imgspecv1.Descriptor {
	doc := m.list()
	return imgspecv1.Descriptor{MediaType: doc.MediaType, Digest: doc.Digest, Size: int64(len(doc.Bytes))}
}

// original is a list of the publisher.
func (m *mirrored) original(name string) manifest.Document {
	b, mediaType := m.lists.Document(name)
	return document(b, mediaType)
}
