package mirrorcmd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/systemdtest"
)

// A podTemplate is what the manifests for Kubernetes say of their pods.
type podTemplate struct {
	Spec struct {
		TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
		Containers                    []struct {
			Args  []string
			Ports []struct {
				ContainerPort int `yaml:"containerPort"`
			}
			VolumeMounts []struct {
				Name      string
				MountPath string `yaml:"mountPath"`
				ReadOnly  bool   `yaml:"readOnly"`
			} `yaml:"volumeMounts"`
		}
		Volumes []struct{ Name string }
	}
}

// A kubernetes is a document for Kubernetes.
type kubernetes struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Replicas                 int
		Completions, Parallelism int
		Template                 podTemplate
		JobTemplate              struct {
			Spec struct {
				Completions, Parallelism int
				Template                 podTemplate
			}
		} `yaml:"jobTemplate"`
	}
}

// deployment reads a file of examples/deploy.
func deployment(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile("../../deploy/" + name)
	require.NoError(t, err)
	return content
}

// documents reads the documents of a file for Kubernetes, by their kinds.
func documents(t *testing.T, name string) map[string]kubernetes {
	t.Helper()
	all := map[string]kubernetes{}
	decoder := yaml.NewDecoder(bytes.NewReader(deployment(t, name)))
	for {
		var m kubernetes
		err := decoder.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all[m.Kind] = m
	}
}

// deployed returns the command that a deployment runs, after it has read its flags. The program has
// nothing to say against them: all that it misses are images in the file.
func deployed(t *testing.T, args []string) *cobra.Command {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"auth.json": "{}", "token": "0123456789abcdef", "images.yaml": "images: []"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	var here []string
	for _, arg := range args {
		flag, value := parts(arg)
		if strings.HasPrefix(value, "/") || strings.HasPrefix(value, "${") || value == "auth.json" || value == "images.yaml" {
			value = filepath.Join(dir, path.Base(value))
		}
		here = append(here, flag+value)
	}
	r := runAll(t.Context(), t, "", here...)
	require.Equal(t, StatusMisused, r.status, "%s", r.stderr)
	require.Contains(t, r.stderr, "images.yaml:1: images has no elements")

	cmd, rest, err := newCommands(&environment{getenv: func(string) string { return "" }}).finishAll().Find(args)
	require.NoError(t, err)
	require.NoError(t, cmd.ParseFlags(rest), "%q", args)
	require.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()))
	return cmd
}

// parts are a flag with its "=", "" if the argument has none, and its value.
func parts(arg string) (flag, value string) {
	at := strings.Index(arg, "=") + 1
	return arg[:at], arg[at:]
}

// shards are how many parts the flags of a pod with the given number divide a file into.
func shards(t *testing.T, args []string, number string) int {
	t.Helper()
	var own []string
	for _, arg := range args {
		own = append(own, strings.ReplaceAll(arg, "$(JOB_COMPLETION_INDEX)", number))
	}
	part, of, _ := strings.Cut(deployed(t, own).Flag("shard").Value.String(), "/")
	assert.Equal(t, number, part)
	n, err := strconv.Atoi(of)
	require.NoError(t, err)
	return n
}

// checkPaths demands that all paths in the arguments are below what is mounted, and that the mounts
// have volumes.
func checkPaths(t *testing.T, pod podTemplate) {
	t.Helper()
	container := pod.Spec.Containers[0]
	volumes := map[string]bool{}
	for _, volume := range pod.Spec.Volumes {
		volumes[volume.Name] = true
	}
	for _, mount := range container.VolumeMounts {
		assert.True(t, volumes[mount.Name], "no volume is called %s", mount.Name)
	}
	for _, arg := range container.Args {
		_, path := parts(arg)
		if !strings.HasPrefix(path, "/") {
			continue
		}
		mounted := false
		for _, mount := range container.VolumeMounts {
			mounted = mounted || path == mount.MountPath || strings.HasPrefix(path, mount.MountPath+"/")
		}
		assert.True(t, mounted, "%s is not mounted", arg)
	}
}

// stopTimeout is how long the server may take to stop.
func stopTimeout(t *testing.T, serve *cobra.Command) time.Duration {
	t.Helper()
	timeout, err := time.ParseDuration(serve.Flag("stop-timeout").Value.String())
	require.NoError(t, err)
	return timeout
}

func TestDeployedShards(t *testing.T) {
	job := documents(t, "kubernetes-indexed-job.yaml")["Job"].Spec
	assert.Equal(t, job.Completions, shards(t, job.Template.Spec.Containers[0].Args, "7"))
	checkPaths(t, job.Template)

	cron := documents(t, "kubernetes-cronjob.yaml")["CronJob"].Spec.JobTemplate.Spec
	args := cron.Template.Spec.Containers[0].Args
	assert.Equal(t, cron.Completions, shards(t, args, "7"))
	assert.Equal(t, cron.Completions, cron.Parallelism)
	checkPaths(t, cron.Template)
	assert.Contains(t, strings.Join(args, " "), "--state=/state/shard-$(JOB_COMPLETION_INDEX).db", "each shard has a state of its own")

	var workflow struct {
		Jobs struct {
			Sync struct {
				Strategy struct{ Matrix struct{ Shard []int } }
				Steps    []struct{ Name, Run string }
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(deployment(t, "ci-matrix.yaml"), &workflow))
	run := strings.NewReplacer("${{ strategy.job-index }}", "3", "${{ strategy.job-total }}", "4").Replace(workflow.Jobs.Sync.Steps[2].Run)
	run = regexp.MustCompile(`>.*`).ReplaceAllString(run, "")
	assert.Equal(t, len(workflow.Jobs.Sync.Strategy.Matrix.Shard), shards(t, strings.Fields(run)[1:], "3"))
}

func TestDeployedServer(t *testing.T) {
	all := documents(t, "kubernetes-server.yaml")
	server := all["Deployment"].Spec
	assert.Equal(t, 1, server.Replicas, "there is one state")
	serve := deployed(t, server.Template.Spec.Containers[0].Args)
	assert.Equal(t, "serve", serve.Name())
	checkPaths(t, server.Template)
	assert.Greater(t, time.Duration(server.Template.Spec.TerminationGracePeriodSeconds)*time.Second, stopTimeout(t, serve))
	assert.Contains(t, all, "Service")
	assert.Contains(t, all, "PersistentVolumeClaim")
	assert.True(t, strings.HasSuffix(serve.Flag("listen").Value.String(), ":"+strconv.Itoa(server.Template.Spec.Containers[0].Ports[0].ContainerPort)))
}

// TestUnit holds the systemd unit against the program, and against systemd where that is there.
func TestUnit(t *testing.T) {
	unit := systemdtest.Read(t, filepath.Join("..", "..", "deploy", "mirror.service"))
	serve := deployed(t, unit.Command(t)[1:])
	assert.Equal(t, "serve", serve.Name())
	seconds, err := strconv.Atoi(unit.Value(t, "TimeoutStopSec"))
	require.NoError(t, err)
	assert.Greater(t, time.Duration(seconds)*time.Second, stopTimeout(t, serve))
	assert.True(t, strings.HasPrefix(serve.Flag("state").Value.String(), "/var/lib/"+unit.Value(t, "StateDirectory")+"/"))
	assert.Equal(t, "/var/cache/"+unit.Value(t, "CacheDirectory"), serve.Flag("cache-dir").Value.String())
	unit.Verify(t)
}

// TestRulesNameMetrics: what the rules for Prometheus are about exists.
func TestRulesNameMetrics(t *testing.T) {
	page, err := os.ReadFile("../../../docs/serve.md")
	require.NoError(t, err)
	names := regexp.MustCompile(`\bmirror_[a-z_]+`).FindAllString(string(deployment(t, "prometheus-rules.yaml")), -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		assert.Contains(t, string(page), "`"+name)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	require.NoError(t, yaml.Unmarshal(deployment(t, "prometheus-rules.yaml"), &rules))
	for _, rule := range rules.Groups[0].Rules {
		assert.NotEmpty(t, rule.Expr, rule.Alert)
	}
}
