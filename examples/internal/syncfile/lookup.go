package syncfile

import (
	"slices"
	"strings"
	"sync"

	"go.podman.io/image/v5/docker/reference"

	"github.com/sparsecopy/sparsecopy/copy"
)

// A Lookup finds copies by what was pushed. It is safe for concurrent use.
type Lookup struct {
	images  map[string][]*Image        // by the names of their sources' repositories
	written map[string]map[string]bool // tags that copies are written to, by repository; all if nil

	mu     sync.Mutex
	recent map[*Image][]string // tags that patterns have taken last; guarded by mu
}

// maxRecent is how many of the tags that patterns have taken are remembered of each image.
const maxRecent = 32

// Lookup returns the Lookup of all that the file wants.
func (f *File) Lookup() *Lookup {
	l := &Lookup{images: map[string][]*Image{}, written: map[string]map[string]bool{}, recent: map[*Image][]string{}}
	for _, image := range f.Images {
		if image.named == nil {
			continue
		}
		source := repositoryOf(image.named)
		l.images[source] = append(l.images[source], image)
	}
	for _, image := range f.Images {
		l.writes(image)
	}
	return l
}

// writes notes what the copies of image are written to, as far as that is known without a list of
// tags: then it is the repository, unless it is the source's, too.
func (l *Lookup) writes(image *Image) {
	if image.Listed() {
		key, same := image.Repository()
		if name, isDocker := strings.CutPrefix(key, "docker://"); isDocker && same && name != repositoryOf(image.named) {
			l.written[name] = nil
		}
		return
	}
	copies, _ := image.Copies(nil)
	for _, c := range copies {
		to, ok := c.Destination.DockerReference().(reference.NamedTagged)
		if !ok {
			continue
		}
		name := repositoryOf(to)
		tags, known := l.written[name]
		if known && tags == nil {
			continue
		}
		if tags == nil {
			tags = map[string]bool{}
			l.written[name] = tags
		}
		tags[to.Tag()] = true
	}
}

// Pushed returns the copies of which a tag is the source, none if nobody wants it, or if it is what
// a copy of this file is written to: that must not go round in circles. It asks nobody.
//
// A tag that is named after a digest belongs to what has that digest, such as its signature. Which
// tags name that is not known: all of the repository are returned that the file names, and, of
// those that its patterns take, the last that were pushed. So what was refused without a signature
// is copied when that follows.
func (l *Lookup) Pushed(tag reference.NamedTagged) []Copy {
	repository := repositoryOf(tag)
	if tags, known := l.written[repository]; known && (tags == nil || tags[tag.Tag()]) {
		return nil
	}
	var found []Copy
	for _, image := range l.images[repository] {
		for _, name := range l.concerned(image, tag.Tag()) {
			if c, err := image.copy(name); err == nil {
				found = append(found, c)
			}
		}
	}
	return found
}

// concerned returns the tags of an image's source for which tag means something, as Image.copy has
// them.
func (l *Lookup) concerned(i *Image, tag string) []string {
	belongs := copy.IsDigestTag(tag)
	if i.Tags == nil {
		_, pinned := i.named.(reference.Canonical) // whatever its tag names
		if own := tagOf(i.named); own != "" && belongs || own == tag && !pinned {
			return []string{""}
		}
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case slices.Contains(i.Tags.Names, tag):
		return []string{tag}
	case belongs:
		return slices.Concat(i.Tags.Names, l.recent[i])
	case i.Tags.Takes(tag):
		others := slices.DeleteFunc(l.recent[i], func(t string) bool { return t == tag })
		l.recent[i] = append(others[max(0, len(others)-maxRecent+1):], tag)
		return []string{tag}
	}
	return nil
}
