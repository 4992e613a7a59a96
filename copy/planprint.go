package copy

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// String describes the plan for people, in several lines.
func (p *Plan) String() string {
	var b strings.Builder
	if p.Source != "" || p.Destination != "" {
		fmt.Fprintf(&b, "copy %s to %s\n", p.Source, p.Destination)
	}
	if p.Way == Upstream {
		fmt.Fprintf(&b, "through upstream's copy: %s\n", p.WayReason)
	}
	p.body(&b)
	if p.IfRefused != nil {
		b.WriteString("if the destination refuses the sparse list:\n")
		p.IfRefused.body(&b)
	}
	if p.IfRefusedNot != "" {
		fmt.Fprintf(&b, "if the destination refuses the sparse list, the copy fails: %s\n", p.IfRefusedNot)
	}
	return b.String()
}

func (p *Plan) body(b *strings.Builder) {
	if p.Image != nil {
		p.Image.print(b)
	}
	if p.List != nil {
		fmt.Fprintf(b, "action %s", p.Action)
		if p.ActionReason != "" {
			fmt.Fprintf(b, ": %s", p.ActionReason)
		}
		b.WriteString("\n")
		p.List.print(b, "")
	}
	fmt.Fprintf(b, "to move at most: %d manifests, %d blobs, %d bytes\n", len(p.Copies), p.Blobs, p.Bytes)
	if p.Unread > 0 {
		fmt.Fprintf(b, "not counted: blobs of %d manifests that were not read\n", p.Unread)
	}
	for _, v := range p.Void {
		fmt.Fprintf(b, "void: %s\n", v)
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(b, "warning: %s\n", w)
	}
	if p.Digest != "" {
		fmt.Fprintf(b, "destination digest %s\n", p.Digest)
	} else {
		b.WriteString("destination digest unknown: children will change\n")
	}
}

func (i *ImagePlan) print(b *strings.Builder) {
	fmt.Fprintf(b, "image %s", i.Digest)
	if i.Platform != "" {
		fmt.Fprintf(b, " (%s)", i.Platform)
	}
	fmt.Fprintf(b, ": copy: %s", i.Reason.Text)
	if i.Present {
		b.WriteString(", there already")
	}
	b.WriteString("\n")
}

func (l *ListPlan) print(b *strings.Builder, indent string) {
	fmt.Fprintf(b, "%slist %s, %d entries", indent, l.Digest, len(l.Instances))
	switch {
	case l.Result != l.Digest:
		fmt.Fprintf(b, ", becomes %s\n", l.Result)
	case len(l.Absent) > 0:
		fmt.Fprintf(b, ", stays as it is, %d of its children absent\n", len(l.Absent))
	default:
		b.WriteString(", stays as it is\n")
	}
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	for _, ip := range l.Instances {
		what := ip.Platform
		if ip.AttestationOf != "" {
			what = "attestation of " + short(ip.AttestationOf)
		}
		if ip.Nested != nil {
			what = fmt.Sprintf("list of %d", len(ip.Nested.Instances))
		}
		reason := ip.Reason.Text
		if ip.Present {
			reason += ", there already"
		}
		fmt.Fprintf(w, "%s  %d\t%s\t%s\t%s\t%s\t%s\n", indent, ip.Index, what, short(ip.Digest), ip.Decision, ip.Entry, reason)
	}
	w.Flush()
	for _, ip := range l.Instances {
		if ip.Nested != nil {
			fmt.Fprintf(b, "%s  entry %d:\n", indent, ip.Index)
			ip.Nested.print(b, indent+"  ")
		}
	}
}

// MarshalText returns what String returns for a valid action.
func (a SparseManifestListAction) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads "keep", "strip" or "auto".
func (a *SparseManifestListAction) UnmarshalText(text []byte) error {
	for _, action := range []SparseManifestListAction{KeepSparseManifestList, StripSparseManifestList, AutoSparseManifestList} {
		if string(text) == action.String() {
			*a = action
			return nil
		}
	}
	return fmt.Errorf("unknown sparse action %q: write keep, strip or auto", text)
}

// editJSON is the JSON form of an edit in a plan.
type editJSON struct {
	Op     string        `json:"op"` // "update" or "delete"
	Index  int           `json:"index"`
	Digest digest.Digest `json:"digest,omitempty"`
	Size   int64         `json:"size,omitempty"`
}

// MarshalJSON adds the edits in their JSON form.
func (l *ListPlan) MarshalJSON() ([]byte, error) {
	type plain ListPlan
	edits := make([]editJSON, len(l.Edits))
	for i, e := range l.Edits {
		switch e.ListOperation {
		case manifest.ListOpDelete:
			edits[i] = editJSON{Op: "delete", Index: e.DeleteIndex}
		case manifest.ListOpUpdate:
			edits[i] = editJSON{Op: "update", Index: e.UpdateIndex, Digest: e.UpdateDigest, Size: e.UpdateSize}
		default:
			return nil, fmt.Errorf("plan has an edit with the operation %s", e.ListOperation)
		}
	}
	return json.Marshal(struct {
		*plain
		Edits []editJSON `json:"edits"`
	}{(*plain)(l), edits})
}
