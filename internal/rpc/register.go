package rpc

import (
	"context"
	"strings"

	"google.golang.org/grpc"
)

// register tells gRPC of the table's methods. Admission comes before anything of the request is decoded.
func (s *Server) register(to *grpc.Server) {
	services := map[string]*grpc.ServiceDesc{}
	for i := range methods {
		m := &methods[i]
		service, name, _ := strings.Cut(strings.TrimPrefix(m.name, "/"), "/")
		desc := services[service]
		if desc == nil {
			desc = &grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil)}
			services[service] = desc
		}
		if m.unary != nil {
			desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: name, Handler: m.handler()})
			continue
		}
		desc.Streams = append(desc.Streams, grpc.StreamDesc{
			StreamName: name, ServerStreams: true, ClientStreams: true, Handler: m.streamHandler(),
		})
	}
	for _, desc := range services {
		to.RegisterService(desc, s)
	}
}

func (m *method) handler() func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
	return func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		reply, err := m.unary(srv.(*Server), ctx, m, decode)
		if err != nil {
			return nil, toStatus(err)
		}
		return reply, nil
	}
}

func (m *method) streamHandler() grpc.StreamHandler {
	return func(srv any, raw grpc.ServerStream) error {
		s := srv.(*Server)
		caller, err := s.admit(raw.Context(), m)
		if err != nil {
			return toStatus(err)
		}
		return toStatus(m.stream(s, caller, raw))
	}
}
