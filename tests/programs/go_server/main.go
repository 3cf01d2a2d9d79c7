// The test service on Go's net/http: go_server PORT
package main

import (
	"bytes"
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

func main() {
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], http.HandlerFunc(answer)))
}
