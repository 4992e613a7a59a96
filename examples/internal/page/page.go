// Package page writes one HTML page that shows what a mirror holds: each image with its platforms,
// what went wrong, how old it is, and what was not copied.
//
// The page is one document without any outside resource. It can be read without JavaScript, which
// adds a search and sorting; it may stand behind ContentSecurityPolicy, and says so itself. What it
// shows comes from strangers: names, platforms and errors are text and nothing else.
//
// # Map
//
//	page.go        Mirror, Write, ContentSecurityPolicy
//	view.go        from a Mirror to what the template shows: counts, sums, order
//	row.go         from an image to its row
//	words.go       times, counts and foreign texts for people
//	page.html.tmpl the document; page.css and page.js are written into it
package page

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// A Mirror is what a page shows.
type Mirror struct {
	// Name says which mirror it is: the name of a sync file, or of a state.
	Name string
	// At is when Images were like this. Ages are counted until then.
	At     time.Time
	Images []state.Image
	// Notices are about the mirror as a whole, one sentence each, such as that its sync file
	// cannot be read; none if all is well.
	Notices []string
	// Limits are what registries have said about how much may still be pulled.
	Limits []Limit
}

// A Limit is what a registry has said about how much may still be pulled.
type Limit struct {
	Registry  string
	Remaining int
	Limit     int // how much it is in all, 0 if unknown
	// Until is when Remaining is Limit again, at the latest; zero if unknown.
	Until time.Time
}

//go:embed page.html.tmpl
var document string

//go:embed page.css
var style string

//go:embed page.js
var script string

// directives are those of ContentSecurityPolicy that may stand in a document, too. The icon is in
// the document.
var directives = "default-src 'none'; style-src '" + hashOf(style) + "'; script-src '" + hashOf(script) +
	"'; img-src data:; base-uri 'none'; form-action 'none'"

// ContentSecurityPolicy is the value of the header of this name for whoever serves a page: it runs
// its own script, has its own style, and loads nothing.
var ContentSecurityPolicy = directives + "; frame-ancestors 'none'"

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

var parsed = sync.OnceValue(func() *template.Template { return template.Must(template.New("page").Parse(document)) })

// Write writes the page of a mirror. It fails only if w does. It is safe for concurrent use.
func Write(w io.Writer, m Mirror) error {
	b := bufio.NewWriterSize(w, 64<<10)
	if err := parsed().Execute(b, viewOf(m)); err != nil {
		return err
	}
	return b.Flush()
}
