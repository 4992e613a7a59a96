package remembered

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"

	encconfig "github.com/containers/ocicrypt/config"
	"github.com/opencontainers/go-digest"
	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/plan"
)

// A Transformation is all that decides what becomes of an image, but for the image: what is asked
// for, what the destination wants, and who does it. Of two results of equal transformations of an
// image, one is as good as the other, also where they are not equal, as those of encryption never
// are.
type Transformation struct {
	// Layers is what the destination wants done to layers.
	Layers plan.LayerChange `json:"layers,omitempty"`
	// Compression and Level are asked for; "" and nil mean the usual ones.
	Compression string `json:"compression,omitempty"`
	Level       *int   `json:"level,omitempty"`
	// Forced is set if no layer with another compression is reused.
	Forced bool `json:"forced,omitempty"`
	// ManifestType is the media type that is asked for, "" if none is, and Stores are those that
	// the destination stores, nil for any.
	ManifestType string   `json:"manifestType,omitempty"`
	Stores       []string `json:"stores,omitempty"`
	// ForeignLayers says what is done to layers with URLs.
	ForeignLayers string `json:"foreignLayers"`
	// Decrypted is set if encrypted layers are decrypted. Whose key does that makes no difference.
	Decrypted bool `json:"decrypted,omitempty"`
	// Encrypted says which layers are encrypted, and for whom; nil if none are.
	Encrypted *Encryption `json:"encrypted,omitempty"`
	// Libraries are the versions of this module and of containers/image.
	Libraries []string `json:"libraries"`
}

// Encryption says which layers are encrypted, and for whom.
type Encryption struct {
	// Layers are positions, from the end if they are negative; empty means all layers.
	Layers []int `json:"layers,omitempty"`
	// Recipients are kinds of keys as ocicrypt calls them, each with the SHA-256 of a public key as
	// it was given, or of the name of one. They are sorted.
	Recipients []string `json:"recipients"`
}

// Describe returns what upstream's copy of a single image with these options does to it at a
// destination with these traits. unknowable says why results cannot be remembered, "" if they can:
// for whom layers are encrypted has to be known by public keys.
func Describe(o *upstream.Options, to access.Traits) (t Transformation, unknowable string) {
	t = Transformation{
		Layers: to.Layers, Forced: o.ForceCompressionFormat,
		ManifestType: o.ForceManifestMIMEType, Stores: to.MediaTypes, ForeignLayers: foreignLayers(o, to),
		Decrypted: o.OciDecryptConfig != nil, Libraries: libraries(),
	}
	if sys := o.DestinationCtx; sys != nil {
		t.Level = sys.CompressionLevel
		if sys.CompressionFormat != nil {
			t.Compression = sys.CompressionFormat.Name()
		}
	}
	if o.OciEncryptLayers != nil {
		t.Encrypted = &Encryption{Layers: sorted(*o.OciEncryptLayers)}
		t.Encrypted.Recipients, unknowable = recipients(o.OciEncryptConfig)
	}
	return t, unknowable
}

// String returns the transformation as a line of JSON, always the same one.
func (t Transformation) String() string {
	text, err := json.Marshal(t)
	if err != nil { // there is nothing in it that could not be
		return fmt.Sprintf("%q", err)
	}
	return string(text)
}

// Digest returns the SHA-256 of String.
func (t Transformation) Digest() digest.Digest { return digest.FromString(t.String()) }

func foreignLayers(o *upstream.Options, to access.Traits) string {
	switch {
	case o.DownloadForeignLayers:
		return "download"
	case to.Foreign:
		return "leave"
	}
	return "copy"
}

// publicKeys are the parameters of ocicrypt by which a recipient is known for good: keys, and for
// GPG a keyring and who is meant in it. Others name something that may change behind the name, such
// as a key provider, or have secrets in them.
var publicKeys = []string{"pubkeys", "x509s", "pkcs11-pubkeys", "gpg-recipients", "gpg-pubkeyringfile"}

// recipients returns for whom c, which may be nil, encrypts.
func recipients(c *encconfig.EncryptConfig) (known []string, unknowable string) {
	if c == nil {
		return nil, ""
	}
	for _, kind := range slices.Sorted(maps.Keys(c.Parameters)) {
		if len(c.Parameters[kind]) > 0 && !slices.Contains(publicKeys, kind) {
			return nil, fmt.Sprintf("no public keys say for whom layers are encrypted by %s", kind)
		}
		for _, key := range c.Parameters[kind] {
			known = append(known, kind+" "+digest.FromBytes(key).String())
		}
	}
	return sorted(known), ""
}

// libraries returns the versions of this module and of containers/image, as far as the program says
// what it was built of.
var libraries = sync.OnceValue(func() []string {
	const own, theirs = "github.com/sparsecopy/sparsecopy", "go.podman.io/image/v5"
	info, _ := debug.ReadBuildInfo()
	return []string{own + " " + version(info, own), theirs + " " + version(info, theirs)}
})

// version returns the version of a module in a program; "unknown" if info, which may be nil, does
// not say.
func version(info *debug.BuildInfo, module string) string {
	if info == nil {
		return "unknown"
	}
	for _, m := range append(slices.Clone(info.Deps), &info.Main) {
		switch {
		case m.Path != module:
		case m.Replace != nil:
			return m.Replace.Path + " " + m.Replace.Version
		case m.Version != "":
			return m.Version
		}
	}
	return "unknown"
}

// sorted returns the distinct elements of s in order; nil if there are none.
func sorted[E int | string](s []E) []E {
	return slices.Compact(slices.Sorted(slices.Values(s)))
}
