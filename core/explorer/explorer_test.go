package explorer_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/recinterpreter/recinterpreter/core/explorer"
	"github.com/recinterpreter/recinterpreter/core/internal/leak"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/internal/testrun"
	"github.com/recinterpreter/recinterpreter/core/serve"
)

// folders are runs, for reading; browser is one that all tests open their tabs in, nil where there
// is none.
var (
	folders map[string]string
	browser context.Context
)

func TestMain(m *testing.M) { os.Exit(withBrowser(m)) }

func withBrowser(m *testing.M) int {
	dir, err := os.MkdirTemp("", "recint-explorer-test-")
	defer os.RemoveAll(dir)
	if err == nil {
		folders, err = testrun.All(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(path), chromedp.UserDataDir(dir+"/browser"), chromedp.NoSandbox, chromedp.DisableGPU,
			chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))...)
		defer cancel()
		browser, cancel = chromedp.NewContext(ctx)
		defer cancel()
		if err := chromedp.Do(browser); err != nil { // starts it
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		break
	}
	return leak.Run(m)
}

// needBrowser skips a test where there is no browser.
func needBrowser(t *testing.T) {
	t.Helper()
	if browser == nil {
		t.Skip("no Chromium here; Debian's package chromium has one")
	}
}

// site serves the page with runs, through a fault if there is one.
func site(t *testing.T, opts serve.Options, names ...string) (url string, fault *atomic.Pointer[http.HandlerFunc]) {
	t.Helper()
	needBrowser(t)
	var runs []serve.Run
	for _, name := range names {
		runs = append(runs, serve.Run{Name: name, Dir: folders[name]})
	}
	opts.Page, opts.Log = explorer.Page(), slog.New(slog.DiscardHandler)
	opts.Service.Engine, opts.Service.Slots, opts.Service.MaxTokens = testllm.Engine(t), 8, 24
	s, err := serve.New(runs, opts)
	if err != nil {
		t.Fatal(err)
	}
	fault = &atomic.Pointer[http.HandlerFunc]{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := fault.Load(); f != nil {
			(*f)(w, r)
			return
		}
		s.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return server.URL, fault
}

// tab is a page in a browser.
type tab struct {
	*testing.T
	ctx context.Context
}

// visit opens an address in a tab of its own, which has no storage of others. Errors in its console
// fail the test, but those that are expected.
func visit(t *testing.T, url string, expected ...string) tab {
	t.Helper()
	ctx, cancel := context.WithTimeout(browser, 5*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	console, ended := chromedp.Console(ctx), make(chan struct{})
	go func() {
		defer close(ended)
		for message, err := range console {
			if err != nil {
				return
			}
			text := message.String()
			known := false
			for _, e := range expected {
				known = known || strings.Contains(text, e)
			}
			if !known {
				t.Errorf("the console says %s", text)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	p := tab{t, ctx}
	p.do(chromedp.EmulateViewport(1200, 900), chromedp.Navigate(url))
	return p
}

func (p tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.Fatal(err)
	}
}

// run evaluates an expression.
func (p tab) run(expression string) any {
	p.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[any](expression))
	if err != nil {
		p.Fatalf("%s: %v", expression, err)
	}
	return value
}

// until waits for an expression to be true.
func (p tab) until(expression string) {
	p.Helper()
	for end := time.Now().Add(time.Minute); p.run(expression) != true; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("waited in vain for %s; the page says:\n%v", expression, p.run("document.body.innerText"))
		}
	}
}

// count waits until a number of elements match.
func (p tab) count(selector string, n int) {
	p.Helper()
	p.until(fmt.Sprintf("document.querySelectorAll(%q).length === %d", selector, n))
}

// says waits for words in an element.
func (p tab) says(selector, words string) {
	p.Helper()
	p.until(fmt.Sprintf("document.querySelector(%q)?.innerText.includes(%q) === true", selector, words))
}

func (p tab) keys(keys string) {
	p.Helper()
	p.do(chromedp.KeyEvent(keys))
}

// click clicks what can be seen as soon as it is there, in one step: a mouse's way takes several,
// between which the page may move.
func (p tab) click(selector string) {
	p.Helper()
	p.until(fmt.Sprintf(`(e => {
		if (!e || e.disabled || !e.checkVisibility()) return false;
		const { x, y, width, height } = e.getBoundingClientRect();
		e.focus();
		e.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, clientX: x + width / 2, clientY: y + height / 2 }));
		return true;
	})(document.querySelector(%q))`, selector))
}

// find chooses an item with the keyboard alone.
func (p tab) find(words, title string) {
	p.Helper()
	p.run(`document.getElementById("search").focus()`)
	p.keys(words)
	p.says("#found [aria-selected=true]", title)
	p.keys(kb.Enter)
	p.says("#chosen li:last-child", title)
}

// choose takes another run.
func (p tab) choose(run string) {
	p.Helper()
	p.run(fmt.Sprintf(`{ const s = document.getElementById("run"); s.value = %q; s.dispatchEvent(new Event("change")) }`, run))
}

func TestHistory(t *testing.T) {
	url, _ := site(t, serve.Options{}, "residual")
	p := visit(t, url)
	p.says("#chosen-note", "The history is empty")
	p.says("#words .empty", "Choose items")
	p.says("#recommended .empty", "Choose an item")
	p.says("#oracle .empty", "No run of this server has oracles")
	p.count("#found [role=option]", 8)

	p.run(`document.getElementById("search").focus()`)
	p.keys("golden")
	p.until(`document.getElementById("found").ariaBusy === "false"`)
	p.says("#found [aria-selected=true]", "The Golden Harbour")
	p.keys(kb.ArrowDown + kb.ArrowDown)
	p.until(`document.getElementById(document.activeElement.getAttribute("aria-activedescendant")).innerText.includes("Golden Letter")`)
	p.keys(kb.Enter)
	p.count("#chosen li", 1)
	p.says("#words .empty", "one more item")
	p.count("#recommended .pick", 10)
	p.find("silent brid", "The Silent Bridge")
	p.until(`document.activeElement.id === "search" && document.activeElement.value === ""`)
	p.count("#words dl .verdict", 1)
	p.says("#words dl", "The Silent Bridge")
	p.until(`[...document.querySelectorAll("#words .tokens .token")].every(t => /^[0-9−.]+$/.test(t.querySelector("small").innerText))`)
	p.count("#words .titles li", 3)
	p.says("#chosen li:last-child small", "in words")
	p.count("#map circle.item", 30+1) // with the legend's
	p.count("#map .body > svg circle.stop", 2)
	p.count("#map .body > svg circle.best", 10)
	p.until(`document.querySelector("#words [role=status]").textContent.includes("actual: The Silent Bridge")`)

	p.keys("xylophone") // what no title holds
	p.says("#found-note", "similar")
	p.keys(kb.Escape)
	p.until(`document.getElementById("found").hidden`)

	p.click("#recommended li:nth-child(2) .pick")
	p.count("#chosen li", 3)
	p.click("#chosen li:nth-child(3) .up")
	p.says("#chosen li:nth-child(3)", "The Silent Bridge")
	p.until(`document.activeElement.matches("#chosen li:nth-child(2) .up")`)
	p.click("#chosen li:nth-child(1) .remove")
	p.count("#chosen li", 2)
	p.until(`document.activeElement.matches("#chosen li:nth-child(1) .remove")`)
	p.do(chromedp.Reload())
	p.count("#chosen li", 2) // it is the tab's
	p.click("#clear")
	p.count("#chosen li", 0)
	p.says("#words .empty", "Choose items")
	p.until(`document.activeElement.id === "search"`)
}

func TestRuns(t *testing.T) {
	url, _ := site(t, serve.Options{}, "residual", "recovery", "popularity", "dreams")
	p := visit(t, url)
	for _, words := range []string{"silent orchard", "golden letter", "broken winter"} {
		p.find(words, strings.ToUpper(words[:1])+words[1:strings.Index(words, " ")])
	}
	p.says("#map", "are in the same space")
	p.click("#map .body > button")
	p.until(`document.querySelector("#map .body > button").ariaPressed === "true"`)

	p.choose("recovery")
	p.says("#words h3", "of 3 are named")
	p.count("#words .titles li .verdict", 3)

	p.choose("popularity")
	p.says("#about", "how popular the last choice is")
	p.says("#words h3", "of 1 are named")
	p.says("#words .titles li", "quarter")

	p.choose("dreams")
	p.says("#map", "are in another space")
	p.count("#map .body > svg circle.stop", 3)
	p.click("#oracle button")
	p.says("#oracle", "SASRec's first recommendation")
	p.count("#oracle .titles li", 10)
	p.says("#oracle .body > p.soft", "Number 1, by dreams, compared with residual")
	p.count("#map .body > svg path.oracle", 1)
	p.says("#map .marks", "the oracle")
	p.choose("residual") // whose map has no place for it
	p.says("#map", "are in the same space")
	p.count("#map path.oracle", 0)
	p.choose("dreams")
	p.says("#map", "are in another space")
	p.click("#oracle button")
	p.click("#oracle button")
	p.says("#oracle .body > p.soft", "Number 2")
	for range 9 {
		p.click("#recommended .pick")
		p.until(`document.querySelector("#recommended .body").ariaBusy === "false"`)
	}
	p.count("#chosen .past", 2)
	p.count("#map .body > svg circle.stop", 10)
}

// A key stays in the tab.
func TestKey(t *testing.T) {
	url, _ := site(t, serve.Options{Keys: []string{"a-key-of-the-test"}}, "residual")
	p := visit(t, url, "401")
	p.until(`document.getElementById("key").open && document.activeElement.id === "key-text"`)
	p.keys("another-key" + kb.Enter)
	p.says("#key-why", "does not accept this key")
	p.keys("a-key-of-the-test" + kb.Enter)
	p.count("#found [role=option]", 8)
	p.until(`!document.getElementById("key").open`)
	p.until(`localStorage.length === 0 && document.cookie === "" && !location.href.includes("key")`)
	p.click("#forget")
	p.until(`document.getElementById("key")?.open === true`)
	p.until(`!JSON.stringify(sessionStorage).includes("a-key-of-the-test")`)
}

// Text typed before the page knows any run is searched when it does.
func TestEarly(t *testing.T) {
	site, _ := site(t, serve.Options{}, "residual")
	target, err := url.Parse(site)
	if err != nil {
		t.Fatal(err)
	}
	proxy, typed := httputil.NewSingleHostReverseProxy(target), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/runs" {
			select {
			case <-typed:
			case <-r.Context().Done():
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	p := visit(t, server.URL)
	p.click("#search")
	p.keys("silent orchard")
	p.until(`document.getElementById("search").value === "silent orchard"`)
	close(typed)
	p.until(`document.querySelector("#found [aria-selected=true]")?.innerText.includes("The Silent Orchard") === true`)
}

func TestTrouble(t *testing.T) {
	url, fault := site(t, serve.Options{}, "residual")
	p := visit(t, url, "429", "ERR_")
	p.find("silent orchard", "The Silent Orchard")
	p.count("#recommended .pick", 10)

	busy := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"error":"the server is busy"}`)
	})
	fault.Store(&busy)
	p.click("#recommended .pick")
	p.says("#recommended .warning", "the server is busy. This page asks again in 2 s")
	fault.Store(nil)
	p.count("#recommended .pick", 10)
	p.count("#words dl .verdict", 1)

	dead := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	fault.Store(&dead)
	p.click("#recommended .pick")
	p.until(`!document.getElementById("gone").hidden`)
	p.says("#recommended .warning", "the server does not answer")
	fault.Store(nil)
	p.until(`document.getElementById("gone").hidden`)
	p.count("#recommended .pick", 10)
	p.count("#chosen li", 3)
}

// The page alone, without the server's policy, shows titles as they are written.
func TestTitlesAreText(t *testing.T) {
	needBrowser(t)
	const evil = `<img src=x onerror=document.hit=1><script>document.hit=1</script>`
	text := strings.NewReplacer("EVIL", evil).Replace
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(explorer.Page()))
	for pattern, body := range map[string]string{
		"GET /v1/runs": `{"runs":[{"name":"EVIL","asks":"last item","question":"EVIL","title":true,"recommender":"DreamRec","dataset":"EVIL","items":2,"positions":5,` +
			`"shortest":1,"oracles":true,"hash":"1"}]}`,
		"GET /v1/items":      `{"items":[{"id":"1","title":"EVIL","raw_title":"EVIL!"}]}`,
		"POST /v1/recommend": `{"items":[{"id":"2","title":"EVIL","score":1}]}`,
		"GET /v1/map": `{"of":"items","shares":[0.5,0.25],"catalogue":1000000,"items":[{"id":"1","title":"EVIL","x":0,"y":0},{"id":"2","title":"EVIL","x":1,"y":1},` +
			`{"id":"3","title":"EVIL","x":0.5,"y":0.5}]}`,
		"POST /v1/path": `{"of":"items","points":[{"x":0,"y":0}]}`,
		"POST /v1/oracle": `{"words":"EVIL","titles":[{"title":"EVIL","score":1}],"nearest":[{"title":"EVIL","score":1}],` +
			`"place":{"x":1,"y":0}}`,
		"POST /v1/interpret": "event: token\ndata: {\"text\":\"EVIL\",\"log_prob\":-1}\n\nevent: answer\ndata: " +
			`{"text":"EVIL","log_prob":-1,"ended":true,"tokens":[],"lines":[{"text":"EVIL","item":null,"right":true}],` +
			`"truth":[{"id":"1","title":"EVIL","named":true}],"titles":[{"lines":[{"text":"EVIL","item":null}],"log_prob":-1}]}` + "\n\n",
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text(body)) })
	}
	server := httptest.NewServer(mux)
	defer server.Close()
	p := visit(t, server.URL)
	p.click("#found li")
	p.says("#chosen li", evil)
	p.says("#words dl", evil)
	p.says("#words .tokens", evil)
	p.click("#oracle button")
	p.says("#oracle .titles", evil)
	p.says("#map", "a sample of 3 of the 1,000,000 items")
	p.click("#map .body > svg")
	p.says(".caption", evil)
	p.until(`document.hit === undefined && document.querySelectorAll("main img, main script").length === 0`)
	server.CloseClientConnections()
}

// The page fits a phone, and is dark where the reader wants that.
func TestLooks(t *testing.T) {
	url, _ := site(t, serve.Options{}, "residual")
	p := visit(t, url)
	p.find("silent orchard", "The Silent Orchard")
	p.find("golden letter", "The Golden Letter")
	p.count("#words dl .verdict", 1)
	p.do(chromedp.EmulateViewport(360, 700))
	p.until(`document.documentElement.scrollWidth <= 360 && document.querySelector("#map svg").getBoundingClientRect().right <= 360`)
	shades := map[string]any{}
	for _, scheme := range []string{"light", "dark"} {
		features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
		if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
			t.Fatal(err)
		}
		shades[scheme] = p.run(`getComputedStyle(document.body).backgroundColor`)
	}
	if shades["light"] == shades["dark"] {
		t.Errorf("both schemes have %v", shades["light"])
	}
	p.run(`document.getElementById("search").focus()`)
	p.keys(kb.Tab)
	p.until(`document.activeElement.matches("#chosen button") && getComputedStyle(document.activeElement).outlineWidth === "3px"`)
}
