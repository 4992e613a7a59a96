package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"
)

// A file is one of an archive or of a layer.
type file struct {
	name    string // with slashes
	mode    fs.FileMode
	content []byte // nil for a directory
	owner   int    // user and group; in a zip, nobody is
}

// archive puts the programs and other files for a platform into one directory of an archive: a zip
// for Windows, a tar for others.
func (r release) archive(p platform, built []program, others []file) []byte {
	var files []file
	for _, b := range built {
		files = append(files, file{name: p.executable(b.name), mode: 0o755, content: b.content})
	}
	files = slices.Concat(files, others)
	for i := range files {
		files[i].name = path.Join(r.name(p), files[i].name)
	}
	if p.os == "windows" {
		return zipped(files, r.time)
	}
	return gzipped(tarred(files, r.time), r.level)
}

// tarred makes a tar of files, in their order, all of one time. Directories that are not among them
// are left to whoever unpacks it.
func tarred(files []file, at time.Time) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		header := tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Mode: int64(f.mode.Perm()), Size: int64(len(f.content)), ModTime: at, Format: tar.FormatPAX,
			Uid: f.owner, Gid: f.owner,
		}
		if f.mode.IsDir() {
			header.Typeflag, header.Name = tar.TypeDir, f.name+"/"
		}
		must(w.WriteHeader(&header))
		_, err := w.Write(f.content)
		must(err)
	}
	must(w.Close())
	return b.Bytes()
}

// gzipped compresses content, at a level of gzip. The result says nothing of when or where.
func gzipped(content []byte, level int) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	must(err)
	_, err = w.Write(content)
	must(errors.Join(err, w.Close()))
	return b.Bytes()
}

// zipped makes a zip of files, in their order, all of one time. A zip knows no time before 1980.
func zipped(files []file, at time.Time) []byte {
	if oldest := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC); at.Before(oldest) {
		at = oldest
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: at}
		header.SetMode(f.mode)
		one, err := w.CreateHeader(header)
		must(err)
		_, err = one.Write(f.content)
		must(err)
	}
	must(w.Close())
	return b.Bytes()
}

// must is for what fails only if the code around it is wrong: it writes to memory.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// fromArchive reads one file of a .tar.gz.
func fromArchive(archive io.Reader, name string) ([]byte, error) {
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return nil, err
	}
	for r := tar.NewReader(unzipped); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		if err != nil {
			return nil, err
		}
		if header.Name == name {
			return io.ReadAll(r)
		}
	}
}
