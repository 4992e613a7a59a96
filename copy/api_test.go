package copy_test

import (
	"fmt"
	"go/constant"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	upstreamPath = "go.podman.io/image/v5/copy"
	ownPath      = "github.com/sparsecopy/sparsecopy/copy"
)

// ownTypes are the types of upstream's package that this one does not alias, with the reason. Their
// fields and values are compared.
var ownTypes = map[string]string{
	"Options":                  "has fields that upstream's has not",
	"InstancePlatformFilter":   "has fields that upstream's has not",
	"SparseManifestListAction": "has a value that upstream's has not",
}

// TestAPI compares the package with upstream's: a program that used that one compiles with this
// one. What upstream adds fails the test, until it is here too.
func TestAPI(t *testing.T) {
	upstream, ours := exportedAPIs(t)
	assert.Empty(t, compareAPIs(upstream, ours))
	for name := range ownTypes {
		assert.NotNil(t, upstream.Scope().Lookup(name), "%s: upstream has no such type", name)
	}
}

// TestAPIComparison finds what is lacking or different.
func TestAPIComparison(t *testing.T) {
	upstream, ours := exportedAPIs(t)
	for name, c := range map[string]struct {
		insert types.Object
		want   string
	}{
		"function": {
			types.NewFunc(token.NoPos, upstream, "Added", types.NewSignatureType(nil, nil, nil, nil, nil, false)), "Added: there is none",
		},
		"constant": {
			types.NewConst(token.NoPos, upstream, "CopyEverything", types.Typ[types.Int], constant.MakeInt64(7)), "CopyEverything: there is none",
		},
	} {
		t.Run(name, func(t *testing.T) {
			with := types.NewPackage(upstream.Path(), upstream.Name())
			for _, n := range upstream.Scope().Names() {
				with.Scope().Insert(upstream.Scope().Lookup(n))
			}
			with.Scope().Insert(c.insert)
			assert.Equal(t, []string{c.want}, compareAPIs(with, ours))
		})
	}
	t.Run("field", func(t *testing.T) {
		added := types.NewStruct([]*types.Var{types.NewField(token.NoPos, upstream, "Added", types.Typ[types.Bool], false)}, nil)
		options := ours.Scope().Lookup("Options").Type().Underlying().(*types.Struct)
		assert.Equal(t, []string{"Options.Added: there is none"}, compareFields("Options", added, options))
		changed := types.NewStruct([]*types.Var{types.NewField(token.NoPos, upstream, "SignBy", types.Typ[types.Bool], false)}, nil)
		assert.Equal(t, []string{"Options.SignBy: it is a string, not a bool"}, compareFields("Options", changed, options))
	})
}

// exportedAPIs returns what the compiler exports of both packages.
func exportedAPIs(t *testing.T) (upstream, ours *types.Package) {
	t.Helper()
	packages, err := loadAPIs()
	require.NoError(t, err)
	return packages[0], packages[1]
}

// loadAPIs reads it once. The packages are compiled without cgo, as go vet and the programs have
// them; the race detector, which needs cgo, would have all of them compiled again.
var loadAPIs = sync.OnceValues(func() (packages [2]*types.Package, err error) {
	list := exec.Command("go", "list", "-tags", "containers_image_openpgp", "-export", "-deps",
		"-f", "{{if .Export}}{{.ImportPath}} {{.Export}}{{end}}", upstreamPath, ownPath)
	list.Env, list.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	listed, err := list.Output()
	if err != nil {
		return packages, err
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(listed)) {
		if path, file, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			exports[path] = file
		}
	}
	exported := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for i, path := range []string{upstreamPath, ownPath} {
		if packages[i], err = exported.Import(path); err != nil {
			return packages, err
		}
	}
	return packages, nil
})

// compareAPIs returns what of upstream's exported identifiers is lacking in ours, or is something
// else there.
func compareAPIs(upstream, ours *types.Package) []string {
	var complaints []string
	for _, name := range upstream.Scope().Names() {
		theirs := upstream.Scope().Lookup(name)
		if !theirs.Exported() {
			continue
		}
		our := ours.Scope().Lookup(name)
		if our == nil {
			complaints = append(complaints, name+": there is none")
			continue
		}
		complaints = append(complaints, compareObjects(name, theirs, our)...)
	}
	return complaints
}

func compareObjects(name string, theirs, our types.Object) []string {
	switch theirs := theirs.(type) {
	case *types.Const:
		our, ok := our.(*types.Const)
		if !ok || !constant.Compare(theirs.Val(), token.EQL, our.Val()) || !compatible(theirs.Type(), our.Type()) {
			return []string{fmt.Sprintf("%s: its value or type is another one", name)}
		}
	case *types.TypeName:
		if _, ok := our.(*types.TypeName); !ok {
			return []string{name + ": it is no type"}
		}
		return compareTypes(name, theirs.Type(), our.Type())
	default:
		if !compatible(theirs.Type(), our.Type()) {
			return []string{fmt.Sprintf("%s: it is a %s, not a %s", name, our.Type(), theirs.Type())}
		}
	}
	return nil
}

func compareTypes(name string, theirs, our types.Type) []string {
	if types.Identical(theirs, our) {
		return nil
	}
	if ownTypes[name] == "" {
		return []string{name + ": it is another type"}
	}
	fields, ok := theirs.Underlying().(*types.Struct)
	if !ok {
		if !types.Identical(theirs.Underlying(), our.Underlying()) {
			return []string{fmt.Sprintf("%s: it is a %s, not a %s", name, our.Underlying(), theirs.Underlying())}
		}
		return nil
	}
	ourFields, ok := our.Underlying().(*types.Struct)
	if !ok {
		return []string{name + ": it is no struct"}
	}
	return compareFields(name, fields, ourFields)
}

func compareFields(name string, theirs, our *types.Struct) []string {
	byName := map[string]*types.Var{}
	for f := range our.Fields() {
		byName[f.Name()] = f
	}
	var complaints []string
	for f := range theirs.Fields() {
		if !f.Exported() {
			continue
		}
		switch ours := byName[f.Name()]; {
		case ours == nil:
			complaints = append(complaints, fmt.Sprintf("%s.%s: there is none", name, f.Name()))
		case !compatible(f.Type(), ours.Type()):
			complaints = append(complaints, fmt.Sprintf("%s.%s: it is a %s, not a %s", name, f.Name(), ours.Type(), f.Type()))
		}
	}
	return complaints
}

// compatible reports whether types are the same, but for the types that this package has instead of
// upstream's.
func compatible(theirs, our types.Type) bool {
	if types.Identical(theirs, our) {
		return true
	}
	switch theirs := theirs.(type) {
	case *types.Named:
		our, ok := types.Unalias(our).(*types.Named)
		return ok && theirs.Obj().Pkg().Path() == upstreamPath && ownTypes[theirs.Obj().Name()] != "" &&
			our.Obj().Name() == theirs.Obj().Name() && our.Obj().Pkg().Path() != upstreamPath
	case *types.Pointer:
		our, ok := our.(*types.Pointer)
		return ok && compatible(theirs.Elem(), our.Elem())
	case *types.Slice:
		our, ok := our.(*types.Slice)
		return ok && compatible(theirs.Elem(), our.Elem())
	case *types.Signature:
		our, ok := our.(*types.Signature)
		return ok && theirs.Variadic() == our.Variadic() &&
			compatibleTuples(theirs.Params(), our.Params()) && compatibleTuples(theirs.Results(), our.Results())
	}
	return false
}

func compatibleTuples(theirs, our *types.Tuple) bool {
	if theirs.Len() != our.Len() {
		return false
	}
	for i := range theirs.Len() {
		if !compatible(theirs.At(i).Type(), our.At(i).Type()) {
			return false
		}
	}
	return true
}
