package mirrorcmd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
)

// removalStatus is what becomes of something that is not wanted.
type removalStatus string

const (
	removed       removalStatus = "removed"
	removable     removalStatus = "would be removed"
	removalKept   removalStatus = "not removed" // its manifest is needed, the reason says for what
	removalFailed removalStatus = "could not be removed"
)

// A syncRemoval is about a tag or manifest that is not wanted: the file does not name it, or mirror
// delete does; or about what is attached to such a one.
type syncRemoval struct {
	Repository string        `json:"repository"`
	Tag        string        `json:"tag"` // "" for what no tag names
	Digest     digest.Digest `json:"digest"`
	// Of is the digest of what this is attached to, "" if it is not: that goes first.
	Of     digest.Digest `json:"of,omitempty"`
	Status removalStatus `json:"status"`
	Reason string        `json:"reason,omitempty"`
}

// isAbout reports whether other is about the same tag, or the same manifest without one.
func (m *syncRemoval) isAbout(other syncRemoval) bool {
	return m.Tag == other.Tag && m.Digest == other.Digest
}

// name is how people call what is removed.
func (m *syncRemoval) name() string {
	switch {
	case m.Tag == "" && m.Of == "":
		return m.Repository + "@" + shortDigest(m.Digest)
	case m.Tag == "":
		return m.Repository + "@" + shortDigest(m.Digest) + ", which was attached to " + shortDigest(m.Of)
	}
	return m.Repository + ":" + m.Tag + " " + shortDigest(m.Digest)
}

// confirmRemoval reports whether what was found may be removed: confirm is its token, or nobody has
// to ask. token stands for exactly what would be removed; "" if that is nothing.
func confirmRemoval(found []syncRemoval, confirm string, yes bool) (token string, confirmed bool, err error) {
	token = removalToken(found)
	switch {
	case token == "":
		return "", false, nil
	case confirm != "" && confirm != token:
		return token, false, fmt.Errorf("--confirm %s is not about what would be removed now; nothing was removed", confirm)
	}
	return token, yes || confirm != "", nil
}

// removalToken stands for exactly what would be removed; "" if that is nothing.
func removalToken(all []syncRemoval) string {
	h, n := sha256.New(), 0
	for _, m := range all {
		if m.Status == removable {
			fmt.Fprintf(h, "%s:%s@%s\n", m.Repository, m.Tag, m.Digest)
			n++
		}
	}
	if n == 0 {
		return ""
	}
	const shown = 12
	return hex.EncodeToString(h.Sum(nil))[:shown]
}

// removeFound removes each manifest once, by its digest: a tag that was moved in the meantime takes
// nothing else with it. What belongs to something stays if that does.
func removeFound(ctx context.Context, found []syncRemoval, remove func(context.Context, types.ImageReference) error) error {
	done := map[string]error{}
	for i := range found {
		m := &found[i]
		if m.Status != removable {
			continue
		}
		if m.Of != "" && done[m.Repository+"@"+m.Of.String()] != nil {
			m.Status, m.Reason = removalKept, "what it belongs to was not removed"
			continue
		}
		at := m.Repository + "@" + m.Digest.String()
		err, known := done[at]
		if !known {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			ref, parseErr := docker.ParseReference("//" + at)
			if err = parseErr; err == nil {
				err = remove(ctx, ref)
			}
			done[at] = err
		}
		m.Status = removed
		if err != nil {
			m.Status, m.Reason = removalFailed, err.Error()
		}
	}
	return nil
}

// removeManifest removes a manifest. What the registry says is not there is removed: some remove
// what refers to a manifest with it.
func removeManifest(ctx context.Context, copier *copy.Copier, sys *types.SystemContext, ref types.ImageReference) error {
	err := copier.Registries().Remove(ctx, ref, sys)
	if err == nil {
		return nil
	}
	_, gone := copier.ReadManifest(ctx, ref, &copy.ReadOptions{SystemContext: sys, Side: copy.DestinationSide})
	switch said, answered := errors.AsType[*copy.RegistryError](err); {
	case copy.SaysAbsent(gone):
		return nil
	case answered && (said.Status == http.StatusMethodNotAllowed || said.Has("UNSUPPORTED")):
		return fmt.Errorf("the registry removes nothing that way: %w; distribution does if its configuration says storage.delete.enabled: true; "+
			"Amazon ECR, GHCR and Docker Hub have commands or pages of their own", said)
	case answered:
		return said
	}
	return err
}
