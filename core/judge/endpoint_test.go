package judge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const good = `{"choices":[{"message":{"role":"assistant","content":"1"}}],"usage":{"total_tokens":42}}`

// served makes a judge of a local server, with short waits.
func served(t *testing.T, p EndpointParams, handle http.HandlerFunc) *Endpoint {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	p.URL, p.Model, p.Wait = server.URL+"/v1", "m", time.Millisecond
	e, err := NewEndpoint(p)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEndpoint_asks(t *testing.T) {
	e := served(t, EndpointParams{Key: "secret"}, func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Model       string
			Temperature *float64
			Messages    []struct{ Role, Content string }
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/v1/chat/completions" ||
			r.Header.Get("Authorization") != "Bearer secret" || body.Model != "m" || body.Temperature == nil || *body.Temperature > 1e-6 ||
			len(body.Messages) != 1 || body.Messages[0].Content != "which?" {
			t.Errorf("%s %v %+v %v", r.URL, r.Header, body, err)
		}
		fmt.Fprint(w, good)
	})
	reply, err := e.Ask(t.Context(), "which?")
	if err != nil || reply != (Reply{"1", 42}) {
		t.Errorf("%+v, %v", reply, err)
	}
}

// Whatever goes wrong a few times and then right is asked again, and what a server says for good is
// told.
func TestEndpoint_misbehaves(t *testing.T) {
	fails := map[string]http.HandlerFunc{
		"429": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"error":{"message":"slow down"}}`)
		},
		"500":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusInternalServerError) },
		"malformed": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"choices":[{"mess`) },
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, `{"choices"`)
			panic(http.ErrAbortHandler)
		},
		"200 with an error": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"error":{"message":"Provider returned error","code":502}}`)
		},
		"200 with an error in the choice": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"choices":[{"message":{"content":"2"},"error":{"message":"overloaded","code":529}}],"usage":{"total_tokens":1}}`)
		},
		"200 that ends with an error": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"choices":[{"message":{"content":""},"finish_reason":"error"}],"usage":{"total_tokens":1}}`)
		},
		"408":                 func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "late", http.StatusRequestTimeout) },
		"409":                 func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "again", http.StatusConflict) },
		"200 without choices": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"id":"x","choices":[]}`) },
		"hangs up":            func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"too slow": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		},
	}
	for name, fail := range fails {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			e := served(t, EndpointParams{Timeout: 200 * time.Millisecond, Retries: 3}, func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) <= 2 {
					fail(w, r)
					return
				}
				fmt.Fprint(w, good)
			})
			if reply, err := e.Ask(t.Context(), "q"); err != nil || reply.Text != "1" || n.Load() != 3 {
				t.Errorf("%+v after %d attempts, %v", reply, n.Load(), err)
			}
		})
	}
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		want   string
		most   int32
	}{
		"401": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":{"message":"no such key"}}`)
		}, "is the key right", 1},
		"404":              {http.NotFound, "/v1", 1},
		"429 for good":     {fails["429"], "slow down", 4},
		"408 for good":     {fails["408"], "late", 4},
		"choice for good":  {fails["200 with an error in the choice"], "overloaded", 4},
		"500 for good":     {fails["500"], "500", 4},
		"never any sense":  {fails["malformed"], "no JSON", 4},
		"nothing is there": {fails["hangs up"], "EOF", 4},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			e := served(t, EndpointParams{Retries: 3}, func(w http.ResponseWriter, r *http.Request) { n.Add(1); c.handle(w, r) })
			if _, err := e.Ask(t.Context(), "q"); err == nil || !strings.Contains(err.Error(), c.want) || n.Load() > c.most {
				t.Errorf("%d attempts, error %v, want one with %q", n.Load(), err, c.want)
			}
		})
	}
}

// An empty reply has been paid for: it is kept, and says nothing.
func TestEndpoint_emptyReply(t *testing.T) {
	for _, body := range []string{`{"choices":[{"message":{"content":null}}],"usage":{"total_tokens":9}}`,
		`{"choices":[{"message":{"content":""}}],"usage":{"total_tokens":9}}`} {
		e := served(t, EndpointParams{}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		r, err := Compare(t.Context(), cases(2), e, Options{})
		if err != nil || r.Unclear != 4 || r.Tokens != 36 || r.Tie.Hits != 2 {
			t.Errorf("%s: %+v, %v", body, r, err)
		}
	}
}

func TestEndpoint_cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := served(t, EndpointParams{}, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	if _, err := e.Ask(ctx, "q"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestEndpoint_rate(t *testing.T) {
	e := served(t, EndpointParams{PerMinute: 60 * 50}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, good) })
	start := time.Now()
	for range 6 {
		if _, err := e.Ask(t.Context(), "q"); err != nil {
			t.Fatal(err)
		}
	}
	if spent := time.Since(start); spent < 90*time.Millisecond { // 5 pauses of 20 ms after the first
		t.Errorf("6 questions at 50 a second in %v", spent)
	}
	if _, err := NewEndpoint(EndpointParams{URL: "http://x"}); err == nil {
		t.Error("an endpoint without a model")
	}
	for _, address := range []string{"127.0.0.1:9", "ftp://x/v1", "http://", "x"} {
		if _, err := NewEndpoint(EndpointParams{URL: address, Model: "m"}); err == nil || !strings.Contains(err.Error(), "http://") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// replied is a chat completion with some content, as JSON.
func replied(content string) string {
	return `{"choices":[{"message":{"role":"assistant","content":` + content + `}}],"usage":{"total_tokens":42}}`
}

// Replies come in many forms. The raw text is kept; the verdict is read from what follows the
// thoughts.
func TestEndpoint_forms(t *testing.T) {
	for content, want := range map[string]int{
		`"1"`: 1, `"**2**"`: 2, `"\n\n 1\n"`: 1,
		`"<think>\nOption 2 looks close, but the history leans to 1.\n</think>\n\n1"`:               1,
		`"Let me see: 2 is close.\n</think>\n\n1"`:                                                  1,
		`"<think>1</think>hm, 1</think>2"`:                                                          2,
		`[{"type":"text","text":"1"}]`:                                                              1,
		`[{"type":"thinking","thinking":[{"type":"text","text":"2?"}]},{"type":"text","text":"1"}]`: 1,
		`[{"type":"text","text":"Option "},{"type":"text","text":"2"}]`:                             2,
		`"\\boxed{1}"`: 1, `"The answer is \\boxed{\\text{2}}."`: 2,
		`"I would choose 1."`: 1, `"They would prefer option 2, since 12 Monkeys is near."`: 2,
		`"My choice is number 2."`:           2,
		`"I cannot choose between 1 and 2."`: 0, `"It is between option 1 and option 2."`: 0, `"1 or 2"`: 0, `""`: 0, `null`: 0,
		`"12 Monkeys"`: 0, `"1/2"`: 0, `"1, 2"`: 0,
		`"<think>Option 1 is"`: 0, `"[THINK]1?[/THINK]2"`: 2, `"<thinking>I choose 1.</thinking> 2"`: 2,
		`"<|channel|>analysis<|message|>choose 1?<|end|><|start|>assistant<|channel|>final<|message|>2"`: 2,
		`"I would not choose 1, but 2."`: 0, `"I don't pick option 1; I choose 2."`: 2, `"Not option 1."`: 0, `"Rather 2 than option 1."`: 0,
		`"\\boxed{\\textbf{Option 2}}"`: 2, `"{\"choice\": \"2\"}"`: 2, `"1️⃣"`: 1, `[{"type":"output_text","text":"1"}]`: 1,
		`[{"text":"1"}]`: 1, `"I'd go for 1."`: 1, `"I recommend 2."`: 2, `"Response: 1"`: 1, `"I believe 2 is more likely."`: 2, `"No. 1"`: 1, `"I choose option 1. 2 is a comedy."`: 1,
		`"It could be 1 or 2."`: 0, `"The choice is option 1 or option 2."`: 0,
	} {
		e := served(t, EndpointParams{}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, replied(content)) })
		reply, err := e.Ask(t.Context(), "q")
		if err != nil || verdict(reply.Text) != want || strings.Contains(content, "think>") && !strings.Contains(reply.Text, "think>") {
			t.Errorf("%s: %q, verdict %d, %v; want %d", content, reply.Text, verdict(reply.Text), err, want)
		}
	}
}

// An endpoint that refuses the temperature is asked without one, from then on.
func TestEndpoint_temperature(t *testing.T) {
	var sent []bool
	e := served(t, EndpointParams{Temperature: 0.5}, func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		temperature, has := body["temperature"]
		if sent = append(sent, has); has {
			if temperature != 0.5 {
				t.Errorf("temperature %v", temperature)
			}
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":{"message":"Unsupported value: 'temperature' does not support 0.5 with this model.","param":"temperature"}}`)
			return
		}
		fmt.Fprint(w, good)
	})
	for range 2 {
		if reply, err := e.Ask(t.Context(), "q"); err != nil || reply.Text != "1" {
			t.Errorf("%+v, %v", reply, err)
		}
	}
	if fmt.Sprint(sent) != "[true false false]" {
		t.Errorf("sent with a temperature: %v", sent)
	}
	if _, err := NewEndpoint(EndpointParams{URL: "http://x/v1", Model: "m", Temperature: 3}); err == nil {
		t.Error("a temperature of 3")
	}
}

// Questions that are under way when the first refusal comes are asked again, too, wherever the
// refusal names the temperature.
func TestEndpoint_temperatureOfMany(t *testing.T) {
	const many = 4
	var refused sync.WaitGroup // all are asked with a temperature before one is refused
	refused.Add(many)
	e := served(t, EndpointParams{}, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if strings.Contains(string(body), "temperature") {
			refused.Done()
			refused.Wait()
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":{"message":"Unsupported parameter","param":"Temperature"}}`)
			return
		}
		fmt.Fprint(w, good)
	})
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			if reply, err := e.Ask(t.Context(), "q"); err != nil || reply.Text != "1" {
				t.Errorf("%+v, %v", reply, err)
			}
		})
	}
	all.Wait()
}

// The tokens of a reply are its total, or else those of its parts; an error that says nothing is
// none.
func TestEndpoint_usage(t *testing.T) {
	for usage, want := range map[string]int{`{"total_tokens":42}`: 42, `{"prompt_tokens":40,"completion_tokens":2}`: 42, `{}`: 0, `null`: 0} {
		e := served(t, EndpointParams{}, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "\ufeff"+`{"error":"","choices":[{"message":{"content":"1"}}],"usage":%s}`, usage)
		})
		if reply, err := e.Ask(t.Context(), "q"); err != nil || reply.Text != "1" || reply.Tokens != want {
			t.Errorf("%s: %+v, %v", usage, reply, err)
		}
	}
}

// A server's error message reaches the user, in any of its forms.
func TestEndpoint_errorTexts(t *testing.T) {
	for body, says := range map[string]string{
		`{"detail":[{"loc":["body","model"],"msg":"field required","type":"value_error"}]}`: "field required",
		`{"error":"model not found"}`:              "model not found",
		`{"error":{"message":"no such model"}}`:    "no such model",
		`<html>Unprocessable</html>`:               "Unprocessable",
		`{"error":{"code":7,"reason":"overload"}}`: "overload",
	} {
		e := served(t, EndpointParams{}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, body)
		})
		if _, err := e.Ask(t.Context(), "q"); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "422") ||
			strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: %v, want %q", body, err, says)
		}
	}
}

// Before tokens are spent the judge must have given a verdict and, with a budget, said what it
// cost.
func TestProbe(t *testing.T) {
	for name, c := range map[string]struct {
		reply   Reply
		metered bool
		says    string
	}{
		"good":               {Reply{"1", 5}, true, ""},
		"no usage":           {Reply{"1", 0}, true, "no usage"},
		"no usage, no limit": {Reply{"1", 0}, false, ""},
		"no verdict":         {Reply{"Both are nice.", 5}, false, "no verdict"},
	} {
		err := Probe(t.Context(), scripted(func(string) (Reply, error) { return c.reply, nil }), c.metered)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// Two judges cannot write one file.
func TestCompare_twice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "judge.jsonl")
	var second error
	first := scripted(func(string) (Reply, error) {
		_, second = Compare(t.Context(), cases(1), scripted(nil), Options{Path: path})
		return Reply{Text: "1"}, nil
	})
	if _, err := Compare(t.Context(), cases(1), first, Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	if second == nil || !strings.Contains(second.Error(), "is being written by") {
		t.Errorf("the second judge: %v", second)
	}
}
