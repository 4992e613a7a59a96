// Drawing draws docs/images/actions.svg: one list, and what keep, strip and auto leave at the
// destination. What is drawn comes from the planner, digests included.
package main

import (
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy"
)

func main() {
	svg, err := draw()
	if err != nil {
		fmt.Fprintln(os.Stderr, "drawing:", err)
		os.Exit(1)
	}
	_, _ = os.Stdout.Write(svg)
}

// A panel is one list and the images that it names.
type panel struct {
	title, note string
	digest      digest.Digest
	rows        []row
}

// A row is one entry of a list.
type row struct {
	platform string
	digest   digest.Digest
	listed   bool // the list names it
	there    bool // the image is where the list is
}

// platforms are those of the image in the drawing; the mirror wants the first two.
var platforms = []string{"linux/amd64", "linux/arm64", "linux/s390x", "linux/ppc64le"}

const wanted = 2

// panels plans the copies of the drawing.
func panels() ([]panel, error) {
	source := sourceList()
	keep, err := planned(source, copy.KeepSparseManifestList)
	if err != nil {
		return nil, err
	}
	strip, err := planned(source, copy.StripSparseManifestList)
	if err != nil {
		return nil, err
	}
	all := panel{title: "the source", note: "published for four platforms", digest: keep.List.Digest}
	for _, ip := range keep.List.Instances {
		all.rows = append(all.rows, row{ip.Platform, ip.Digest, true, true})
	}
	kept := copied(keep)
	kept.title, kept.note = "keep", "same bytes, same digest: signatures count"
	stripped := copied(strip)
	stripped.title, stripped.note = "strip", "every registry takes it: a new digest"
	return []panel{all, kept, stripped}, nil
}

func planned(list copy.Document, action copy.SparseManifestListAction) (*copy.Plan, error) {
	var filters []copy.InstancePlatformFilter
	for _, p := range platforms[:wanted] {
		f, err := copy.ParsePlatformFilter(p)
		if err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	return copy.NewPlan(copy.PlanInput{Top: list, Options: &copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: filters, SparseManifestListAction: action,
	}})
}

// copied is what a plan leaves at the destination.
func copied(p *copy.Plan) panel {
	there := panel{digest: p.Digest}
	for _, ip := range p.List.Instances {
		there.rows = append(there.rows, row{ip.Platform, ip.Digest, ip.Entry != copy.StripEntry, ip.Decision == copy.Copy})
	}
	return there
}
