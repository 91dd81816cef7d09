package serve

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Bodies that never arrive block no other request, and are answered with 408 and no address.
func TestSlowBodies(t *testing.T) {
	defer func(was time.Duration) { arrival = was }(arrival)
	arrival = 2 * time.Second
	s := open(t, Options{Service: usual, InFlight: 1}, "residual")
	url, _ := listen(t, s)
	var slow []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
		slow = append(slow, c)
	}
	if status, text, _, err := ask(t.Context(), url+"/v1/recommend", twoFilms); err != nil || status != http.StatusOK {
		t.Errorf("%d %s %v", status, text, err)
	}
	for _, c := range slow {
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusRequestTimeout || strings.Contains(string(text), "127.0.0.1") ||
			!strings.Contains(string(text), "has not arrived") {
			t.Errorf("%d %s, %v", response.StatusCode, text, err)
		}
	}
}

// A body that its header calls too large is refused before any of it has arrived.
func TestDeclaredLargeBody(t *testing.T) {
	url, _ := listen(t, open(t, Options{Service: usual}, "residual"))
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(arrival / 2)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", maxBytes+1)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s, %v", response.StatusCode, text, err)
	}
}

// Packed bodies are read, up to the same size; what is not packed as it says, or otherwise, is
// refused.
func TestEncodings(t *testing.T) {
	packed := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	s := open(t, Options{Service: usual}, "residual")
	for name, c := range map[string]struct {
		encoding, body string
		status         int
		says           string
	}{
		"gzip":           {"gzip", packed(twoFilms), 200, "score"},
		"plain":          {"identity", twoFilms, 200, "score"},
		"mark":           {"", "\ufeff" + twoFilms, 200, "score"},
		"not gzip":       {"gzip", twoFilms, 400, "not gzip"},
		"cut":            {"gzip", packed(twoFilms)[:20], 400, "cut off"},
		"unpacks to all": {"gzip", packed(strings.Repeat(" ", maxBytes+1)), 413, "larger than"},
		"another":        {"br", twoFilms, 415, "gzip"},
	} {
		r, err := http.NewRequest("POST", "http://localhost/v1/recommend", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Content-Encoding", c.encoding)
		if w := record(s, r); w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: %d %s, want %d with %q", name, w.Code, w.Body, c.status, c.says)
		}
	}
}

// Ids may be written as numbers.
func TestItemID(t *testing.T) {
	for text, want := range map[string]string{`"007"`: "007", `7`: "7", `-1`: "-1", `9007199254740993`: "9007199254740993",
		`18446744073709551615`: "18446744073709551615", `7.0`: "7", `1.5`: "", `1.0e3`: "", `true`: "",
		`null`: "", `{}`: "", `1e3`: ""} {
		var got itemID
		if err := json.Unmarshal([]byte("["+text+"]"), &[]*itemID{&got}); text != "null" && (err != nil) != (want == "") || err == nil && string(got) != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}
