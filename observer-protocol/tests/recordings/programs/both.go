// Both ends of a connection, for record.py: PORT PROXY CERTIFICATE KEY KEYLOG VERSION TURNS. Says the suite.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
)

func pattern(side byte, from, count int) []byte {
	word := map[byte]string{'c': "client", 's': "server"}[side]
	var text strings.Builder
	for line := 0; text.Len() < from+count; line++ {
		fmt.Fprintf(&text, "%08d %s\n", line, word)
	}
	return []byte(text.String()[from : from+count])
}

// Takes turns: writes its own, reads the other's.
func speak(side byte, connection io.ReadWriter, turns []string) {
	said := map[byte]int{}
	for _, turn := range turns {
		count, err := strconv.Atoi(turn[1:])
		if err != nil {
			log.Fatal(err)
		}
		if turn[0] == side {
			_, err = connection.Write(pattern(side, said[side], count))
		} else {
			_, err = io.ReadFull(connection, make([]byte, count))
		}
		if err != nil {
			log.Fatal(err)
		}
		said[turn[0]] += count
	}
}

func main() {
	port, proxy, certificate, key, keys := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	version := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[os.Args[6]]
	turns := strings.Split(os.Args[7], ",")
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		log.Fatal(err)
	}
	keyLog, err := os.OpenFile(keys, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:"+port, &tls.Config{
		Certificates: []tls.Certificate{pair}, KeyLogWriter: keyLog, NextProtos: []string{"http/1.1"},
		MinVersion: version, MaxVersion: version,
	})
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		speak('s', connection, turns)
		connection.Close()
		done <- true
	}()
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(certificate)
	if err != nil {
		log.Fatal(err)
	}
	roots.AppendCertsFromPEM(pem)
	connection, err := tls.Dial("tcp", "127.0.0.1:"+proxy, &tls.Config{
		RootCAs: roots, ServerName: "recorded.example", NextProtos: []string{"h2", "http/1.1"},
		MinVersion: version, MaxVersion: version,
	})
	if err != nil {
		log.Fatal(err)
	}
	speak('c', connection, turns)
	fmt.Println(tls.CipherSuiteName(connection.ConnectionState().CipherSuite))
	<-done
	connection.Close()
}
