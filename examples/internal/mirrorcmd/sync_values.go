package mirrorcmd

import (
	"errors"
	"strconv"
	"strings"
)

// An optionalCount is a flag that is a number of at least 0, and has none to begin with.
type optionalCount struct{ to *uint }

func (c optionalCount) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return errors.New("write a number from 0 to 65535")
	}
	*c.to = uint(n)
	return nil
}

func (c optionalCount) String() string {
	if c.to == nil || *c.to == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(*c.to), 10)
}

func (c optionalCount) Type() string { return "N" }

// A byteCount is a flag that is a number of bytes, with a decimal unit or none.
type byteCount struct{ to *uint64 }

func (c byteCount) Set(s string) error {
	const (
		units = "KMG"
		most  = 1 << 53
	)
	factor, digits := 1.0, s
	if s != "" {
		if i := strings.Index(units, strings.Replace(s[len(s)-1:], "k", "K", 1)); i >= 0 {
			digits = s[:len(s)-1]
			for range i + 1 {
				factor *= 1000
			}
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || !(n*factor >= 1 && n*factor <= most) {
		return errors.New("write a number of bytes, such as 500k, 20M or 1.5G")
	}
	*c.to = uint64(n * factor)
	return nil
}

func (c byteCount) String() string {
	if c.to == nil || *c.to == 0 {
		return ""
	}
	return strconv.FormatUint(*c.to, 10)
}

func (c byteCount) Type() string { return "BYTES" }
