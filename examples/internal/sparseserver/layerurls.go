package sparseserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/manifest/schema2"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// An imageRule is what distribution demands of the manifest of an image before it looks for what
// the manifest names. distribution answers 500 where it is not met, and does not say why.
type imageRule struct {
	allow, deny *regexp.Regexp // of the URLs of layers; nil allows all, and denies none
}

// newImageRule is the rule of a registry that is configured with v.
func newImageRule(v configuration.Validation) (imageRule, error) {
	urls := v.Manifests.URLs
	switch {
	case v.Disabled && !v.Enabled:
		return imageRule{}, nil
	case len(urls.Allow) == 0 && len(urls.Deny) == 0:
		return imageRule{allow: regexp.MustCompile(`^$`)}, nil // which no URL is
	}
	allow, err := anyOf(urls.Allow)
	if err != nil {
		return imageRule{}, fmt.Errorf("URLs of layers to allow: %w", err)
	}
	deny, err := anyOf(urls.Deny)
	if err != nil {
		return imageRule{}, fmt.Errorf("URLs of layers to deny: %w", err)
	}
	return imageRule{allow: allow, deny: deny}, nil
}

// anyOf matches what one of the expressions matches. It is nil if there are none.
func anyOf(expressions []string) (*regexp.Regexp, error) {
	if len(expressions) == 0 {
		return nil, nil
	}
	groups := make([]string, len(expressions))
	for i, e := range expressions {
		if _, err := regexp.Compile(e); err != nil { // so that the error shows what was written
			return nil, err
		}
		groups[i] = "(?:" + e + ")"
	}
	return regexp.Compile(strings.Join(groups, "|"))
}

// layersWithURLs are the types of the layers of an OCI manifest whose URLs count. The deprecated
// ones need not be in the registry if they name a URL.
var layersWithURLs = []string{
	v1.MediaTypeImageLayer, v1.MediaTypeImageLayerGzip,
	v1.MediaTypeImageLayerNonDistributable, v1.MediaTypeImageLayerNonDistributableGzip, //nolint:staticcheck // images that exist have them
}

// check refuses a manifest, of the given type, that is not as the rule demands. It leaves to
// distribution what is no manifest at all.
func (rule imageRule) check(mediaType string, content []byte) error {
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		Config        v1.Descriptor   `json:"config"`
		Layers        []v1.Descriptor `json:"layers"`
	}
	docker := mediaType == schema2.MediaTypeManifest
	if !docker && mediaType != v1.MediaTypeImageManifest {
		return nil
	}
	if err := json.Unmarshal(content, &m); err != nil {
		return nil //nolint:nilerr // distribution says what is wrong
	}
	if m.SchemaVersion != 2 {
		return fmt.Errorf("schemaVersion is %d, not 2", m.SchemaVersion)
	}
	for i, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		where := "config"
		if i > 0 {
			where = fmt.Sprintf("layers[%d]", i-1)
		}
		if err := rule.checkDescriptor(docker, d); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	return nil
}

func (rule imageRule) checkDescriptor(docker bool, d v1.Descriptor) error {
	if err := d.Digest.Validate(); err != nil && !errors.Is(err, digest.ErrDigestInvalidFormat) {
		return fmt.Errorf("digest %q: %w", clip(d.Digest.String()), err)
	}
	switch {
	case docker && d.MediaType != schema2.MediaTypeForeignLayer:
		return nil // distribution does not look at the URLs of any other
	case docker && len(d.URLs) == 0:
		return errors.New("a foreign layer must say at which URL it is")
	case !docker && !slices.Contains(layersWithURLs, d.MediaType):
		return nil
	}
	for _, u := range d.URLs {
		if err := rule.checkURL(u); err != nil {
			return fmt.Errorf("URL %q: %w", clip(u), err)
		}
	}
	return nil
}

func (rule imageRule) checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("is none")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("is neither http nor https")
	case u.Fragment != "":
		return errors.New("has a fragment")
	case rule.deny != nil && rule.deny.MatchString(text), rule.allow != nil && !rule.allow.MatchString(text):
		return errors.New("this registry does not allow layers to be there (--allow-layer-urls)")
	}
	return nil
}

// clip cuts what a client sent to a length that fits into a message.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
