package foreign

import "github.com/sparsecopy/sparsecopy/examples/internal/late"

var (
	// beforeHost is USER:PASSWORD@, with a scheme or without; NAME:TAG@ has its form.
	beforeHost = late.Regexp(`((?:[A-Za-z][A-Za-z0-9+.-]*://)?[^\s"'/:@]+):[^\s"'@]+@`)
	// digestBegins is what stands behind NAME:TAG@.
	digestBegins = late.Regexp(`^[a-z0-9+._-]+:[0-9a-fA-F]{32}`)
)

// withoutPasswords is a text of which people are shown what was in a file, with *** in the place of
// passwords in front of hosts.
func withoutPasswords(text string) string {
	var shown []byte
	end := 0
	for _, at := range beforeHost().FindAllStringSubmatchIndex(text, -1) {
		if digestBegins().MatchString(text[at[1]:]) {
			continue
		}
		shown = append(shown, text[end:at[3]]...)
		shown = append(shown, ":***@"...)
		end = at[1]
	}
	return string(append(shown, text[end:]...))
}

// hidePasswords leaves none in what is said of the file.
func (r *reader) hidePasswords() {
	for _, p := range r.problems {
		p.Text = withoutPasswords(p.Text)
	}
	for _, notes := range [][]Note{r.lostKeys, r.notes} {
		for i, n := range notes {
			notes[i].Key, notes[i].Text = withoutPasswords(n.Key), withoutPasswords(n.Text)
		}
	}
}
