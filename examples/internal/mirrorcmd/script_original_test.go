package mirrorcmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func scriptSigned(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 3)
	var forms []imagetest.SignedForm
	for _, form := range args[2:] {
		forms = append(forms, imagetest.SignedForm(form))
	}
	imagetest.PushSigned(registryOf(ts, args[0]), args[1], forms...)
}

func scriptPolicy(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 3)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), fmt.Appendf(nil,
		`{"default": [{"type": "reject"}], "transports": {"docker": {%q: [{"type": "sigstoreSigned", "keyPath": %q, "signedIdentity": {"type": "matchRepository"}}]}}}`, args[1], ts.MkAbs(args[2])), 0o600))
}

// tamperings are what scriptTamper does to a list that has images for amd64 and arm64, in this
// order.
var tamperings = map[string]func(list string) string{
	"digest": func(list string) string {
		f := imagetest.SignedLists()
		return strings.ReplaceAll(list, string(f.Digest("arm64")), string(f.Digest("arm64-v2")))
	},
	"platform": func(list string) string { return strings.Replace(list, `"arm64"`, `"riscv64"`, 1) },
	"order": func(list string) string {
		before, first, second, after := twoEntries(list)
		return before + second + "," + first + after
	},
	"added": func(list string) string {
		before, first, second, after := twoEntries(list)
		return before + first + "," + second + "," + second + after
	},
	"annotation": func(list string) string { return strings.Replace(list, "{", `{"annotations":{"a":"b"},`, 1) },
}

// twoEntries takes a list with two entries apart.
func twoEntries(list string) (before, first, second, after string) {
	const open, close = `"manifests":[`, "]"
	at := strings.Index(list, open) + len(open)
	end := at + strings.LastIndex(list[at:], close)
	var entries []json.RawMessage
	if err := json.Unmarshal([]byte("["+list[at:end]+"]"), &entries); err != nil || len(entries) != 2 {
		panic(list)
	}
	return list[:at], string(entries[0]), string(entries[1]), list[end:]
}

func scriptTamper(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 3)
	r := registryOf(ts, args[0])
	repo, tag := repoTag(ts, args[1])
	is, _ := r.Resolve(repo, tag)
	switch how := args[2]; how {
	case "unattached":
		for d := range attachedTo(r, repo, is) {
			r.DeleteManifest(repo, d)
		}
	case "other":
		for d := range attachedTo(r, repo, is) {
			r.DeleteManifest(repo, d)
		}
		other, _ := r.Resolve(repo, "v2")
		attachTo(r, repo, other, is)
	default:
		list, mediaType, _ := r.Manifest(repo, tag)
		attachTo(r, repo, is, r.PutManifest(repo, tag, mediaType, []byte(tamperings[how](string(list)))))
	}
}

// attachedTo returns the manifests whose subject is d.
func attachedTo(r *registrytest.Registry, repo string, d digest.Digest) map[digest.Digest][]byte {
	attached := map[digest.Digest][]byte{}
	for _, m := range r.Manifests(repo) {
		content, _, _ := r.Manifest(repo, m.String())
		var refers imgspecv1.Manifest
		if err := json.Unmarshal(content, &refers); err == nil && refers.Subject != nil && refers.Subject.Digest == d {
			attached[m] = content
		}
	}
	return attached
}

// attachTo attaches to a list what is attached to another one.
func attachTo(r *registrytest.Registry, repo string, from, to digest.Digest) {
	for _, content := range attachedTo(r, repo, from) {
		content = bytes.Replace(content, []byte(from), []byte(to), 1)
		r.PutManifest(repo, digest.FromBytes(content).String(), imgspecv1.MediaTypeImageManifest, content)
	}
}
