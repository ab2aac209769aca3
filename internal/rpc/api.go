package rpc

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"

	"shoal/internal/ca"
)

// APIProxy passes Docker API requests on to another manager, streams and upgrades included. addr is asked at every
// request; empty: nobody leads, which failed answers.
func APIProxy(identity *ca.Identity, addr func() string, failed func(http.ResponseWriter, *http.Request, error)) http.Handler {
	transport := &http.Transport{
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return dialTLS(ctx, identity.Client(protoAPI), addr)
		},
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     anonymousTime,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := addr()
		if to == "" {
			failed(w, r, errNoLeader)
			return
		}
		proxy := &httputil.ReverseProxy{
			Transport:     transport,
			FlushInterval: -1, // events and logs arrive as they are written
			ErrorHandler:  failed,
			Rewrite: func(p *httputil.ProxyRequest) {
				p.SetURL(&url.URL{Scheme: "https", Host: to})
				p.Out.Host = p.In.Host
			},
		}
		proxy.ServeHTTP(w, r)
	})
}
