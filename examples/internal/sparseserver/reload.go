package sparseserver

import (
	"crypto/tls"
	"errors"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// changeable is what can be exchanged while a server runs. It has been checked.
type changeable struct {
	policies    sparseregistry.Policies
	certificate *tls.Certificate // nil for no TLS
	users       *users           // nil lets everybody in
}

// readChangeable reads what c names, and refuses what cannot be put in force.
func readChangeable(c Config) (changeable, error) {
	if err := c.Policies.Validate(); err != nil {
		return changeable{}, err
	}
	certificate, err := loadCertificate(c.Certificate, c.Key)
	if err != nil {
		return changeable{}, err
	}
	users, err := readUsers(c.Htpasswd)
	if err != nil {
		return changeable{}, err
	}
	return changeable{policies: c.Policies, certificate: certificate, users: users}, nil
}

// put puts n in force. It must not run concurrently with itself.
func (s *Server) put(n changeable) {
	s.policies.Store(&n.policies)
	s.certificate.Store(n.certificate)
	s.access.set(n.users)
	warnOfTime(n.certificate, s.access.log)
}

// Reload reads the files of Certificate, Key and Htpasswd again, under the names that read returns
// for them, and puts them in force with the Policies that it returns: all of it, or, with an error,
// nothing. TLS cannot be switched on or off, and Htpasswd cannot be left out where it was set: a
// file of settings that is read while somebody writes it would let everybody in. The other fields
// of a Config mean nothing. Either way, the metrics count it.
//
// No connection is closed and no request fails because of it: those that are being answered go on
// by what was in force when they came, and connections keep the certificate that they have seen. It
// may run concurrently with requests and with all methods.
func (s *Server) Reload(read func() (Config, error)) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	err := s.reload(read)
	s.metrics.reloaded(err)
	return err
}

func (s *Server) reload(read func() (Config, error)) error {
	c, err := read()
	if err != nil {
		return err
	}
	n, err := readChangeable(c)
	if err != nil {
		return err
	}
	if (n.certificate != nil) != s.secure {
		return errors.New("TLS cannot be switched on or off while the server runs: start it again")
	}
	if n.users == nil && s.access.users() != nil {
		return errors.New("passwords cannot be switched off while the server runs: name an htpasswd file, or start it again")
	}
	s.put(n)
	return nil
}

// Policies returns the policies that are in force.
func (s *Server) Policies() sparseregistry.Policies { return *s.policies.Load() }

func (s *Server) policy(repository string) manifest.SparsePolicy {
	return s.policies.Load().For(repository)
}
