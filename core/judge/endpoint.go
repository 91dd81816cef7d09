package judge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/sashabaranov/go-openai"
	"golang.org/x/time/rate"
)

// EndpointParams say where a judge is asked.
type EndpointParams struct {
	URL       string        // of an OpenAI-compatible API, e.g. http://127.0.0.1:8000/v1
	Model     string        // the model's name there
	Key       string        // may be empty
	PerMinute float64       // attempts begun in a minute at most; 0: no limit
	Timeout   time.Duration // of one attempt; 0: two minutes
	Wait      time.Duration // before the first repetition, doubled each time; 0: a second
	Retries   int           // repetitions of a question that failed in a way that may pass; 0: 5
}

// Endpoint is a judge behind an OpenAI-compatible API (chat completions).
type Endpoint struct {
	client  *openai.Client
	model   string
	retries int
	wait    time.Duration
}

// NewEndpoint makes a judge; nothing is asked yet.
func NewEndpoint(p EndpointParams) (*Endpoint, error) {
	if p.URL == "" || p.Model == "" {
		return nil, errors.New("judge: an endpoint needs a URL and a model")
	}
	if u, err := url.Parse(p.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("judge: the endpoint %q must begin with http:// or https:// and name a host", p.URL)
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
	retrying.ErrorHandler = retryablehttp.PassthroughErrorHandler // the last reply says more than that there were many
	longest := retrying.RetryWaitMax
	retrying.Backoff = func(least, most time.Duration, attempt int, r *http.Response) time.Duration {
		return min(retryablehttp.DefaultBackoff(least, most, attempt, r), longest) // Retry-After may ask for an hour
	}
	limiter := rate.NewLimiter(rate.Inf, 1)
	if p.PerMinute > 0 {
		limiter.SetLimit(rate.Limit(p.PerMinute / 60))
	}
	retrying.HTTPClient.Transport = limited{retrying.HTTPClient.Transport, limiter}
	config := openai.DefaultConfig(p.Key)
	config.BaseURL, config.HTTPClient = p.URL, retrying.StandardClient()
	return &Endpoint{client: openai.NewClientWithConfig(config), model: p.Model, retries: p.Retries, wait: p.Wait}, nil
}

// limited makes attempts wait for each other.
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

// likeliest is a temperature that leaves the likeliest tokens alone. The client leaves out a zero, and by much smaller numbers
// than this llama.cpp's server divides until nothing is left of the logits.
const likeliest = 1e-6

// Name is the model's.
func (e *Endpoint) Name() string { return e.model }

// Ask asks one question at temperature 0. What cannot be read is asked again; an empty reply is a reply.
func (e *Endpoint) Ask(ctx context.Context, question string) (Reply, error) {
	for attempt := 0; ; attempt++ {
		answer, err := e.client.CreateChatCompletion(ctx, openai.ChatCompletionRequest{
			Model:       e.model,
			Temperature: likeliest,
			Messages:    []openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleUser, Content: question}},
		})
		if err == nil {
			reply := Reply{Tokens: answer.Usage.TotalTokens}
			if len(answer.Choices) > 0 {
				reply.Text = answer.Choices[0].Message.Content
			}
			return reply, nil
		}
		if ctx.Err() != nil {
			return Reply{}, context.Cause(ctx)
		}
		if attempt == e.retries || !unreadable(err) {
			return Reply{}, explain(err)
		}
		select {
		case <-time.After(e.wait << attempt):
		case <-ctx.Done():
			return Reply{}, context.Cause(ctx)
		}
	}
}

// unreadable says whether an error is about what came back, not about the connection or a status, which have been tried again.
func unreadable(err error) bool {
	var status *openai.APIError
	var request *openai.RequestError
	var connection *url.Error
	return !errors.As(err, &status) && !errors.As(err, &request) && !errors.As(err, &connection)
}

// explain adds what can be done.
func explain(err error) error {
	code := 0
	var status *openai.APIError
	var request *openai.RequestError
	if errors.As(err, &status) {
		code = status.HTTPStatusCode
	} else if errors.As(err, &request) {
		code = request.HTTPStatusCode
	}
	var connection *url.Error
	if code == 0 && errors.As(err, &connection) {
		return fmt.Errorf("%w; is a server running there?", err)
	}
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w; is the key right?", err)
	case http.StatusNotFound:
		return fmt.Errorf("%w; does the address end as the API wants it (often /v1), and is there such a model?", err)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%w; ask less often, or go on later", err)
	}
	return err
}
