package registrytest

import (
	"net/url"
	"strconv"
	"strings"
)

// LinkForm is how answers link to the next page. RFC 8288 allows the first ones.
type LinkForm int

const (
	// LinkDefault is a URL with the host that the client used (GitLab), or an absolute path if
	// Location is LocationRelative.
	LinkDefault LinkForm = iota
	// LinkPath is an absolute path, as distribution, Quay and GHCR send it.
	LinkPath
	// LinkRelative is relative to the page.
	LinkRelative
	// LinkUnquoted has rel=next without quotes.
	LinkUnquoted
	// LinkAfterOthers has other relations before the next page, in headers of their own and in the
	// same one, with commas, semicolons and quotes in their parameters, and next as one of two
	// relations of a link.
	LinkAfterOthers
	// LinkBare has no angle brackets, as Quay sent it in 2016.
	LinkBare
	// LinkOtherScheme names the registry by https:// and port 443, as a proxy in front of it makes
	// it do.
	LinkOtherScheme
	// LinkSecond is a URL on the second server, which serves pages to everybody, as long as they
	// bring no Authorization header.
	LinkSecond
	// LinkCircle leads from the last page to the first.
	LinkCircle
	// LinkSame leads from every page to another URL with the first page.
	LinkSame
	// LinkForever leads from the last page to empty pages without end.
	LinkForever
	// LinkNone is no link: what does not fit on the first page is not there.
	LinkNone
)

// link sets the Link header of an answer whose next page has the query q, nil for the last page.
func (x *exchange) link(q url.Values) {
	path, counter := x.req.URL.Path, x.req.URL.Query()
	to := func(q url.Values) string { return (&url.URL{Path: path, RawQuery: q.Encode()}).String() }
	again := func(last string) string {
		n, _ := strconv.Atoi(counter.Get("page"))
		return to(url.Values{"last": {last}, "page": {strconv.Itoa(n + 1)}})
	}
	header := x.w.Header()
	switch form := x.opts.Links; {
	case form == LinkSame:
		header.Set("Link", "<"+again("")+`>; rel="next"`)
	case q == nil && form == LinkCircle:
		header.Set("Link", "<"+path+`>; rel="next"`)
	case q == nil && form == LinkForever:
		header.Set("Link", "<"+again("~")+`>; rel="next"`)
	case q == nil, form == LinkNone:
	case form == LinkPath, form == LinkCircle, form == LinkForever:
		header.Set("Link", "<"+to(q)+`>; rel="next"`)
	case form == LinkRelative:
		header.Set("Link", "<"+path[strings.LastIndexByte(path, '/')+1:]+"?"+q.Encode()+`>; rel="next"`)
	case form == LinkUnquoted:
		header.Set("Link", "<"+to(q)+">;rel=next")
	case form == LinkAfterOthers:
		header.Add("Link", "<"+path+`>; rel="first"; title="the first, \"really\"; rel=next"`)
		header.Add("Link", "<"+path+`?last=a,b>; rel="prev", <`+path+`>;title="x;y,z";rel=self, <`+to(q)+`>; type="application/json"; rel="last next"`)
	case form == LinkBare:
		header.Set("Link", to(q)+`; rel="next"`)
	case form == LinkOtherScheme:
		host, _, _ := strings.Cut(x.req.Host, ":")
		header.Set("Link", "<https://"+host+to(q)+`>; rel="next"`)
	case form == LinkSecond:
		header.Set("Link", "<"+x.secondURL()+to(q)+`>; rel="next"`)
	default:
		header.Set("Link", "<"+x.location(to(q))+`>; rel="next"`)
	}
}
