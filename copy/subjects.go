package copy

import "github.com/opencontainers/go-digest"

// inOrder returns the distinct elements of all, each after those of them that it needs; otherwise the order stays. Elements that need
// each other, which honest digests cannot, come in some order.
func inOrder(all []digest.Digest, needs func(digest.Digest) []digest.Digest) []digest.Digest {
	ordered := make([]digest.Digest, 0, len(all))
	unvisited := map[digest.Digest]bool{}
	for _, d := range all {
		unvisited[d] = true
	}
	var visit func(digest.Digest)
	visit = func(d digest.Digest) {
		if !unvisited[d] {
			return
		}
		unvisited[d] = false // first, or what goes in circles would not end
		for _, n := range needs(d) {
			visit(n)
		}
		ordered = append(ordered, d)
	}
	for _, d := range all {
		visit(d)
	}
	return ordered
}

// subjectsFirst returns images in an order in which none comes before its subject. Otherwise the order stays.
func subjectsFirst(images []imageCopy) []imageCopy {
	at := map[digest.Digest]imageCopy{}
	digests := make([]digest.Digest, len(images))
	for i, image := range images {
		at[image.doc.Digest], digests[i] = image, image.doc.Digest
	}
	ordered := make([]imageCopy, 0, len(images))
	for _, d := range inOrder(digests, func(d digest.Digest) []digest.Digest { return []digest.Digest{at[d].subject} }) {
		ordered = append(ordered, at[d])
	}
	return ordered
}

// waitForLists takes from images, whose subjects come first, the manifests that have to be stored after one of the given lists: their
// subjects are such lists, or others that wait.
func waitForLists(images []imageCopy, lists []digest.Digest) map[digest.Digest]imageCopy {
	waits := map[digest.Digest]bool{}
	for _, d := range lists {
		waits[d] = true
	}
	late := map[digest.Digest]imageCopy{}
	for i, image := range images {
		if waits[image.subject] && !image.single && !image.there {
			waits[image.doc.Digest] = true
			late[image.doc.Digest] = image
			images[i].single = true
		}
	}
	return late
}
