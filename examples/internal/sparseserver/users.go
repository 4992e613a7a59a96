package sparseserver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// users are the entries of an htpasswd file, as it was when it was read. They do not change.
type users struct {
	path    string
	file    os.FileInfo       // of what was read
	hashes  map[string][]byte // of bcrypt, by name; not empty
	slowest []byte            // of hashes
}

// readUsers reads an htpasswd file. It refuses one that would not let in everybody whom it names:
// one with an entry of another hash than bcrypt, one that names somebody twice, and one that is
// empty. path "" stands for no file, and everybody: nil.
func readUsers(path string) (*users, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path) // before it is read: what is written meanwhile is read again
	if err != nil {
		return nil, fmt.Errorf("htpasswd file: %w", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("htpasswd file: %w", err)
	}
	hashes, err := parseUsers(path, content)
	if err != nil {
		return nil, err
	}
	return &users{path: path, file: info, hashes: hashes, slowest: slowest(hashes)}, nil
}

func parseUsers(path string, content []byte) (map[string][]byte, error) {
	hashes, lines := map[string][]byte{}, map[string]int{}
	number := 0
	for line := range strings.Lines(string(bytes.TrimPrefix(content, []byte("\ufeff")))) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, found := strings.Cut(line, ":")
		if !found || name == "" {
			return nil, fmt.Errorf("%s:%d: not of the form USER:HASH", path, number)
		}
		if err := checkHash(hash); err != nil {
			return nil, fmt.Errorf("%s:%d: user %q: %w; type: htpasswd -B %s %s", path, number, name, err, path, name)
		}
		if first := lines[name]; first != 0 {
			return nil, fmt.Errorf("%s:%d: user %q is in line %d, too: remove one", path, number, name, first)
		}
		hashes[name], lines[name] = []byte(hash), number
	}
	if len(hashes) == 0 {
		return nil, fmt.Errorf("%s: no user in it, so nobody could get in; type: htpasswd -B %s USER", path, path)
	}
	return hashes, nil
}

// bcryptHash is what every hash of bcrypt looks like. What is longer matches no password.
var bcryptHash = regexp.MustCompile(`^\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}$`)

// otherHashes are hashes that files for web servers have, by how they begin.
var otherHashes = []struct{ prefix, name string }{
	{"$apr1$", "MD5 (apr1)"}, {"$1$", "MD5"}, {"$5$", "SHA-256"}, {"$6$", "SHA-512"},
	{"{SHA}", "SHA-1"}, {"{SSHA}", "salted SHA-1"}, {"$argon2", "Argon2"}, {"$y$", "yescrypt"},
}

// checkHash says what a hash is that is not bcrypt's. The error does not have it.
func checkHash(hash string) error {
	if bcryptHash.MatchString(hash) {
		return nil
	}
	for _, other := range otherHashes {
		if strings.HasPrefix(hash, other.prefix) {
			return fmt.Errorf("the hash is %s, and only bcrypt's are taken", other.name)
		}
	}
	if strings.HasPrefix(hash, "$2") {
		return errors.New("the hash looks like bcrypt's, but is damaged")
	}
	return errors.New("the hash is not bcrypt's, and no other is taken")
}

// know reports whether this is the password of a user. Strangers wait as long as users do, so that
// they learn no names from the time of the answer.
func (u *users) know(name, password string) bool {
	hash, known := u.hashes[name]
	if !known {
		hash = u.slowest
	}
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil && known
}

// slowest returns the hash that takes the longest to compare.
func slowest(hashes map[string][]byte) []byte {
	var found []byte
	most := -1
	for _, hash := range hashes {
		if cost, _ := bcrypt.Cost(hash); cost > most { // checkHash has seen them
			found, most = hash, cost
		}
	}
	return found
}

// sameFile reports whether a file is as it was.
func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// exposed says who else can read or change the file, "" if nobody can.
func (u *users) exposed() string {
	switch mode := u.file.Mode().Perm(); {
	case mode&0o022 != 0:
		return "others than its owner can change it"
	case mode&0o004 != 0:
		return "everybody on this machine can read it"
	}
	return ""
}
