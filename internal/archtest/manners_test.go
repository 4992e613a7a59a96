package archtest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// marker is a word that leaves work for later; explained is one that says why, after a colon.
var (
	marker    = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)
	explained = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)(\([^)]+\))?: +\S+ +\S+`)
)

func TestWorkLeftForLaterHasAReason(t *testing.T) {
	assertNone(t, unexplained(checkout(t)))
}

func TestPackageCommentIsTheMap(t *testing.T) {
	assertNone(t, withoutMap(checkout(t)))
}

// unexplained returns the comment lines with a marker that no reason follows.
func unexplained(sources []source) []string {
	var complaints []string
	for _, file := range sources {
		for _, group := range file.syntax.Comments {
			for _, comment := range group.List {
				for text := range strings.Lines(comment.Text) {
					if marker.MatchString(text) && !explained.MatchString(text) {
						complaints = append(complaints, fmt.Sprintf("%s: no reason in %q", file.line(comment.Pos()), strings.TrimSpace(text)))
					}
				}
			}
		}
	}
	return complaints
}

// withoutMap returns the packages that do not have one package comment, where a reader looks for
// it: in doc.go, in the file that is named as the package, or in main.go. Packages that consist of
// tests need none.
func withoutMap(sources []source) []string {
	packages := map[string][]source{}
	for _, file := range sources {
		if !file.isTest() {
			packages[file.dir()] = append(packages[file.dir()], file)
		}
	}
	var complaints []string
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		var commented []string
		for _, file := range packages[dir] {
			if file.syntax.Doc != nil {
				commented = append(commented, path.Base(file.path))
			}
		}
		places := []string{"doc.go", packages[dir][0].syntax.Name.Name + ".go"}
		if len(commented) != 1 || !slices.Contains(places, commented[0]) {
			complaints = append(complaints, fmt.Sprintf("%s: wants one package comment, in %s; found %q", dir, strings.Join(places, " or "), commented))
		}
	}
	return complaints
}
