package registrycmd

import (
	"fmt"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// setDuration reads a time that is least or longer.
func setDuration(to *time.Duration, value string, least time.Duration) error {
	d, err := time.ParseDuration(value)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no duration: write it as 30s, 5m or 168h", value)
	case d < 0:
		return fmt.Errorf("%q is negative", value)
	case d < least:
		return fmt.Errorf("%q is not positive", value)
	}
	*to = d
	return nil
}

// setAddress reads where to listen; "" is nowhere.
func setAddress(to *string, value string) error {
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if value != "" && (err != nil || port == "") {
		return fmt.Errorf("%q is not of the form HOST:PORT, such as 0.0.0.0:5000", value)
	}
	*to = value
	return nil
}

// units are those of sizes, by their names.
var units = map[string]float64{
	"": 1, "B": 1,
	"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

var size = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)$`)

// setSize reads a number of bytes with a unit.
func setSize(to *int64, value string) error {
	parts := size.FindStringSubmatch(value)
	if parts == nil {
		return fmt.Errorf("%q is no size: write it as 500MB or 1.5GiB", value)
	}
	unit, known := units[parts[2]]
	if !known {
		return fmt.Errorf("%q has a unit that is none of B, kB, MB, GB, TB, KiB, MiB, GiB and TiB", value)
	}
	number, err := strconv.ParseFloat(parts[1], 64)
	if err != nil || number*unit >= math.MaxInt64 {
		return fmt.Errorf("%q is too large", value)
	}
	*to = int64(number * unit)
	return nil
}

func setBool(to *bool, value string) error {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", value)
	}
	*to = b
	return nil
}

func setArchitectures(o *options, value string) error {
	o.server.Policies.Default.RequiredArchitectures = commaSeparated(value)
	return o.server.Policies.Default.Validate()
}

func setPlatforms(o *options, value string) error {
	o.server.Policies.Default.RequiredPlatforms = commaSeparated(value)
	return o.server.Policies.Default.Validate()
}

func commaSeparated(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	names := strings.Split(value, ",")
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
	}
	return names
}

func setPolicies(o *options, path string) (err error) {
	o.server.Policies.Rules = nil
	if path != "" {
		o.server.Policies.Rules, err = o.readRules(path)
	}
	return err
}

func setDelete(o *options, value string) error {
	if value == "" {
		return nil
	}
	o.allowDelete = new(bool)
	return setBool(o.allowDelete, value)
}

func setLayerURLs(o *options, value string) error {
	if _, err := regexp.Compile(value); err != nil {
		return err
	}
	o.server.AllowLayerURLs = value
	return nil
}
