package mirrorcmd

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// TestDeployments checks the command lines of examples/deploy.
func TestDeployments(t *testing.T) {
	var job struct {
		Spec struct {
			Completions, Parallelism int
			Template                 struct {
				Spec struct {
					Containers []struct{ Args []string }
				}
			}
		}
	}
	decode(t, "kubernetes-indexed-job.yaml", &job)
	args := job.Spec.Template.Spec.Containers[0].Args
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, "$(JOB_COMPLETION_INDEX)", "7")
	}
	c := deployed(t, args)
	assert.Equal(t, uint64(job.Spec.Completions), c.runner.shard.of)

	var workflow struct {
		Jobs struct {
			Sync struct {
				Strategy struct{ Matrix struct{ Shard []int } }
				Steps    []struct{ Name, Run string }
			}
		}
	}
	decode(t, "ci-matrix.yaml", &workflow)
	run := strings.NewReplacer("${{ strategy.job-index }}", "3", "${{ strategy.job-total }}", "4").Replace(workflow.Jobs.Sync.Steps[2].Run)
	run = regexp.MustCompile(`>.*`).ReplaceAllString(run, "")
	c = deployed(t, strings.Fields(run)[1:])
	assert.Equal(t, len(workflow.Jobs.Sync.Strategy.Matrix.Shard), int(c.runner.shard.of))
}

func decode(t *testing.T, name string, to any) {
	t.Helper()
	content, err := os.ReadFile("../../deploy/" + name)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, to))
}

// deployed parses the arguments of mirror.
func deployed(t *testing.T, args []string) *syncCommand {
	t.Helper()
	require.Equal(t, "sync", args[0])
	c := &syncCommand{env: &environment{}}
	cmd := c.command()
	require.NoError(t, cmd.ParseFlags(args[1:]))
	require.Len(t, cmd.Flags().Args(), 1)
	require.NoError(t, c.check())
	return c
}
