package credentials

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/docker/docker-credential-helpers/client"
	helpers "github.com/docker/docker-credential-helpers/credentials"
)

// A MissingHelperError says that a program which is to keep credentials is not on this machine.
type MissingHelperError struct {
	Helper  string // its name without docker-credential-
	NamedBy string // the setting that names it, and its file
}

func (e *MissingHelperError) Error() string {
	return fmt.Sprintf("docker-credential-%s, which %s names, is not in $PATH; install it, or take it out of %s, or name another file with --authfile FILE",
		e.Helper, e.NamedBy, e.NamedBy)
}

// A helper is a program that keeps credentials.
type helper struct{ name, namedBy string }

// check fails with a *MissingHelperError if the program is not there.
func (h helper) check() error {
	if strings.ContainsAny(h.name, `/\`) {
		return fmt.Errorf("%q, which %s names, is not the name of a program docker-credential-NAME", h.name, h.namedBy)
	}
	if _, err := exec.LookPath("docker-credential-" + h.name); err != nil {
		return &MissingHelperError{Helper: h.name, NamedBy: h.namedBy}
	}
	return nil
}

func (h helper) String() string { return fmt.Sprintf("docker-credential-%s (%s)", h.name, h.namedBy) }

func (h helper) program() client.ProgramFunc {
	return client.NewShellProgramFunc("docker-credential-" + h.name)
}

func (h helper) put(server, user, password string) error {
	return client.Store(h.program(), &helpers.Credentials{ServerURL: server, Username: user, Secret: password})
}

// user returns whose credentials the program has for a server, "" if it has none. Those of an
// identity token have no user's name.
func (h helper) user(server string) (user string, found bool, err error) {
	got, err := client.Get(h.program(), server)
	switch {
	case helpers.IsErrCredentialsNotFound(err):
		return "", false, nil
	case err != nil:
		return "", false, err
	}
	return got.Username, true, nil
}

// remove reports whether there was something to remove.
func (h helper) remove(server string) (bool, error) {
	if _, found, err := h.user(server); err != nil || !found {
		return false, err
	}
	return true, client.Erase(h.program(), server)
}
