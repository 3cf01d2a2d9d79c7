// gRPC's own Go library, a service and its callers, without generated code: messages are bytes.
//
//	go_grpc serve PORT [NEXT_PORT]
//	go_grpc load PORT CALLS STREAMS CONNECTIONS [KIND]
//
// What the last part of a method's name means, up to a dot: `Echo` sends back what it got, `Fail` answers with status 5, `Slow` takes
// 50 ms, `Next` asks the next port for `Echo` with the same ending, `Chat` sends each message of a stream back, `Many` sends ten.
// The load prints what it saw: a line for each kind of status and how often.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// Messages as they are.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(bytes []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), bytes...)
	return nil
}

var next *grpc.ClientConn

// With one of these, a folder with cert.pem and key.pem, it answers or asks over TLS.
var tlsServe, tlsAsk = os.Getenv("GRPC_TLS_SERVE"), os.Getenv("GRPC_TLS_ASK")

func dial(port string) *grpc.ClientConn {
	trust := insecure.NewCredentials()
	if tlsAsk != "" {
		trust = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	connection, err := grpc.NewClient(
		"passthrough:///127.0.0.1:"+port,
		grpc.WithTransportCredentials(trust),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})),
	)
	if err != nil {
		log.Fatal(err)
	}
	return connection
}

func handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	_, name, _ := strings.Cut(method[1:], "/")
	kind, rest, _ := strings.Cut(name, ".")
	if kind == "Chat" {
		for {
			var message []byte
			if err := stream.RecvMsg(&message); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
	}
	var message []byte
	if err := stream.RecvMsg(&message); err != nil {
		return err
	}
	switch kind {
	case "Echo":
	case "Fail":
		return status.Error(codes.NotFound, "not here")
	case "Slow":
		select {
		case <-time.After(50 * time.Millisecond):
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	case "Many":
		for range 9 {
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
	case "Next":
		var answer []byte
		err := next.Invoke(stream.Context(), "/test.Service/Echo."+rest, &message, &answer)
		if err != nil {
			return err
		}
	default:
		return status.Error(codes.Unimplemented, "no such method")
	}
	return stream.SendMsg(&message)
}

func serve(port string, ports []string) {
	if len(ports) > 0 {
		next = dial(ports[0])
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	options := []grpc.ServerOption{grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(handle)}
	if tlsServe != "" {
		pair, err := tls.LoadX509KeyPair(tlsServe+"/cert.pem", tlsServe+"/key.pem")
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	}
	server := grpc.NewServer(options...)
	fmt.Println("ready")
	log.Fatal(server.Serve(listener))
}

func call(connection *grpc.ClientConn, kind string, number int) error {
	message := []byte(strings.Repeat("m", 10+number%100))
	method := fmt.Sprintf("/test.Service/%s.%d", kind, number)
	ctx := context.Background()
	switch kind {
	case "Chat", "Many":
		description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
		stream, err := connection.NewStream(ctx, description, method)
		if err != nil {
			return err
		}
		sends := 1
		if kind == "Chat" {
			sends = 5
		}
		for range sends {
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
		stream.CloseSend()
		for {
			var answer []byte
			if err := stream.RecvMsg(&answer); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
		}
	case "Deadline":
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		method = fmt.Sprintf("/test.Service/Slow.%d", number)
		var answer []byte
		return connection.Invoke(short, method, &message, &answer)
	default:
		var answer []byte
		return connection.Invoke(ctx, method, &message, &answer)
	}
}

func load(port string, calls, streams, connections int, kind string) {
	var all sync.WaitGroup
	var lock sync.Mutex
	seen := map[string]int{}
	numbers := make(chan int)
	go func() {
		for number := range calls {
			numbers <- number
		}
		close(numbers)
	}()
	for range connections {
		connection := dial(port)
		for range streams {
			all.Add(1)
			go func() {
				defer all.Done()
				for number := range numbers {
					code := status.Code(call(connection, kind, number)).String()
					lock.Lock()
					seen[code]++
					lock.Unlock()
				}
			}()
		}
	}
	all.Wait()
	for code, count := range seen {
		fmt.Println(code, count)
	}
}

func number(at int) int {
	value, err := strconv.Atoi(os.Args[at])
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2], os.Args[3:])
	case "load":
		kind := "Echo"
		if len(os.Args) > 6 {
			kind = os.Args[6]
		}
		load(os.Args[2], number(3), number(4), number(5), kind)
	}
}
