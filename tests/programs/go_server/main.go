// The test service on Go's net/http: go_server PORT [CERTIFICATES], or its client: go_server get CERTIFICATES URL PATH...
//
// CERTIFICATES is a folder with cert.pem and key.pem: then the service speaks HTTPS (HTTP/1.1 alone). The client asks URL for each PATH by GET, or
// sends so many bytes by POST where the path is /echo/BYTES; it writes a line for each answer: status, bytes of its body, path.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func answer(response http.ResponseWriter, request *http.Request) {
	received, _ := io.Copy(io.Discard, request.Body)
	parts := strings.Split(request.URL.Path, "/")
	value := 0
	if len(parts) > 2 {
		value, _ = strconv.Atoi(parts[2])
	}
	status, body := 200, []byte("ok\n")
	switch parts[1] {
	case "status":
		status = value
	case "bytes":
		body = bytes.Repeat([]byte("x"), value)
	case "sleep":
		time.Sleep(time.Duration(value) * time.Millisecond)
	case "echo":
		body = []byte(fmt.Sprintf("%d\n", received))
	}
	response.WriteHeader(status)
	if status != 204 && status != 304 {
		response.Write(body)
	}
}

func get(certificates, url string, paths []string) {
	certificate, err := os.ReadFile(certificates + "/cert.pem")
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	// With a configuration of its own, the transport speaks HTTP/1.1 alone.
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	for _, path := range paths {
		var response *http.Response
		if count, found := strings.CutPrefix(path, "/echo/"); found {
			size, _ := strconv.Atoi(count)
			response, err = client.Post(url+path, "text/plain", bytes.NewReader(bytes.Repeat([]byte("y"), size)))
		} else {
			response, err = client.Get(url + path)
		}
		if err != nil {
			log.Fatal(err)
		}
		length, err := io.Copy(io.Discard, response.Body)
		if err != nil {
			log.Fatal(err)
		}
		response.Body.Close()
		fmt.Println(response.StatusCode, length, path)
	}
}

func main() {
	if os.Args[1] == "get" {
		get(os.Args[2], os.Args[3], os.Args[4:])
		return
	}
	address, handler := "127.0.0.1:"+os.Args[1], http.HandlerFunc(answer)
	if len(os.Args) > 2 {
		// No other protocol is offered.
		server := http.Server{Addr: address, Handler: handler, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
		log.Fatal(server.ListenAndServeTLS(os.Args[2]+"/cert.pem", os.Args[2]+"/key.pem"))
	}
	log.Fatal(http.ListenAndServe(address, handler))
}
