package serve

import (
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
)

func TestMap(t *testing.T) {
	s := open(t, Options{Service: usual}, "residual", "dreams")
	for name, of := range map[string]string{"residual": "states", "dreams": "items"} {
		m := decoded[mapAnswer](t, call(t, s, "GET", "/v1/map?run="+name, ""))
		if m.Run != name || m.Of != of || len(m.Items) != 30 || m.Total != 30 || m.Items[8].Item != (Item{"film-8", "The Golden Letter"}) || m.Shares[0] == 0 {
			t.Errorf("%+v", m)
		}
		path := decoded[pathAnswer](t, call(t, s, "POST", "/v1/path", `{"run":"`+name+`","history":["film-1","film-8"]}`))
		if path.Run != name || path.Of != of || len(path.Points) != 2 || path.Points[0] == path.Points[1] {
			t.Errorf("%+v", path)
		}
	}
	if w := call(t, s, "GET", "/v1/map?run=other", ""); w.Code != http.StatusNotFound {
		t.Errorf("%d", w.Code)
	}
	if w := call(t, s, "POST", "/v1/path", `{"history":[]}`); w.Code != http.StatusBadRequest {
		t.Errorf("%d", w.Code)
	}
}

// The page may run its own scripts only, whatever its data, and be shown in no other page.
func TestPage(t *testing.T) {
	s := open(t, Options{Service: usual, Page: fstest.MapFS{"index.html": {Data: []byte("<p>hello")}}}, "residual")
	r, _ := http.NewRequest("GET", "http://localhost/", nil)
	w := record(s, r)
	if w.Code != http.StatusOK || w.Body.String() != "<p>hello" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	policy := w.Header().Get("Content-Security-Policy")
	for _, rule := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"} {
		if !strings.Contains(policy, rule) {
			t.Errorf("the policy %q lacks %s", policy, rule)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %q", policy)
	}
}
