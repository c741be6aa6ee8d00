// A Prefect for the benches, over TLS as the real one: takes any body, gives ?bytes= or a small answer, echoes WebSocket
// messages. upstream PORT CERT KEY; prints "ready".
package main

import (
	"bufio"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
)

const answer = `[{"id":"33333333-3333-3333-3333-333333333333","name":"hello","state":{"type":"SCHEDULED"}}]`

var chunk = make([]byte, 65536)

func serve(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "websocket" {
		echo(w, r)
		return
	}
	io.Copy(io.Discard, r.Body)
	left, _ := strconv.Atoi(r.URL.Query().Get("bytes"))
	if left == 0 {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		io.WriteString(w, answer)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(left))
	for left > 0 {
		part := chunk
		if left < len(part) {
			part = part[:left]
		}
		if _, err := w.Write(part); err != nil {
			return
		}
		left -= len(part)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: prefect\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	rw.Flush()
	for echoFrame(rw.Reader, conn) == nil {
	}
}

// Frames below 64 kB, masked by the client, sent back unmasked.
func echoFrame(in *bufio.Reader, out net.Conn) error {
	var head [8]byte
	if _, err := io.ReadFull(in, head[:2]); err != nil {
		return err
	}
	length := int(head[1] & 127)
	frame := []byte{head[0], byte(length)}
	if length == 126 {
		if _, err := io.ReadFull(in, head[2:4]); err != nil {
			return err
		}
		length = int(binary.BigEndian.Uint16(head[2:4]))
		frame = append(frame, head[2:4]...)
	}
	mask := make([]byte, 4)
	if _, err := io.ReadFull(in, mask); err != nil {
		return err
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return err
	}
	for at := range body {
		body[at] ^= mask[at%4]
	}
	_, err := out.Write(append(frame, body...))
	return err
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Print("ready")
	server := &http.Server{Handler: http.HandlerFunc(serve)}
	server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	panic(server.ServeTLS(listener, os.Args[2], os.Args[3]))
}
