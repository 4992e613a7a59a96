package syncfile

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
)

// TopHelp says what is at the top of a file.
const TopHelp = "FILE has images, a list, and may have version (1), defaults, registries and notify. An image has these keys, and all but\n" +
	"source, tags and exclude-tags may stand in defaults:"

// A helpLine is about one key of an image, or several that go together.
type helpLine struct {
	keys  string // separated by spaces
	words string
}

// helpLines are about all keys of an image. docs/sync.md says more.
var helpLines = []helpLine{
	{"source", "what is copied: docker://HOST/NAME:TAG, or a repository if there are tags"},
	{"tags exclude-tags", `lists: tags, globs, {regexp: "v[0-9]+"}, {semver: ">=3.1 <4"}`},
	{"destination", "a reference, with {registry}, {repository}, {name} and {tag} of the source"},
	{"prereleases", "ranges of versions take pre-releases"},
	{"newest newest-by", "only the newest N of what patterns select, by version or created"},
	{"since", "only what was made since a day, a time, or an age such as 90d"},
	{"platforms optional required", "lists: what is copied, what of it may be absent, what must be there"},
	{"system", "OS/ARCH or native: one image of a list, and no list"},
	{"sparse", "keep, strip or auto: what becomes of entries that are not copied"},
	{"attestations", "default, follow, drop or all"},
	{"missing", "fail or skip: what the source lists and does not have"},
	{"single", "check, copy or skip: single images for none of the platforms"},
	{"platformless-entries", "strip or keep"},
	{"referrers referrers-source", "true, or a list of artifact types; another repository that has some"},
	{"digest-tags", "cosign or all"},
	{"entries-as-referrers keep-void", "what becomes of attestations, and of what is attached to stripped lists"},
	{"list-signatures", "guard or warn: whether a signed list may be stripped"},
	{"remove-signatures remove-list-signatures", "signatures are left behind"},
	{"preserve-digests", "fail if a list or manifest would have to change"},
	{"widened-child-tags", "tags keep images that are added to a list (Quay)"},
	{"check check-blobs", "how far the destination is looked at"},
	{"parallel", "how much may be in flight"},
	{"every cron jitter", "for mirror serve: when it is looked at"},
	{transform.SignBy + " " + transform.SignBySigstore + " " + transform.SignBySigstorePrivateKey + " " + transform.SignPassphraseFile, "who signs"},
	{transform.SignIdentity + " " + transform.AlwaysSign, "what signatures are for, and whether they are made again"},
	{transform.AttachOriginal, "a stripped list has its original beside it"},
	{transform.VerifierID + " " + transform.PolicyURI + " " + transform.PolicyDigest, "what the mirror says of what it has verified"},
	{transform.OriginPolicy + " " + transform.OriginKey + " " + transform.OriginTrustedRoot, "who judges signatures of the original"},
	{transform.OriginCertificateIdentity + " " + transform.OriginCertificateIssuer, "whose certificates, with a trusted root"},
	{transform.PreviousPublicKey, "keys that were replaced"},
	{transform.CompressFormat + " " + transform.CompressLevel + " " + transform.ForceCompressFormat, "gzip, zstd or zstd:chunked; a number"},
	{transform.AnnotateTransformed, "the list says what images were made of"},
	{transform.EncryptionKey + " " + transform.EncryptLayer + " " + transform.DecryptionKey, "lists of keys and of layers"},
	{transform.Format, "oci, v2s2 or v2s1"},
	{transform.ChangedSubjects, "keep or drop: what is attached to images that change"},
}

// Help lists the keys of a file for people, in lines that begin with four spaces.
func Help() string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, line := range helpLines {
		keys := strings.Fields(line.keys)
		for i, key := range keys {
			words := line.words
			if i > 0 {
				words = "\"" // as above
			}
			fmt.Fprintf(table, "    %s\t%s\n", key, words)
		}
	}
	table.Flush()
	return b.String()
}
