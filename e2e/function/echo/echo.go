// Package handler is a Vercel function that answers what it was asked.
package handler

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
)

// Request is what the handler saw of a request.
type Request struct {
	Method      string
	URL         string
	Host        string
	Header      http.Header
	Body        string
	HasDeadline bool
	CanFlush    bool
	Environment []string
}

// Handler answers a [Request] as JSON. The query "crash" ends the process.
func Handler(w http.ResponseWriter, r *http.Request) {
	log.Printf("%s %s", r.Method, r.URL.Path)
	if r.URL.Query().Has("crash") {
		log.Fatal("crashing, as asked")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, hasDeadline := r.Context().Deadline()
	_, canFlush := w.(http.Flusher)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(Request{
		Method:      r.Method,
		URL:         r.URL.String(),
		Host:        r.Host,
		Header:      r.Header,
		Body:        string(body),
		HasDeadline: hasDeadline,
		CanFlush:    canFlush,
		Environment: os.Environ(),
	})
}
