package registrygc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// references are what a manifest names.
type references struct {
	names    []digest.Digest // children, config, layers: what it needs, each once
	subjects []digest.Digest // what it refers to; it does not need that
}

// naming are the keys of a manifest that name contents, of all types of manifests that registries
// have had. A key that is written otherwise counts, too, and so does one that is there twice: some
// client reads it.
var naming = []string{"manifests", "config", "layers", "blobs", "fsLayers"}

// readReferences reads a manifest. An error says that nobody can tell what it names.
func readReferences(content []byte) (references, error) {
	var refs references
	decoder := json.NewDecoder(bytes.NewReader(content))
	err := eachKey(decoder, func(key string, value json.RawMessage) error {
		switch {
		case strings.EqualFold(key, "subject"):
			return collect(value, &refs.subjects)
		case slices.ContainsFunc(naming, func(k string) bool { return strings.EqualFold(k, key) }):
			return collect(value, &refs.names)
		}
		return nil
	})
	if err != nil {
		return references{}, fmt.Errorf("reading what it names: %w", err)
	}
	for _, digests := range []*[]digest.Digest{&refs.names, &refs.subjects} {
		slices.Sort(*digests)
		*digests = slices.Compact(*digests)
	}
	return refs, nil
}

var errNotAnObject = errors.New("not a JSON object")

// eachKey calls visit for every key of the object that is next, repeated keys included.
func eachKey(decoder *json.Decoder, visit func(key string, value json.RawMessage) error) error {
	if first, err := decoder.Token(); err != nil {
		return err
	} else if first != json.Delim('{') {
		return errNotAnObject
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		if err := visit(key.(string), value); err != nil { // the decoder makes sure that keys are strings
			return err
		}
	}
	_, err := decoder.Token()
	return err
}

// collect adds the digests of a descriptor, or of an array of descriptors, to digests. What is no
// digest names nothing.
func collect(value json.RawMessage, digests *[]digest.Digest) error {
	descriptors := []json.RawMessage{value}
	if bytes.HasPrefix(value, []byte("[")) {
		if err := json.Unmarshal(value, &descriptors); err != nil {
			return err
		}
	}
	for _, d := range descriptors {
		if !bytes.HasPrefix(d, []byte("{")) {
			continue
		}
		err := eachKey(json.NewDecoder(bytes.NewReader(d)), func(key string, value json.RawMessage) error {
			var d digest.Digest
			named := strings.EqualFold(key, "digest") || strings.EqualFold(key, "blobSum")
			if named && json.Unmarshal(value, &d) == nil && d.Validate() == nil {
				*digests = append(*digests, d)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
