package foreign

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// treeOf is the tree of a file that has no problems.
func treeOf(t *testing.T, content string) (*reader, *node) {
	t.Helper()
	r := &reader{format: &Format{Title: "a format", Keys: []Key{{Path: "a.*.b", Why: "reason"}, {Path: "list[]", Why: "another"}}}, name: "f", content: []byte(content)}
	top := r.document()
	require.Empty(t, r.problems)
	return r, top
}

func TestWhatNobodyTakesIsLost(t *testing.T) {
	r, top := treeOf(t, "a:\n  x: {b: 1, c: 2}\nlist:\n- 1\n- 2\nd: {e: {f: 1}}\ng:\nh: {i: 1}\n")
	for _, e := range top.key("a").entries() {
		assert.Equal(t, "2", e.key("c").text())
	}
	top.key("list")
	top.key("h").takeAll()
	r.untaken(top)
	assert.Equal(t, "f:2: a.x.b: reason\nf:4: list[0]: another\nf:5: list[1]: another\nf:6: d: a format has no such key\nf:7: g: a format has no such key\n", string(lines(r.lostKeys)))
}

func TestMergesAndAliases(t *testing.T) {
	_, top := treeOf(t, `
one: &one {a: 1, b: 1}
two: &two {b: 2, c: 2}
all: {<<: [*one, *two], a: 0}
same: *two
`)
	var got []string
	for _, name := range []string{"all", "same"} {
		for _, e := range top.key(name).entries() {
			got = append(got, fmt.Sprintf("%s=%s:%d", e.path(), e.text(), e.at()))
		}
	}
	assert.Equal(t, []string{"all.a=0:4", "all.b=1:2", "all.c=2:3", "same.b=2:3", "same.c=2:3"}, got)
}

func TestTextsAreWhatIsWritten(t *testing.T) {
	r, top := treeOf(t, "[1.10, 0x1F, ~, '', yes, 2024-01-01, \"null\", 'a\n  b']")
	var got []string
	for _, e := range top.elements() {
		got = append(got, e.text())
	}
	assert.Equal(t, []string{"1.10", "0x1F", "", "", "yes", "2024-01-01", "null", "a b"}, got)
	assert.Empty(t, r.problems)
}

func TestBooleans(t *testing.T) {
	r, top := treeOf(t, "[true, No, ~, 'on', maybe]")
	var got []string
	for _, e := range top.elements() {
		value, set := e.bool()
		got = append(got, fmt.Sprintf("%t/%t", value, set))
	}
	assert.Equal(t, []string{"true/true", "false/true", "false/false", "true/true", "false/false"}, got)
	assert.EqualError(t, r.problems, `f:1: [4]: "maybe" is neither true nor false`)
}

// TestHostileFiles holds the bounds.
func TestHostileFiles(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 9; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	for name, c := range map[string]struct{ content, want string }{
		"bomb":          {bomb, "f:1: with its aliases followed, the file has more than 1000000 values"},
		"merged bomb":   {bomb + "m: {<<: *a8}\n", "f:1: with its aliases followed, the file has more than 1000000 values"},
		"cycle":         {"a: &a\n  b: [*a]\n", "f:2: an alias stands for something that it is part of"},
		"merged cycle":  {"a: &a\n  <<: *a\n", "f:2: an alias stands for something that it is part of"},
		"deep":          {strings.Repeat("[", 200) + strings.Repeat("]", 200), "f:1: the file is nested more than 100 deep"},
		"twice":         {"a: 1\nb: 2\na: 3\n", `f:3: the key "a" stands here twice`},
		"strange key":   {"? [a]\n: 1\n", "f:1: a key is no text"},
		"strange merge": {"a:\n  <<: 1\n", "f:2: a merge key (<<) takes mappings"},
		"no YAML":       {"a: 1\nb: [\n", "f:2: no valid YAML: did not find expected node content"},
		"empty":         {"# nothing\n", "f: the file is empty"},
		"two documents": {"a: 1\n---\nb: 1\n", "f:3: there is more than one document"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &reader{name: "f", content: []byte(c.content)}
			r.document()
			assert.EqualError(t, r.problems, c.want)
		})
	}
}
