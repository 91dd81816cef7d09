package serve

import (
	"io/fs"
	"net/http"
)

// policy allows a page to load scripts, styles and pictures from its own server and to send
// requests to it, and nothing else; titles can be inserted as text only.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// page serves files.
func page(files fs.FS) http.Handler {
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache") // another version of the program has other files
		server.ServeHTTP(w, r)
	})
}

// pathOf says whether paths on a map show states or items.
func pathOf(states bool) string {
	if states {
		return "states"
	}
	return "items"
}

func (s *Server) plot(_ http.ResponseWriter, _ *http.Request, request *runRequest) (*mapAnswer, error) {
	name, h, err := s.runs.use(string(request.Run))
	if err != nil {
		return nil, err
	}
	defer h.release()
	m, err := h.Map()
	if err != nil {
		return nil, err
	}
	answer := mapAnswer{name, pathOf(m.States), m.Shares, h.Info().Items, make([]placedItem, len(m.Items))}
	for i, id := range m.Items {
		answer.Items[i] = placedItem{describe(h, id), m.Places[i]}
	}
	return &answer, nil
}

func (s *Server) path(_ http.ResponseWriter, r *http.Request, a asked, _ statesRequest) (*pathAnswer, error) {
	points, err := a.Path(r.Context(), a.history)
	if err != nil {
		return nil, err
	}
	m, err := a.Map()
	if err != nil {
		return nil, err
	}
	return &pathAnswer{a.name, pathOf(m.States), points}, nil
}
