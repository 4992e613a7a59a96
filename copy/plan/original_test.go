package plan

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// stripping is an input of which a list comes that loses an entry, with two signatures.
func stripping() Input {
	a, b := digest.FromString("a"), digest.FromString("b")
	return Input{
		Top:                Document{Bytes: listOf(entryOf(a, ""), entryOf(b, ""))},
		OriginalSignatures: []OriginalSignature{signatureOf(original.Referrer, "one"), signatureOf(original.TagSignature, "two")},
		Choices: Choices{
			ImageListSelection: CopySpecificImages, Instances: []digest.Digest{a}, SparseManifestListAction: StripSparseManifestList,
			AttachOriginal: true,
		},
	}
}

// TestOriginalThatIsThere: what the destination has is not counted, in either form; and what is
// attached is the same, whatever the destination has.
func TestOriginalThatIsThere(t *testing.T) {
	in := stripping()
	p, err := New(in)
	require.NoError(t, err)
	o := p.Original
	require.Len(t, o.Signatures, 2)
	assert.Equal(t, []original.Kind{original.Referrer, original.TagSignature}, []original.Kind{o.Signatures[0].Kind, o.Signatures[1].Kind})
	signature := o.Signatures[1].Artifact()
	plain := original.Plain(o.Artifact()).Document.Digest

	in.Stored = map[digest.Digest]bool{signature.Document.Digest: true, plain: true}
	there, err := New(in)
	require.NoError(t, err)
	assert.Equal(t, []bool{true, true}, []bool{there.Original.Present, there.Original.Plain})
	assert.Equal(t, []bool{true, false}, []bool{there.Original.Signatures[1].Present, there.Original.Signatures[1].Plain})
	assert.False(t, there.Original.Signatures[0].Present)
	assert.Equal(t, []digest.Digest{o.Digest, o.Signatures[0].Digest, o.Signatures[1].Digest},
		[]digest.Digest{there.Original.Digest, there.Original.Signatures[0].Digest, there.Original.Signatures[1].Digest})
	assert.Equal(t, 3, there.Blobs, "an empty config, also of the signature, its manifest and its layer")
	assert.Contains(t, there.String(), "there already")
}

// TestOriginalOfAPlanThatWasRead has no documents: such a plan is to look at.
func TestOriginalOfAPlanThatWasRead(t *testing.T) {
	p, err := New(stripping())
	require.NoError(t, err)
	var read Plan
	require.NoError(t, json.Unmarshal([]byte(mustJSON(t, p)), &read))
	assert.Equal(t, p.Original.Digest, read.Original.Digest)
	assert.Len(t, p.Original.Artifacts(), 3)
	assert.Empty(t, read.Original.Artifacts())
	assert.Empty(t, read.Original.toWrite())
}

// TestSignaturesOfSomethingElse: what signs the list may be attached to something else, too, with
// which it goes.
func TestSignaturesOfSomethingElse(t *testing.T) {
	in := stripping()
	top, bundle := digest.FromBytes(in.Top.Bytes), in.OriginalSignatures[0].Document
	in.Documents = map[digest.Digest]Document{bundle.Digest: bundle}
	for _, subject := range []digest.Digest{top, digest.FromString("b")} {
		in.Attachments = append(in.Attachments, Attachment{Subject: subject, Digest: bundle.Digest})
	}
	p, err := New(in)
	require.NoError(t, err)
	for _, a := range p.Attached {
		want := []any{Skip, ReasonSubject}
		if a.Subject == top {
			want = []any{Copy, ReasonOriginal}
		}
		assert.Equal(t, want, []any{a.Decision, a.Reason.Code})
	}
}

// TestOriginalsSignaturesAreASet: the same signature twice travels once, one of another list does
// not.
func TestOriginalsSignaturesAreASet(t *testing.T) {
	in := stripping()
	other := signatureOf(original.Referrer, "other")
	other.Of = digest.FromString("other")
	in.OriginalSignatures = slices.Concat(in.OriginalSignatures, in.OriginalSignatures, []OriginalSignature{other})
	p, err := New(in)
	require.NoError(t, err)
	assert.Len(t, p.Original.Signatures, 2)
	assert.Empty(t, p.Warnings)
}

// TestSignaturesThatTravel are not void, whoever counts them, unless they are removed; those of one
// that is read save what containers/image counts.
func TestSignaturesThatTravel(t *testing.T) {
	in := stripping()
	top, bundle := digest.FromBytes(in.Top.Bytes), in.OriginalSignatures[0].Digest()
	in.SignedLists = map[digest.Digest]int{top: 2}
	in.ListSignatures = map[digest.Digest]ListSignatures{top: {Found: []string{
		"referrer " + bundle.String() + " (application/x)", "tag " + digesttag.Name(top, digesttag.Signatures), "tag other",
	}}}
	p, err := New(in)
	require.NoError(t, err)
	assert.Equal(t, []string{"signatures of the list " + top.String() + ": tag other"}, p.Void)

	in.Choices.ListSignatures = GuardListSignatures
	_, err = New(in)
	assert.ErrorContains(t, err, "it is signed (tag other), and its signatures would become invalid, and were not all read;")

	in.ListSignatures[top] = ListSignatures{Found: in.ListSignatures[top].Found[:2]}
	p, err = New(in)
	require.NoError(t, err)
	assert.Empty(t, p.Void)
	assert.Len(t, in.ListSignatures[top].Found, 2, "what was given stays")
	for _, remove := range []func(*Choices){func(o *Choices) { o.RemoveSignatures = true }, func(o *Choices) { o.RemoveListSignatures = true }} {
		removing := in
		remove(&removing.Choices)
		p, err = New(removing)
		require.NoError(t, err)
		assert.NotEmpty(t, p.Original.Digest)
		assert.Empty(t, p.Original.Signatures)
		assert.Len(t, p.Void, 2)
	}
}

// TestOriginalThatIsTooLarge is not attached, and does not let a signed list change.
func TestOriginalThatIsTooLarge(t *testing.T) {
	in := stripping()
	entries := []string{entryOf(in.Choices.Instances[0], "")}
	in.Documents = map[digest.Digest]Document{}
	for i := range original.MaxDocuments {
		nested := listOf(entryOf(digest.FromString(string(rune(i))), ""))
		in.Documents[digest.FromBytes(nested)] = Document{Bytes: nested}
		entries = append(entries, nestedEntryOf(digest.FromBytes(nested)))
	}
	in.Top = Document{Bytes: listOf(entries...)}
	p, err := New(in)
	require.NoError(t, err)
	assert.Empty(t, p.Original.Digest)
	assert.Empty(t, p.Original.Artifacts())
	assert.Contains(t, p.Original.Reason, "consists of 1001 lists, more than 1000")
	assert.Equal(t, []string{"the original is not attached: " + p.Original.Reason}, p.Warnings)
	in.SignedLists = map[digest.Digest]int{digest.FromBytes(in.Top.Bytes): 1}
	_, err = New(in)
	assert.ErrorContains(t, err, "consists of 1001 lists, more than 1000")
	in.SignedLists, in.Top = nil, Document{Bytes: listOf(entries[:len(entries)-1]...)}
	p, err = New(in)
	require.NoError(t, err)
	assert.Len(t, p.Original.Artifact().Layers, original.MaxDocuments)
}

// TestOriginalIsNotForUpstream: it attaches nothing.
func TestOriginalIsNotForUpstream(t *testing.T) {
	in := stripping()
	in.Way = natively(func(f *WayFacts) { f.NativeDestination = false })
	_, err := New(in)
	assert.Equal(t, &OptionsError{[]string{"AttachOriginal"}, "what is attached is not known to upstream's copy: the destination transport docker is not written natively"}, err)
}
