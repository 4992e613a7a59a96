package imagetest

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
)

// memory is a Store that tests can damage.
type memory struct {
	top       Descriptor
	manifests map[digest.Digest]stored
	blobs     map[digest.Digest]stored
	broken    digest.Digest // of a blob that cannot be read
}

type stored struct {
	mediaType string
	content   []byte
	discarded bool
}

// inMemory returns a store with Top and everything below it, except what omit names.
func (f *Fixture) inMemory(omit ...string) *memory {
	m := &memory{
		top:       Descriptor{Digest: f.Digest(Top), Size: -1},
		manifests: map[digest.Digest]stored{}, blobs: map[digest.Digest]stored{},
	}
	p := f.tree(Top, omit)
	for _, name := range p.documents {
		content, mediaType := f.Document(name)
		m.manifests[f.Digest(name)] = stored{mediaType: mediaType, content: content}
	}
	for _, name := range p.blobs {
		m.blobs[f.Digest(name)] = stored{content: f.Content(name)}
	}
	return m
}

func (m *memory) Top(string) (Descriptor, error) {
	if m.top.Digest == "" {
		return Descriptor{}, errNothing
	}
	return m.top, nil
}

func (m *memory) Manifest(d digest.Digest) ([]byte, string, bool) {
	s, ok := m.manifests[d]
	return s.content, s.mediaType, ok
}

func (m *memory) Blob(d digest.Digest) (io.ReadCloser, int64, bool) {
	s, ok := m.blobs[d]
	if s.discarded {
		return nil, int64(len(s.content)), ok
	}
	if d == m.broken {
		return io.NopCloser(iotest.ErrReader(errors.New("broken"))), int64(len(s.content)), ok
	}
	return io.NopCloser(bytes.NewReader(s.content)), int64(len(s.content)), ok
}

func (m *memory) All() []digest.Digest {
	var all []digest.Digest
	for d := range m.manifests {
		all = append(all, d)
	}
	for d := range m.blobs {
		all = append(all, d)
	}
	slices.Sort(all)
	return all
}

func TestInspectAcceptsEverySet(t *testing.T) {
	for name, f := range map[string]*Fixture{
		"Platforms":        Platforms(3, 2, 100, SharedBase()),
		"WithAttestations": WithAttestations(),
		"Nested":           Nested(),
		"EqualDigests":     EqualDigests(),
		"DockerList":       DockerList(),
		"kinds":            everyKind(),
	} {
		want := Want{Digest: f.Digest(Top), Fixture: f, Only: true}
		assert.Empty(t, Inspect(f.inMemory(), want), name)
		want.Fixture = nil
		assert.Empty(t, Inspect(f.inMemory(), want), name)
	}
}

// sample is what most cases below damage: top is [amd64, arm64, att]; amd64 and arm64 share the
// layer "base".
func sample() *Fixture {
	f := New()
	f.small([]string{"linux/amd64", "linux/arm64"})
	f.Attestation("att", "amd64")
	f.List(Top, Entries("amd64", "arm64", "att"))
	return f
}

// entries makes a list of entries that say what options say of the image A, besides one that is
// right.
func entries(options ...Option) *Fixture {
	f := New()
	f.Image("A", Platform("linux/amd64"), Layers())
	f.List(Top, Entries("A"), Entry("A", options...))
	return f
}

// reachedTwice makes a list of an image and of a list that has it, too.
func reachedTwice() *Fixture {
	f := New()
	f.Image("A", Layers())
	f.List("inner", Entries("A"))
	f.List(Top, Entries("A", "inner"))
	return f
}

// child makes a list whose only entry is a document with the given content.
func child(mediaType, content string) *Fixture {
	f := New()
	f.Raw("child", mediaType, []byte(content))
	f.List(Top, Entries("child"))
	return f
}

// config makes a list whose only entry is an image with one layer and the given config.
func config(mediaType, content string) *Fixture {
	f := New()
	f.Image("A", Config(mediaType, []byte(content)))
	f.List(Top, Entries("A"))
	return f
}

// A violation in the table below has <name> in the place of the digest of what is called name,
// <other> in that of any other one.
func readable(f *Fixture, violations []string) []string {
	digests := regexp.MustCompile("sha256:[0-9a-f]{64}")
	for i, v := range violations {
		violations[i] = digests.ReplaceAllStringFunc(v, func(d string) string {
			if name := f.Name(digest.Digest(d)); name != d {
				return "<" + name + ">"
			}
			return "<other>"
		})
	}
	return violations
}

func TestInspect(t *testing.T) {
	stranger := digest.FromString("{}")
	for name, c := range map[string]struct {
		f      *Fixture
		omit   []string
		damage func(f *Fixture, m *memory)
		want   Want
		found  []string
	}{
		// What the tag names.
		"no tag": {
			f:      sample(),
			damage: func(_ *Fixture, m *memory) { m.top.Digest = "" },
			want:   Want{Tag: "v1"},
			found:  []string{"v1: the tag names nothing"},
		},
		"another digest": {
			f:     sample(),
			want:  Want{Digest: sample().Digest("arm64")},
			found: []string{"top: the tag names top, want arm64"},
		},
		"invalid digest at the top": {
			f:      sample(),
			damage: func(_ *Fixture, m *memory) { m.top.Digest = "sha256:../../x" },
			found:  []string{`"sha256:../../x": invalid digest "sha256:../../x": invalid checksum digest length`},
		},
		"wrong size at the top": {
			f:      entries(),
			damage: func(_ *Fixture, m *memory) { m.top.Size = 5 },
			found:  []string{"top: size is 491, the descriptor says 5"},
		},

		// What is there and what is not.
		"nothing stored": {
			f: sample(), omit: []string{Top},
			found: []string{"top: dangling: <top> is not in the store"},
		},
		"dangling child": {
			f: sample(), omit: []string{"arm64"},
			found: []string{"top > [1] arm64 (linux/arm64): dangling: <arm64> is not in the store"},
		},
		"dangling child of a nested list": {
			f: Nested(), omit: []string{"arm/v6"},
			found: []string{"top > [1] inner > [1] innermost > [1] arm/v6 (linux/arm/v6): dangling: <arm/v6> is not in the store"},
		},
		"dangling config and statement": {
			f: sample(), omit: []string{"arm64.config", "att.statement"},
			found: []string{
				"top > [1] arm64 (linux/arm64) > config arm64.config: dangling: <arm64.config> is not in the store",
				"top > [2] att (unknown/unknown) > layer[0] att.statement: dangling: <att.statement> is not in the store",
			},
		},
		"dangling layer with URLs": {f: foreign(), omit: []string{"windows"}},
		"absent child": {
			f: sample(), omit: []string{"arm64"},
			want: Want{Absent: []string{"arm64"}, Only: true},
		},
		"absent child, by digest": {
			f: sample(), omit: []string{"arm64"},
			want: Want{Absent: []string{sample().Digest("arm64").String()}},
		},
		"absent and never named": {f: sample(), want: Want{Absent: []string{stranger.String()}}},
		"shared layer of an absent child": {
			f: sample(), omit: []string{"arm64", "base"},
			want:  Want{Absent: []string{"arm64"}},
			found: []string{"top > [0] amd64 (linux/amd64) > layer[0] base: dangling: <base> is not in the store"},
		},
		"child that must be absent": {
			f:     sample(),
			want:  Want{Absent: []string{"arm64"}},
			found: []string{"arm64: must be absent, but <arm64> is in the store"},
		},
		"layer of a child that must be absent": {
			f: sample(), omit: []string{"arm64"},
			damage: func(f *Fixture, m *memory) {
				m.blobs[f.Digest("arm64.app")] = stored{content: f.Content("arm64.app")}
			},
			want:  Want{Absent: []string{"arm64"}},
			found: []string{"arm64.app: must be absent, but <arm64.app> is in the store"},
		},
		"absent, below something optional": {
			f:     Nested(),
			want:  Want{Absent: []string{"arm/v6"}, Optional: []string{"innermost"}},
			found: []string{"arm/v6: must be absent, but <arm/v6> is in the store"},
		},
		"absent twice, once by itself": {
			f: reachedTwice(), omit: []string{"inner"},
			want:  Want{Absent: []string{"A", "inner"}},
			found: []string{"A: must be absent, but <A> is in the store"},
		},
		"absent, but in part below something optional": {
			f: Nested(), omit: []string{"inner"},
			damage: func(f *Fixture, m *memory) {
				m.blobs[f.Digest("arm64.app")] = stored{content: f.Content("arm64.app")}
				m.blobs[f.Digest("arm/v7.app")] = stored{content: f.Content("arm/v7.app")}
			},
			want:  Want{Absent: []string{"inner"}, Optional: []string{"arm64"}},
			found: []string{"arm/v7.app: must be absent, but <arm/v7.app> is in the store"},
		},
		"optional child, absent": {
			f: sample(), omit: []string{"arm64"},
			want: Want{Optional: []string{"arm64"}},
		},
		"optional child, there": {f: sample(), want: Want{Optional: []string{"arm64"}}},
		"optional child, in part": {
			f: sample(), omit: []string{"arm64.app"},
			want:  Want{Optional: []string{"arm64"}},
			found: []string{"top > [1] arm64 (linux/arm64) > layer[1] arm64.app: dangling: <arm64.app> is not in the store"},
		},
		"present": {f: sample(), want: Want{Present: []string{"arm64", "base", sample().Digest("att").String()}}},
		"not present": {
			f: sample(), omit: []string{"arm64"},
			want:  Want{Present: []string{"arm64"}, Optional: []string{"arm64"}},
			found: []string{"arm64: must be there, but the tag does not lead to it"},
		},
		"something else in the store": {
			f:      sample(),
			damage: func(_ *Fixture, m *memory) { m.blobs[stranger] = stored{content: []byte("{}")} },
			want:   Want{Only: true},
			found:  []string{"sha256:44136fa355b3: is in the store, but the tag does not lead to it"},
		},

		// Content.
		"manifest with other content": {
			f: sample(),
			damage: func(f *Fixture, m *memory) {
				m.manifests[f.Digest("amd64")] = stored{content: make([]byte, f.Size("amd64"))}
			},
			found: []string{"top > [0] amd64 (linux/amd64): stored as <amd64>, but the content has digest <other>"},
		},
		"layer with other content": {
			f: sample(),
			damage: func(f *Fixture, m *memory) {
				m.blobs[f.Digest("arm64.app")] = stored{content: make([]byte, f.Size("arm64.app"))}
			},
			found: []string{"top > [1] arm64 (linux/arm64) > layer[1] arm64.app: stored as <arm64.app>, but the content has digest <other>"},
		},
		"truncated config": {
			f: sample(),
			damage: func(f *Fixture, m *memory) {
				m.blobs[f.Digest("arm64.config")] = stored{content: f.Content("arm64.config")[:5]}
			},
			found: []string{
				"top > [1] arm64 (linux/arm64) > config arm64.config: size is 5, the descriptor says 237",
				"top > [1] arm64 (linux/arm64) > config arm64.config: stored as <arm64.config>, but the content has digest <other>",
			},
		},
		"unreadable layer": {
			f:      sample(),
			damage: func(f *Fixture, m *memory) { m.broken = f.Digest("arm64.app") },
			found:  []string{"top > [1] arm64 (linux/arm64) > layer[1] arm64.app: cannot be read: broken"},
		},
		"content not kept, wrong size of a shared layer": {
			f: sample(),
			damage: func(f *Fixture, m *memory) {
				for d, s := range m.blobs {
					s.discarded = true
					m.blobs[d] = s
				}
				m.blobs[f.Digest("base")] = stored{content: make([]byte, 7), discarded: true}
			},
			found: []string{
				"top > [0] amd64 (linux/amd64) > layer[0] base: size is 7, the descriptor says 2076",
				"top > [1] arm64 (linux/arm64) > layer[0] base: size is 7, the descriptor says 2076",
			},
		},

		// Descriptors.
		"wrong size": {
			f:     entries(EntrySize(7)),
			found: []string{"top > [1] A (linux/amd64): size is 247, the descriptor says 7"},
		},
		"negative size": {
			f:     entries(EntrySize(-1)),
			found: []string{"top > [1] A (linux/amd64): named without a valid size"},
		},
		"wrong media type": {
			f:     entries(EntryMediaType(dockerManifest)),
			found: []string{"top > [1] A (linux/amd64): stored with media type " + ociManifest + ", named with " + dockerManifest},
		},
		"incomplete descriptor of a config": {
			f: child(ociManifest, `{"schemaVersion":2,"layers":[],"config":{"digest":"`+stranger.String()+`"}}`),
			found: []string{
				"top > [0] child > config sha256:44136fa355b3: named without a media type",
				"top > [0] child > config sha256:44136fa355b3: named without a valid size",
				"top > [0] child > config sha256:44136fa355b3: dangling: <other> is not in the store",
			},
		},
		"hostile digest of a layer": {
			f: child(ociManifest, `{"schemaVersion":2,"layers":[{"digest":"../../x"}],"config":{}}`),
			found: []string{
				`top > [0] child > layer[0] "../../x": invalid digest "../../x": invalid checksum digest format`,
				`top > [0] child > config "": invalid digest "": invalid checksum digest format`,
			},
		},

		// Media types.
		"stored with another media type": {
			f: sample(),
			damage: func(f *Fixture, m *memory) {
				s := m.manifests[f.Digest(Top)]
				s.mediaType = dockerList
				m.manifests[f.Digest(Top)] = s
			},
			found: []string{`top: mediaType in the document is "` + ociIndex + `", outside it "` + dockerList + `"`},
		},
		"neither manifest nor list": {
			f: child("text/plain", `{"schemaVersion":2}`),
			found: []string{
				`top > [0] child: media type "text/plain" is neither that of a manifest nor that of a list`,
			},
		},
		"Docker list without mediaType": {
			f:     child(dockerList, `{"schemaVersion":2,"manifests":[]}`),
			found: []string{`top > [0] child: mediaType in the document is "", outside it "` + dockerList + `"`},
		},
		"irregular Docker list":         {f: child(dockerList, `{"manifests":null}`), want: Want{Irregular: true}},
		"irregular, with a lying entry": {f: entries(EntryMediaType(dockerManifest)), want: Want{Irregular: true}},
		"irregular, with the type of another document": {
			f:     child(ociIndex, `{"mediaType":"`+dockerList+`","manifests":[]}`),
			want:  Want{Irregular: true},
			found: []string{`top > [0] child: mediaType in the document is "` + dockerList + `", outside it "` + ociIndex + `"`},
		},
		"irregular, with another schemaVersion": {
			f:     child(ociManifest, `{"schemaVersion":3}`),
			want:  Want{Irregular: true},
			found: []string{"top > [0] child: schemaVersion is 3, not 2", "top > [0] child: a manifest without config or layers"},
		},
		"OCI list without mediaType": {f: child(ociIndex, `{"schemaVersion":2,"manifests":[]}`)},
		"Docker config in an OCI manifest": {
			f:     config(dockerConfig, `{"rootfs":{"diff_ids":["sha256:1"]}}`),
			found: []string{"top > [0] A > config A.config: media type " + dockerConfig + " in a manifest with media type " + ociManifest},
		},

		// Documents.
		"not JSON": {
			f:     child(ociManifest, `{`),
			found: []string{"top > [0] child: not a manifest: unexpected end of JSON input"},
		},
		"wrong schemaVersion": {
			f:     child(ociIndex, `{"schemaVersion":1,"manifests":[]}`),
			found: []string{"top > [0] child: schemaVersion is 1, not 2"},
		},
		"list with layers": {
			f:     child(ociIndex, `{"schemaVersion":2,"manifests":[],"layers":[]}`),
			found: []string{"top > [0] child: a list with a config or layers"},
		},
		"list without manifests": {
			f:     child(ociIndex, `{"schemaVersion":2,"manifests":null}`),
			found: []string{"top > [0] child: a list without manifests"},
		},
		"manifest with manifests": {
			f: child(ociManifest, `{"schemaVersion":2,"manifests":[]}`),
			found: []string{
				"top > [0] child: a manifest with manifests",
				"top > [0] child: a manifest without config or layers",
			},
		},
		"fewer diff IDs than layers": {
			f:     config(ociConfig, `{"rootfs":{"diff_ids":[]}}`),
			found: []string{"top > [0] A > config A.config: 0 diff IDs for 1 layers"},
		},
		"config that is not JSON": {
			f:     config(ociConfig, `what?`),
			found: []string{"top > [0] A > config A.config: not a config: invalid character 'w' looking for beginning of value"},
		},
		"other config": {f: config("application/x", `what?`)},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.f.inMemory(c.omit...)
			if c.damage != nil {
				c.damage(c.f, m)
			}
			c.want.Fixture = c.f
			assert.Equal(t, c.found, readable(c.f, Inspect(m, c.want)))
		})
	}
}

func TestInspectNeedsAFixtureForNames(t *testing.T) {
	f := sample()
	assert.PanicsWithValue(t, `imagetest: "arm64" is no digest, and there is no fixture to know its name`, func() {
		Inspect(f.inMemory(), Want{Absent: []string{"arm64"}})
	})
}
