package credentials

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
)

// A file is what a file with credentials says beside these.
type file struct {
	path        string
	credsStore  string            // the program that has all credentials, "" for none: Docker's
	credHelpers map[string]string // the programs that have those of some registries
	entries     map[string]bool   // what the file itself has credentials for, or only names
	others      []string          // settings that are not about credentials, sorted
}

// readFile reads a file. One that is not there is empty.
func readFile(path string) (file, error) {
	f := file{path: path, entries: map[string]bool{}}
	content, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case err != nil:
		return f, err
	}
	var settings map[string]json.RawMessage
	if err := json.Unmarshal(content, &settings); err != nil {
		return f, fmt.Errorf("%s is no file with credentials: %w", path, err)
	}
	var auths map[string]struct {
		Auth string `json:"auth"`
	}
	for name, to := range map[string]any{"auths": &auths, "credHelpers": &f.credHelpers, "credsStore": &f.credsStore} {
		if raw, ok := settings[name]; ok {
			if err := json.Unmarshal(raw, to); err != nil {
				return f, fmt.Errorf("%s of %s is not what it should be", name, path) // err may quote a secret
			}
		}
		delete(settings, name)
	}
	for key, entry := range auths {
		f.entries[key] = entry.Auth != ""
	}
	f.others = slices.Sorted(maps.Keys(settings))
	if f.credsStore != "" {
		f.others = append([]string{"credsStore"}, f.others...)
	}
	return f, nil
}

// helperFor returns the program that has the credentials of a registry by name in the file.
func (f file) helperFor(names ...string) (helper, bool) {
	for _, name := range names {
		if h := f.credHelpers[name]; h != "" {
			return helper{h, fmt.Sprintf("%q in credHelpers of %s", name, f.path)}, true
		}
	}
	return helper{}, false
}

// store returns the program that has all credentials.
func (f file) store() (helper, bool) {
	return helper{f.credsStore, "credsStore of " + f.path}, f.credsStore != ""
}
