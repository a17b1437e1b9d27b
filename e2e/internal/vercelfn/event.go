package vercelfn

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// event is what Vercel sends to a function for a request.
type event struct {
	Action string `json:"Action"`
	Body   string `json:"body"` // an eventRequest as JSON
}

// eventRequest is the request inside an event.
type eventRequest struct {
	Host     string         `json:"host"`
	Path     string         `json:"path"`
	Method   string         `json:"method"`
	Headers  map[string]any `json:"headers"` // a string, or a list where there are several
	Encoding string         `json:"encoding"`
	Body     string         `json:"body"`
}

// eventResponse is what the bridge answers.
type eventResponse struct {
	StatusCode int         `json:"statusCode"`
	Headers    http.Header `json:"headers"`
	Encoding   string      `json:"encoding"`
	Body       string      `json:"body"`
}

// encode turns a request into an event.
func encode(req *http.Request) ([]byte, error) {
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(req.Body)
		if err = errors.Join(err, req.Body.Close()); err != nil {
			return nil, err
		}
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	// Header names stay as the request has them, so that a test can send one
	// name in two spellings.
	headers := map[string]any{
		"host":              host,
		"x-forwarded-host":  host,
		"x-forwarded-proto": "https",
		"x-forwarded-for":   "127.0.0.1",
		"x-real-ip":         "127.0.0.1",
		"x-vercel-id":       "iad1::iad1::e2e",
	}
	for name, values := range req.Header {
		if len(values) == 1 {
			headers[name] = values[0]
		} else {
			headers[name] = values
		}
	}
	inner, err := json.Marshal(eventRequest{
		Host:     host,
		Path:     req.URL.RequestURI(),
		Method:   req.Method,
		Headers:  headers,
		Encoding: "base64",
		Body:     base64.StdEncoding.EncodeToString(body),
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(event{Action: "Invoke", Body: string(inner)})
}

// decode turns a function's answer into the response to req.
func decode(answer []byte, req *http.Request) (*http.Response, error) {
	var r eventResponse
	if err := json.Unmarshal(answer, &r); err != nil {
		return nil, fmt.Errorf("the function's answer: %w", err)
	}
	if r.Encoding != "base64" {
		return nil, fmt.Errorf("the function's answer has encoding %q", r.Encoding)
	}
	body, err := base64.StdEncoding.DecodeString(r.Body)
	if err != nil {
		return nil, fmt.Errorf("the function's answer: %w", err)
	}
	if r.Headers == nil {
		r.Headers = http.Header{}
	}
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", r.StatusCode, http.StatusText(r.StatusCode)),
		StatusCode:    r.StatusCode,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        r.Headers,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}, nil
}
