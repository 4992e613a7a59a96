package plan

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/prose"
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
		printList(b, p.List, "", true)
	}
	p.printAttached(b)
	p.Original.print(b)
	for _, d := range p.Widened {
		fmt.Fprintf(b, "tag %s: the destination keeps %s no other way\n", ChildTag(d), prose.Short(d))
	}
	fmt.Fprintf(b, "to move at most: %s, %s, %d bytes\n", prose.Count(len(p.Copies)+len(p.Transforms()), "manifest", "manifests"), prose.Count(p.Blobs, "blob", "blobs"), p.Bytes)
	if p.Unread > 0 {
		fmt.Fprintf(b, "not counted: blobs of %s not read\n", prose.Count(p.Unread, "manifest that was", "manifests that were"))
	}
	for _, v := range p.Void {
		fmt.Fprintf(b, "void: %s\n", v)
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(b, "warning: %s\n", w)
	}
	if p.Digest != "" {
		fmt.Fprintf(b, "destination digest %s\n", p.Digest)
	} else if p.Image != nil {
		b.WriteString("destination digest unknown: the image will change\n")
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
		if a.Elsewhere {
			reason += ", from the referrers source"
		}
		if a.Present {
			reason += ", there already"
		}
		fmt.Fprintf(w, "  %s\tof %s\t%s\t%s\t%s\n", prose.Short(a.Digest), prose.Short(a.Subject), what, a.Decision, reason)
	}
	w.Flush()
}

// print says what is attached of the original; what is not, warnings say.
func (o *OriginalPlan) print(b *strings.Builder) {
	if o == nil || o.Reason != "" {
		return
	}
	fmt.Fprintf(b, "original %s: attached as %s%s\n", prose.Short(o.List), prose.Short(o.Digest), there(o.Present))
	for _, s := range o.Signatures {
		fmt.Fprintf(b, "  signature %s (%s): attached as %s%s\n", prose.Short(s.Of), s.Kind, prose.Short(s.Digest), there(s.Present))
	}
}

func (i *ImagePlan) print(b *strings.Builder) {
	fmt.Fprintf(b, "%s %s", cmp.Or(i.Kind, "image"), i.Digest)
	if i.Platform != "" {
		fmt.Fprintf(b, " (%s)", i.Platform)
	}
	fmt.Fprintf(b, ": copy: %s", i.Reason.Text)
	b.WriteString(transformed(i.Transform, i.Became) + there(i.Present) + "\n")
}

// printList describes a list and those nested in it. copied is not set for nested lists that stay
// behind.
func printList(b *strings.Builder, l *ListPlan, indent string, copied bool) {
	fmt.Fprintf(b, "%slist %s, %s, %s\n", indent, l.Digest, prose.Count(len(l.Instances), "entry", "entries"), becomes(l, copied))
	w := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	for _, ip := range l.Instances {
		fmt.Fprintf(w, "%s  %d\t%s\t%s\t%s\t%s\t%s\n", indent, ip.Index, ip.What(), prose.Short(ip.Digest), ip.Decision, ip.Entry, ip.why())
	}
	for i := range l.Variants {
		v := &l.Variants[i]
		fmt.Fprintf(w, "%s  +\t%s, %s\t%s\tcopy\tadd\t%s\n", indent, v.Platform, v.Format, prose.Short(cmp.Or(v.Result(), v.Of)), v.why())
	}
	w.Flush()
	if l.ResultType != l.MediaType {
		fmt.Fprintf(b, "%s  converted to %s: %s\n", indent, l.ResultType, l.Transform)
	}
	for _, ip := range l.Instances {
		if ip.Nested != nil {
			fmt.Fprintf(b, "%s  entry %d:\n", indent, ip.Index)
			printList(b, ip.Nested, indent+"  ", copied && ip.Decision == Copy)
		}
	}
}

// becomes returns what becomes of a list, for people.
func becomes(l *ListPlan, copied bool) string {
	becomes := "stays as it is"
	switch {
	case !copied:
		return "not copied"
	case l.Result == "":
		becomes = "changes with its images"
	case l.Result != l.Digest:
		becomes = "becomes " + l.Result.String()
	}
	if len(l.Absent) > 0 {
		becomes += ", " + prose.Count(len(l.Absent), "child", "children") + " absent"
	}
	return becomes
}

// What returns what the instance is, for people.
func (ip *InstancePlan) What() string {
	switch {
	case ip.Nested != nil:
		return fmt.Sprintf("list of %d", len(ip.Nested.Instances))
	case manifest.IsListMediaType(ip.MediaType):
		return "list that was not read"
	case ip.Relation.Follows():
		return called(ip.Kind, short(cmp.Or(ip.Subject, ip.AttestationOf)))
	case ip.Relation == Replaces:
		return ip.Platform + ", " + ip.Kind
	case ip.Kind != "": // a blob, or what is known to be no image
		return ip.Kind
	}
	return ip.Platform
}

// short is d for people, "" if there is none.
func short(d digest.Digest) string {
	if d == "" {
		return ""
	}
	return prose.Short(d)
}

// why returns why the instance is copied or not, what becomes of it, and whether it is at the
// destination already.
func (ip *InstancePlan) why() string {
	marked := ""
	if ip.Marked {
		marked = "; marked as one that needs zstd"
	}
	return ip.Reason.Text + transformed(ip.Transform, ip.Became) + marked + there(ip.Present)
}

// transformed says why an image is transformed, and into what, as far as that is known; "" if it is
// carried as it is.
func transformed(why string, became *Became) string {
	switch {
	case why == "":
		return ""
	case became == nil:
		return "; transformed: " + why
	}
	return fmt.Sprintf("; transformed into %s: %s", prose.Short(became.Digest), why)
}

// there says whether something is at the destination already.
func there(present bool) string {
	if present {
		return ", there already"
	}
	return ""
}

// Names returns what the images are called that the plan wants at the destination, as they are
// there: their platforms, as entries state them, or "artifact", or, of what describes or
// accelerates another entry, "attestation of" that one's, and so on; "" where nothing states any.
// It leaves out what is not known yet. The map is the caller's.
func (p *Plan) Names() map[digest.Digest]string {
	names := map[digest.Digest]string{}
	for _, d := range p.Stored() {
		names[d] = ""
	}
	if p.Image != nil {
		for d := range names {
			names[d] = cmp.Or(p.Image.Platform, p.Image.Kind)
		}
		return names
	}
	p.List.Walk(func(l *ListPlan) {
		for _, in := range l.Instances {
			if name, wanted := names[in.Result()]; wanted {
				names[in.Result()] = cmp.Or(name, nameOf(l, in))
			}
		}
	})
	return names
}

// nameOf names an entry by its platform, or by that of its subject.
func nameOf(l *ListPlan, in InstancePlan) string {
	if !in.Relation.Follows() {
		return in.Platform
	}
	for _, other := range l.Instances {
		if other.Digest == in.Subject {
			return called(in.Kind, other.Platform)
		}
	}
	return called(in.Kind, short(in.AttestationOf))
}
