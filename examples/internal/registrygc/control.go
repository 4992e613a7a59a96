package registrygc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A server is told to collect by POST to this path of its control socket. It answers with lines of
// JSON: progress, now and then, and a report at the end. A client that leaves ends the collection.
const controlPath = "/gc"

// maxRefusal is how many bytes of a server's refusal are read.
const maxRefusal = 4 << 10

// A message is a line of the answer.
type message struct {
	Progress *Progress `json:"progress,omitempty"`
	Report   *Report   `json:"report,omitempty"`
	Error    string    `json:"error,omitempty"` // why there is no report, or what it ended early for
}

// Serve returns a handler for a control socket, by which Remote has o collect. refuse says why it
// does not, nil if it does, for somebody who takes the given text for that of the storage's holder
// (registrystore.Holder); ended is told of the end of each collection, as Collect returns it.
func (o *Online) Serve(refuse func(holder string, o Options) error, ended func(*Report, error)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+controlPath, func(w http.ResponseWriter, r *http.Request) {
		options, err := readOptions(r.URL.Query())
		if err == nil {
			err = refuse(r.URL.Query().Get("holder"), options)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		report, err := o.Collect(r.Context(), options, reportTo(w))
		if errors.Is(err, ErrRunning) {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		ended(report, err)
		last := message{Report: report}
		if err != nil {
			last.Error = err.Error()
		}
		_ = json.NewEncoder(w).Encode(last) // only the client can make it fail, by leaving
	})
	return mux
}

// reportTo writes progress as lines.
func reportTo(w http.ResponseWriter) func(Progress) {
	control := http.NewResponseController(w)
	return func(p Progress) {
		_ = json.NewEncoder(w).Encode(message{Progress: &p})
		_ = control.Flush()
	}
}

func readOptions(query url.Values) (o Options, err error) {
	if o.Untagged, err = strconv.ParseBool(query.Get("untagged")); err != nil {
		return o, fmt.Errorf("untagged: %w", err)
	}
	if o.Grace, err = time.ParseDuration(query.Get("grace")); err != nil {
		return o, fmt.Errorf("grace: %w", err)
	}
	return o, nil
}

// Remote has the server behind a control socket collect, if it is the holder of the storage that is
// meant (registrystore.Holder), and returns as Online.Collect does. progress is called now and
// then. When ctx ends, the collection does.
func Remote(ctx context.Context, socket, holder string, o Options, progress func(Progress)) (*Report, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	query := url.Values{"holder": {holder}, "untagged": {strconv.FormatBool(o.Untagged)}, "grace": {o.Grace.String()}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://server"+controlPath+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if request, ok := errors.AsType[*url.Error](err); ok {
		return nil, request.Err // which names the socket; the request's address is nobody's
	}
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
		return nil, errors.Join(fmt.Errorf("the server does not collect: %s", bytes.TrimSpace(text)), err)
	}
	report, err := readMessages(answer.Body, progress)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("the collection was ended, and the server's log says what it had removed: %w", context.Cause(ctx))
	}
	return report, err
}

func readMessages(r io.Reader, progress func(Progress)) (*Report, error) {
	decoder := json.NewDecoder(r)
	for {
		var m message
		if err := decoder.Decode(&m); err != nil {
			return nil, fmt.Errorf("the server ended before the collection: %w", err)
		}
		switch {
		case m.Progress != nil:
			progress(*m.Progress)
		case m.Error != "":
			return m.Report, errors.New(m.Error)
		case m.Report != nil:
			return m.Report, nil
		}
	}
}
