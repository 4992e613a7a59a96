package registrycmd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDistributionConfig(t *testing.T) {
	const (
		filesystem = "version: 0.1\nstorage:\n  filesystem: {rootdirectory: /d}\n"
		deleting   = filesystem + "  delete: {enabled: true}\n"
		readOnly   = filesystem + "  maintenance: {readonly: {enabled: true}}\n"
		htpasswd   = filesystem + "auth: {htpasswd: {realm: r, path: /h}}\n"
		token      = filesystem + "auth: {token: {realm: r}}\n"
		s3         = "version: 0.1\nstorage: {s3: {bucket: b}}\n"
		s3Secret   = s3 + "http: {secret: s}\n"
	)
	for _, c := range []struct {
		name, content      string
		args               []string
		storage, users     string
		noDelete, readOnly bool
		warnings           int
		err                string
	}{
		{name: "storage", content: filesystem, storage: "/d", noDelete: true},
		{name: "deletion on", content: deleting, storage: "/d"},
		{name: "deletion by flag", content: filesystem, args: []string{"--delete"}, storage: "/d"},
		{name: "no deletion by flag", content: deleting, args: []string{"--delete=false"}, storage: "/d", noDelete: true},
		{name: "read-only", content: readOnly, storage: "/d", noDelete: true, readOnly: true},
		{name: "users", content: htpasswd, storage: "/d", users: "/h", noDelete: true, warnings: 1},
		{name: "users of ours", content: filesystem, args: []string{"--htpasswd=/x"}, storage: "/d", users: "/x", noDelete: true},
		{name: "object store", content: s3, noDelete: true, warnings: 2},
		{name: "object store with a secret", content: s3Secret, noDelete: true, warnings: 1},
		{name: "two storages", content: filesystem, args: []string{"--storage=/s"},
			err: "the storage is set twice: by --storage (SPARSE_REGISTRY_STORAGE, storage) and by --distribution-config"},
		{name: "two ways in", content: token, args: []string{"--htpasswd=/x"},
			err: "access is set twice: by --htpasswd (SPARSE_REGISTRY_HTPASSWD, htpasswd) and by auth in --distribution-config"},
		{name: "two files of users", content: htpasswd, args: []string{"--htpasswd=/x"},
			err: "access is set twice: by --htpasswd (SPARSE_REGISTRY_HTPASSWD, htpasswd) and by auth in --distribution-config"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yml")
			require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))
			o, err := load(t, append([]string{"--distribution-config", path}, c.args...), nil, "")
			if c.err != "" {
				require.EqualError(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.storage, o.server.Storage)
			assert.Equal(t, c.users, o.server.Htpasswd)
			assert.Equal(t, c.noDelete, o.server.NoDelete)
			assert.Equal(t, c.readOnly, o.server.ReadOnly)
			assert.Len(t, o.warnings(), c.warnings)
			assert.NotNil(t, o.server.Distribution)
		})
	}
	_, err := load(t, []string{"--distribution-config=/does/not/exist"}, nil, "")
	assert.EqualError(t, err, "flag --distribution-config: open /does/not/exist: no such file or directory")
}
