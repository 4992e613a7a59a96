package registry

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/sparsecopy/sparsecopy/internal/httpfield"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// linkedPage is where the answer says that the next page is, nil if there is none. Proxies that end
// TLS make registries name themselves by the wrong scheme or port: a page of the same host name is
// asked for where this one was.
func (r *repository) linkedPage(resp *http.Response) (*url.URL, error) {
	target := nextLink(resp.Header)
	if target == "" {
		return nil, nil
	}
	from := resp.Request.URL
	next, err := from.Parse(target)
	if err != nil || (next.Scheme != "https" && next.Scheme != "http") || next.Host == "" {
		return nil, fmt.Errorf("%s: the answer has no usable link to the next page", ocihttp.CleanURL(from))
	}
	next.Fragment, next.RawFragment, next.User = "", "", nil
	if strings.EqualFold(next.Hostname(), from.Hostname()) {
		next.Scheme, next.Host = from.Scheme, from.Host
	}
	if r.namespace != "" && r.host.Owns(next) && !next.Query().Has("ns") {
		next.RawQuery = strings.TrimPrefix(next.RawQuery+"&ns="+url.QueryEscape(r.namespace), "&")
	}
	if _, err := url.Parse(next.String()); err != nil { // Parse is generous about hosts
		return nil, fmt.Errorf("%s: the answer has no usable link to the next page", ocihttp.CleanURL(from))
	}
	return next, nil
}

// nextLink returns the target of the first link to a next page in the Link headers of an answer, as
// it stands there: a URL, a path, or something relative to the page. It returns "" if there is
// none.
//
// RFC 8288, section 3, is read generously: a relation type with or without quotes, in any case, one
// of several in a value, of several links in a header, in one of several headers; and a target
// without angle brackets. Only the first rel of a link counts.
func nextLink(header http.Header) string {
	for _, value := range header.Values("Link") {
		for s := httpfield.SkipSeparators(value); s != ""; {
			target, rest := cutLinkTarget(s)
			next, rest := cutLinkParameters(rest)
			if next && target != "" {
				return target
			}
			s = httpfield.SkipSeparators(rest)
		}
	}
	return ""
}

// cutLinkTarget reads up to the parameters of a link.
func cutLinkTarget(s string) (target, rest string) {
	if inside, ok := strings.CutPrefix(s, "<"); ok {
		target, rest, _ = strings.Cut(inside, ">")
		return strings.TrimSpace(target), rest
	}
	end := strings.IndexAny(s, ";,")
	if end < 0 {
		end = len(s)
	}
	return strings.TrimSpace(s[:end]), s[end:]
}

// cutLinkParameters reads the parameters of a link, up to the next link, and reports whether they
// say that it is to the next page.
func cutLinkParameters(s string) (next bool, rest string) {
	related := false // a rel was there
	for {
		s = strings.TrimLeft(s, " \t;")
		if s == "" || s[0] == ',' {
			return next, s
		}
		end := strings.IndexAny(s, "=;,")
		if end < 0 {
			return next, ""
		}
		name := strings.TrimSpace(s[:end])
		value := ""
		if s = s[end:]; s[0] == '=' {
			value, s = cutLinkValue(httpfield.SkipSpace(s[1:]))
		}
		if strings.EqualFold(name, "rel") && !related {
			related, next = true, namesNext(value)
		}
	}
}

// cutLinkValue reads the value of a parameter, in quotes or without. What follows closing quotes up
// to the next separator is dropped.
func cutLinkValue(s string) (value, rest string) {
	quoted := false
	if inside, ok := strings.CutPrefix(s, `"`); ok {
		if value, s, quoted = httpfield.CutQuoted(inside); !quoted {
			return "", ""
		}
	}
	end := strings.IndexAny(s, ";,")
	if end < 0 {
		end = len(s)
	}
	if !quoted {
		value = s[:end]
	}
	return value, s[end:]
}

// namesNext reports whether one of the relation types is that of a next page.
func namesNext(types string) bool {
	for relation := range strings.FieldsSeq(types) {
		if strings.EqualFold(relation, "next") {
			return true
		}
	}
	return false
}
