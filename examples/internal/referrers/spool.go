package referrers

import (
	"io"
	"os"
)

// A spooled file keeps a page until the client has it, however slow that is.
type spooled struct{ *os.File }

// spool writes a page to a new file in a directory, from whose beginning it is read next.
func spool(dir string, p page) (spooled, error) {
	file, err := os.CreateTemp(dir, "referrers-*.tmp")
	if err != nil {
		return spooled{}, err
	}
	s := spooled{file}
	_ = os.Remove(file.Name()) // where a file that is open can go; else close does it
	err = p.write(file)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		s.close()
	}
	return s, err
}

func (s spooled) copyTo(w io.Writer) error {
	_, err := io.Copy(w, s.File)
	return err
}

func (s spooled) close() {
	_ = s.Close() // read, or in vain
	_ = os.Remove(s.Name())
}
