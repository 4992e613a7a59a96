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
		p.List.print(b, "", true)
	}
	p.printAttached(b)
	for _, d := range p.Widened {
		fmt.Fprintf(b, "tag %s: the destination keeps %s no other way\n", digestTag(d, childSuffix), short(d))
	}
	fmt.Fprintf(b, "to move at most: %s, %s, %d bytes\n", count(len(p.Copies), "manifest", "manifests"), count(p.Blobs, "blob", "blobs"), p.Bytes)
	if p.Unread > 0 {
		fmt.Fprintf(b, "not counted: blobs of %s not read\n", count(p.Unread, "manifest that was", "manifests that were"))
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

func (p *Plan) printAttached(b *strings.Builder) {
	if len(p.Attached) == 0 {
		return
	}
	b.WriteString("attached\n")
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	for _, a := range p.Attached {
		what := fmt.Sprintf("%q", a.ArtifactType)
		if a.Tag != "" {
			what = "tag " + a.Tag // made of a digest
		}
		reason := a.Reason.Text
		if a.Present {
			reason += ", there already"
		}
		fmt.Fprintf(w, "  %s\tof %s\t%s\t%s\t%s\n", short(a.Digest), short(a.Subject), what, a.Decision, reason)
	}
	w.Flush()
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

// count is n with the word for it.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// print describes a list and those nested in it. copied is not set for nested lists that stay behind.
func (l *ListPlan) print(b *strings.Builder, indent string, copied bool) {
	fmt.Fprintf(b, "%slist %s, %s, %s\n", indent, l.Digest, count(len(l.Instances), "entry", "entries"), l.becomes(copied))
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	for _, ip := range l.Instances {
		fmt.Fprintf(w, "%s  %d\t%s\t%s\t%s\t%s\t%s\n", indent, ip.Index, ip.what(), short(ip.Digest), ip.Decision, ip.Entry, ip.why())
	}
	w.Flush()
	for _, ip := range l.Instances {
		if ip.Nested != nil {
			fmt.Fprintf(b, "%s  entry %d:\n", indent, ip.Index)
			ip.Nested.print(b, indent+"  ", copied && ip.Decision == Copy)
		}
	}
}

// becomes says what becomes of the list.
func (l *ListPlan) becomes(copied bool) string {
	switch {
	case !copied:
		return "not copied"
	case l.Result != l.Digest:
		return "becomes " + l.Result.String()
	case len(l.Absent) > 0:
		return "stays as it is, " + count(len(l.Absent), "child", "children") + " absent"
	}
	return "stays as it is"
}

// what says what the instance is.
func (ip *InstancePlan) what() string {
	switch {
	case ip.Nested != nil:
		return fmt.Sprintf("list of %d", len(ip.Nested.Instances))
	case manifest.IsListMediaType(ip.MediaType):
		return "list that was not read"
	case ip.AttestationOf != "":
		return "attestation of " + short(ip.AttestationOf)
	}
	return ip.Platform
}

// why says why it is copied or not, and whether it has to be.
func (ip *InstancePlan) why() string {
	if ip.Present {
		return ip.Reason.Text + ", there already"
	}
	return ip.Reason.Text
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

// plainList is a ListPlan without methods.
type plainList ListPlan

// listJSON is the JSON form of a ListPlan.
type listJSON struct {
	*plainList
	Edits []editJSON `json:"edits"`
}

// MarshalJSON adds the edits in their JSON form.
func (l *ListPlan) MarshalJSON() ([]byte, error) {
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
	return json.Marshal(listJSON{(*plainList)(l), edits})
}

// UnmarshalJSON reads what MarshalJSON writes. The plan can be looked at and printed, but it has no document to write.
func (l *ListPlan) UnmarshalJSON(b []byte) error {
	in := listJSON{plainList: (*plainList)(l)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	l.Edits = nil
	for _, e := range in.Edits {
		switch e.Op {
		case "delete":
			l.Edits = append(l.Edits, manifest.ListEdit{ListOperation: manifest.ListOpDelete, DeleteIndex: e.Index})
		case "update":
			l.Edits = append(l.Edits, manifest.ListEdit{
				ListOperation: manifest.ListOpUpdate, UpdateIndex: e.Index, UpdateDigest: e.Digest, UpdateSize: e.Size,
			})
		default:
			return fmt.Errorf("plan has an edit with the operation %q", e.Op)
		}
	}
	return nil
}
