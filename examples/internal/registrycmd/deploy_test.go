package registrycmd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/systemdtest"
)

// deployment reads a file of examples/deploy.
func deployment(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	require.NoError(t, err)
	return string(content)
}

// TestUnit holds the systemd unit and the settings that it names against the program, and against
// systemd where that is there.
func TestUnit(t *testing.T) {
	unit := systemdtest.Read(t, filepath.Join("..", "..", "deploy", "sparse-registry.service"))
	const settings = "sparse-registry.yaml"
	require.Equal(t, []string{"--config", "/etc/sparse-registry/" + settings}, unit.Command(t)[1:])
	o, err := load(t, nil, nil, deployment(t, settings))
	require.NoError(t, err)
	assert.Equal(t, "/var/lib/"+unit.Value(t, "StateDirectory"), o.server.Storage)
	stop, err := time.ParseDuration(strings.TrimSuffix(unit.Value(t, "TimeoutStopSec"), "in"))
	require.NoError(t, err)
	assert.Greater(t, stop, o.drainDelay+o.drainTimeout)
	for _, name := range []string{o.server.Certificate, o.server.Key, o.server.Htpasswd} {
		assert.Regexp(t, `(?m)^#   install .*\b`+regexp.QuoteMeta(filepath.Base(name)), unit.Text, "nobody installs it")
		assert.Equal(t, "/etc/sparse-registry", filepath.Dir(name))
	}
	unit.Verify(t)
}

// A kubernetes is a document for Kubernetes.
type kubernetes struct {
	Kind string
	Data map[string]string
	Spec struct {
		Ports    []struct{ Port int }
		Replicas int
		Strategy struct{ Type string }
		Template struct {
			Spec struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []struct {
					Args   []string
					Mounts []struct {
						Name string
						Path string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct{ Name string }
			}
		}
	}
}

func TestKubernetes(t *testing.T) {
	all := map[string]kubernetes{}
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(deployment(t, "kubernetes-sparse-registry.yaml"))))
	for {
		var one kubernetes
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		all[one.Kind] = one
	}
	require.Contains(t, all, "PersistentVolumeClaim")
	deployed := all["Deployment"].Spec
	assert.Equal(t, 1, deployed.Replicas, "there is one storage")
	assert.Equal(t, "Recreate", deployed.Strategy.Type, "the old server has to let go of the storage")

	const settings = "sparse-registry.yaml"
	o, err := load(t, nil, nil, all["ConfigMap"].Data[settings])
	require.NoError(t, err)
	pod := deployed.Template.Spec
	container := pod.Containers[0]
	assert.Greater(t, time.Duration(pod.Grace)*time.Second, o.drainDelay+o.drainTimeout)
	var ports []string
	for _, p := range all["Service"].Spec.Ports {
		ports = append(ports, "0.0.0.0:"+strconv.Itoa(p.Port))
	}
	assert.Equal(t, []string{o.server.Address, o.server.MetricsAddress}, ports)

	var volumes, mounted []string
	mounts := map[string]string{} // by path
	for _, v := range pod.Volumes {
		volumes = append(volumes, v.Name)
	}
	for _, m := range container.Mounts {
		mounted = append(mounted, m.Name)
		mounts[m.Path] = m.Name
	}
	assert.ElementsMatch(t, volumes, mounted)
	assert.Equal(t, []string{"--config=/config/" + settings}, container.Args)
	assert.Equal(t, "config", mounts["/config"])
	assert.Equal(t, "storage", mounts[o.server.Storage])
	assert.Equal(t, "secrets", mounts[filepath.Dir(o.server.Htpasswd)])
}
