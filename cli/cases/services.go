package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// serviceCases are about commands that communicate: with judges, clients, and a second process.
var serviceCases = map[string]check{
	"align-twice": func(c *Case) {
		const more = "100000000" // more than the first command can train on before the second starts
		args := alignment(c, c.Out(), "residual", recommenderOf(c), more)
		first := exec.Command(c.binary, args...)
		first.Dir = c.Dir
		if err := first.Start(); err != nil {
			c.Fatalf("%v", err)
		}
		defer func() {
			_ = first.Process.Kill()
			_ = first.Wait() // it was killed
		}()
		for range 300 {
			if _, err := os.Stat(filepath.Join(c.Out(), "log.jsonl")); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		c.Refuses(args, "is being written by process")
	},
	"judge": judgeCase,
	"http":  httpCase,
}

// alignment is a command that trains a small run.
func alignment(c *Case, out, prompt, recommender, samples string) []string {
	return []string{"align", "--data", "../small", "--recommender", recommender, "--llm", "../gguf-split-both/m-00001-of-00002.gguf",
		"--prompt", prompt, "--samples", samples, "--batch", "8", "--warm-steps", "20", "--validate-every", "0", "--hidden", "16", "--out", out}
}

// judgeCase asks each kind of endpoint in the table of the cases' README.
func judgeCase(c *Case) {
	dream := filepath.Join(c.Temp, "dream.safetensors")
	c.OK("recommender", "train", "--model", "dreamrec", "--data", "../small", "--width", "8", "--steps", "10", "--epochs", "1", "--out", dream)
	c.OK(alignment(c, c.Out(), "item", dream, "64")...)
	against := recommenderOf(c)
	message := func(content, usage string) string {
		return `{"choices":[{"message":{"role":"assistant","content":` + content + `}}]` + usage + `}`
	}
	const usage = `,"usage":{"total_tokens":55}`
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mode, _, _ := strings.Cut(r.URL.Path[1:], "/")
		asked[mode]++
		body := message(`"1"`, usage)
		switch mode {
		case "err200":
			body = `{"error":{"message":"Provider returned error","code":502}}`
		case "empty200":
			body = `{"id":"x","choices":[]}`
		case "think":
			body = message(`"<think>2 looks close</think>\n\n1"`, usage)
		case "thinkopen":
			body = message(`"2 is close.\n</think>\n\n1"`, usage)
		case "parts":
			body = message(`[{"type":"thinking","thinking":[]},{"type":"text","text":"1"}]`, usage)
		case "boxed":
			body = message(`"\\boxed{1}"`, usage)
		case "sentence":
			body = message(`"I would choose 1."`, usage)
		case "nousage":
			body = message(`"1"`, "")
		case "detail422":
			w.WriteHeader(http.StatusUnprocessableEntity)
			body = `{"detail":[{"msg":"field required"}]}`
		case "r429":
			if asked[mode]%3 != 0 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusTooManyRequests)
			}
		}
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	command := func(mode string, more ...string) []string {
		return append([]string{"judge", "--run", c.Out(), "--against", against, "--samples", "2", "--parallel", "1", "--endpoint",
			server.URL + "/" + mode + "/v1", "--model", mode}, more...)
	}
	for _, mode := range []string{"think", "thinkopen", "parts", "boxed", "sentence", "nousage", "r429"} {
		c.Says(c.OK(command(mode)...).Stdout, "0 replies without a verdict")
	}
	c.Refuses(command("err200"), "Provider returned error")
	c.Refuses(command("empty200"), "no choices")
	c.Refuses(command("detail422"), "field required")
	c.Refuses(command("nousage", "--budget", "1"), "no usage")
}

// httpCase starts a server and sends what the cases' README lists.
func httpCase(c *Case) {
	c.OK(alignment(c, c.Out(), "residual", recommenderOf(c), "64")...)
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	server := exec.CommandContext(ctx, c.binary, "serve", c.Out(), "--listen", "127.0.0.1:0")
	log, err := server.StderrPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		c.Fatalf("%v", err)
	}
	var said strings.Builder
	var address string
	for lines := bufio.NewScanner(log); address == "" && lines.Scan(); {
		var line struct{ Msg, Address string }
		fmt.Fprintln(&said, lines.Text())
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			address = line.Address
		}
	}
	logged := make(chan error, 1)
	go func() {
		_, err := io.Copy(&said, log)
		logged <- err
	}()
	defer func() {
		_ = server.Process.Signal(os.Interrupt)
		if err := errors.Join(<-logged, server.Wait()); err != nil {
			c.Errorf("the server: %v: %s", err, said.String())
		}
	}()
	if address == "" {
		c.Fatalf("the server does not say its address")
	}
	send := func(request string) string {
		connection, err := net.Dial("tcp", address)
		if err != nil {
			return ""
		}
		defer connection.Close()
		_ = connection.SetDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprint(connection, request)
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			return err.Error()
		}
		var body strings.Builder
		_, _ = bufio.NewReader(response.Body).WriteTo(&body)
		return response.Status + " " + body.String()
	}
	const health = "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n"
	for _, host := range []string{"LOCALHOST", "localhost."} {
		c.Says(send(fmt.Sprintf(health, host)), "200")
	}
	c.Says(send("GET /healthz HTTP/1.0\r\n\r\n"), "200")
	post := func(body string) string {
		return send(fmt.Sprintf("POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			len(body), body))
	}
	c.Says(post(`{"history":[100,101]}`), "200")
	for _, k := range []string{"3.0", `"3"`, "[]"} {
		c.Says(post(`{"history":["100"],"k":`+k+`}`), "400", "k is ", "must be a whole number")
	}
	c.Says(post(""), "400", "the body is empty")
	var slow []net.Conn
	for range 300 {
		connection, err := net.Dial("tcp", address)
		if err != nil {
			c.Fatalf("%v", err)
		}
		defer connection.Close()
		fmt.Fprint(connection, "POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
		slow = append(slow, connection)
	}
	c.Says(post(`{"history":["100","101"]}`), "200")
	response, err := http.ReadResponse(bufio.NewReader(slow[0]), nil)
	if err != nil || response.StatusCode != http.StatusRequestTimeout {
		c.Errorf("a body that never arrives: %+v, %v", response, err)
	}
}
