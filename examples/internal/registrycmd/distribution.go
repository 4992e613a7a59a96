package registrycmd

import (
	"errors"
	"fmt"
	"net"

	"github.com/sparsecopy/sparsecopy/examples/internal/distributionconfig"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

func setDistribution(o *options, path string) (err error) {
	if path != "" {
		o.distribution, err = distributionconfig.Load(path)
	}
	return err
}

// takeDistribution adds to the server's settings what distribution's own configuration file says,
// once all settings have been read. It refuses what both say, unless one is a switch: --read-only
// and --delete, if they are set, count.
func (o *options) takeDistribution() error {
	file := o.distribution
	if o.allowDelete != nil {
		o.server.NoDelete = !*o.allowDelete
	} else {
		o.server.NoDelete = file != nil && !file.Delete
	}
	switch {
	case file == nil:
		return nil
	case o.server.Storage != "":
		return errors.New("the storage is set twice: by --storage (SPARSE_REGISTRY_STORAGE, storage) and by --distribution-config")
	case o.server.Htpasswd != "" && (file.Htpasswd != "" || len(file.Distribution.Auth) > 0):
		return errors.New("access is set twice: by --htpasswd (SPARSE_REGISTRY_HTPASSWD, htpasswd) and by auth in --distribution-config")
	}
	o.server.Distribution, o.server.Storage = file.Distribution, file.Storage
	if file.Htpasswd != "" {
		o.server.Htpasswd = file.Htpasswd
	}
	o.server.ReadOnly = o.server.ReadOnly || file.ReadOnly
	return nil
}

// isOpen reports whether other machines may write without credentials.
func (o *options) isOpen() bool {
	host, _, err := net.SplitHostPort(o.server.Address)
	withToken := o.server.Distribution != nil && len(o.server.Distribution.Auth) > 0
	return err == nil && host != "localhost" && !net.ParseIP(host).IsLoopback() &&
		o.server.Htpasswd == "" && !withToken && !o.server.ReadOnly
}

// warnings are what the operator should know of access, of the storage, and of how distribution's
// configuration is taken.
func (o *options) warnings() []string {
	var warnings []string
	if o.isOpen() {
		warnings = append(warnings, fmt.Sprintf("whoever reaches %s may push: --htpasswd names who may", o.server.Address))
	}
	if owner := registrystore.ForeignOwner(o.server.Storage); owner != "" {
		warnings = append(warnings, fmt.Sprintf("storage %s belongs to user %s, whose server could not change what this one, which is root's, writes", o.server.Storage, owner))
	}
	if o.distribution == nil {
		return warnings
	}
	warnings = append(warnings, o.distribution.Warnings...)
	if o.server.Storage == "" {
		warnings = append(warnings, "nobody keeps a second server out of this storage: run one at a time, as what keeps children from being deleted is in the process")
		if o.server.Distribution.HTTP.Secret == "" {
			warnings = append(warnings, "uploads cannot go on after a restart: http.secret in --distribution-config (REGISTRY_HTTP_SECRET) is not set")
		}
	}
	return warnings
}
