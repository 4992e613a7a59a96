// Package secretfile reads files that have a secret in their only line.
package secretfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// The length of secrets, in bytes.
const (
	Min = 16
	Max = 4096
)

// Advice is where to take a secret from.
const Advice = "`openssl rand -hex 32` makes a good one"

// Read returns the secret in a file. warning says that everybody can read it, "" if not. It does
// not wait for what is no regular file, such as a pipe. The error does not have the secret.
func Read(path string) (secret, warning string, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", "", fmt.Errorf("%w; %s", err, Advice)
	case !info.Mode().IsRegular():
		return "", "", fmt.Errorf("%s is no regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, Max+1))
	if err != nil {
		return "", "", err
	}
	secret = strings.TrimRight(string(content), "\r\n")
	switch {
	case len(secret) > Max, strings.ContainsAny(secret, "\r\n"):
		return "", "", errors.New("it has more than one line; it must have the secret and nothing else; " + Advice)
	case len(secret) < Min:
		return "", "", fmt.Errorf("it has %d characters and needs at least %d; %s", len(secret), Min, Advice)
	}
	if info.Mode().Perm()&0o007 != 0 && runtime.GOOS != "windows" {
		warning = path + " can be read by everybody on this machine: chmod 600"
	}
	return secret, warning, nil
}
