// A hop of a chain on Go's net/http: truth_go PORT NEXT_PORT MODEL
// MODEL: service, or proxy (net/http/httputil's reverse proxy, which passes everything on).
// What a path means stands in xtask/src/truth/path.rs.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// With one of these, a folder with cert.pem and key.pem, it asks or answers over TLS.
var tlsNext, tlsListen = os.Getenv("TRUTH_TLS_NEXT"), os.Getenv("TRUTH_TLS_LISTEN")

var next = map[bool]string{false: "http", true: "https"}[tlsNext != ""] + "://127.0.0.1:" + os.Args[2]

// With a configuration of its own a transport does not offer HTTP/2.
var trust = &tls.Config{InsecureSkipVerify: true}

var clients = map[string]*http.Client{
	"keep":  {Transport: &http.Transport{MaxIdleConnsPerHost: 1024, TLSClientConfig: trust}},
	"fresh": {Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust}},
}

func ask(connections, path string) {
	answer, err := clients[connections].Get(next + path)
	if err != nil {
		log.Print(err)
		return
	}
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
}

// Goroutines that began before any request take work from here.
var work = make(chan func())

func worker() {
	for do := range work {
		do()
	}
}

var ticking struct {
	sync.Mutex
	until            time.Time
	connections, row string
}

func ticker() {
	number := 0
	for range time.Tick(5 * time.Millisecond) {
		ticking.Lock()
		on, connections, row := time.Now().Before(ticking.until), ticking.connections, ticking.row
		ticking.Unlock()
		if on {
			number++
			ask(connections, fmt.Sprintf("/%s/direct/%s.tick%d-%d.0/0", connections, row, os.Getpid(), number))
		}
	}
}

func serve(response http.ResponseWriter, request *http.Request) {
	parts := strings.Split(request.URL.Path, "/")
	connections, modes, tag, hop := parts[1], parts[2], parts[3], parts[4]
	mode, rest, _ := strings.Cut(modes, "-")
	if rest == "" {
		rest = "direct"
	}
	call := func(number int) {
		ask(connections, fmt.Sprintf("/%s/%s/%s/%s.%d", connections, rest, tag, hop, number))
	}
	answer := func() {
		response.Header().Set("Content-Length", "3")
		io.WriteString(response, "ok\n")
	}
	switch mode {
	case "after":
		answer()
		// With its length known and all of it written, the response is complete before this goroutine goes on.
		response.(http.Flusher).Flush()
		ask(connections, fmt.Sprintf("/%s/direct/%s~%s/0", connections, tag, hop))
		return
	case "twice":
		call(0)
		call(1)
	case "parallel":
		var both sync.WaitGroup
		for number := range 2 {
			both.Add(1)
			go func() {
				defer both.Done()
				call(number)
			}()
		}
		both.Wait()
	case "sleep":
		time.Sleep(time.Duration(rand.Intn(20_000)) * time.Microsecond)
		call(0)
	case "handoff":
		done := make(chan struct{})
		work <- func() {
			call(0)
			close(done)
		}
		<-done
	case "thread":
		done := make(chan struct{})
		go func() {
			call(0)
			close(done)
		}()
		<-done
	case "timer":
		ticking.Lock()
		ticking.until = time.Now().Add(100 * time.Millisecond)
		ticking.connections, ticking.row = connections, strings.Split(tag, ".")[0]
		ticking.Unlock()
		call(0)
	default:
		call(0)
	}
	answer()
}

func proxy() http.Handler {
	target, err := url.Parse(next)
	if err != nil {
		log.Fatal(err)
	}
	rewrite := func(request *httputil.ProxyRequest) {
		request.SetURL(target)
		request.Out.URL.Path += ".0"
	}
	proxies := map[string]*httputil.ReverseProxy{}
	for connections, client := range clients {
		proxies[connections] = &httputil.ReverseProxy{Rewrite: rewrite, Transport: client.Transport}
	}
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		proxies[strings.Split(request.URL.Path, "/")[1]].ServeHTTP(response, request)
	})
}

func main() {
	if os.Args[3] == "proxy" {
		log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], proxy()))
	}
	for range 8 {
		go worker()
	}
	go ticker()
	address := "127.0.0.1:" + os.Args[1]
	if tlsListen != "" {
		log.Fatal(http.ListenAndServeTLS(address, tlsListen+"/cert.pem", tlsListen+"/key.pem", http.HandlerFunc(serve)))
	}
	log.Fatal(http.ListenAndServe(address, http.HandlerFunc(serve)))
}
