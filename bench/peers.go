// The peers in Go: what somebody would write in an afternoon with the standard library.
// peers proxy PORT UPSTREAM CERT KEY   net/http/httputil.ReverseProxy in front of UPSTREAM, with KEY as its bearer token
// peers constant SOCKET PORT           answers every request with 700 bytes, on both
// peers activated                      the same on descriptor 3, as systemd starts it
package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func proxy(port, upstream, cert, key string) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(cert)))
	target := must(url.Parse(upstream))
	handler := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set("Authorization", "Bearer "+key)
		},
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: roots},
			MaxIdleConnsPerHost: 128,
			IdleConnTimeout:     time.Minute,
		},
	}
	panic(http.ListenAndServe("127.0.0.1:"+port, handler))
}

var answer = []byte(strings.Repeat("x", 700))

func constant(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(answer)
}

func main() {
	server := &http.Server{Handler: http.HandlerFunc(constant)}
	switch os.Args[1] {
	case "proxy":
		proxy(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	case "constant":
		go server.Serve(must(net.Listen("unix", os.Args[2])))
		panic(server.Serve(must(net.Listen("tcp", "127.0.0.1:"+os.Args[3]))))
	case "activated":
		panic(server.Serve(must(net.FileListener(os.NewFile(3, "listener")))))
	}
}
