package main

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// tamperings are at the list, at what came along with it, and at what the caller says. Whoever
// changes the list makes all artifacts refer to it, so that nothing but the proof is in the way.
var tamperings = []tampering{
	{
		name: "an entry has another digest, of an image for another platform",
		do: func(m *mirrored) {
			m.edit(m.lists.Digest("arm64").String(), m.lists.Digest("s390x").String())
		},
		want: "and the original's linux/s390x",
	},
	{
		name: "an entry has another platform",
		do:   func(m *mirrored) { m.edit(`"architecture":"arm64"`, `"architecture":"riscv64"`) },
		want: "says linux/riscv64, and the original's linux/arm64",
	},
	{
		name: "entries are in another order",
		do: func(m *mirrored) {
			e := entries(m.list().Bytes)
			m.edit(strings.Join(e, ","), e[1]+","+e[0])
		},
		want: "in another order",
	},
	{
		name: "an entry is added",
		do: func(m *mirrored) {
			last := entries(m.list().Bytes)[1]
			m.edit(last, last+","+string(replaceOnce([]byte(last), `"architecture":"arm64"`, `"architecture":"wasm"`)))
		},
		want: "an entry that its original does not have",
	},
	{
		name: "an entry is of another version",
		do: func(m *mirrored) {
			m.edit(entries(m.list().Bytes)[1], entries(m.original("v2").Bytes)[1])
		},
		want: "entry altered",
	},
	{
		name: "an entry has an annotation more",
		do: func(m *mirrored) {
			m.edit(`"platform":{"architecture":"arm64"`, `"annotations":{"a":"b"},"platform":{"architecture":"arm64"`)
		},
		want: "an entry of the list differs from that of its original",
	},
	{
		name: "the list has an annotation more",
		do:   func(m *mirrored) { m.edit(`,"manifests":`, `,"annotations":{"a":"b"},"manifests":`) },
		want: "rest of the document changed (annotations",
	},
	{
		name: "the list is written with other white space",
		do: func(m *mirrored) {
			var b bytes.Buffer
			if err := json.Indent(&b, m.list().Bytes, "", "  "); err != nil {
				panic(err)
			}
			m.replace(b.Bytes())
		},
		want: "rest of the document changed (schemaVersion",
	},
	{
		name: "the original is swapped for one that the list is stripped from, and that nobody signed",
		do: func(m *mirrored) {
			forge := func(list []byte) []byte {
				return replaceOnce(list, `,"manifests":`, `,"annotations":{"a":"b"},"manifests":`)
			}
			forged := document(forge(m.original(imagetest.Top).Bytes), "")
			m.replace(forge(m.list().Bytes))
			m.remove(original.RoleOriginal, original.RoleSignature)
			m.put(original.Of(m.subject(), []manifest.Document{forged}, ""))
			m.put(m.signature(forged.Digest, imagetest.Top))
		},
		want: "signs something else (<…>: <top>)",
	},
	{
		name: "the original is one of another list",
		do: func(m *mirrored) {
			all, two := entries(m.original(imagetest.Top).Bytes), strings.Join(entries(m.list().Bytes), ",")
			another := replaceOnce(m.list().Bytes, two, strings.Join(all[2:], ","))
			m.remove(original.RoleOriginal)
			m.put(original.Of(m.subject(), []manifest.Document{document(another, "")}, ""))
		},
		want: "of another list",
	},
	{
		name: "the original's bytes are not what its digest says",
		do: func(m *mirrored) {
			lie := registrytest.Bytes(bytes.Replace(m.original(imagetest.Top).Bytes, []byte("riscv64"), []byte("RISCV64"), 1))
			lie.Digest = m.lists.Digest(imagetest.Top)
			m.DeleteBlob(m.repo, lie.Digest)
			m.PutContent(m.repo, lie)
		},
		want: "is damaged, or was altered",
	},
	{
		name: "the original is not there",
		do:   func(m *mirrored) { m.remove(original.RoleOriginal) },
		want: "no original is attached to the list",
	},
	{
		name: "the signatures are of another list",
		do: func(m *mirrored) {
			m.remove(original.RoleSignature)
			m.put(m.signature(m.lists.Digest(imagetest.Top), "v2"))
		},
		want: "signs something else (<…>: <v2>)",
	},
	{
		name: "the signatures are not there",
		do:   func(m *mirrored) { m.remove(original.RoleSignature) },
		want: "without any signature",
	},
	{
		name: "the policy wants another key",
		as:   func(_ *scene, c *caller) { c.policy, c.key = "other.json", "" },
		want: "no signature of the original is by a key",
	},
	{
		name: "the key for bundles is another one",
		as:   func(_ *scene, c *caller) { c.policy, c.key = "anything.json", "other.pub" },
		want: "no sigstore bundle",
	},
	{
		name: "the origin is another repository",
		as: func(s *scene, c *caller) {
			c.origin, c.key = at(s.source.Host(), "team/other", "v1"), ""
		},
		want: "as something else than the origin",
	},
	{
		name: "the policy accepts anything",
		as:   func(_ *scene, c *caller) { c.policy, c.key = "anything.json", "" },
		want: "the policy demands no signature: nothing is proven",
	},
	{
		name: "the policy rejects everything",
		as:   func(_ *scene, c *caller) { c.policy, c.key = "nothing.json", "" },
		want: "rejects everything",
	},
	{
		name: "there are only bundles, and only a policy",
		do: func(m *mirrored) {
			for _, doc := range m.artifacts(original.RoleSignature) {
				if bytes.Contains(doc.Bytes, []byte(`"`+string(original.TagSignature)+`"`)) {
					m.DeleteManifest(m.repo, doc.Digest)
				}
			}
		},
		as:   func(_ *scene, c *caller) { c.key = "" },
		want: "signed in a format that policy.json cannot judge",
	},
}

// signature is an artifact with the publisher's signature of a list, which is said to be one of the
// original.
func (m *mirrored) signature(of digest.Digest, list string) original.Artifact {
	b, mediaType, _ := m.publisher.Manifest(repository, digesttag.Name(m.lists.Digest(list), digesttag.Signatures))
	parsed, err := manifest.ParseImage(b, mediaType)
	if err != nil {
		panic(err)
	}
	s := original.Signature{Of: of, Kind: original.TagSignature, Document: document(b, mediaType), Blobs: map[digest.Digest][]byte{}}
	for blob := range parsed.Blobs() {
		s.Blobs[blob.Digest], _ = m.publisher.Blob(repository, blob.Digest)
	}
	a, err := original.OfSignature(m.subject(), s)
	if err != nil {
		panic(err)
	}
	return a
}
