package mirrorcmd

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
)

// everyCommand returns a command and all below it.
func everyCommand(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, child := range cmd.Commands() {
		all = append(all, everyCommand(child)...)
	}
	return all
}

// TestUsageIsCobras holds the usage of each command against what cobra's template says.
func TestUsageIsCobras(t *testing.T) {
	root := testRoot()
	root.AddCommand(&cobra.Command{Use: "hidden", Hidden: true, Run: func(*cobra.Command, []string) {}},
		&cobra.Command{Use: "parent", Short: "Has flags that its child has, too", Aliases: []string{"mother", "father"}})
	parent, _, _ := root.Find([]string{"parent"})
	parent.PersistentFlags().String("inherited", "", "a `VALUE` "+strings.Repeat("that needs many words ", 10))
	parent.AddCommand(&cobra.Command{Use: "child", Run: func(*cobra.Command, []string) {}})
	root.InitDefaultHelpCmd()
	root.Version = "1"
	all := everyCommand(root)
	usages := func() (texts []string) {
		for _, cmd := range all {
			cmd.InitDefaultHelpFlag()
			cmd.InitDefaultVersionFlag()
			texts = append(texts, cmd.UsageString())
		}
		return texts
	}
	got := usages()
	root.SetUsageFunc(nil)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ", ".FlagUsagesWrapped 110 "))
	for i, want := range usages() {
		assert.Equal(t, want, got[i], all[i].CommandPath())
	}
}

// TestFinishCalled says which commands a line finishes.
func TestFinishCalled(t *testing.T) {
	for line, want := range map[string]string{
		"":                               "none",
		"--help":                         "none",
		"bundle --help":                  "none",
		"completion bash":                "none",
		"copy":                           "copy",
		"copy --all oci:a:1 oci:b:1":     "copy",
		"retag docker://a.example/b:1 2": "tag",
		"bundle load --prefix list a b":  "load",
		"help copy":                      "all",
		"--debug copy":                   "all", // words behind a flag of mirror itself: the execution says what is wrong
		cobra.ShellCompRequestCmd + " copy --sparse ":        "all",
		cobra.ShellCompNoDescRequestCmd + " bundle create -": "all",
	} {
		all := newCommands(&environment{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}})
		before := len(all.unfinished)
		all.finishCalled(strings.Fields(line))
		var finished []string
		for _, cmd := range everyCommand(all.root) {
			if cmd.HasLocalFlags() {
				finished = append(finished, cmd.Name())
			}
		}
		switch want {
		case "none":
			assert.Empty(t, finished, line)
		case "all":
			assert.Empty(t, all.unfinished, line)
			assert.Len(t, finished, before, line)
		default:
			assert.Equal(t, []string{want}, finished, line)
			assert.Len(t, all.unfinished, before-1, line)
		}
	}
}
