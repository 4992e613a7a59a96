package remembered

import (
	"cmp"
	"encoding/json"

	"github.com/opencontainers/go-digest"
)

// A Key says what a result is the result of.
type Key struct {
	// Repository is where the result is: see the function Repository.
	Repository string
	// Source is the digest of the image that was transformed.
	Source digest.Digest
	// Transformation is the text of what was done to it: see Transformation.String.
	Transformation string
}

// compare orders keys.
func (k Key) compare(other Key) int {
	return cmp.Or(
		cmp.Compare(k.Repository, other.Repository),
		cmp.Compare(k.Transformation, other.Transformation),
		cmp.Compare(k.Source, other.Source),
	)
}

// A Result is the manifest of an image at the destination.
type Result struct {
	Digest    digest.Digest
	Size      int64 // in bytes
	MediaType string
	// SourceType is the media type that the manifest had at the source.
	SourceType string
	// Reason is why the image was transformed, for people; "" if it stayed as it was.
	Reason string
}

// A line of the file.
type line struct {
	Repository     string          `json:"repository"`
	Source         digest.Digest   `json:"source"`
	Transformation json.RawMessage `json:"transformation"`
	Digest         digest.Digest   `json:"digest"`
	Size           int64           `json:"size"`
	MediaType      string          `json:"mediaType"`
	SourceType     string          `json:"sourceMediaType"`
	Reason         string          `json:"reason,omitempty"`
}

// format returns the line of a result, without its end.
func format(key Key, result Result) ([]byte, error) {
	return json.Marshal(line{
		key.Repository, key.Source, json.RawMessage(key.Transformation),
		result.Digest, result.Size, result.MediaType, result.SourceType, result.Reason,
	})
}

// parse returns what a line says, and reports whether it is one.
func parse(text []byte) (Key, Result, bool) {
	var l line
	if json.Unmarshal(text, &l) != nil || l.Source.Validate() != nil || l.Digest.Validate() != nil {
		return Key{}, Result{}, false
	}
	if l.Repository == "" || len(l.Transformation) == 0 || l.Size <= 0 || l.MediaType == "" || l.SourceType == "" {
		return Key{}, Result{}, false
	}
	return Key{l.Repository, l.Source, string(l.Transformation)}, Result{l.Digest, l.Size, l.MediaType, l.SourceType, l.Reason}, true
}
