package mirrorcmd

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHabits answers what people type first who know another tool, with what to type here.
func TestHabits(t *testing.T) {
	for typed, want := range map[string]string{
		"ls registry.example/app":                                          `unknown command "ls"; mirror tags docker://HOST/NAME lists tags`,
		"list-tags --tls-verify=false docker://registry.example/app":       "mirror tags docker://HOST/NAME",
		"tag ls registry.example/app":                                      `mirror tag has no command "ls"; mirror tags`,
		"repo tags registry.example/app":                                   "mirror tags",
		"cp registry.example/app:1 other.example/app:1":                    "mirror copy --all SOURCE DESTINATION",
		"image copy registry.example/app:1 other.example/app:1":            "mirror copy --all",
		"pull registry.example/app:1 file.tar":                             "oci:DIRECTORY:TAG writes a layout",
		"push dir registry.example/app:1":                                  "mirror copy --all oci:DIRECTORY:TAG",
		"image digest registry.example/app:1":                              "mirror digest REFERENCE",
		"resolve registry.example/app:1":                                   "mirror digest REFERENCE",
		"manifest get --format raw-body registry.example/app:1":            `mirror manifest has no command "get"; mirror manifest REFERENCE`,
		"manifest get registry.example/app:1":                              `mirror manifest has no command "get"; mirror manifest REFERENCE`,
		"config registry.example/app:1":                                    "mirror manifest --config",
		"rmi registry.example/app:1":                                       "mirror delete REFERENCE",
		"auth login registry.example":                                      "mirror login HOST",
		"once -c regsync.yml":                                              "mirror sync --from regsync FILE",
		"server -c regsync.yml":                                            "mirror serve --from regsync FILE",
		"index filter registry.example/app:1":                              "mirror copy --platform PLATFORM --sparse strip",
		"coopy a b":                                                        `unknown command "coopy"; did you mean mirror copy?`,
		"inspekt docker://registry.example/app":                            "did you mean mirror inspect?",
		"xyzzy":                                                            `unknown command "xyzzy"; mirror --help lists the commands`,
		"copy --multi-arch all a b":                                        "unknown flag: --multi-arch; --all copies all platforms, --platform some",
		"copy --tls-verify=false a b":                                      "here that is --src-tls-verify and --dest-tls-verify",
		"copy --creds user a b":                                            "here that is --src-creds and --dest-creds",
		"copy --insecure a b":                                              "--src-tls-verify=false and --dest-tls-verify=false",
		"copy --dest-username user a b":                                    "--src-creds and --dest-creds take USER[:PASSWORD]",
		"copy --dry-run a b":                                               "mirror plan says what mirror copy would do",
		"copy --image-parallel-copies 3 a b":                               "--parallel says",
		"copy --platfom linux/amd64 a b":                                   "did you mean --platform?",
		"copy --xyzzy a b":                                                 "unknown flag: --xyzzy; see mirror copy --help",
		"inspect --src-tls-verify=false docker://registry.example/app:1":   "here that is --tls-verify",
		"inspect --dest-creds user:secret docker://registry.example/app:1": "here that is --creds",
		"inspect --insecure docker://registry.example/app:1":               "--tls-verify=false is for",
		"inspect --raw docker://registry.example/app:1":                    "mirror manifest --raw prints",
		"inspect --format {{.Digest}} docker://registry.example/app:1":     "mirror digest REFERENCE prints the digest, and --output json everything",
		"digest --username user docker://registry.example/app:1":           "--creds takes USER[:PASSWORD]",
		"tags --omit-digest-tags docker://registry.example/app":            "left out in any case",
		"tags --src-tls-verify=false docker://registry.example/app":        "here that is --tls-verify",
		"delete --dry-run docker://registry.example/app:1":                 "without --confirm or --yes nothing is removed",
		"delete --force docker://registry.example/app:1":                   "--yes removes without confirmation",
		"sync --src yaml --dest docker images.yaml registry.example":       "mirror sync --from skopeo FILE --to docker://HOST",
		"bundle lst carried":                                               `unknown command "lst"`,
		"--xyzzy":                                                          "no command was given",
	} {
		r := runAll(t.Context(), t, "", strings.Fields(typed)...)
		r.failed(t, StatusMisused, want)
		assert.NotContains(t, r.stderr, "secret", typed)
	}
}

// TestHabitsNameWhatIsThere holds the answers against the commands: each that they name exists, and
// has the flags that stand behind its name; and nothing that exists is answered for.
func TestHabitsNameWhatIsThere(t *testing.T) {
	root := testRoot()
	for _, h := range slices.Concat(commandHabits, fileHabits, flagHabits) {
		var cmd *cobra.Command
		for word := range strings.FieldsSeq(strings.NewReplacer(";", "", ",", "", "?", "").Replace(h.here)) {
			if name, isFlag := strings.CutPrefix(word, "--"); isFlag {
				name, _, _ = strings.Cut(name, "=")
				switch {
				case cmd != nil:
					assert.NotNil(t, cmd.Flags().Lookup(name), "%q: mirror %s has no --%s", h.here, cmd.Name(), name)
				default:
					assert.True(t, slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Flags().Lookup(name) != nil }), h.here)
				}
			}
			if cmd != nil && cmd == root {
				found, _, err := root.Find([]string{word})
				require.NoError(t, err, h.here)
				require.NotEqual(t, root, found, "%q names no command: %s", h.here, word)
				cmd = found
			}
			if word == "mirror" {
				cmd = root
			}
		}
	}
	for _, h := range commandHabits {
		for _, words := range h.words {
			found, _, err := root.Find(strings.Fields(words))
			assert.True(t, err != nil || found == root || strings.Contains(words, " "), "there is a command %q", words)
		}
	}
}
