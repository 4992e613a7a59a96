package transport

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// inArchive is what an archive has, in order.
type inArchive struct {
	tar.Header
	content string
}

func regularFile(name, content string) inArchive {
	return inArchive{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644}, content}
}

func special(typeflag byte, name, target string) inArchive {
	return inArchive{Header: tar.Header{Typeflag: typeflag, Name: name, Linkname: target, Mode: 0o755}}
}

// holes is a file of that many zeros of which the archive has a block (GNU tar, "PAX Format,
// Version 1.0").
func holes(name, size string) inArchive {
	f := regularFile(name, "0\n"+strings.Repeat("\x00", 510))
	f.Format = tar.FormatPAX
	f.PAXRecords = map[string]string{"___.sparse.major": "1", "___.sparse.minor": "0", "___.sparse.name": name, "___.sparse.realsize": size}
	return f
}

func writeArchive(t *testing.T, entries ...inArchive) (file string) {
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	for _, e := range entries {
		require.NoError(t, w.WriteHeader(&e.Header))
		_, err := io.WriteString(w, e.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	file = filepath.Join(t.TempDir(), "layout.tar")
	sparse := bytes.ReplaceAll(content.Bytes(), []byte("___.sparse"), []byte("GNU.sparse")) // which the writer does not write
	require.NoError(t, os.WriteFile(file, sparse, 0o600))
	return file
}

// archived are the files in dir, index.json behind the blobs.
func archived(t *testing.T, dir string) []inArchive {
	var all []inArchive
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		all = append(all, regularFile(name, string(content)))
		return err
	}))
	return all
}

// TestArchivesOfAllSorts: whatever an archive has, its image is read, or it is said what is wrong,
// and nothing outside is read or written.
func TestArchivesOfAllSorts(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	dir := layoutOf(t, f, entry(f, "amd64", "v1", ""))
	whole := archived(t, dir)
	layer := blobName(f.Blobs("amd64")[1])
	content := func(name string) string {
		return whole[slices.IndexFunc(whole, func(e inArchive) bool { return e.Name == name })].content
	}
	without := func(names ...string) []inArchive {
		return slices.DeleteFunc(slices.Clone(whole), func(e inArchive) bool {
			return slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(e.Name, name) })
		})
	}
	changed := func(change func(*tar.Header)) []inArchive {
		all := slices.Clone(whole)
		for i := range all {
			change(&all[i].Header)
		}
		return all
	}
	named := func(before string, format tar.Format) []inArchive {
		return changed(func(h *tar.Header) { h.Name, h.Format = before+h.Name, format })
	}
	outside := t.TempDir()
	require.NoError(t, os.CopyFS(outside, os.DirFS(dir)))
	up := strings.Repeat("../", 20)

	const native, upstreams = true, false
	for name, c := range map[string]struct {
		entries []inArchive
		native  bool
		says    string // "" if the image is there
	}{
		"index last":               {whole, native, ""},
		"index first":              {append([]inArchive{regularFile("index.json", content("index.json"))}, without("index.json")...), native, ""},
		"from the directory":       {slices.Concat([]inArchive{special(tar.TypeDir, "./", ""), special(tar.TypeDir, "./blobs/", "")}, named("./", 0)), native, ""},
		"from the root":            {named("/", 0), native, ""},
		"by detours":               {named("a/../", 0), native, ""},
		"long names of GNU":        {named(strings.Repeat("./", 200), tar.FormatGNU), native, ""},
		"long names of PAX":        {named(strings.Repeat("./", 200), tar.FormatPAX), native, ""},
		"records of PAX":           {changed(func(h *tar.Header) { h.PAXRecords = map[string]string{"comment": strings.Repeat("long ", 1000)} }), native, ""},
		"global records of PAX":    {append([]inArchive{{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "a commit"}}}}, whole...), native, ""},
		"links that nobody reads":  {append([]inArchive{special(tar.TypeSymlink, "a", "/etc"), special(tar.TypeLink, "b", "index.json")}, whole...), native, ""},
		"the last is right":        {append([]inArchive{regularFile(layer, "wrong"), regularFile("index.json", "{}")}, whole...), native, ""},
		"the last is wrong":        {append(slices.Clone(whole), regularFile(layer, strings.Repeat("x", len(content(layer))))), native, "digest"},
		"the last index is wrong":  {append(slices.Clone(whole), regularFile("index.json", "")), native, "index.json: it is empty"},
		"the last is a directory":  {append(slices.Clone(whole), special(tar.TypeDir, "index.json/", "")), native, "layout.tar has no index.json"},
		"above":                    {named("../", 0), native, "layout.tar has no index.json"},
		"a link beside":            {append(without(layer), regularFile("other", content(layer)), special(tar.TypeSymlink, layer, "../../other")), upstreams, ""},
		"a hard link":              {append(without(layer), regularFile("other", content(layer)), special(tar.TypeLink, layer, "other")), upstreams, ""},
		"a link to the outside":    {append(without(layer), special(tar.TypeSymlink, layer, filepath.Join(outside, layer))), upstreams, "escapes"},
		"a link up to the outside": {append(without(layer), special(tar.TypeSymlink, layer, up+filepath.Join(outside, layer))), upstreams, "escapes"},
		"a hard link outside":      {append(without(layer), special(tar.TypeLink, layer, up+filepath.Join(outside, layer))), upstreams, "invalid hardlink"},
		"an index outside":         {append(without("index.json"), special(tar.TypeSymlink, "index.json", filepath.Join(outside, "index.json"))), upstreams, "escapes"},
		"blobs outside":            {append(without("blobs"), special(tar.TypeSymlink, "blobs", filepath.Join(outside, "blobs"))), upstreams, "escapes"},
		"files through a link":     {append([]inArchive{special(tar.TypeSymlink, "blobs", outside)}, named("", 0)...), upstreams, "escapes"},
		"a pipe":                   {append(without(layer), special(tar.TypeFifo, layer, "")), native, "is a device or a pipe"},
		"a link to a device":       {append(without(layer), special(tar.TypeSymlink, layer, "../../zero"), special(tar.TypeChar, "zero", "")), native, "is a device or a pipe"},
		"holes":                    {append(without(layer), holes(layer, "1024")), upstreams, "it ends after 1024 of"},
		"a blob that is cut short": {append(slices.Clone(whole), regularFile(layer, content(layer)[1:])), native, "bytes"},
		"no blob":                  {without(layer), native, "layout.tar has no " + layer},
		"no index":                 {without("index.json"), native, "layout.tar has no index.json"},
	} {
		t.Run(name, func(t *testing.T) {
			before := archived(t, outside)
			sys := system(t, "")
			src, err := OpenSource(t.Context(), archiveRef(t, writeArchive(t, c.entries...), "v1"), sys)
			if err == nil {
				_, isNative := src.ImageSource().(*layoutImage)
				assert.Equal(t, c.native, isNative)
				err = errors.Join(readAll(t, f, src, "amd64"), src.Close())
			}
			if c.says == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.says)
			}
			assert.Equal(t, before, archived(t, outside))
			assert.Empty(t, filesOf(t, sys.BigFilesTemporaryDir))
		})
	}
}

// readAll reads an image as a copy does.
func readAll(t *testing.T, f *imagetest.Fixture, src *Source, image string) error {
	assert.Equal(t, f.Digest(image), src.Top().Digest)
	for _, b := range blobs(f, image) {
		r, err := src.Blob(t.Context(), b)
		if err != nil {
			return err
		}
		content := endpoint.Verified(r, b, nil, func(err error) error { return err })
		_, err = io.Copy(io.Discard, content)
		if err := errors.Join(err, content.Close()); err != nil {
			return err
		}
	}
	return nil
}

// TestWhatIsNoArchive is called that, and read once.
func TestWhatIsNoArchive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	for content, says := range map[string]string{
		"":                         "file has no index.json",
		"text":                     "it is no tar archive, or not a whole one",
		strings.Repeat("x", 10000): "it is no tar archive, or not a whole one",
	} {
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		for _, form := range []string{file, compressed(t, file)} {
			_, err := OpenSource(t.Context(), archiveRef(t, form, ""), system(t, ""))
			assert.ErrorContains(t, err, strings.Replace(says, "file", form, 1))
		}
	}
	_, err := OpenSource(t.Context(), archiveRef(t, t.TempDir(), ""), system(t, ""))
	assert.ErrorContains(t, err, "is a directory")
}

// TestArchiveWithSharedBlobs stays upstream's.
func TestArchiveWithSharedBlobs(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	dir := layoutOf(t, f, entry(f, "amd64", "v1", ""))
	index, err := os.ReadFile(filepath.Join(dir, imgspecv1.ImageIndexFile))
	require.NoError(t, err)
	sys := system(t, "")
	sys.OCISharedBlobDirPath = filepath.Join(dir, imgspecv1.ImageBlobsDir)
	src := openSource(t, archiveRef(t, writeArchive(t, regularFile(imgspecv1.ImageIndexFile, string(index))), "v1"), sys)
	require.NoError(t, readAll(t, f, src, "amd64"))
}

// TestArchivesFillNoMemory: a small archive may have many long names, once it is decompressed.
func TestArchivesFillNoMemory(t *testing.T) {
	var all []inArchive
	for i := range 50 {
		all = append(all, regularFile(fmt.Sprint("blobs/", i, strings.Repeat("x", 1<<19)), ""))
	}
	archive, err := openLayoutArchive(t.Context(), writeArchive(t, all...), system(t, ""))
	require.NoError(t, err)
	assert.Empty(t, archive.files)
	require.NoError(t, archive.Close())
}
