package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy"
)

// sourceList is an OCI index of an image for each of platforms.
func sourceList() copy.Document {
	var entries []string
	for _, p := range platforms {
		os, architecture, _ := strings.Cut(p, "/")
		entries = append(entries, fmt.Sprintf(
			`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":7,"platform":{"os":%q,"architecture":%q}}`,
			digest.FromString("app for "+p), os, architecture))
	}
	return copy.Document{Bytes: []byte(`{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`)}
}

// Sizes in pixels.
const (
	margin      = 24
	panelWidth  = 256
	panelGap    = 26
	panelTop    = 44
	rowTop      = panelTop + 62
	rowHeight   = 40
	imageOffset = 152 // from the left of a panel
)

const style = `
  .back { fill: #ffffff } text { fill: #1f2328; font: 13px ui-sans-serif, system-ui, "DejaVu Sans", sans-serif }
  .title { font-size: 17px; font-weight: 600 } .note, .digest { fill: #59636e; font-size: 12px }
  .digest { font-family: ui-monospace, "DejaVu Sans Mono", monospace }
  .list { fill: #f6f8fa; stroke: #818b98 } .image { fill: #0969da } .on { fill: #ffffff; font-size: 12px }
  .absent { fill: none; stroke: #818b98; stroke-dasharray: 4 3 } .arrow { stroke: #818b98; fill: none } .changed { fill: #bc4c00; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117 } text { fill: #f0f6fc } .note, .digest { fill: #9198a1 } .list { fill: #151b23 } .image { fill: #1f6feb }
    .on { fill: #ffffff } .changed { fill: #f0883e }
  }
`

// draw returns the drawing.
func draw() ([]byte, error) {
	all, err := panels()
	if err != nil {
		return nil, err
	}
	width := 2*margin + len(all)*panelWidth + (len(all)-1)*panelGap
	bottom := rowTop + len(platforms)*rowHeight
	height := bottom + 84
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="What keep, strip and auto leave at the destination">`,
		width, height, width, height)
	fmt.Fprintf(&b, "\n<style>%s</style>\n<rect class=\"back\" width=\"%d\" height=\"%d\"/>\n", style, width, height)
	for i, p := range all {
		p.draw(&b, margin+i*(panelWidth+panelGap), p.digest != all[0].digest)
	}
	text(&b, margin, bottom+44, "title", "auto")
	text(&b, margin, bottom+64, "note", "keep, if the registry accepts the list; strip, if its own answer says that it wants the absent images")
	b.WriteString("</svg>\n")
	return b.Bytes(), nil
}

func (p panel) draw(b *bytes.Buffer, left int, changed bool) {
	text(b, left, panelTop-16, "title", p.title)
	text(b, left, panelTop+2, "note", p.note)
	listed := p.listed()
	fmt.Fprintf(b, "<rect class=\"list\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n",
		left, panelTop+16, imageOffset-36, 42+len(listed)*rowHeight)
	class := "digest"
	if changed {
		class += " changed"
	}
	text(b, left+10, panelTop+38, class, short(p.digest))
	for i, r := range listed {
		text(b, left+10, rowTop+i*rowHeight+19, "entry", r.platform)
		r.draw(b, left, rowTop+i*rowHeight)
	}
}

// listed returns the rows that the panel's list names.
func (p panel) listed() []row {
	var listed []row
	for _, r := range p.rows {
		if r.listed {
			listed = append(listed, r)
		}
	}
	return listed
}

// draw draws the image that an entry names.
func (r row) draw(b *bytes.Buffer, left, top int) {
	fmt.Fprintf(b, "<path class=\"arrow\" d=\"M%d %d h%d\"/>\n", left+imageOffset-36, top+15, 34)
	class, label := "image", "on"
	if !r.there {
		class, label = "absent", "note"
	}
	fmt.Fprintf(b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"30\" rx=\"4\"/>\n", class, left+imageOffset, top, panelWidth-imageOffset)
	name := short(r.digest)
	if !r.there {
		name = "absent"
	}
	text(b, left+imageOffset+12, top+19, label, name)
}

func text(b *bytes.Buffer, x, y int, class, s string) {
	fmt.Fprintf(b, "<text class=\"%s\" x=\"%d\" y=\"%d\">%s</text>\n", class, x, y, s)
}

// short is the beginning of a digest, enough to tell those of a drawing apart.
func short(d digest.Digest) string { return d.Encoded()[:8] + "…" }
