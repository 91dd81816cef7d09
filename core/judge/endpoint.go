package judge

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/time/rate"
)

// EndpointParams say where a judge runs and how it is asked.
type EndpointParams struct {
	URL       string        // of an OpenAI-compatible API, e.g. http://127.0.0.1:8000/v1
	Model     string        // the model's name there
	Key       string        // may be empty
	PerMinute float64       // most attempts per minute; 0: no limit
	Timeout   time.Duration // of one attempt; 0: two minutes
	Wait      time.Duration // before the first repetition, doubled each time; 0: a second
	Retries   int           // repetitions of a question after a temporary failure; 0: 5

	Temperature float64 // of sampling; omitted after the endpoint has refused it
}

// Endpoint is a judge behind an OpenAI-compatible API (chat completions).
type Endpoint struct {
	client          *http.Client
	url, model, key string
	retries         int
	wait            time.Duration
	temperature     float64
	tempered        atomic.Bool // the temperature is sent
}

// NewEndpoint makes a judge; nothing is asked yet.
func NewEndpoint(p EndpointParams) (*Endpoint, error) {
	if p.URL == "" || p.Model == "" {
		return nil, errors.New("judge: an endpoint needs a URL and a model")
	}
	if u, err := url.Parse(p.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("judge: the endpoint %q must begin with http:// or https:// and name a host", p.URL)
	}
	if !(p.Temperature >= 0 && p.Temperature <= 2) {
		return nil, fmt.Errorf("judge: the temperature is %g; it must be 0 to 2", p.Temperature)
	}
	if p.Timeout == 0 {
		p.Timeout = 2 * time.Minute
	}
	if p.Wait == 0 {
		p.Wait = time.Second
	}
	if p.Retries == 0 {
		p.Retries = 5
	}
	retrying := retryablehttp.NewClient() // waits as Retry-After says, or twice as long each time
	retrying.Logger = nil
	retrying.HTTPClient.Timeout = p.Timeout
	retrying.RetryWaitMin, retrying.RetryWaitMax, retrying.RetryMax = p.Wait, 60*p.Wait, p.Retries
	retrying.ErrorHandler = retryablehttp.PassthroughErrorHandler // the last reply says more than the number of attempts
	retrying.CheckRetry = func(ctx context.Context, r *http.Response, err error) (bool, error) {
		if err == nil && ctx.Err() == nil && (r.StatusCode == http.StatusRequestTimeout || r.StatusCode == http.StatusConflict) {
			return true, nil // the API's own clients repeat these two as well
		}
		return retryablehttp.DefaultRetryPolicy(ctx, r, err)
	}
	longest := retrying.RetryWaitMax
	retrying.Backoff = func(least, most time.Duration, attempt int, r *http.Response) time.Duration {
		return min(retryablehttp.DefaultBackoff(least, most, attempt, r), longest) // Retry-After may ask for an hour
	}
	limiter := rate.NewLimiter(rate.Inf, 1)
	if p.PerMinute > 0 {
		limiter.SetLimit(rate.Limit(p.PerMinute / 60))
	}
	retrying.HTTPClient.Transport = limited{retrying.HTTPClient.Transport, limiter}
	e := &Endpoint{client: retrying.StandardClient(), url: strings.TrimSuffix(p.URL, "/") + "/chat/completions", model: p.Model, key: p.Key,
		retries: p.Retries, wait: p.Wait, temperature: p.Temperature}
	e.tempered.Store(true)
	return e, nil
}

// limited limits the rate of attempts.
type limited struct {
	http.RoundTripper
	limiter *rate.Limiter
}

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := l.limiter.Wait(r.Context()); err != nil {
		return nil, err
	}
	return l.RoundTripper.RoundTrip(r)
}

// Name is the model's.
func (e *Endpoint) Name() string { return e.model }

// Ask asks one question. It repeats the question after an unreadable reply and after a status 200
// with an error or without choices; an empty reply is a reply.
func (e *Endpoint) Ask(ctx context.Context, question string) (Reply, error) {
	for attempt := 0; ; {
		tempered := e.tempered.Load()
		reply, err := e.ask(ctx, question, tempered)
		if err == nil {
			return reply, nil
		}
		if ctx.Err() != nil {
			return Reply{}, context.Cause(ctx)
		}
		var status *statusError
		if errors.As(err, &status) && tempered && status.code < http.StatusInternalServerError &&
			bytes.Contains(bytes.ToLower(status.body), []byte("temperature")) {
			e.tempered.Store(false) // the model accepts no temperature: later questions omit it
			continue
		}
		var connection *url.Error
		if attempt == e.retries || errors.As(err, &status) || errors.As(err, &connection) { // which were already retried
			return Reply{}, explain(err)
		}
		select {
		case <-time.After(e.wait << attempt):
		case <-ctx.Done():
			return Reply{}, context.Cause(ctx)
		}
		attempt++
	}
}

// statusError is a reply with another status than 200.
type statusError struct {
	code int
	body []byte
}

func (s *statusError) Error() string {
	return fmt.Sprintf("status %d: %.500s", s.code, errorText(s.body))
}

// maxReply is the largest size of a reply in bytes.
const maxReply = 4 << 20

// ask makes one attempt.
func (e *Endpoint) ask(ctx context.Context, question string, tempered bool) (Reply, error) {
	body := map[string]any{"model": e.model, "messages": []map[string]string{{"role": "user", "content": question}}}
	if tempered {
		body["temperature"] = e.temperature
	}
	text, err := json.Marshal(body)
	if err != nil {
		return Reply{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(text))
	if err != nil {
		return Reply{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	if e.key != "" {
		request.Header.Set("Authorization", "Bearer "+e.key)
	}
	response, err := e.client.Do(request)
	if err != nil {
		return Reply{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return Reply{}, fmt.Errorf("the reply was cut off: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return Reply{}, &statusError{response.StatusCode, data}
	}
	return readReply(data)
}

// failed reports whether the field "error" of a reply holds an error. Some servers always send the
// field.
func failed(field json.RawMessage) bool {
	return !slices.Contains([]string{"", "null", `""`, "{}", "false"}, string(field))
}

// errorText returns the message of an error, or of its field "error", if it is JSON with a message;
// else all of it.
func errorText(body []byte) string {
	var told struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
	}
	if json.Unmarshal(body, &told) == nil {
		switch {
		case told.Message != "":
			return told.Message
		case len(told.Error) > 0:
			return errorText(told.Error)
		}
	}
	return strings.TrimSpace(string(body))
}

// readReply reads the body of a status 200: the text of the first choice, which may come in parts.
func readReply(data []byte) (Reply, error) {
	var answer struct {
		Error   json.RawMessage `json:"error"`
		Choices []struct {
			Error   json.RawMessage `json:"error"`
			Finish  string          `json:"finish_reason"`
			Message struct {
				Content json.RawMessage `json:"content"`
			} `json:"message"`
		} `json:"choices"`
		Usage struct {
			Total  int `json:"total_tokens"`
			Prompt int `json:"prompt_tokens"`
			Answer int `json:"completion_tokens"`
		} `json:"usage"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &answer); err != nil {
		return Reply{}, fmt.Errorf("the reply is no JSON of a chat completion: %w: %.200q", err, data)
	}
	if failed(answer.Error) {
		return Reply{}, fmt.Errorf("status 200, but an error: %.500s", errorText(answer.Error))
	}
	if len(answer.Choices) == 0 {
		return Reply{}, fmt.Errorf("status 200, but no choices: %.200q", data)
	}
	choice := answer.Choices[0]
	if failed(choice.Error) || choice.Finish == "error" {
		return Reply{}, fmt.Errorf("status 200, but the choice is an error: %.500s", cmp.Or(errorText(choice.Error), string(data)))
	}
	reply := Reply{Tokens: cmp.Or(answer.Usage.Total, answer.Usage.Prompt+answer.Usage.Answer)}
	content := choice.Message.Content
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	switch {
	case len(content) == 0 || string(content) == "null": // the model spent all tokens on reasoning
	case json.Unmarshal(content, &reply.Text) == nil:
	case json.Unmarshal(content, &parts) == nil:
		for _, part := range parts {
			if slices.Contains([]string{"text", "output_text", ""}, part.Type) {
				reply.Text += part.Text
			}
		}
	default:
		return Reply{}, fmt.Errorf("the content of the reply is neither text nor a list of parts: %.200q", content)
	}
	return reply, nil
}

// explain adds a remedy.
func explain(err error) error {
	var status *statusError
	var connection *url.Error
	switch {
	case errors.As(err, &status):
		switch status.code {
		case http.StatusUnauthorized, http.StatusForbidden:
			return fmt.Errorf("%w; is the key right?", err)
		case http.StatusNotFound:
			return fmt.Errorf("%w; does the address end as the API wants it (often /v1), and is there such a model?", err)
		case http.StatusTooManyRequests:
			return fmt.Errorf("%w; ask less often, or continue later", err)
		}
	case errors.As(err, &connection):
		return fmt.Errorf("%w; is a server running there?", err)
	}
	return err
}
