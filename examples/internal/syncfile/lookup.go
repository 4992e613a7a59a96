package syncfile

import (
	"slices"

	"go.podman.io/image/v5/docker/reference"

	"github.com/sparsecopy/sparsecopy/copy"
)

// A Lookup finds copies by what was pushed. It is safe for concurrent use.
type Lookup struct {
	images  map[string][]*Image        // by the names of their sources' repositories
	written map[string]map[string]bool // tags that copies are written to, by repository; all if nil
}

// Lookup returns the Lookup of all that the file wants.
func (f *File) Lookup() *Lookup {
	l := &Lookup{images: map[string][]*Image{}, written: map[string]map[string]bool{}}
	for _, image := range f.Images {
		if image.named == nil {
			continue
		}
		l.images[image.named.Name()] = append(l.images[image.named.Name()], image)
	}
	for _, image := range f.Images {
		l.writes(image)
	}
	return l
}

// writes notes what the copies of image are written to, as far as that is known without a list of
// tags: then it is the repository, unless it is the source's, too.
func (l *Lookup) writes(image *Image) {
	if image.Tags != nil && image.Tags.Listed() {
		c, err := image.copy(anyTag(image))
		if _, same := image.Repository(); err != nil || !same {
			return
		}
		if to := c.Destination.DockerReference(); to != nil && to.Name() != image.named.Name() {
			l.written[to.Name()] = nil
		}
		return
	}
	copies, _, _ := image.Copies(nil)
	for _, c := range copies {
		to, ok := c.Destination.DockerReference().(reference.NamedTagged)
		if !ok {
			continue
		}
		tags, known := l.written[to.Name()]
		if known && tags == nil {
			continue
		}
		if tags == nil {
			tags = map[string]bool{}
			l.written[to.Name()] = tags
		}
		tags[to.Tag()] = true
	}
}

// Pushed returns the copies of which a tag is the source, none if nobody wants it, or if it is what
// a copy of this file is written to: that must not go round in circles. It asks nobody.
//
// A tag that is named after a digest belongs to what has that digest, such as its signature. Which
// tags name that is not known: all of the repository are returned whose names are in the file.
func (l *Lookup) Pushed(tag reference.NamedTagged) []Copy {
	if tags, known := l.written[tag.Name()]; known && (tags == nil || tags[tag.Tag()]) {
		return nil
	}
	var found []Copy
	for _, image := range l.images[tag.Name()] {
		found = append(found, image.pushed(tag.Tag())...)
	}
	return found
}

// pushed returns the copies for which tag means something in the source's repository.
func (i *Image) pushed(tag string) []Copy {
	var copies []Copy
	for _, name := range i.concerned(tag) {
		if c, err := i.copy(name); err == nil {
			copies = append(copies, c)
		}
	}
	return copies
}

// concerned returns the tags of the source for which tag means something, as Image.copy has them.
func (i *Image) concerned(tag string) []string {
	belongs := copy.IsDigestTag(tag)
	if i.Tags == nil {
		if own := tagOf(i.named); own != "" && (own == tag || belongs) {
			return []string{""}
		}
		return nil
	}
	switch {
	case belongs:
		return i.Tags.names
	case slices.Contains(i.Tags.names, tag) || i.Tags.takes(tag):
		return []string{tag}
	}
	return nil
}
